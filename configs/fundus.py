"""Fundus photographs: adapt on every fourth pixel of each axis, answer all of them, with vessels.

inr-jax train --config=configs/fundus.py --workdir=runs/fundus --config.data.path=FOLDER

About 4 minutes on two cores; unmeasured pixels of test children 30.8 dB (bicubic 31.5: docs/results.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "fundus"
    config.model.width = 128
    config.model.modulation.axes = (0, 1)
    config.model.modulation.grid.levels = ((8, 8, 16), (24, 24, 8))
    config.hyper.omega_first = 20.0
    config.hyper.omega_last = 30.0
    config.hyper.segmentation = 0.05
    config.adapt.points = 1024  # as many as the subgrid has
    config.fit.points = 1024
    config.fit.steps = config.fit.weights_steps = 200
    config.fit.rate = 1e-3
    config.fit.weights_rate = 1e-5
    config.fit.patience = 6
    config.train.autodecoder.points = 2048
    config.train.rule.context = 1024
    config.train.joint.context = 1024
    config.train.validation_scans = 4
    config.train.autodecoder.steps = 800
    config.train.joint.steps = 100
    config.adapt.residual.update(sigma=(0.0, 0.0), length=100.0)  # no speckle; linear in a gap
    return config
