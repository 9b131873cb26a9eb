"""Volumes: patches of slabs of one CT (within one subject), adapted on every second slice.

inr-jax train --config=configs/volumes.py --workdir=runs/volumes --config.data.path=FILE_OR_FOLDER

About 7 minutes on two cores; slices between measured ones 31.4 dB (linear 33.0: docs/results.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "volumes"
    config.model.width = 128
    config.model.modulation.axes = (0, 1, 2)
    config.model.modulation.grid.levels = ((4, 6, 6, 16), (8, 16, 16, 8))
    config.hyper.omega_first = 20.0
    config.hyper.omega_last = 30.0
    config.adapt.points = 16_384  # half of what a patch has
    config.train.autodecoder.points = 2048
    config.train.autodecoder.steps = 600
    config.train.joint.steps = 100
    config.adapt.residual.update(sigma=(0.0, 0.0), length=100.0)  # no speckle; linear in a gap
    return config
