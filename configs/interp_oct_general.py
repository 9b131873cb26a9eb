"""INteRp-OCT, the generalizable INR: one latent per eye, learned with the network on whole B-scans of your folds.

inr-jax train --config=configs/interp_oct_general.py --workdir=runs/interp_oct --config.data.path=FOLDER
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "interp_oct"
    config.data.interp_oct.mirror_left = False  # the reference takes every eye as it is
    config.data.interp_oct.validation_people = 0.0  # nor keeps anyone apart
    config.model.width = 128
    config.model.depth = 6
    config.model.activation = "wire"
    config.model.residual = True  # with the next: the body res_coords
    config.model.inputs_everywhere = True
    config.model.intensity = "sigmoid"
    config.model.side = "raw"
    config.model.block = 4096  # of a B-scan's 114,080 points: what a CPU's caches hold
    config.model.extent.of = "volume"
    config.model.extent.divide_first = 10.0
    config.model.modulation.parts = ("vector",)
    config.model.modulation.vector_enters = "input"
    config.model.encodings.fourier.features = 256
    config.model.encodings.hashgrid.update(levels=16, features=2, log2_size=15, coarsest=16, finest=512)
    config.loss.intensity = "combined"
    config.loss.segmentation = "binary_cross_entropy"
    config.hyper.intensity = 5.0
    config.hyper.segmentation = 1.0
    config.hyper.penalty = 1.0
    config.train.seed = 25
    config.train.stages = ("autodecoder",)
    config.train.autodecoder.subjects = 1
    config.train.autodecoder.draw = "bscans"
    config.train.autodecoder.targets = "measured"
    config.hyper.skip_ratio = float("inf")
    config.train.autodecoder.rates = dict(field=1e-4, table=1e-4)
    config.train.autodecoder.steps = 100_000_000  # never met: train.stop.epochs ends it
    config.train.stop.epochs = 1500
    config.train.stop.patience = 20
    config.train.keep = 1  # the last; the best is kept besides
    config.train.save_every = 100
    config.train.clip = 0.0
    config.train.schedule = "exponential"
    config.adapt.epochs = 200
    config.adapt.residual.length = 0.0  # the field alone
    return config
