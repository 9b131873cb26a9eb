"""One network for one scan, from loose points, in a minute or two: what `inr-jax validate` fits to your own scan.

inr-jax validate eye.nii.gz --keep-every=4 --output=eye_validated

No other scan is seen: compare with a model that has learned a population (inr-jax validate ... --workdir=runs/oct).
"""

from configs import interp_oct_single


def get_config():
    config = interp_oct_single.get_config()
    config.model.width = 128
    config.model.depth = 4
    config.model.residual = False
    config.model.inputs_everywhere = False
    config.model.encoding = "identity"
    config.model.extent = dict(of="population", divide_first=1.0)
    config.loss.intensity = "mse"
    config.loss.segmentation = "cross_entropy"
    config.hyper.omega_first = 8.0  # speckle is not worth a frequency
    config.hyper.intensity = 1.0
    config.hyper.segmentation = 0.02
    config.adapt.draw = "points"
    config.adapt.points = 8192
    config.adapt.draws = 100
    config.adapt.epochs = 30
    config.adapt.rate = 1e-3
    config.adapt.epoch_decay = 0.9
    config.adapt.stop.patience = 0
    config.adapt.residual.length = 0.2
    return config
