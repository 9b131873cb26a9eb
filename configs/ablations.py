"""The axes of `inr-jax ablate`: what a training can be varied in, and the question each asks.

A generator sweep_<axis>() yields its settings: {dotted key of the config: value, ...}, or (word, {...}) where the word
says more than the first value does. A setting names every key that tells it from the others, so that the axis means
the same whatever the base is. `--axes=FILE` adds those of a script of yours, or puts them in the place of these.
"""

import math

MEAN_SQUARE = {"loss.intensity": "mse", "model.intensity": "sigmoid", "hyper.segmentation": 0.02}
AFFINE = MEAN_SQUARE | {"model.intensity": "affine"}
GAMMA = {"loss.intensity": "gamma", "model.intensity": "sigmoid", "hyper.segmentation": 1.0}


def sweep_activation():
    """Which nonlinearity suits the scans? Frequencies are shared: a product with `omega` is the fairer comparison."""
    for name in ("sine", "wire", "finer", "finer_whole", "gaussian", "relu"):
        yield {"model.activation": name}


def sweep_encoding():
    """Do encoded coordinates help a field that has frequencies of its own?"""
    for name in ("identity", "pi", "fourier", "hashgrid"):
        yield {"model.encoding": name}


def sweep_network():
    """Do surfaces that cannot cross, and intensity in their coordinates, gain on a class for every voxel?"""
    for network in ("field", "layered"):
        yield {"model.network": network}


def sweep_omega():
    """How high a frequency, the same in all layers, before speckle is learned for anatomy?"""
    for omega in (10.0, 20.0, 30.0, 60.0):
        yield {"hyper.omega_first": omega, "hyper.omega_last": omega}


def sweep_omega_schedule():
    """Should frequencies fall or rise with depth (MedFuncta, Friedrich et al. 2025)?"""
    for first, last in ((30.0, 30.0), (30.0, 10.0), (10.0, 30.0), (60.0, 30.0), (30.0, 60.0)):
        yield f"{first:g} to {last:g}", {"hyper.omega_first": first, "hyper.omega_last": last}


def sweep_width():
    """How wide do hidden layers have to be?"""
    for width in (48, 64, 96, 128):
        yield {"model.width": width}


def sweep_depth():
    """How many hidden layers are needed?"""
    for depth in (3, 4, 5, 7):
        yield {"model.depth": depth}


def sweep_modulation():
    """Which kind of modulation holds most of an eye in as many codes?

    4864 codes in each: those of the grids of configs/oct.py, of two axes and, for `low rank`, five layers (4865).
    The weights move too, in all. A vector of this size is not whitened, since that would take the Jacobian by each of
    its numbers; nor is `low rank`, which has no gauge, and whose rank takes about twenty times a layer's products.
    Neither has cells whose steps could be mixed.
    """
    grids = {
        "two grids": ((8, 6, 16), (16, 32, 8)),
        "three grids": ((4, 4, 16), (8, 8, 16), (16, 28, 8)),
        "fine grid": ((16, 38, 8),),
        "coarse grid": ((8, 8, 76),),
    }
    whitened = {"train.whiten": 3.0, "rule.mixing": "conv"}
    for word, levels in grids.items():
        yield word, {"model.modulation.parts": ("grid", "weights"), "model.modulation.grid.levels": levels, **whitened}
    for word, part, key, size in (
        ("vector", "vector", "model.modulation.vector.size", 4864),
        ("low rank", "lowrank", "model.modulation.lowrank.rank", 973),
    ):
        yield word, {"model.modulation.parts": (part, "weights"), key: size, "train.whiten": 0.0, "rule.mixing": "none"}


def sweep_modulation_size():
    """How many codes does an eye need? From a few cells along each axis to more than there are measured B-scans."""
    for levels in (
        ((2, 2, 16), (4, 8, 8)),
        ((4, 3, 16), (8, 16, 8)),
        ((8, 6, 16), (16, 32, 8)),
        ((16, 12, 16), (32, 64, 8)),
    ):
        yield f"{sum(map(math.prod, levels))} codes", {"model.modulation.grid.levels": levels}


def sweep_moves():
    """Is it worth moving the shared weights for a new eye, all of them, at a low rank, or late; or do codes suffice?

    `low-rank weights`: a change A m of each hidden matrix, A shared. `low rank`: one factor per rank and layer, both
    its matrices shared. `late`: in the last two of five steps.
    """
    for word, parts, first in (
        ("codes", ("grid",), 0),
        ("codes and weights", ("grid", "weights"), 0),
        ("codes and low-rank weights", ("grid", "factors"), 0),
        ("codes and low rank", ("grid", "lowrank"), 0),
        ("codes and head", ("grid", "head"), 0),
        ("codes and late weights", ("grid", "weights"), 3),
    ):
        yield word, {"model.modulation.parts": parts, "rule.changes_from": first}


def sweep_nuisance():
    """Is motion better estimated with the codes than taken out beforehand? The phantom's alone.

    With motion nothing can be put back (inr_jax/operators/moved_bscan.py): all but the first are the field alone.
    """
    codes, moved = ("grid", "weights"), ("grid", "nuisance", "weights")
    for word, align, parts, length in (
        ("aligned, residual put back", True, codes, 0.4),
        ("aligned", True, codes, 0.0),
        ("aligned, nuisance", True, moved, 0.0),
        ("as measured", False, codes, 0.0),
        ("as measured, nuisance", False, moved, 0.0),
    ):
        yield word, {
            "data.phantom_oct.align": align, "model.modulation.parts": parts, "adapt.residual.length": length,
        }  # fmt: skip


def sweep_start():
    """Does a start that is learned through the inner loop adapt better than the mean code of the auto-decoder?"""
    for word, rate in (("learned", 1e-3), ("mean code", 0.0)):
        yield word, {"train.rule.rates.start": rate, "train.joint.rates.start": rate}


def sweep_encoder():
    """Is a start that an encoder reads off the scan nearer than one for all? `taught`: by known codes first."""
    stages, taught = ("autodecoder", "rule", "joint"), ("autodecoder", "encoder", "rule", "joint")
    yield "learned", {"model.start": "learned", "train.stages": stages, "adapt.steps": 5}
    yield "encoder", {"model.start": "encoder", "train.stages": stages, "adapt.steps": 5}
    for steps in (5, 1, 0):
        yield f"encoder, taught, {steps} steps", {
            "model.start": "encoder", "train.stages": taught, "adapt.steps": steps,
        }  # fmt: skip


def sweep_step_size():
    """Do the rule's first step sizes have to be found by trial, or does it learn them from any?"""
    yield "by trial", {"train.calibrate": True, "hyper.step_size": 10.0}
    for size in (1.0, 10.0, 100.0):
        yield f"{size:g}", {"train.calibrate": False, "hyper.step_size": size}


def sweep_whitening():
    """Does a step in whitened codes go further than one in codes as they were learned, and whitened by what?"""
    yield "as learned", {"train.whiten": 0.0, "train.whiten_by": "curvature"}
    for by in ("curvature", "covariance"):
        yield by, {"train.whiten": 3.0, "train.whiten_by": by}


def sweep_shrinkage():
    """How far do whitened codes that the population hardly uses have to be held back?"""
    for damping in (0.3, 3.0, 30.0):
        yield {"train.whiten": damping}


def sweep_rule():
    """How fine do step sizes have to be, over codes and over steps? `fixed`: found by trial, not learned."""
    fixed = {"train.rule.rates.rule": 0.0, "train.joint.rates.rule": 0.0}
    learned = {"train.rule.rates.rule": 0.02, "train.joint.rates.rule": 0.01}
    yield "fixed", {"rule.per": "leaf", "rule.per_step": False, **fixed}
    for per in ("leaf", "channel", "element"):
        yield per, {"rule.per": per, "rule.per_step": False, **learned}
        yield f"{per} and step", {"rule.per": per, "rule.per_step": True, **learned}


def sweep_stages():
    """What does each stage of the training add to the auto-decoder?"""
    for stages in (
        ("autodecoder", "rule", "joint"),
        ("autodecoder", "rule"),
        ("autodecoder", "joint"),
    ):
        yield ", ".join(stages), {"train.stages": stages}


def sweep_clip():
    """How long may the gradient of each part be?"""
    for norm in (0.0, 0.1, 1.0, 10.0):
        yield {"train.clip": norm}


def sweep_mixing():
    """Does it help that cells mix their steps: with those next to them, or with all?"""
    for mixing in ("none", "conv", "attention"):
        yield {"rule.mixing": mixing}


def sweep_ridge():
    """What does a last layer that is solved for add to learned steps? The penalty is where its learning starts.

    It is solved for a mean square where the head is affine alone: `none` is beside both.
    """
    yield "none", GAMMA | {"adapt.ridge": 0.0}
    for penalty in (0.0, 1.0, 10.0, 100.0):
        yield f"affine, {penalty:g}", AFFINE | {"adapt.ridge": penalty}


def sweep_prior():
    """Do codes want to be drawn to the start within the inner steps, where these are few?"""
    for weight in (0.0, 1e-4, 1e-3, 1e-2):
        yield {"hyper.prior": weight}


def sweep_inner_steps():
    """How many inner steps are worth their time, where the rule is learned for this many?"""
    for steps in (1, 2, 3, 5, 10):
        yield {"adapt.steps": steps}


def sweep_first_order():
    """What do the second derivatives through the inner loop gain?"""
    yield "second order", {"adapt.first_order": False}
    yield "first order", {"adapt.first_order": True}


def sweep_points():
    """How many measurements does an inner step need? A fourth of those of a new scan in training, as in oct."""
    for points in (2048, 8192, 32_768):
        context = points // 4
        yield {"adapt.points": points, "train.rule.context": context, "train.joint.context": context}


def sweep_slo():
    """Is the SLO used, or only there? `off`: masked; `shuffled`: that of the next person."""
    yield "on", {"hyper.side": 1.0, "hyper.side_swapped": 0.0}
    yield "off", {"hyper.side": 0.0, "hyper.side_swapped": 0.0}
    yield "shuffled", {"hyper.side": 1.0, "hyper.side_swapped": 1.0}


def sweep_slo_placement():
    """Do measured B-scans have to be found on the SLO by their vessels? The phantom's alone."""
    for placed in (True, False):
        yield {"data.phantom_oct.register_slo": placed}


def sweep_residual():
    """What does it add to put back what the field leaves of the measurement, and how is it carried across a gap?"""
    for word, length, path in (
        ("none", 0.0, "straight"),
        ("straight", 0.2, "straight"),
        ("registered", 0.4, "registered"),
    ):
        yield word, {"adapt.residual.length": length, "adapt.residual.path": path}


def sweep_likelihood():
    """Does a likelihood that learns how noisy each place is see more anatomy than a mean square does?

    In nats the weight of labels counts less: 1 is about what 0.02 is beside a mean square.
    """
    yield "mean square", AFFINE
    yield "mean square, sigmoid", MEAN_SQUARE
    yield "heteroscedastic", GAMMA | {"loss.intensity": "heteroscedastic"}
    yield "gamma", GAMMA


def sweep_balance():
    """Does a loss that weighs its terms by their own size need no weights?

    Terms of a mean square: nats may be negative. The penalty's weight is moved with the size of what it stands beside.
    """
    for word, likelihood in (("gamma", GAMMA), ("mean square", MEAN_SQUARE)):
        yield f"weights, {word}", likelihood | {"loss.balance": "fixed", "hyper.penalty": 1e-4}
    for weight in (0.3, 1.0):
        yield f"own size, labels {weight:g}", MEAN_SQUARE | {
            "loss.balance": "own size", "hyper.segmentation": weight, "hyper.penalty": 0.02,
        }  # fmt: skip


def sweep_slo_features():
    """Does the SLO say more of a place by what lies round it than by its value there?"""
    for features in ("value", "cnn"):
        yield {"model.slo.features": features}


def sweep_precision():
    """What do hidden products with bfloat16 factors cost in quality, by XLA and by the fused kernel?"""
    yield "float32", {"model.bfloat16": False, "model.kernel": "xla"}
    yield "bfloat16", {"model.bfloat16": True, "model.kernel": "xla"}
    yield "bfloat16, fused", {"model.bfloat16": True, "model.kernel": "fused"}


def sweep_loss_weights():
    """What weight of the segmentation loss gives layers without taking from intensities?

    About 0.02 suits a mean square, 1 a likelihood in nats.
    """
    for weight in (0.0, 0.005, 0.02, 0.1, 0.3, 1.0, 3.0):
        yield {"hyper.segmentation": weight}


def sweep_learning_rate():
    """How fast may the field change in joint fine-tuning?"""
    for rate in (1e-5, 3e-5, 1e-4):
        yield {"train.joint.rates.field": rate}


def sweep_guard():
    """How much longer than those before it may a gradient be, before its step is left out?"""
    for ratio in (3.0, 10.0, 100.0, math.inf):
        yield {"hyper.skip_ratio": ratio}


def sweep_autodecoder_rate():
    """How fast may the field be learned beside its subjects' codes?"""
    for rate in (1e-4, 2e-4, 5e-4, 1e-3):
        yield {"train.autodecoder.rates.field": rate}


def sweep_labelled_bscans():
    """How many B-scans of a scan have to be labelled by hand?"""
    for word, count in (("1", 1.0), ("2", 2.0), ("4", 4.0), ("8", 8.0), ("all", 0.0)):
        yield word, {"hyper.labelled_bscans": count}


def sweep_context_labels():
    """What are labels of a few B-scans of the new scan itself worth, where learned steps were trained to use them?"""
    yield "none", {"adapt.labels": False, "hyper.context_labels": 0.0}
    for word, count in (("1", 1.0), ("2", 2.0), ("4", 4.0)):
        yield word, {"adapt.labels": True, "hyper.context_labels": count}


def sweep_training_scans():
    """How many scans does a population need? No fewer than a step of the auto-decoder takes."""
    for word, count in (("8", 8.0), ("16", 16.0), ("32", 32.0), ("all", 0.0)):
        yield word, {"hyper.training_scans": count}


def sweep_seed():
    """How much of a difference is chance? Variants that differ in this alone are repetitions of one setting."""
    for seed in range(5):
        yield {"train.seed": seed}
