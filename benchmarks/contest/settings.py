"""What is compared: sizes, and every learned method as changes of a shipped config, with where its settings come from.

All methods see the same measurements, SLO and targets, draw as many points a step and are scored by the same code.
Rivals learn by a mean square, as their papers; auto-decoders have a setting with our likelihood, too. Each method has
three settings or more, of which validation people choose one. At the sizes "tiny" and "small" every
method has our width and depth: 15 layers of 512 take a hundred times ours on a CPU. "paper" has the papers' own.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

Changes = dict[str, Any]  # dotted key of a config -> value


MEAN_SQUARE: Changes = {"model.intensity": "affine", "loss.intensity": "mse", "hyper.segmentation": 0.02}


class Size(NamedTuple):
    """How large the comparison is; of scans or, below, of images."""

    changes: Changes  # of all methods
    levels: tuple[tuple[int, ...], ...]  # of our grids
    nearest: tuple[int, ...]  # spatial functa's one grid, of as many codes
    codes: int  # so many
    few: int  # of the auto-decoder that is as small as INteRp-OCT's
    outer: Mapping[str, int]  # steps of each kind of training
    adam: tuple[int, ...]  # steps of a long fit that are scored
    adam_points: int  # a step of it
    long: int  # Adam steps; what takes more is fitted to few scans
    own_networks: bool  # the papers' widths and depths
    config: str = "configs/oct.py"
    mean_square: Mapping[str, Any] = MEAN_SQUARE  # what makes the config's likelihood that of the rivals
    inner: int = 5  # steps that our rule is learned for
    fit: tuple[int, int] = (60, 60)  # Adam steps of fine-tuning: on the codes, then on the weights too


class Method(NamedTuple):
    """A learned method."""

    source: str  # where its settings come from
    way: str  # how it adapts: "steps" (learned) or "adam"
    steps: tuple[int, ...]  # those that are scored
    chosen_at: int  # steps at which validation people choose a setting
    changes: Changes
    settings: Mapping[str, Changes]
    config: str
    puts_back: bool = False  # the residual, as a part of the method; for the others it is scored beside
    fine_tuned: int = 0  # of `steps`, what counts as its learned steps and config.fit after them; 0: none


SIZES = {
    "tiny": Size(
        changes={
            "data.phantom_oct.shape": (5, 48, 24), "data.phantom_oct.people": (2, 1, 1), "data.phantom_oct.eyes": 1,
            "model.width": 16, "model.depth": 2, "adapt.points": 64, "fit.points": 64,
            "train.autodecoder.subjects": 2, "train.autodecoder.points": 64,
            "train.rule.context": 64, "train.rule.points": 64, "train.joint.context": 64, "train.joint.points": 64,
            "train.save_every": 2, "train.log_every": 2, "train.steps_per_dispatch": 2, "train.validation_scans": 1,
            "hyper.skip_ratio": 1e6,
        },
        levels=((2, 2, 3), (2, 2, 1)), nearest=(2, 2, 4), codes=16, few=4,
        outer={"autodecoder": 4, "rule": 2, "joint": 2, "decoder": 4, "meta": 2, "long meta": 2},
        adam=(2, 4, 8), adam_points=64, long=4, own_networks=False, fit=(10, 10),
    ),
    "small": Size(
        changes={"train.validation_scans": 4, "train.save_every": 300},
        levels=((8, 6, 16), (16, 32, 8)), nearest=(16, 19, 16), codes=4864, few=128,
        outer={"autodecoder": 6000, "rule": 80, "joint": 900, "decoder": 12_000, "meta": 1500, "long meta": 450},
        adam=(50, 200, 3200), adam_points=4096, long=200, own_networks=False,
    ),
    "paper": Size(
        changes={
            "data.phantom_oct.shape": (61, 256, 256), "data.phantom_oct.people": (200, 20, 40),
            "train.validation_scans": 4, "train.save_every": 5000, "train.autodecoder.over": "vmap",
            "train.joint.subjects": 8, "adapt.points": 131_072,
        },
        levels=((8, 6, 16), (16, 32, 8)), nearest=(16, 19, 16), codes=4864, few=128,
        outer={"autodecoder": 50_000, "rule": 500, "joint": 20_000, "decoder": 100_000, "meta": 100_000,
               "long meta": 100_000},
        adam=(50, 200, 3200), adam_points=8192, long=200, own_networks=True,
    ),
}  # fmt: skip

# 64 x 64 images of which every pixel is measured: how well so many codes hold them. Codes alone move, nothing is put
# back, a quarter of the pixels in training (as MedFuncta), as many draws as pixels for a new image.
IMAGE: Changes = {
    "model.modulation.parts": ("grid",), "adapt.residual.length": 0.0, "adapt.points": 4096, "fit.points": 4096,
    "train.autodecoder.points": 1024, "train.rule.context": 1024, "train.joint.context": 1024,
    "train.joint.points": 4096, "train.validation_scans": 8, "train.save_every": 300,
}  # fmt: skip
PATCHES = SIZES["tiny"]._replace(config="configs/fundus.py", inner=3, mean_square={})
IMAGE_SIZES = {
    "tiny": PATCHES._replace(changes=IMAGE | PATCHES.changes ),
    "small": Size(
        changes=IMAGE, levels=((8, 8, 16), (16, 16, 4)), nearest=(8, 8, 32), codes=2048, few=128,
        outer={"autodecoder": 6000, "rule": 80, "joint": 900, "decoder": 12_000, "meta": 2500, "long meta": 1500},
        adam=(50, 200, 1000), adam_points=4096, long=200, own_networks=False, config="configs/fundus.py", inner=3,
        mean_square={}, fit=(200, 200),
    ),
    "paper": Size(
        changes=IMAGE | {"train.autodecoder.over": "vmap", "train.joint.subjects": 24},
        levels=((8, 8, 16), (16, 16, 4)), nearest=(8, 8, 32), codes=2048, few=128,
        outer={"autodecoder": 100_000, "rule": 500, "joint": 50_000, "decoder": 200_000, "meta": 200_000,
               "long meta": 200_000},
        adam=(50, 200, 1000), adam_points=4096, long=200, own_networks=True, config="configs/fundus.py", inner=3,
        mean_square={}, fit=(200, 200),
    ),
}  # fmt: skip

# a method that learns shared weights through an inner loop from nothing: no auto-decoder before
META: Changes = {
    "train.stages": ("joint",), "train.whiten": 0.0, "train.calibrate": False, "hyper.skip_ratio": 1e6,
    "train.joint.rates.start": 0.0, "rule.per_step": False,
    "model.modulation.code_start": "linear", "rule.mixing": "none",
}  # fmt: skip
DECODER: Changes = {
    "train.stages": ("autodecoder",), "model.modulation.parts": ("vector",),
    "adapt.draw": "points", "adapt.draws": 50, "adapt.epoch_decay": 1.0, "rule.mixing": "none",
}  # fmt: skip
OUR_RATES = {f"field {rate:g}": {"train.joint.rates.field": rate} for rate in (1e-5, 3e-5, 1e-4)}
META_RATES = {f"field {rate:g}": {"train.joint.rates.field": rate} for rate in (1e-4, 3e-4, 1e-3)}


def decoder_rates(codes: int, mean_square: Mapping[str, Any]) -> dict[str, Changes]:
    """Rates of the field and, of a new scan's fit, of the codes; those of 128 codes, and slower ones for more.

    One of them with our head and likelihood, too, where that is none.

    What `codes` numbers do to a layer when each of them moves by an optimiser's step grows with the root of their
    number: 4,864 codes at the rates of 128 end in a field that is flat.
    """
    slower = (128 / codes) ** 0.5
    rates = {
        f"field {slower * field:.2g}, codes {slower * rate:.2g}": {
            "train.autodecoder.rates.field": slower * field,
            "train.autodecoder.rates.table": slower * 1e-2,
            "adapt.rate": slower * rate,
        }
        for field, rate in ((2e-4, 1e-2), (5e-4, 1e-2), (1e-3, 1e-2), (5e-4, 3e-3), (5e-4, 3e-2))
    }
    word = f"field {slower * 1e-3:.2g}, codes {slower * 1e-2:.2g}"
    plain = {name: {**mean_square, **changes} for name, changes in rates.items()}
    return plain | ({f"{word}, our likelihood": rates[word]} if mean_square else {})


def methods(size: Size) -> dict[str, Method]:
    """The learned methods by name."""
    return {"ours": _ours(size)} | _decoders(size) | {"single-scan INR": _single(size)} | _meta(size)


def _ours(size: Size) -> Method:
    return Method(
        source=f"{size.config}: auto-decoder, learned rule, joint",
        way="steps", steps=(0, 1, 2, 3, 5, 10, size.inner + sum(size.fit)), chosen_at=size.inner, config=size.config,
        puts_back=True, fine_tuned=size.inner + sum(size.fit),
        changes={
            "adapt.steps": size.inner, "fit.steps": size.fit[0], "fit.weights_steps": size.fit[1],
            "model.modulation.grid.levels": size.levels,
            **{f"train.{stage}.steps": size.outer[stage] for stage in ("autodecoder", "rule", "joint")},
        },
        settings=OUR_RATES,
    )  # fmt: skip


def _decoders(size: Size) -> dict[str, Method]:
    """One vector a scan, learned together with the field; new random points at every step of a new scan's fit."""
    shared = {"train.autodecoder.steps": size.outer["decoder"], "adapt.points": size.adam_points}
    draws = {"adapt.draws": min(50, size.adam[0])}
    return {
        f"auto-decoder, {codes} codes": Method(
            source="Park et al., CVPR 2019; Adam on the codes, as INteRp-OCT (Kepp et al., BVM 2025)",
            way="adam", steps=size.adam, chosen_at=max(n for n in size.adam if n <= size.long), config=size.config,
            changes=DECODER | shared | draws | {"model.modulation.vector.size": codes},
            settings=decoder_rates(codes, size.mean_square),
        )
        for codes in (size.codes, size.few)
    }  # fmt: skip


def _single(size: Size) -> Method:
    """A network of its own for each scan, from nothing: no labels, since nobody has labelled a new scan."""
    draws = min(50, size.adam[0])
    return Method(
        source="configs/single.py: SIREN (Sitzmann et al., NeurIPS 2020) fitted to one scan by Adam",
        way="adam", steps=size.adam, chosen_at=max(size.adam), config="configs/single.py",
        changes={
            "model.modulation.parts": ("weights",), "adapt.points": size.adam_points, "adapt.draws": draws,
            "adapt.epoch_decay": 0.1 ** (draws / size.adam[-1]),
        },
        settings={f"weights {rate:g}": {"adapt.rate": rate} for rate in (3e-4, 1e-3, 3e-3)},
    )  # fmt: skip


def _meta(size: Size) -> dict[str, Method]:
    """functa, spatial functa and MedFuncta: their modulation, rule and frequencies.

    Rates of the rule are logarithms here and start where theirs do; Adam of the outer loop stands for AdamW; points are
    drawn from the measured ones (MedFuncta: a quarter of them in training, all at test time in two gradients).
    """

    meta = {**META, **size.mean_square}

    def network(width: int, depth: int) -> Changes:
        return {"model.width": width, "model.depth": depth} if size.own_networks else {}

    def outer(kind: str) -> Changes:
        return {"train.joint.steps": size.outer[kind]}

    vector = {"model.modulation.parts": ("vector",), "model.modulation.vector.size": size.codes}
    learned = {"rule.per": "element", "adapt.steps": 3, "hyper.step_size": 0.05, "train.joint.rates.rule": 1e-2}
    depth = 15 if size.own_networks else 5
    return {
        "functa": Method(
            source="Dupont et al., ICML 2022: vector to shifts, omega 30, 3 steps of a learned rate per element",
            way="steps", steps=(3, 10), chosen_at=3, config=size.config,
            changes=meta | vector | learned | network(512, 15) | outer("meta"),
            settings=META_RATES,
        ),
        "spatial functa": Method(
            source="Bauer et al., 2023: nearest cell of a grid, cell-local coordinates, omega 10, 3 learned steps",
            way="steps", steps=(3, 10), chosen_at=3, config=size.config,
            changes=meta | learned | network(256, 6) | outer("meta") | {
                "model.modulation.parts": ("grid",), "model.modulation.grid.levels": (size.nearest,),
                "model.modulation.read": "nearest", "hyper.omega_first": 10.0, "hyper.omega_last": 10.0,
            },
            settings=META_RATES,
        ),
        "MedFuncta": Method(
            source="Friedrich et al., 2025: residual, omega 10 and 5 more a layer, fixed rate 1e-2, 10 steps to learn",
            way="steps", steps=(10, 20), chosen_at=20, config=size.config,
            changes=meta | vector | network(256, 15) | outer("long meta") | {
                "model.residual": True, "hyper.omega_first": 10.0, "hyper.omega_last": 10.0 + 5.0 * (depth - 1),
                "rule.per": "leaf", "adapt.steps": 10, "hyper.step_size": 1e-2, "train.joint.rates.rule": 0.0,
            },
            settings=META_RATES,
        ),
    }  # fmt: skip
