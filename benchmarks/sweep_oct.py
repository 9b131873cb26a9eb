"""What matters on the OCT phantom, at reduced size: the base and the axes of a sweep. Figures in docs/results.md.

inr-jax ablate --config=benchmarks/sweep_oct.py --axes=benchmarks/sweep_oct.py --sweep=seed \
    --one-at-a-time=kind,nonlinearity,slo,density --workdir=runs/what_matters

A training is of the demo's size, from nothing, with more people and fewer codes: every kind of modulation has 640.
"""

from configs import demo


def get_config():
    config = demo.get_config()
    config.data.phantom_oct.people = (16, 8, 4)
    config.model.modulation.grid.levels = ((4, 4, 8), (8, 16, 4))
    config.rule.mixing = "none"
    config.adapt.residual.update(path="straight", length=0.2)
    config.train.update(start_from="", stages=("autodecoder", "rule", "joint"))
    config.doubt.bscans = 12
    config.train.autodecoder.steps = 1500
    config.train.rule.steps = 30
    config.train.joint.steps = 90
    config.train.validation_scans = 4
    return config


def sweep_kind():
    """The kind of modulation at equal size: 640 codes. A vector and a low rank are not whitened."""
    grids = {"two grids": ((4, 4, 8), (8, 16, 4)), "coarse grid": ((8, 8, 10),), "fine grid": ((10, 16, 4),)}
    for word, levels in grids.items():
        yield word, {"model.modulation.parts": ("grid", "weights"), "model.modulation.grid.levels": levels}
    vector = {"model.modulation.parts": ("vector", "weights"), "model.modulation.vector.size": 640}
    yield "vector", vector | {"train.whiten": 0.0}
    rank = {"model.modulation.parts": ("lowrank", "weights"), "model.modulation.lowrank.rank": 160}
    yield "low rank", rank | {"train.whiten": 0.0}


def sweep_nonlinearity():
    """The activation, all else equal; each at the frequency of the base."""
    for name in ("sine", "wire", "finer", "relu"):
        yield {"model.activation": name}


def sweep_density():
    """Measurements per inner step: in training, and eight times as many on a new scan, as in the base."""
    for context in (1024, 4096, 8192):
        yield {"train.rule.context": context, "train.joint.context": context, "adapt.points": 8 * context}


def sweep_seed():
    """Three trainings of every setting."""
    for seed in range(3):
        yield {"train.seed": seed}
