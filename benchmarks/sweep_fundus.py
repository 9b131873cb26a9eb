"""How large a modulation pays on real fundus photographs, at reduced size. Figures in docs/results.md.

inr-jax ablate --config=benchmarks/sweep_fundus.py --axes=benchmarks/sweep_fundus.py --sweep=size,seed \
    --config.data.path=FOLDER --workdir=runs/size

A new photograph offers 32 x 32 pixels of three channels. FOLDER is that of CHASE_DB1. Fewer steps than
configs/fundus.py has.
"""

from configs import fundus


def get_config():
    config = fundus.get_config()
    config.train.autodecoder.steps = 400
    config.train.rule.steps = 40
    config.train.joint.steps = 30
    return config


def sweep_size():
    """Numbers per photograph: two grids of 88 a^2, and vectors as large as two of them (not whitened)."""
    for a in (8, 2, 4, 12):
        yield f"grids of {88 * a * a}", {"model.modulation.grid.levels": ((a, a, 16), (3 * a, 3 * a, 8))}
    for size in (352, 1408):
        vector = {"model.modulation.parts": ("vector", "weights"), "model.modulation.vector.size": size}
        yield f"vector of {size}", vector | {"train.whiten": 0.0}


def sweep_seed():
    """Three trainings of every setting."""
    for seed in range(3):
        yield {"train.seed": seed}
