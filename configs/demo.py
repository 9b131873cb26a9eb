"""The demo: a few phantom eyes and a short training, six to eight minutes on two cores.

inr-jax demo
"""

from configs import oct


def get_config():
    config = oct.get_config()
    config.data.phantom_oct.people = (12, 3, 4)
    config.data.phantom_oct.eyes = 1
    config.model.width = 64
    config.model.depth = 4
    config.train.autodecoder.steps = 1400
    config.train.rule.steps = 30
    config.train.rule.context = 4096
    config.train.joint.steps = 120
    config.train.joint.context = 4096
    config.train.validation_scans = 3
    return config
