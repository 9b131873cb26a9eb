"""Sectors of thickness against closed forms; what cannot be measured is said in words."""

import numpy as np
import pytest

from inr_jax import en_face, etdrs
from inr_jax.thickness import RETINA, Thickness

RINGS = (("centre", 0.0, 0.5), ("inner", 0.5, 1.5), ("outer", 1.5, 3.0))


def raster(bscans: int = 61, ascans: int = 121, size: float = 6.4) -> np.ndarray:
    """Places [P, W, 2] of a raster round (3.2, 3.2) mm."""
    y, x = np.linspace(0, size, bscans), np.linspace(0, size, ascans)
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1)


def thick(um: np.ndarray, half: np.ndarray | None = None) -> Thickness:
    return Thickness((RETINA,), um[None], None if half is None else half[None], None if half is None else 0.9)


def means(found: etdrs.Etdrs) -> dict[str, float]:
    assert found.why_not is None
    return {row["sector"]: row["thickness_um"] for row in found.rows}


def measured(f, at=None, eye="R", known=(3.2, 3.2)) -> dict[str, float]:
    """Sector means of the thickness f(up, right) mm from the middle."""
    at = raster() if at is None else at
    return means(etdrs.measure(thick(f(3.2 - at[..., 0], at[..., 1] - 3.2)), at, eye, known=known))


def test_a_plane_parallel_layer_is_as_thick_in_all_nine():
    found = measured(lambda up, right: np.full(up.shape, 271.0))
    assert len(found) == 9
    np.testing.assert_allclose(list(found.values()), 271.0, rtol=1e-12)


@pytest.mark.parametrize(("power", "mean"), [(1, lambda a, b: 2 / 3 * (b**3 - a**3) / (b**2 - a**2)),
                                             (2, lambda a, b: 0.5 * (a**2 + b**2))])  # fmt: skip
def test_a_cone_and_a_paraboloid_have_the_means_of_their_integrals(power, mean):
    found = measured(lambda up, right: 200 + 30 * np.hypot(up, right) ** power)
    for ring, low, high in RINGS:
        for name, value in found.items():
            if name.startswith(ring):
                assert value == pytest.approx(200 + 30 * mean(low, high), abs=0.2), name


def test_a_slope_rises_in_the_sectors_that_lie_there():
    """Means of a plane at the centroids: 2/3 (b^3 - a^3) / (b^2 - a^2) sin(pi / 4) / (pi / 4) from the middle."""
    found = measured(lambda up, right: 250 + 10 * up + 4 * right)
    for ring, low, high in RINGS[1:]:
        arm = 2 / 3 * (high**3 - low**3) / (high**2 - low**2) * np.sin(np.pi / 4) / (np.pi / 4)
        expected = {"S": 10 * arm, "I": -10 * arm, "N": 4 * arm, "T": -4 * arm}
        for side, change in expected.items():
            assert found[f"{ring} {side}"] == pytest.approx(250 + change, abs=1e-3)
    assert found["centre"] == pytest.approx(250, abs=1e-3)


def test_the_other_eye_has_its_nose_on_the_other_side_and_an_unknown_one_has_none():
    def slope(up, right):
        return 250 + 10 * up + 4 * right

    right, left, unknown = measured(slope), measured(slope, eye="L"), measured(slope, eye=None)
    for ring in ("inner", "outer"):
        assert right[f"{ring} N"] == pytest.approx(left[f"{ring} T"], abs=1e-6)
        assert right[f"{ring} T"] == pytest.approx(left[f"{ring} N"], abs=1e-6)
        assert right[f"{ring} S"] == pytest.approx(left[f"{ring} S"], abs=1e-6)
        assert unknown[f"{ring} right"] == right[f"{ring} N"]
        assert unknown[f"{ring} above"] == right[f"{ring} S"]
        assert f"{ring} N" not in unknown


def test_a_mirrored_eye_swaps_nasal_and_temporal():
    at = raster()
    um = 250 + 4 * at[..., 1] ** 1.5
    mirrored = at[:, ::-1] * (1, -1) + (0, 6.4)
    right = means(etdrs.measure(thick(um), at, "R", known=(3.2, 3.2)))
    left = means(etdrs.measure(thick(um[:, ::-1]), mirrored, "L", known=(3.2, 3.2)))
    assert right == pytest.approx(left, abs=1e-6)


def star(lines: int = 48, ascans: int = 161) -> np.ndarray:
    """Radial lines of 6.4 mm round (3.2, 3.2)."""
    turn, along = np.arange(lines) * np.pi / lines, np.linspace(-3.2, 3.2, ascans)
    return 3.2 + np.stack([np.outer(np.sin(turn), along), np.outer(np.cos(turn), along)], -1)


def test_the_pattern_of_the_a_scans_does_not_change_the_means():
    """Radial scans lie densely in the middle: a mean of A-scans would be of the middle."""
    cone = measured(lambda up, right: 200 + 30 * np.hypot(up, right), at=star())
    for ring, low, high in RINGS:
        for name in (n for n in cone if n.startswith(ring)):
            expected = 200 + 20 * (high**3 - low**3) / (high**2 - low**2)
            assert cone[name] == pytest.approx(expected, abs=0.3)


def pit(place: tuple[float, float], at: np.ndarray) -> np.ndarray:
    return 330 - 110 * np.exp(-((np.hypot(*np.moveaxis(at - place, -1, 0)) / 0.5) ** 2))


@pytest.mark.parametrize("place", [(3.2, 3.2), (3.5, 2.77)])
def test_the_fovea_is_found_at_the_bottom_of_its_pit_through_noise(place):
    at = raster(31)  # B-scans 0.21 mm apart
    um = pit(place, at) + np.random.default_rng(0).normal(0, 4, at.shape[:2])
    centre = etdrs.fovea(en_face.mesh(at), um)
    np.testing.assert_allclose(centre.place, place, atol=0.08)
    assert centre.said.startswith("estimated")


@pytest.mark.parametrize(
    "um",
    [np.full((31, 121), 300.0), 300 + 20 * raster(31)[..., 0], pit((0.8, 3.2), raster(31)), np.full((31, 121), np.nan)],
    ids=["flat", "slope", "pit far from the middle", "nothing known"],
)
def test_without_a_pit_near_the_middle_the_middle_is_taken_and_said(um):
    centre = etdrs.fovea(en_face.mesh(raster(31)), um)
    assert centre.place == pytest.approx((3.2, 3.2))
    assert "no foveal pit was found" in centre.said


def test_a_known_fovea_is_the_centre_and_said():
    found = etdrs.measure(thick(np.full((61, 121), 300.0)), raster(), "R", known=(3.0, 3.1))
    assert found.centre.place == (3.0, 3.1)
    assert found.rows[0]["centre"] == "the fovea as the scan has it"


def test_the_share_of_a_sector_that_is_covered_is_told_and_too_small_a_one_has_no_mean():
    at = raster()
    known = np.where(at[..., 1] < 3.2, 300.0, np.nan)  # the temporal half of a right eye
    rows = {row["sector"]: row for row in etdrs.measure(thick(known), at, "R", known=(3.2, 3.2)).rows}
    assert (rows["inner T"]["covered"], rows["inner T"]["thickness_um"]) == (1.0, pytest.approx(300.0))
    assert rows["inner N"]["covered"] == 0
    assert rows["outer S"]["covered"] == pytest.approx(0.5, abs=0.03)
    assert np.isnan(rows["outer S"]["thickness_um"])
    assert rows["outer S"]["not_computable"].endswith("of the sector is covered, 75% are needed")


def test_bscans_far_apart_cover_what_lies_near_them():
    """Lines 1 mm apart, each covering REACH on both sides."""
    at = raster(bscans=8, size=7.0)
    found = etdrs.measure(thick(np.full((8, 121), 300.0)), at, "R", known=(3.5, 3.5))
    assert found.why_not == "no sector is covered enough: 46% of the best covered one, 75% are needed"
    outer = next(row for row in found.rows if row["sector"] == "outer N")
    assert outer["covered"] == pytest.approx(2 * en_face.REACH, abs=0.04)


def circle(radius: float = 1.7) -> np.ndarray:
    turn = np.arange(768) * 2 * np.pi / 768
    return (np.stack([np.sin(turn), np.cos(turn)], -1) * radius + 3.2)[None]


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (circle(), "a circle scan covers no area of the macula"),
        (np.concatenate([circle(1.5), circle(1.7), circle(1.9)]), "a circle scan covers no area of the macula"),
        (raster()[30:31], "a single B-scan covers no area of the macula"),
    ],
    ids=["circle", "three circles", "line"],
)
def test_what_covers_no_macula_is_not_computable_and_says_why(at, why):
    found = etdrs.measure(thick(np.full(at.shape[:2], 300.0)), at, "R")
    assert found.why_not == why
    assert found.centre is None
    assert {row["centre"] for row in found.rows} == {""}
    assert len(found.rows) == 9
    assert all(np.isnan(row["thickness_um"]) and row["not_computable"] == why for row in found.rows)


def test_errors_that_rise_and_fall_together_do_not_average_out():
    at = raster()
    rows = etdrs.measure(thick(np.full(at.shape[:2], 300.0), np.full(at.shape[:2], 7.0)), at, "R").rows
    np.testing.assert_allclose([row["half_interval_um"] for row in rows], 7.0)


def test_where_the_interval_of_an_a_scan_is_not_known_that_of_its_sectors_is_not():
    at, half = raster(), np.full((61, 121), 7.0)
    half[:, :30] = np.nan
    rows = etdrs.measure(thick(np.full(at.shape[:2], 300.0), half), at, "R", known=(3.2, 3.2)).rows
    spreads = {row["sector"]: row["half_interval_um"] for row in rows}
    assert np.isnan(spreads["outer T"])
    assert spreads["inner N"] == pytest.approx(7)
