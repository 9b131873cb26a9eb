"""LPIPS against its formula in NumPy with small random weights, and files that are none."""

import numpy as np
import pytest
from synthetic import layered_population

from inr_jax import evaluate, lpips
from inr_jax.baselines import Prediction
from inr_jax.errors import InputError

CHANNELS = (4, 6, 5, 4, 3)
KERNELS = (11, 5, 3, 3, 3)


def state() -> dict[str, np.ndarray]:
    """A narrow AlexNet with random weights under the names of the published one."""
    random, before, out = np.random.default_rng(0), 3, {}
    for i, (name, channels, size) in enumerate(zip(lpips.CONVOLUTIONS, CHANNELS, KERNELS, strict=True)):
        out[f"net.{name}.weight"] = random.normal(size=(channels, before, size, size)) / (size * before**0.5)
        out[f"net.{name}.bias"] = 0.1 * random.normal(size=channels)
        out[f"lin{i}.model.1.weight"] = random.random((1, channels, 1, 1))
        before = channels
    return out


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("lpips") / "weights.npz"
    np.savez(path, **state())
    return path


@pytest.fixture
def pair():
    return np.random.default_rng(1).random((2, 45, 50, 1))


def in_numpy(a, b) -> float:
    """The distance of two images [H, W, 3] in [-1, 1], over explicit windows in float64."""
    weights, total, xs = state(), 0.0, []
    for image in (a, b):
        x = np.moveaxis((image - [-0.030, -0.088, -0.188]) / [0.458, 0.448, 0.450], -1, 0)
        units = []
        for i, name in enumerate(lpips.CONVOLUTIONS):
            if i in (1, 2):
                x = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2].max((-1, -2))
            edge, size = (2, 2, 1, 1, 1)[i], KERNELS[i]
            padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
            windows = windows[:, :: 4 if i == 0 else 1, :: 4 if i == 0 else 1]
            x = np.einsum("chwyx,ocyx->ohw", windows, weights[f"net.{name}.weight"])
            x = np.maximum(x + weights[f"net.{name}.bias"][:, None, None], 0)
            units.append(x / (np.sqrt((x**2).sum(0)) + 1e-10))
        xs.append(units)
    for i, (u, v) in enumerate(zip(*xs, strict=True)):
        total += (weights[f"lin{i}.model.1.weight"][0] * (u - v) ** 2).sum(0).mean()
    return float(total)


def test_the_distance_agrees_with_its_formula_in_numpy(file, pair):
    a, b = (np.repeat(x, 3, axis=-1) for x in pair)
    assert lpips.load(file)(*pair) == pytest.approx(in_numpy(2 * a - 1, 2 * b - 1), rel=1e-4)
    assert lpips.load(file, unit_range=True)(*pair) == pytest.approx(in_numpy(a, b), rel=1e-4)


def test_a_match_has_distance_0_and_colour_is_taken_as_it_is(file, pair):
    measure = lpips.load(file)
    assert measure(pair[0], pair[0]) == pytest.approx(0, abs=1e-12)
    assert measure(np.repeat(pair[0], 3, axis=-1), np.repeat(pair[1], 3, axis=-1)) == pytest.approx(measure(*pair))


def test_invalid_pixels_change_nothing_and_small_slices_have_no_distance(file, pair):
    measure, valid = lpips.load(file), np.ones((45, 50), bool)
    valid[10:20] = False
    assert measure(np.where(valid[..., None], pair[0], 7.0), pair[1], valid) == measure(*pair, valid)
    assert np.isnan(measure(pair[0][:30], pair[1][:30]))
    assert np.isfinite(measure(pair[0][:31, :31], pair[1][:31, :31]))


def test_a_weights_file_adds_a_column_and_without_it_there_is_none(file):
    eye = layered_population(people=1, eyes=1)
    predictions = {"linear": Prediction(eye.intensity, None, "")}
    scoring = evaluate.scoring_of("inr_jax", file)
    rows, _ = evaluate.score_all(eye, predictions, split="test", layered=False, scoring=scoring)
    assert rows[0]["lpips"] > 0
    rows, _ = evaluate.score_all(eye, predictions, split="test", layered=False)
    assert "lpips" not in rows[0]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"net.slice3.6.bias": None}, r"found no net.slice3.6.bias"),
        ({"net.slice2.3.weight": np.zeros((6, 9, 5, 5))}, r"net.slice2.3.weight: expected \[out, 4, h, w\]"),
        ({"lin1.model.1.weight": np.zeros((1, 2, 1, 1))}, r"net.slice2.3.weight"),
    ],
)
def test_other_weights_are_refused_in_one_line(tmp_path, change, found):
    kept = {name: array for name, array in (state() | change).items() if array is not None}
    np.savez(tmp_path / "w.npz", **kept)
    with pytest.raises(InputError, match=found) as error:
        lpips.load(tmp_path / "w.npz")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"no archive", b"PK\x03\x04broken"])
def test_what_is_no_archive_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "w.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"w.npz: expected an .npz of LPIPS weights; found .+") as error:
        lpips.load(path)
    assert "\n" not in str(error.value)
