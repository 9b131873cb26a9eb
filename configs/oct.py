"""OCT: learn a population of phantom eyes, adapt to a new eye in five steps.

inr-jax train --config=configs/oct.py --workdir=runs/oct
"""

from configs import default


def get_config():
    return default.get_config()
