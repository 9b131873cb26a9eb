"""The comparison of methods: rows that resume, baselines and models scored as `evaluate` does, flops, contexts."""

import functools
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from contest import answers, chart, flops, images, jobs, rows, runner, scans, settings
from contest.jobs import BASELINES, Job, Plan
from skimage import io
from synthetic import layered_population

from inr_jax import baselines, coordinates, evaluate, model, modulations, recipe, scan_io, sweeps, tables, trained
from inr_jax.errors import InputError
from inr_jax.model import Signal
from inr_jax.trained import Trained
from inr_jax.types import Population

SPLITS = {"train": 3, "validation": 1, "test": 2}  # seeds of the toy populations
METHOD = "functa"


def load(config, population: str, split: str) -> Population:
    """Synthetic scans of three layers in place of phantom eyes."""
    return layered_population(people=2, eyes=1, shape=(5, 24, 20), seed=SPLITS[split])


def plan(path: Path, **changes) -> Plan:
    size = settings.SIZES["tiny"]
    table = settings.methods(size)
    table[METHOD] = table[METHOD]._replace(settings=dict(list(table[METHOD].settings.items())[:2]), steps=(3,))
    keys = functools.partial(scans.changes, "phantom")
    names = (BASELINES, METHOD)
    given = Plan(
        "tiny", size, table, keys, names, (0,), ("0",), "validation", scans.CONTEXTS, "interpolated", 0, path, True
    )
    return given._replace(**changes)


def run(given: Plan) -> list[rows.Row]:
    runner.Runner(given, load).run()
    return rows.read(given.path)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Baselines, and one learned method with two settings, on validation people."""
    given = plan(tmp_path_factory.mktemp("contest") / "rows.jsonl")
    run(given)
    return given


def test_a_row_has_the_fields_and_every_cell_is_there(computed) -> None:
    found = rows.read(computed.path)
    for line in computed.path.read_text().splitlines():
        assert set(json.loads(line)) == {*rows.FIELDS, *rows.ALSO}
    cells = {f"{kind}, {context}" for kind in ("fitted", "interpolated") for context in ("noisy", "noise-free")}
    best = rows.chosen(found, METHOD, 3, "interpolated", size="tiny")
    own = [row for row in found if row["method"] == METHOD and row["setting"] == best]
    assert {(row["cell"], row["steps"]) for row in own} == {(cell, 3) for cell in cells}
    for row in own:
        assert row["seconds_per_scan"] > 0
        assert row["points_evaluated"] == row["steps"] * 64
        assert row["model_flops"] > 0
        assert row["modulation_size"] == 16
        assert row["psnr"] == pytest.approx(np.mean(list(row["by_person"]["psnr"].values())))
    assert {row["cell"] for row in found if row["method"] == "linear" and row["seconds_per_scan"] > 0} == cells


def test_a_rerun_computes_nothing_and_a_lost_batch_is_computed_again_to_the_same_scores(computed, tmp_path) -> None:
    before = computed.path.read_text()
    run(computed)
    assert computed.path.read_text() == before
    lines = before.splitlines(keepends=True)
    last = [json.loads(line)["time"] for line in lines]
    kept = [line for line, time in zip(lines, last, strict=True) if time != last[-1]]
    again = tmp_path / "rows.jsonl"
    again.write_text("".join(kept) + lines[-2][:40])  # what a kill leaves
    (tmp_path / "rows").symlink_to(computed.path.with_suffix(""))  # its trainings
    restored = run(computed._replace(path=again))
    whole = rows.read(computed.path)
    assert len(restored) == len(whole)
    scores = {(*rows.key(row), row["cell"]): (row["psnr"], row["ssim"], row["dice"]) for row in whole}
    assert {(*rows.key(row), row["cell"]): (row["psnr"], row["ssim"], row["dice"]) for row in restored} == scores


@pytest.mark.slow
def test_a_setting_has_the_scores_that_it_has_without_the_one_before_it(tmp_path) -> None:
    given = plan(tmp_path / "both.jsonl", names=(METHOD,))
    both = {head: {"model.intensity": head} for head in ("affine", "sigmoid")}

    def scores(path: Path, settings: dict[str, settings.Changes]) -> list[float]:
        table = {METHOD: given.table[METHOD]._replace(settings=settings)}
        return [row["psnr"] for row in run(given._replace(path=path, table=table)) if row["setting"] == "sigmoid"]

    after = scores(given.path, both)
    alone = scores(tmp_path / "alone.jsonl", {"sigmoid": both["sigmoid"]})
    assert after[0] == alone[0]


def test_baselines_and_oracles_have_the_numbers_of_evaluate(computed) -> None:
    validation = load(None, "0", "validation")
    for context, scored in (("noisy", validation), ("noise-free", scans.noise_free(validation))):
        predictions = baselines.all_baselines(load(None, "0", "train"), scored, scored, True)
        expected, _ = evaluate.score_all(scored, predictions, split="validation", layered=True)
        found = {(row["method"], row["cell"]): row for row in rows.read(computed.path) if row["context"] == context}
        for line in tables.summarise(expected):
            row = found[line.method, f"{line.kind}, {context}"]
            for name, theirs in rows.SCORES.items():
                mean = line.scores[theirs].mean
                assert row[name] == (None if math.isnan(mean) else pytest.approx(mean)), (line.method, name)


@pytest.mark.slow
def test_a_learned_method_has_the_numbers_of_adapt_population() -> None:
    config = toy.get_config()
    population = load(None, "0", "validation")
    half = coordinates.half_extent(population.measured.shape, population.spacing)
    signal = Signal.of(population)
    built = model.build(config, signal)
    params = built.init(jax.random.key(1), model.hyper_of(config))
    own = trained.adapt_population(
        Trained(config, built, params, signal, half, population.classes, ""), population, steps=2
    )
    expected, _ = evaluate.score_all(
        population, {"ours": baselines.Prediction(own.intensity, own.labels, "")}, split="test", layered=True
    )
    learned = answers.Learned("ours", config, built, params, True, {})
    placed = scans.on_device(population, half, config)
    predictions = answers.predicted(learned, placed, answers.by_steps(learned, placed, 2), labelled=True)
    np.testing.assert_allclose(predictions["ours"].intensity, own.intensity, atol=1e-5)
    np.testing.assert_allclose(predictions["ours, field alone"].intensity, own.field, atol=1e-5)
    rival = learned._replace(name="rival", puts_back=False)
    others = answers.predicted(rival, placed, answers.by_steps(rival, placed, 2), labelled=True)
    assert np.array_equal(others["rival"].intensity, predictions["ours, field alone"].intensity)
    assert np.array_equal(others["rival, residual put back"].intensity, predictions["ours"].intensity)
    rated = {row["kind"]: row for row in answers.scored(placed, predictions, split="test", layered=True)
             if row["method"] == "ours"}  # fmt: skip
    for line in tables.summarise(expected):
        assert rated[line.kind]["psnr"] == pytest.approx(line.scores["psnr"].mean, abs=1e-3)


def test_a_noise_free_context_is_the_truth_at_the_measured_places() -> None:
    population = load(None, "0", "validation")
    config, half = toy.get_config(), np.ones(3, np.float32)
    noisy, clean = (scans.on_device(scans.in_context(population, name), half, config) for name in scans.CONTEXTS)
    places = clean.pools.context
    truth = population.truth.reshape(len(population.names), -1)
    assert np.array_equal(np.asarray(clean.data.intensity)[:, places, 0], truth[:, places])
    assert np.abs(np.asarray(noisy.data.intensity)[:, places, 0] - truth[:, places]).mean() > 0.05
    assert np.asarray(clean.data.valid).all()
    assert clean.population.truth is population.truth


def test_long_fits_are_planned_for_the_first_seed_and_the_first_people() -> None:
    given = plan(Path("none"), seeds=(0, 1), names=("single-scan INR",), long_people=3)
    asked = {job.seed: job.steps for job in jobs.plan_jobs(given, scans.CONTEXTS) if job.setting is None}
    assert asked == {0: (2, 4, 8), 1: (2, 4)}
    method = given.table["single-scan INR"]
    assert list(jobs.fits(given, method, asked[0])) == [((2, 4), 0), ((8,), 3)]
    assert list(jobs.fits(given, given.table[METHOD], (1, 3))) == [((1, 3), 0)]


def test_long_fits_are_of_the_first_scan_of_the_first_people() -> None:
    population = layered_population(people=3, eyes=2)
    few = scans.first_of_people(population, 2)
    assert few.names == ("p0-R", "p1-R")
    assert np.array_equal(few.truth, population.truth[[0, 2]])
    assert few.measured is population.measured
    assert scans.first_of_people(population, 0) is population


MODULATIONS = {
    "vector": {"model.modulation.parts": ("vector",), "model.modulation.vector.size": 512},
    "grid": {"model.modulation.parts": ("grid",)},
    "grid and weights": {"model.modulation.parts": ("grid", "weights")},
    "low rank": {"model.modulation.parts": ("lowrank",)},
}


@pytest.mark.parametrize("name", MODULATIONS)
def test_counted_flops_are_those_that_xla_counts_up_to_sums(name) -> None:
    """Of a wide plain network, whose sums and activations are a few per cent of its products."""
    base = sweeps.configured(toy.get_config(), {"model.width": 128, "model.depth": 4, "model.activation": "relu"})
    config = sweeps.configured(base, MODULATIONS[name])
    built = model.build(config, Signal(dimensions=3, channels=1, classes=0, slo=False))
    hyper = model.hyper_of(config)
    params = jax.eval_shape(lambda: built.init(jax.random.key(0), hyper))
    modulation = jax.eval_shape(built.modulation, params.start)
    counted = flops.products_of(params.field, modulation)
    subject = flops.one_pass(counted, 0)
    point = flops.one_pass(counted, 1) - subject

    def answer(field, m, coords):
        return built.learner.bind(field, m, None, hyper)(coords)["intensity"]

    def loss(m, field, coords):
        return (answer(field, m, coords) ** 2).mean()

    def of_xla(function, *arguments) -> float:
        return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]

    few, many = (jax.ShapeDtypeStruct((n, 3), jnp.float32) for n in (1000, 2000))
    forward = [of_xla(answer, params.field, modulation, coords) for coords in (few, many)]
    per_point = (forward[1] - forward[0]) / 1000
    if name != "grid and weights":  # adding a change to the weights is no product
        assert subject == pytest.approx(max(forward[0] - 1000 * per_point, 0), rel=0.05, abs=2e4)
    assert point <= per_point <= 1.06 * point
    step = of_xla(jax.grad(loss), modulation, params.field, many)
    assert flops.gradient_step(counted, modulation, 2000) == pytest.approx(step, rel=0.08)


def test_every_method_has_three_settings_or_more_in_equally_many_codes() -> None:
    sizes = [(name, size, 3) for name, size in settings.SIZES.items()]
    for name, size, axes in (*sizes, *((name, size, 2) for name, size in settings.IMAGE_SIZES.items())):
        signal = Signal(dimensions=axes, channels=1, classes=12, slo=axes == 3)
        given = plan(Path("none"), size_name=name, size=size, table=settings.methods(size))
        for method, about in given.table.items():
            assert len(about.settings) >= 3
            assert about.chosen_at in about.steps
            configs = [
                jobs.config_of(given, Job(method, setting, 0, "1", "noisy", "validation", about.steps))
                for setting in about.settings
            ]
            assert all(config.data.phantom_oct.seed == 1 for config in configs)
            assert all(recipe.stages(config) or method == "single-scan INR" for config in configs)
            own = {"single-scan INR": 0, f"auto-decoder, {size.few} codes": size.few}
            codes = modulations.size(model.build(configs[0], signal).codes)
            assert codes == own.get(method, size.codes)


def test_shifted_eyes_are_those_of_the_same_people(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(scans.data, "load", lambda config, split: asked.append((config.phantom_oct, split)))
    config = toy.get_config()
    config.data.phantom_oct.people = (5, 2, 3)
    for split in ("validation", "test"):
        scans.load(config, scans.SHIFTED, split)
    (validation, first), (test, second) = asked
    assert first == second == "test"
    assert validation.variant == test.variant == "shifted"
    assert sum(validation.people[:2]) == 5
    assert validation.people[2] == 2
    assert sum(test.people[:2]) == 7


@pytest.mark.slow
def test_the_final_pass_wants_settings_that_validation_people_chose(computed, tmp_path) -> None:
    with pytest.raises(InputError, match="run with --split=validation first"):
        run(plan(tmp_path / "rows.jsonl", names=(METHOD,), split="test"))
    final = computed._replace(split="test", names=(METHOD,), path=tmp_path / "copy.jsonl")
    final.path.write_text(computed.path.read_text())
    (tmp_path / "copy").symlink_to(computed.path.with_suffix(""))
    found = [row for row in run(final) if row["split"] == "test"]
    best = rows.chosen(rows.read(computed.path), METHOD, 3, "interpolated", size="tiny")
    assert {row["setting"] for row in found} == {best}
    assert len(list(computed.path.with_suffix("").iterdir())) == 2  # the trainings of the two settings, no more


def test_the_chosen_setting_is_the_best_of_validation_people() -> None:
    facts = {"method": "m", "steps": 3, "size": "small", "population": "0", "seed": 0}

    def row(setting: str, psnr: float | None, **more) -> rows.Row:
        return facts | {"split": "validation", "cell": "interpolated, noisy", "setting": setting, "psnr": psnr} | more

    found = [row("a", 20.0), row("b", 21.0), row("c", None), row("a", 99.0, split="test")]
    found += [row("a", 99.0, cell="fitted, noisy"), row("a", 99.0, seed=1), row("a", 99.0, steps=10)]
    assert rows.chosen(found, "m", 3, "interpolated", size="small") == "b"
    assert rows.chosen(found, "m", 3, "interpolated", size="tiny") is None


def test_what_is_made_of_a_method_is_shown_at_the_setting_that_was_chosen_for_it(computed) -> None:
    found = rows.read(computed.path)
    best = rows.chosen(found, METHOD, 3, "interpolated", size="tiny")
    variants = [row | {"method": f"{METHOD}, residual put back"} for row in found if row["method"] == METHOD]
    shown = {row["setting"] for row in variants if chart.is_shown(row, found, dict(computed.table), "interpolated")}
    assert {row["setting"] for row in variants} > shown == {best}


def test_the_report_is_drawn_from_half_finished_rows(computed, tmp_path) -> None:
    found = rows.read(computed.path)
    for name, part in (("whole", found), ("half", found[: len(found) // 2]), ("none", [])):
        chart.report(part, dict(computed.table), "interpolated", tmp_path / name)
    table = (tmp_path / "whole" / "table.txt").read_text()
    assert sum(line.startswith(f"{METHOD} ") for line in table.splitlines()) == 4  # cells
    assert "exact" in table
    assert {path.suffix for path in (tmp_path / "whole").iterdir()} == {".txt", ".png"}
    assert len(list((tmp_path / "whole").glob("*.png"))) == 2


@pytest.fixture
def photographs(tmp_path) -> Path:
    """Both eyes of five people; the left half of each image shows nothing."""
    random = np.random.default_rng(0)
    for name in (f"Image_{person:02d}{eye}" for person in range(5) for eye in "LR"):
        image = random.integers(0, 256, (40, 60, 3), np.uint8)
        image[:, :30] = 7
        io.imsave(tmp_path / f"{name}.png", image, check_contrast=False)
    return tmp_path


def test_patches_show_something_and_splits_share_no_person(photographs) -> None:
    cut = functools.partial(images.load, photographs, counts=(12, 4, 6), size=16, glob="*.png")
    found = {split: cut(split, seed=0) for split in ("train", "validation", "test")}
    assert [len(population.names) for population in found.values()] == [12, 4, 6]
    people = [set(population.people) for population in found.values()]
    assert sum(map(len, people)) == len(set.union(*people)) == 5
    for population in found.values():
        assert population.intensity.shape[1:] == (16, 16, 1)
        assert (population.intensity.std(axis=(1, 2, 3)) > images.FLAT).all()
        assert population.measured.all()
        assert population.truth is None
    assert np.array_equal(cut("test", seed=0).intensity, found["test"].intensity)
    assert not np.array_equal(cut("test", seed=1).intensity, found["test"].intensity)


def test_slices_of_one_volume_are_split_by_slabs_with_a_gap(tmp_path) -> None:
    voxels = np.random.default_rng(0).uniform(-1000, 1000, (40, 24, 24)).astype(np.float32)
    voxels += 0.01 * np.arange(40)[:, None, None]
    path = tmp_path / "ct.nii.gz"
    scan_io.write_volume(path, voxels, (3.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    cut = functools.partial(images.load, path, counts=(40,) * 3, size=16, seed=0, glob="")
    splits = [cut(split) for split in ("train", "validation", "test")]
    places = [sorted({int(person.removeprefix("slice-")) for person in found.people}) for found in splits]
    assert places[1][0] - places[0][-1] > images.GAP
    assert places[2][0] - places[1][-1] > images.GAP
    assert splits[0].note == "within one subject"


def test_a_folder_with_too_few_people_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="expected images of three people or more"):
        images.load(tmp_path, "train", counts=(1, 1, 1), size=16, seed=0, glob="*.png")


def test_a_row_of_another_kind_is_refused_in_one_line(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"cell": "of another day"}\n')
    with pytest.raises(InputError, match=r"line 1: expected a row of this benchmark"):
        rows.read(path)
