"""OCT: learn a population of phantom eyes, adapt to a new eye in five steps.

inr-jax train --config=configs/oct.py --workdir=runs/oct

About half an hour on two cores; interpolated B-scans of validation eyes 28.6 dB, Dice .91 after five steps
(docs/results.md).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.model.intensity = "sigmoid"  # shadows and layers multiply: a gain on a dark place moves little
    config.loss.intensity = "gamma"  # and so does speckle
    config.hyper.segmentation = config.hyper.context_segmentation = 1.0  # beside nats; 0.02 beside a mean square
    config.rule.mixing = "conv"  # what a cell's measurements say holds for its neighbours, too
    config.adapt.residual.update(path="registered", length=0.4)  # layers slope: what is left moves with them
    return config
