"""What each part of the method is worth: the base and the seeds of a sweep at reduced size. Figures in docs/results.md.

inr-jax ablate --config=benchmarks/sweep_parts.py --axes=benchmarks/sweep_parts.py --sweep=seed --workdir=runs/parts \
    --one-at-a-time=encoder,mixing,moves,network,slo_features,likelihood,ridge,whitening,prior,first_order,start,rule

All axes but the seeds are those of configs/ablations.py. B-scans lie as far apart as in configs/oct.py; they have
fewer rows and A-scans, the field is half as wide, and a training takes less than a minute.
"""

from configs import oct


def get_config():
    config = oct.get_config()
    config.data.phantom_oct.update(people=(16, 8, 4), eyes=1, shape=(31, 80, 48))
    config.model.update(width=48, depth=4)
    config.model.modulation.grid.levels = ((4, 4, 8), (9, 12, 4))
    config.train.autodecoder.update(steps=1200, points=512)
    config.train.encoder.update(steps=150, context=4096)
    config.train.rule.update(steps=20, context=2048, points=1024)
    config.train.joint.update(steps=120, context=2048, points=1024)
    config.train.validation_scans = 4
    config.rule.mixing = "none"
    config.adapt.points = 8192
    config.adapt.residual.length = 0.0  # the field alone: what parts change
    config.doubt.calibrate = False
    return config


def sweep_seed():
    """Two trainings of every setting."""
    for seed in range(2):
        yield {"train.seed": seed}
