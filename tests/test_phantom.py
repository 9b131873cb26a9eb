"""The phantom: determinism, anatomy against published numbers, truth against itself, statistics against real scans."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from inr_jax.errors import InputError
from inr_jax.phantom import LAYERS, SURFACES, VARIANTS, VERSION, Eye, make_eye
from inr_jax.phantom.anatomy import draw_traits, mean_thickness, thickness_maps
from inr_jax.phantom.fields import Sites, draw_waves, spectrum

STATISTICS = Path(__file__).parents[1] / "benchmarks" / "phantom_statistics.py"


@pytest.fixture(scope="module")
def eye() -> Eye:
    return make_eye(person=0, laterality="R")


def still_sites(y: np.ndarray, x: np.ndarray) -> Sites:
    return Sites(y, x, np.zeros(len(y)))


# Determinism


def summary(eye: Eye) -> list[float]:
    """Numbers in which any change of the generator shows."""
    weight = np.cos(np.arange(eye.clean.size)).reshape(eye.clean.shape)
    arrays = (eye.noisy, eye.clean, eye.labels, eye.labels_true)
    found = [float((weight * array).sum()) for array in arrays]
    found += [float(array.mean()) for array in (*arrays, eye.surfaces, eye.slo, eye.valid)]
    return [*found, eye.axial_length, *eye.spacing, float(np.abs(eye.motion.axial).sum())]


# fmt: off
FINGERPRINTS: dict[str, list[float]] = {
    "standard": [
        -7.182548, -6.787314, -248.7762, 30.86767, 0.2263736, 0.230242,
        1.718031, 1.717453, 67.45386, 0.4861377, 1.0, 25.17057,
        0.1933333, 0.007086614, 0.06105263, 154.4387,
    ],
    "shifted": [
        7.701158, 9.381105, -283.5849, -88.50005, 0.2488169, 0.2563054,
        1.75408, 1.754074, 68.4525, 0.4861377, 1.0, 25.17057,
        0.128424, 0.007086614, 0.06105263, 154.4387,
    ],
    "pathology": [
        -7.419741, -9.191952, -234.6243, 9.529387, 0.2274486, 0.2313002,
        1.789559, 1.788926, 66.79218, 0.4861377, 1.0, 25.17057,
        0.1933333, 0.007086614, 0.06105263, 154.4387,
    ],
}
# fmt: on


@pytest.mark.parametrize("variant", VARIANTS)
def test_version_1_makes_the_same_eyes_for_ever(variant: str) -> None:
    found = summary(make_eye(person=7, laterality="L", variant=variant, seed=3))
    assert VERSION == 1
    np.testing.assert_allclose(found, FINGERPRINTS[variant], rtol=2e-4, atol=2e-3)


def test_one_seed_is_one_eye_and_another_is_another(eye: Eye) -> None:
    again = make_eye(person=0, laterality="R")
    np.testing.assert_array_equal(again.noisy, eye.noisy)
    np.testing.assert_array_equal(again.slo, eye.slo)
    for other in (
        make_eye(person=1, laterality="R"),
        make_eye(person=0, laterality="L"),
        make_eye(person=0, laterality="R", seed=1),
    ):
        assert np.abs(other.surfaces - eye.surfaces).mean() > 0.3


def test_neither_motion_nor_noise_changes_the_anatomy(eye: Eye) -> None:
    still = make_eye(person=0, laterality="R", motion=0.0, looks=50.0)
    np.testing.assert_array_equal(still.clean, eye.clean)
    np.testing.assert_array_equal(still.surfaces, eye.surfaces)
    np.testing.assert_array_equal(still.slo, eye.slo)


def test_a_coarser_grid_samples_the_same_eye(eye: Eye) -> None:
    coarse = make_eye(person=0, laterality="R", shape=(16, 64, 20))
    columns = slice(None, None, 5)  # 96 and 20 A-scans share every fifth
    np.testing.assert_allclose(
        (coarse.surfaces - (64 - 1) / 2) * coarse.spacing[1],
        (eye.surfaces[:, ::2, columns] - (128 - 1) / 2) * eye.spacing[1],
        atol=1e-6,
    )
    same_rows = make_eye(person=0, laterality="R", shape=(16, 128, 20))
    np.testing.assert_allclose(same_rows.clean, eye.clean[::2, :, columns], atol=1e-5)
    np.testing.assert_array_equal(same_rows.labels_true, eye.labels_true[::2, :, columns])


def test_a_clinical_scans_size_works() -> None:
    eye = make_eye(person=0, laterality="R", shape=(2, 496, 768), field=(0.12, 495 * 0.00387, 8.7))
    assert eye.noisy.shape == (2, 496, 768)
    assert eye.spacing == pytest.approx((0.12, 0.00387, 8.7 / 767))
    assert set(np.unique(eye.labels_true)) == set(range(11))


# Anatomy


def test_mean_layers_agree_with_a_published_norm() -> None:
    """Spectralis, um, in the ETDRS grid's centre, inner and outer ring (means of four sectors).

    BMC Ophthalmology 18:169 (2018), doi 10.1186/s12886-018-0842-y, table 6.
    """
    published = {
        "RNFL": (10.8, 21.2, 35.4),
        "GCL": (12.3, 50.0, 37.0),
        "IPL": (18.3, 41.4, 30.3),
        "INL": (15.3, 38.8, 33.3),
        "OPL": (23.5, 33.0, 26.9),
        "ONL": (88.4, 67.6, 54.9),
        "ELM to BM": (90.2, 82.7, 79.3),
        "retina": (257.0, 334.7, 297.2),
    }
    y, x = np.meshgrid(np.linspace(-3, 3, 121), np.linspace(-3, 3, 121), indexing="ij")
    r, angle = np.hypot(y, x), np.arctan2(y, x)
    layers = mean_thickness(r, angle, 0.95)
    maps = dict(zip(LAYERS, layers, strict=True)) | {"ELM to BM": layers[6:].sum(axis=0), "retina": layers.sum(axis=0)}
    rings = (r < 0.5, (r >= 0.5) & (r < 1.5), (r >= 1.5) & (r < 3))
    for layer, expected in published.items():
        found = [maps[layer][ring].mean() for ring in rings]
        np.testing.assert_allclose(found, expected, atol=13.0 if layer == "retina" else 6.0, err_msg=layer)
    for direction, expected in ((0, 46.1), (np.pi / 2, 38.2), (np.pi, 19.2)):
        sector = rings[2] & (np.abs(np.angle(np.exp(1j * (angle - direction)))) < np.pi / 4)
        assert maps["RNFL"][sector].mean() == pytest.approx(expected, abs=5)


def test_the_nerve_fibre_layer_is_thick_towards_the_disc_in_both_eyes() -> None:
    for laterality, nasal, temporal in (
        ("R", slice(80, None), slice(None, 16)),
        ("L", slice(None, 16), slice(80, None)),
    ):
        eyes = [make_eye(person=p, laterality=laterality) for p in range(3)]
        layer = np.mean([eye.surfaces[1] - eye.surfaces[0] for eye in eyes], axis=0)[12:20]
        assert layer[:, nasal].mean() > 1.5 * layer[:, temporal].mean()


def test_thickness_varies_with_a_near_inverse_square_spectrum_along_a_line() -> None:
    x = np.arange(512) * 14.0 / 512
    slopes = []
    for person in range(6):
        fields = draw_traits(0, person, 0).layers.at(still_sites(np.arange(10) * 1.3, x))
        power = (np.abs(np.fft.rfft(fields, axis=-1)) ** 2).mean(axis=(0, 1))
        frequency = np.fft.rfftfreq(512, 14.0 / 512)
        band = (frequency > 0.3) & (frequency < 3.0)
        slopes.append(np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0])
    assert -2.4 < np.mean(slopes) < -1.6


def test_waves_have_unit_variance_and_the_same_value_from_any_grid() -> None:
    waves = draw_waves(np.random.default_rng(0), 3, spectrum(6.0, 0.2, 6.0, 2.0), 6.0)
    everywhere = waves.at(still_sites(np.arange(64) * 6 / 64, np.arange(64) * 6 / 64))
    assert everywhere.var() == pytest.approx(1.0, abs=0.25)
    shifted = waves.at(Sites(np.array([0.5, 1.0]), np.array([0.1, 0.7]), np.array([0.2, -0.3])))
    direct = waves.at(still_sites(np.array([0.5, 1.0]), np.array([0.3, 0.9, -0.2, 0.4])))
    np.testing.assert_allclose(shifted[:, 0], direct[:, 0, :2], atol=1e-12)
    np.testing.assert_allclose(shifted[:, 1], direct[:, 1, 2:], atol=1e-12)


def test_the_two_eyes_of_a_person_are_alike_and_those_of_two_people_are_not() -> None:
    sites = still_sites(np.linspace(-2.5, 2.5, 12), np.linspace(-2.5, 2.5, 12))
    fields = np.array([[np.log(thickness_maps(draw_traits(0, p, side), sites)) for side in (0, 1)] for p in range(12)])
    fields = fields - fields.mean(axis=(0, 1))

    def alike(a: np.ndarray, b: np.ndarray) -> float:
        return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))

    assert alike(fields[:, 0], fields[:, 1]) > 0.75
    assert abs(alike(fields[:, 0], np.roll(fields[:, 1], 1, axis=0))) < 0.25


@pytest.mark.parametrize("variant", VARIANTS)
def test_surfaces_are_ordered_inside_the_picture_and_never_unknown(variant: str) -> None:
    for person in range(20, 26):
        eye = make_eye(person=person, laterality="RL"[person % 2], variant=variant)
        assert np.isfinite(eye.surfaces).all()
        assert (np.diff(eye.surfaces, axis=0) >= -1e-4).all()
        assert eye.surfaces.min() > 0
        assert eye.surfaces.max() < eye.clean.shape[1] - 1


def test_labels_count_the_surfaces_above(eye: Eye) -> None:
    rows = np.arange(eye.clean.shape[1])[None, :, None]
    above = (eye.surfaces[:, :, None, :] <= rows).sum(axis=0)
    sure = (np.abs(eye.surfaces[:, :, None, :] - rows) > 1e-3).all(axis=0)
    np.testing.assert_array_equal(eye.labels_true[sure], np.where(above == len(SURFACES), 0, above)[sure])


# Input and statistics


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"laterality": "OD"}, "laterality"),
        ({"variant": "sick"}, "variant"),
        ({"person": -1}, "person"),
        ({"motion": -1.0}, "motion"),
        ({"shape": (3, 4, 96)}, "shape"),
    ],
)
def test_wrong_input_is_one_line_that_names_the_key(wrong: dict, word: str) -> None:
    with pytest.raises(InputError, match=rf"^phantom: {word}: expected .* found ") as error:
        make_eye(**({"person": 0, "laterality": "R"} | wrong))
    assert "\n" not in str(error.value)


def test_statistics_of_the_phantom_are_those_of_real_scans() -> None:
    spec = importlib.util.spec_from_file_location("phantom_statistics", STATISTICS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not module.data_folder().exists():
        pytest.skip(f"no real scans: {module.data_folder()} (INR_JAX_DATA)")
    rows = module.statistics(module.real_bscans(), module.phantom_bscans(range(6)))
    assert len(rows) >= 6
    for row in rows:
        assert abs(row.real - row.phantom) <= row.tolerance, row
