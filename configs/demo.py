"""The demo: a few phantom eyes, and a short training that goes on from the small model in the package.

inr-jax demo

That model was trained by this config on other phantom people: see `make phantom-model`.
"""

from configs import oct


def get_config():
    config = oct.get_config()
    config.data.phantom_oct.people = (12, 3, 4)
    config.data.phantom_oct.eyes = 1
    config.model.width = 64
    config.model.depth = 4
    config.train.start_from = "phantom"
    config.train.stages = ("joint",)
    config.train.rule.context = 4096
    config.train.joint.steps = 100
    config.train.joint.context = 4096
    config.train.validation_scans = 3
    config.doubt.bscans = 8  # minutes are short; 12 say the same to a percent
    return config
