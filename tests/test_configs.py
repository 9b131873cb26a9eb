"""The configs as shipped: the same keys, a command that works as it is written, stages that fit their sizes."""

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from real_data import real_data
from synthetic import image_population, layered_population, write_folds
from toy import CONFIGS, ROOT, make_tiny, read_config

from inr_jax import data, main, measurements, model, recipe
from inr_jax.main import COMMANDS
from inr_jax.types import Population

NEEDS = {"fundus": "chase_db1", "volumes": "ct"}  # folders of the real data that a set reads
VALIDATE = "inr-jax validate eye.nii.gz --keep-every=4 --output=eye_validated"
LAUNCHED_BY = {"demo": "inr-jax demo", "single": VALIDATE, "default": None}  # others: `train`; None: imported only
DEFAULT = ROOT / "configs" / "default.py"

every_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


def leaves(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values."""
    for key, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            yield from leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def commands(path: Path) -> list[list[str]]:
    """The command lines that a config's docstring holds, as words."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("inr-jax ")]


@every_config
def test_a_config_has_the_keys_of_the_default_and_values_of_their_kinds(path: Path) -> None:
    default, found = dict(leaves(read_config(DEFAULT))), dict(leaves(read_config(path)))
    assert list(found) == list(default)
    for key, value in found.items():
        assert type(value) is type(default[key]), key


@every_config
def test_only_the_reference_s_configs_pretend_that_b_scans_lie_nearer_than_they_do(path: Path) -> None:
    extent = read_config(path).model.extent
    expected = ("volume", 10.0) if path.stem.startswith("interp_oct") else ("population", 1.0)
    assert (extent.of, extent.divide_first) == expected


@every_config
def test_two_readings_of_a_config_share_nothing(path: Path) -> None:
    first, second = read_config(path), read_config(path)
    before = dict(leaves(second))
    for stage in first.train.stages:
        first.train[stage].steps += 1
    first.data.name = "changed"
    assert dict(leaves(second)) == before


@every_config
def test_a_config_s_docstring_holds_the_command_that_launches_this_file(path: Path) -> None:
    found = commands(path)
    if path.stem in LAUNCHED_BY:
        expected = LAUNCHED_BY[path.stem]
        assert [" ".join(words) for words in found] == ([expected] if expected else [])
        return
    ((program, command, *flags),) = found
    assert (program, command) == ("inr-jax", "train")
    assert flags[0] == f"--config=configs/{path.name}"
    named = {flag.split("=")[0].removeprefix("--").split(".")[0] for flag in flags}
    assert named - {"config"} >= set(COMMANDS["train"].needs)
    assert named - {"config"} <= set(COMMANDS["train"].flags)


@every_config
def test_the_command_in_a_docstring_parses_to_this_config_and_what_it_changes(path: Path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    for _, command, *arguments in commands(path):
        if path.stem in LAUNCHED_BY:
            continue
        values, _ = main._parse(COMMANDS[command], command, arguments)
        changed = dict(re.findall(r"--config\.([\w.]+)=(\S+)", " ".join(arguments)))
        assert values.workdir.startswith("runs/")
        assert dict(leaves(values.config)) == dict(leaves(read_config(path))) | changed
        if read_config(path).data.name in {*NEEDS, "interp_oct"}:
            assert "data.path" in changed  # where a user's own scans are


def test_the_demo_trains_what_its_command_says_it_does() -> None:
    source = ast.parse((ROOT / "inr_jax" / "demo.py").read_text(encoding="utf-8"))
    loaded = [node.args[0] for node in ast.walk(source)
              if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("load_config")]  # fmt: skip
    assert [ast.literal_eval(argument) for argument in loaded] == ["configs/demo.py"]


@every_config
def test_a_config_at_toy_size_reads_three_splits_of_the_set_it_names_and_no_person_twice(
    path: Path, tmp_path: Path
) -> None:
    config = make_tiny(read_config(path), steps=2)
    if config.data.name == "interp_oct":
        config.data.path = str(write_folds(tmp_path))
    if config.data.name in NEEDS:
        real_data(NEEDS[config.data.name])
    splits = [data.load(config.data, split) for split in ("train", "validation", "test")]
    people = [set(split.people) for split in splits]
    if config.data.interp_oct.validation_people == 0:  # as the reference: nobody is kept apart
        people = [people[0], people[2]]
    if config.data.name != "volumes":  # slabs of one CT are one person's, said to be so in the config
        assert sum(map(len, people)) == len(set.union(*people))
    for split in splits:
        assert (split.note == "phantom") == (config.data.name == "phantom_oct")
        assert np.isfinite(split.intensity).all()
        assert split.intensity.min() >= 0
        assert split.intensity.max() <= 1
        assert 0 < split.measured.mean() < 1
    assert len({split.measured.shape for split in splits}) == 1


def stand_in(config: ConfigDict) -> Population:
    """A small population with the axes of a config's own: two tiny eyes, images or volumes."""
    if config.data.name == "phantom_oct":
        options = config.data.copy_and_resolve_references()
        options.phantom_oct.update({"people": (2, 1, 1), "shape": (5, 48, 24), "eyes": 1})
        return data.load(options, "train")
    return image_population(2) if config.data.name == "fundus" else layered_population(people=2, eyes=1)


def sized() -> Iterator[Any]:
    """Those that take longest to trace are left to the slow tests: demo is oct but for sizes."""
    for path in CONFIGS:
        slow = [pytest.mark.slow] if path.stem in ("demo", "fundus", "volumes") else []
        if path != DEFAULT:
            yield pytest.param(path, id=path.stem, marks=slow)


@pytest.mark.parametrize("path", sized())
def test_every_stage_of_a_config_fits_its_own_size(path: Path) -> None:
    """One outer step is traced at full width, depth, grid and points; what it changes keeps shapes and types.

    That every config trains at toy size, and to finite losses, is in test_train.
    """
    config = read_config(path)
    population = stand_in(config)
    built = model.build(config, model.Signal.of(population))
    grid = population.measured.shape
    on_device = measurements.to_device(population, np.ones(len(grid), np.float32))
    pools = measurements.pools(population.measured)
    state = jax.eval_shape(lambda: recipe.initial_state(config, built, 2))
    stages = recipe.stages(config)
    others = {"interp_oct_general": ["autodecoder"], "interp_oct_single": [], "single": []}
    expected = others.get(path.stem, ["autodecoder", "rule", "joint"])
    assert [stage.name for stage in stages] == expected
    for stage in stages:
        run = recipe.make_run(config, stage, built, pools, grid)
        after, told = jax.eval_shape(run, state, on_device, stage.hyper, jnp.int32(1))
        assert jax.tree.structure(after) == jax.tree.structure(state)
        for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
            assert (new.shape, new.dtype) == (old.shape, old.dtype)
        assert {"loss", "psnr"} <= set(told)
    modulation = config.model.modulation
    codes = {"vector": (modulation.vector.size,), "grid": tuple(modulation.grid.levels[0])}
    for part, shape in codes.items():
        if part in modulation.parts:
            assert jax.tree.leaves(built.codes[part])[0].shape == shape
    inputs = 3 if config.model.inputs_everywhere else 0  # the stand-in has no SLO
    weight = state.params.field["layer_1"]["weight_0"]
    assert weight.shape == (inputs + config.model.width, config.model.width)
    assert f"layer_{config.model.depth - 1}" in state.params.field
    assert f"layer_{config.model.depth}" not in state.params.field
