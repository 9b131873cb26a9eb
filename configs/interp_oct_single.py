"""INteRp-OCT, the single-scan INR: one network for each scan, fitted to its own B-scans and labels.

inr-jax train --config=configs/interp_oct_single.py --workdir=runs/interp_oct_single --config.data.path=FOLDER

Nothing is learned over a population: `train` is over at once, `evaluate` and `adapt` fit. Scans may lack labels or SLO.
"""

from configs import interp_oct_general


def get_config():
    config = interp_oct_general.get_config()
    config.model.width = 512
    config.model.depth = 3
    config.model.activation = "sine"
    config.model.encoding = "pi"
    config.model.modulation.parts = ("weights",)
    config.train.stages = ()
    config.train.stop.epochs = 0
    config.train.stop.patience = 0
    config.adapt.epochs = 1500
    config.adapt.labels = True
    config.adapt.rate = 1e-4
    config.adapt.stop.patience = 20
    return config
