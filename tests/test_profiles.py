"""Profiles along lines and round circles: arc length, angles and quadrants in closed form."""

import numpy as np
import pytest

from inr_jax import profiles
from inr_jax.thickness import RETINA, Thickness

TURN = np.arange(768) * 2 * np.pi / 768


def circle(radius: float = 1.7, start: float = 0.0) -> np.ndarray:
    """Places [W, 2], from the right of the image upwards."""
    return np.stack([3 - radius * np.sin(TURN + start), 4 + radius * np.cos(TURN + start)], -1)


def thick(um: np.ndarray, half: np.ndarray | None = None) -> Thickness:
    return Thickness((RETINA,), um[None], None if half is None else half[None], None if half is None else 0.9)


def test_arc_length_follows_the_a_scans():
    line = np.linspace([0.0, 0.0], [3.0, 4.0], 51)
    found = profiles.course(line, "R")
    np.testing.assert_allclose(found.arc, np.linspace(0, 5, 51))
    assert found.angle is None
    assert profiles.course(circle(), "R").arc[-1] == pytest.approx(2 * np.pi * 1.7 * 767 / 768, rel=1e-4)


@pytest.mark.parametrize("eye", ["R", "L"])
def test_angles_go_from_temporal_by_superior_nasal_and_inferior_in_either_eye(eye):
    """In the image the nose is right of a right eye and left of a left one; up is superior in both."""
    right, up, left, down = (profiles.course(circle(start=start), eye).angle[0] for start in np.arange(4) * np.pi / 2)
    expected = {"R": (180, 90, 0, 270), "L": (0, 90, 180, 270)}[eye]
    np.testing.assert_allclose((right, up, left, down), expected, atol=0.3)


@pytest.mark.parametrize("eye", ["R", "L"])
def test_quadrants_hold_what_lies_there(eye):
    at = circle()[None]
    nose = (at[..., 1] - 4) * (1 if eye == "R" else -1)
    um = 100 + 10 * nose + 3 * (3 - at[..., 0])
    ways = [profiles.course(line, eye) for line in at]
    rows = profiles.sector_rows(thick(um), ways, at, np.zeros(1), eye)
    found = {r["sector"]: r["thickness_um"] for r in rows if r["division"] != "peripapillary"}
    arm = 1.7 * np.sin(np.pi / 4) / (np.pi / 4)
    expected = {"T": 100 - 10 * arm, "S": 100 + 3 * arm, "N": 100 + 10 * arm, "I": 100 - 3 * arm, "all round": 100}
    assert found == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("eye", ["R", "L"])
def test_peripapillary_sectors_hold_what_lies_between_their_angles_by_the_integral(eye):
    at = circle()[None]
    nose, up = (at[..., 1] - 4) * (1 if eye == "R" else -1), 3 - at[..., 0]
    ways = [profiles.course(line, eye) for line in at]
    rows = profiles.sector_rows(thick(100 + 10 * nose + 3 * up), ways, at, np.zeros(1), eye)
    found = {r["sector"]: r["thickness_um"] for r in rows if r["division"] == "peripapillary"}
    borders = {"T": (-45, 45), "TS": (45, 85), "NS": (85, 125), "N": (125, 235), "NI": (235, 275), "TI": (275, 315)}
    for name, (a, b) in borders.items():
        a, b = np.deg2rad((a, b))
        across, above = -(np.sin(b) - np.sin(a)) / (b - a), (np.cos(a) - np.cos(b)) / (b - a)
        assert found.pop(name) == pytest.approx(100 + 1.7 * (10 * across + 3 * above), abs=0.25), name
    assert not found


def test_a_mirrored_eye_has_the_same_quadrants():
    um = 80 + 20 * np.random.default_rng(0).random((1, 768))
    own = circle(start=0.001)  # no A-scan on the border of two quadrants
    found = []
    for line, eye in ((own, "R"), (own * (1, -1) + (0, 8), "L")):
        ways = [profiles.course(line, eye)]
        found.append(profiles.sector_rows(thick(um), ways, line[None], np.zeros(1), eye))
    for right, left in zip(*found, strict=True):
        assert right["thickness_um"] == pytest.approx(left["thickness_um"])


def test_a_sector_of_which_little_is_known_says_so_and_its_interval_is_that_of_its_a_scans():
    at = circle()[None]
    ways = [profiles.course(at[0], "R")]
    um = np.where(ways[0].quadrant == 2, np.nan, 100.0)[None]
    rows = profiles.sector_rows(thick(um, np.full((1, 768), 6.0)), ways, at, np.zeros(1), "R")
    found = {row["sector"]: row for row in rows if row["division"] != "peripapillary"}
    assert found["N"]["not_computable"] == "0% of the sector is known, 75% are needed"
    assert np.isnan(found["N"]["thickness_um"])
    assert found["T"]["half_interval_um"] == pytest.approx(6)
    assert found["all round"]["covered"] == pytest.approx(0.75)


def test_rows_name_the_place_of_every_a_scan_and_lines_have_no_angle():
    at = np.stack([circle(), np.linspace([0.0, 0.0], [0.0, 7.67], 768)])
    ways = [profiles.course(line, None) for line in at]
    um = np.arange(2 * 768.0).reshape(2, 768)
    rows = profiles.rows(thick(um, um / 10), ways, np.array([0.0, 1.0]), None)
    assert len(rows) == 2 * 768
    assert rows[0] == {
        "bscan": 0.0, "ascan": 0, "arc_mm": 0.0, "angle_deg": 180.0, "quadrant": "right", "retina_um": 0.0,
        "retina_half_interval_um": 0.0,
    }  # fmt: skip
    assert rows[-1] == {
        "bscan": 1.0, "ascan": 767, "arc_mm": 7.67, "retina_um": 1535.0, "retina_half_interval_um": 153.5
    }  # fmt: skip
    assert {row["sector"] for row in profiles.sector_rows(thick(um), ways, at, np.arange(2.0), None)} == {
        "left", "above", "right", "below", "all round",
    }  # fmt: skip
