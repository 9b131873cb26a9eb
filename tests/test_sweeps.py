"""Plans of sweeps: their axes, counts, words and groups, what a variant's config is, and mistakes in one line."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from toy import CONFIGS, ROOT

from inr_jax import model, modulations, recipe, sweeps
from inr_jax.config_script import flat, load_config, tuples
from inr_jax.errors import InputError
from inr_jax.types import Hyper, Side

OCT = load_config("configs/oct.py")
BASE = dict(flat(OCT.to_dict()))
AXES = sweeps.read_axes()
EYE = model.Signal(dimensions=3, channels=1, classes=4, slo=True)

every_axis = pytest.mark.parametrize("axis", AXES)


def axes_of(**settings: Any) -> dict[str, Callable[[], Any]]:
    """Axes that yield what is given."""
    return {name: lambda found=found: found for name, found in settings.items()}


def planned(*settings: Any, one_at_a_time: bool = False) -> sweeps.Plan:
    """The plan of one axis `mine` with these settings."""
    axes = axes_of(mine=settings)
    return sweeps.plan(OCT, axes, one_at_a_time=["mine"]) if one_at_a_time else sweeps.plan(OCT, axes, ["mine"])


def changes_of(axis: str) -> list[dict[str, Any]]:
    """The changes of every setting of a shipped axis."""
    return [variant.changes for variant in sweeps.plan(OCT, AXES, [axis]).variants]


def adapted_size(config: ConfigDict) -> int:
    return modulations.size(model.build(config, EYE).codes)


def answers(config: ConfigDict) -> dict[str, tuple[int, ...]]:
    """The shapes of the heads of a config's network, started and asked at seven places of an eye."""
    built, hyper = model.build(config, EYE), recipe.stages(config)[0].hyper

    def ask() -> dict[str, jax.Array]:
        params = recipe.initial_state(config, built, 2).params
        modulation = built.modulation(built.codes)
        side = Side(jnp.zeros((8, 8)), jnp.zeros((2, 3)))
        return built.learner.bind(params.field, modulation, side, hyper)(jnp.zeros((7, 3)))

    return {head: value.shape for head, value in jax.eval_shape(ask).items()}


# --- the shipped axes


@every_axis
def test_a_shipped_axis_asks_a_question_and_varies_something(axis: str) -> None:
    assert "?" in (AXES[axis].__doc__ or "")
    assert len(sweeps.plan(OCT, AXES, [axis]).variants) > 1


@every_axis
def test_a_shipped_axis_has_a_setting_that_is_configs_oct(axis: str) -> None:
    whole = sweeps.plan(OCT, AXES, [axis])
    base = [v for v in whole.variants if v.settings == whole.reference]
    assert [BASE | v.changes for v in base] == [BASE]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_axis_can_be_planned_for_every_config(path: Path) -> None:
    config = load_config(path)
    for axis in AXES:
        whole = sweeps.plan(config, AXES, one_at_a_time=[axis])
        assert sweeps.configured(config, whole.variants[0].changes).to_dict() == config.to_dict()


@every_axis
def test_every_setting_of_a_shipped_axis_names_the_keys_that_tell_it_from_the_others(axis: str) -> None:
    keys = [{k for k in changes if not k.startswith("model.modulation.")} for changes in changes_of(axis)]
    assert all(found == keys[0] for found in keys)


@every_axis
def test_every_setting_of_a_shipped_axis_gives_stages_and_a_network_that_answers(axis: str) -> None:
    configs = [sweeps.configured(OCT, changes) for changes in changes_of(axis)]
    for config in configs:
        names = [stage.name for stage in recipe.stages(config)]
        assert axis == "stages" or [name for name in names if name != "encoder"] == ["autodecoder", "rule", "joint"]
    for config in {sweeps.group_of(config): config for config in configs}.values():  # numbers change no shape
        found = answers(config)
        assert {head: found[head] for head in ("intensity", "segmentation")} == {
            "intensity": (7, 1),
            "segmentation": (7, 4),
        }
        assert not config.adapt.ridge or found["hidden"] == (7, config.model.width)  # what the ridge works on


def test_kinds_of_modulation_are_compared_at_equal_size() -> None:
    """Within one code in a thousand: a low-rank factor has a whole number of codes in each of five layers."""
    size = adapted_size(OCT)
    for changes in changes_of("modulation"):
        assert adapted_size(sweeps.configured(OCT, changes)) == pytest.approx(size, rel=1e-3)


def test_sizes_of_a_modulation_are_what_their_words_say() -> None:
    for variant in sweeps.plan(OCT, AXES, ["modulation_size"]).variants:
        size = adapted_size(sweeps.configured(OCT, variant.changes))
        assert variant.settings == {"modulation_size": f"{size} codes"}


# --- plans


def test_a_product_has_every_combination_once_the_last_axis_fastest() -> None:
    whole = sweeps.plan(OCT, AXES, ["activation", "width", "seed"])
    assert len(whole.variants) == math.prod(len(words) for words in whole.axes.values()) == 6 * 4 * 5
    assert len({tuple(v.settings.values()) for v in whole.variants}) == len(whole.variants)
    assert [v.settings["seed"] for v in whole.variants[:6]] == ["0", "1", "2", "3", "4", "0"]
    assert [v.name for v in whole.variants] == [f"{i:04d}" for i in range(120)]


def test_one_at_a_time_is_the_base_and_every_other_setting_alone() -> None:
    whole = sweeps.plan(OCT, AXES, one_at_a_time=["width", "omega", "slo"])
    sizes = [len(whole.axes[axis]) for axis in ("width", "omega", "slo")]
    assert len(whole.variants) == 1 + sum(n - 1 for n in sizes)
    assert whole.variants[0].settings == whole.reference
    for variant in whole.variants[1:]:
        assert sum(variant.settings[axis] != whole.reference[axis] for axis in whole.axes) == 1


def test_one_at_a_time_is_done_for_every_combination_of_a_product() -> None:
    whole = sweeps.plan(OCT, AXES, ["activation", "seed"], ["slo", "points"])
    assert len(whole.variants) == 6 * 5 * (1 + 2 + 2)
    assert whole.varied == {
        "activation": "product", "seed": "product", "slo": "one at a time", "points": "one at a time",
    }  # fmt: skip


def test_no_two_variants_of_a_plan_have_the_same_config() -> None:
    whole = sweeps.plan(OCT, AXES, ["activation", "seed"], ["slo", "points", "width"])
    configs = [BASE | variant.changes for variant in whole.variants]
    assert all(one not in configs[:i] for i, one in enumerate(configs))


def test_a_base_that_an_axis_lacks_is_run_one_at_a_time_and_has_its_own_word() -> None:
    found = planned({"model.width": 64}, {"model.width": 128}, one_at_a_time=True)
    assert found.axes == {"mine": ("96", "64", "128")}
    assert found.reference == {"mine": "96"}
    labelled = planned(("narrow", {"model.width": 64}), one_at_a_time=True)
    assert [variant.settings["mine"] for variant in labelled.variants] == ["base", "narrow"]


def test_a_base_that_a_product_lacks_is_not_run_and_the_first_setting_is_the_reference() -> None:
    found = planned({"model.width": 64}, {"model.width": 128})
    assert found.axes == {"mine": ("64", "128")}
    assert found.reference == {"mine": "64"}


def test_a_plan_is_of_the_config_as_it_is_changed_before() -> None:
    config = sweeps.configured(OCT, {"hyper.side": 0.0})
    assert sweeps.plan(config, AXES, one_at_a_time=["slo"]).reference == {"slo": "off"}


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (30.0, "30"), (3e-05, "3e-05"), (0.1, "0.1"), (7, "7"), (True, "on"), (False, "off"), ("wire", "wire"),
        (("grid", "weights"), "grid+weights"), (((8, 6, 16), (16, 32, 8)), "8x6x16+16x32x8"), ((), "none"),
    ],
)  # fmt: skip
def test_a_value_is_said_in_a_word(value: Any, word: str) -> None:
    assert sweeps.word_of(value) == word


def test_a_setting_s_word_is_its_label_or_its_first_value_or_all_where_the_first_are_not_unique() -> None:
    pairs = [{"hyper.omega_first": 30.0, "hyper.omega_last": last} for last in (30.0, 10.0)]
    assert planned(*pairs).axes["mine"] == ("30, 30", "30, 10")
    assert planned(pairs[0], {"hyper.omega_first": 20.0, "hyper.omega_last": 10.0}).axes["mine"] == ("30", "20")
    assert planned(("falling", pairs[1]), pairs[0]).axes["mine"] == ("falling", "30")


# --- configs of variants


def test_a_variant_s_config_is_its_own_and_has_the_types_of_the_base() -> None:
    changes = {
        "hyper.omega_first": 20,
        "model.modulation.parts": ["grid"],
        "model.modulation.grid.levels": [[np.int64(4), 4, 8]],
        "model.width": np.int64(64),
        "train.joint.rates.field": np.float64(1e-5),
    }
    found = dict(flat(sweeps.configured(OCT, changes).to_dict()))
    expected = {
        "hyper.omega_first": 20.0,
        "model.modulation.parts": ("grid",),
        "model.modulation.grid.levels": ((4, 4, 8),),
        "model.width": 64,
        "train.joint.rates.field": 1e-5,
    }
    assert found == BASE | expected
    assert all(type(found[key]) is type(BASE[key]) for key in changes)
    assert type(found["model.modulation.grid.levels"][0][0]) is int
    assert dict(flat(OCT.to_dict())) == BASE


def test_every_key_of_hyper_is_a_number_of_the_compiled_program() -> None:
    elsewhere = {name for name in Hyper._fields if name.startswith("rate_")} | {"seed"}  # in `train`
    hyper = {f"hyper.{name}" for name in Hyper._fields if name not in elsewhere}
    assert {key for key in BASE if key.startswith("hyper.")} == hyper
    assert all(sweeps.is_traced(key) for key in hyper)


def test_numbers_share_a_group() -> None:
    whole = sweeps.plan(OCT, AXES, ["learning_rate", "omega", "seed"])
    ((_, variants),) = sweeps.groups(OCT, whole.variants).items()
    assert variants == whole.variants


def test_shapes_do_not_share_a_group() -> None:
    axes = axes_of(
        activation=[{"model.activation": name} for name in ("sine", "wire", "relu")],
        width=[{"model.width": width} for width in (64, 96)],
    )
    whole = sweeps.plan(OCT, AXES | axes, ["activation", "width", "seed"])
    found = sweeps.groups(OCT, whole.variants)
    assert [len(variants) for variants in found.values()] == [5] * 6
    assert all(len({v.settings["activation"] for v in variants}) == 1 for variants in found.values())


def test_a_group_is_known_by_the_names_of_its_rates_and_not_by_their_order_or_by_the_way_through_json() -> None:
    more = OCT.copy_and_resolve_references()
    more.train.joint.rates = dict(field=3e-5, start=1e-3)
    turned = OCT.copy_and_resolve_references()
    turned.train.joint.rates = dict(rule=1.0, start=1.0, field=1.0)
    assert sweeps.group_of(more) != sweeps.group_of(OCT) == sweeps.group_of(turned)
    assert sweeps.group_of(ConfigDict(tuples(json.loads(OCT.to_json())))) == sweeps.group_of(OCT)


# --- a user's own axes


def script(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_axes_of_a_user_s_script_stand_beside_the_shipped_ones_and_replace_them(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        "from configs import ablations\n"
        "WIDTHS = (32, 64)\n"
        "def sweep_width():\n    for width in WIDTHS:\n        yield {'model.width': width}\n"
        "def sweep_two_seeds():\n    yield from list(ablations.sweep_seed())[:2]\n",
    )
    axes = sweeps.read_axes(path)
    assert set(axes) == {*AXES, "two_seeds"}
    assert sweeps.plan(OCT, axes, ["width", "two_seeds"]).axes == {"width": ("32", "64"), "two_seeds": ("0", "1")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1 / 0\n", "mine.py: line 1: ZeroDivisionError: division by zero"),
        ("def sweep_a(:\n", "mine.py: line 1: SyntaxError"),
        ("def sweep_a():\n    yield {'train.seed': 1}\n    yield {'train.seed': 1 / 0}\n", "mine.py: line 3: ZeroDiv"),
        ("def sweep_a(count):\n    yield {}\n", "mine.py: TypeError: sweep_a() missing 1 required"),
        ("def axis():\n    yield {}\n", "mine.py: expected functions sweep_<axis>() that yield settings; found none"),
    ],
)
def test_a_mistake_in_a_user_s_script_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        sweeps.plan(OCT, sweeps.read_axes(script(tmp_path, text)), ["a"])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_script_of_axes_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.py"):
        sweeps.read_axes(tmp_path / "absent.py")


# --- mistakes

SEED = {"train.seed": 1}
MISTAKES = {
    "a generator that returns": (None, "sweep_mine: expected a generator of settings; found None"),
    "one dict": (SEED, "sweep_mine: expected a generator of settings; found {'train.seed': 1}"),
    "no setting": ([], "sweep_mine: expected settings to be yielded; found none"),
    "no dict": ([1.0], "sweep_mine: expected {key: value} or (word, {key: value}); found 1.0"),
    "a word alone": ([("off", 0.0)], "sweep_mine: expected {key: value} or (word, {key: value}); found ('off', 0.0)"),
    "an empty dict without a word": ([{}], "sweep_mine: expected {key: value}"),
    "unknown key": ([{"model.widht": 8}], "sweep_mine: model.widht: expected a key of the config; found no such key"),
    "mistyped key": ([{"model.widht": 8}], "(did you mean model.width?)"),
    "a section": ([{"model.modulation": 8}], "sweep_mine: model.modulation: expected a key"),
    "a key that is no word": ([{1: 8}], "sweep_mine: expected {key: value}"),
    "text for a number": ([{"hyper.side": "off"}], "hyper.side: expected a number, as 1.0; found 'off'"),
    "a fraction for a count": ([{"model.width": 96.5}], "model.width: expected a whole number, as 96; found 96.5"),
    "a float for a count": ([{"model.width": 96.0}], "model.width: expected a whole number, as 96; found 96.0"),
    "true for a count": ([{"model.width": True}], "model.width: expected a whole number, as 96; found True"),
    "true for a number": ([{"hyper.side": True}], "hyper.side: expected a number, as 1.0; found True"),
    "a whole number that is no float": ([{"hyper.side": 2**53 + 1}], "hyper.side: expected a number"),
    "a count for a switch": ([{"train.calibrate": 1}], "train.calibrate: expected true or false, as True; found 1"),
    "a number for a word": ([{"model.activation": 3}], "model.activation: expected a word, as 'sine'; found 3"),
    "a number for a tuple": ([{"data.phantom_oct.people": 3}], "expected a tuple, as (32, 8, 16); found 3"),
    "a fraction in a tuple": (
        [{"data.phantom_oct.people": (2, 1.5, 1)}],
        "people: expected whole numbers, as in (32, 8, 16); found (2, 1.5, 1)",
    ),
    "a setting twice": ([SEED, SEED], "sweep_mine: expected settings that differ; found 1 and 1, which give the same"),
    "a setting twice by another type": ([{"hyper.side": 0}, {"hyper.side": 0.0}], "expected settings that differ"),
    "a setting twice by the base": (
        [("a", {"model.width": 8}), ("b", {"model.width": 8, "model.depth": 5})],
        "sweep_mine: expected settings that differ; found a and b",
    ),
    "a word twice": ([("a", {"train.seed": 1}), ("a", {"train.seed": 2})], "found 'a' twice"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_in_an_axis_is_one_line_that_names_it(kind: str) -> None:
    found, expected = MISTAKES[kind]
    with pytest.raises(InputError) as caught:
        sweeps.plan(OCT, axes_of(mine=found), ["mine"])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


CHOICES = {
    "none": ([], [], "--sweep, --one-at-a-time: expected axes to vary (of activation, autodecoder_rate"),
    "unknown": (["activaton"], [], "--sweep: expected axes of activation, autodecoder_rate"),
    "mistyped": ([], ["activaton"], "found 'activaton' (did you mean activation?)"),
    "twice": (["seed", "seed"], [], "--sweep: expected every axis once; found seed more than once"),
    "in both ways": (["seed"], ["seed"], "expected every axis once; found seed more than once"),
    "of the same keys": (
        ["omega"],
        ["omega_schedule"],
        "expected different keys of omega and omega_schedule; found hyper.omega_first, hyper.omega_last in both",
    ),
}


@pytest.mark.parametrize("kind", CHOICES)
def test_axes_that_cannot_be_planned_are_named_in_one_line(kind: str) -> None:
    sweep, one_at_a_time, expected = CHOICES[kind]
    with pytest.raises(InputError) as caught:
        sweeps.plan(OCT, AXES, sweep, one_at_a_time)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_of_a_variant_is_named() -> None:
    with pytest.raises(InputError, match=r"train.sed: expected a key of the config.*did you mean train.seed\?"):
        sweeps.configured(OCT, {"train.sed": 1})


def test_an_axis_of_seeds_alone_is_one_of_repetitions_whatever_its_name() -> None:
    axes = axes_of(
        twice=[{"train.seed": 3}, {"train.seed": 4}],
        both=[{"train.seed": 1, "model.width": 64}, {"train.seed": 2, "model.width": 96}],
    )
    assert sweeps.plan(OCT, axes, ["twice"]).repeats == ("twice",)
    assert sweeps.plan(OCT, axes, ["both"]).repeats == ()
    assert sweeps.plan(OCT, AXES, ["slo", "seed"]).repeats == ("seed",)


@pytest.mark.parametrize(("script", "axis"), [("sweep_oct", "kind"), ("sweep_fundus", "size")])
def test_sweeps_among_the_benchmarks_can_be_planned_and_their_like_sizes_are_alike(script: str, axis: str) -> None:
    file = ROOT / "benchmarks" / f"{script}.py"
    base, axes = load_config(str(file)), sweeps.read_axes(file)
    found = {v.settings[axis]: sweeps.configured(base, v.changes) for v in sweeps.plan(base, axes, [axis]).variants}
    assert len(sweeps.plan(base, axes, [axis, "seed"]).variants) == 3 * len(found)
    signal = EYE if axis == "kind" else model.Signal(dimensions=2, channels=3, classes=2, slo=False)
    sizes = {word: modulations.size(model.build(config, signal).codes) for word, config in found.items()}
    if axis == "kind":
        assert set(sizes.values()) == {640}
    else:
        assert {word: int(word.split()[-1]) for word in sizes} == sizes
