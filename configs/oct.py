"""OCT: learn a population of phantom eyes, adapt to a new eye in five steps.

inr-jax train --config=configs/oct.py --workdir=runs/oct

About 25 minutes on two cores; interpolated B-scans of test eyes 26.8 dB, Dice .89 after five steps (docs/results.md,
of a straight path of the residual).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.adapt.residual.update(path="registered", length=0.4)  # layers slope: what is left moves with them
    return config
