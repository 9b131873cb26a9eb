"""Bruch's membrane found in the image: how far from the truth on phantom eyes, and where it says that it saw none."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from real_data import real_data

from inr_jax.data.phantom_oct import scan_of
from inr_jax.flattening import membrane_of_labels
from inr_jax.membrane import find_membrane
from inr_jax.phantom import make_eye
from inr_jax.scan import Scan

SHAPE = (9, 128, 96)


def eyes(variant: str, shape: tuple[int, int, int] = SHAPE, **changes: float) -> list[Scan]:
    return [
        scan_of(make_eye(person=p, laterality="RL"[p % 2], shape=shape, variant=variant, **changes)) for p in (0, 1)
    ]


def error(scan: Scan) -> np.ndarray:
    """Found minus labelled BM in um, where both are."""
    found = (find_membrane(scan) - membrane_of_labels(scan.labels)) * scan.spacing[1] * 1e3
    return found[np.isfinite(found)]


@pytest.mark.parametrize(
    ("variant", "middle", "most"), [("standard", 4.0, 15.0), ("shifted", 8.0, 22.0), ("pathology", 4.0, 40.0)]
)
def test_half_of_all_a_scans_are_within_a_row_of_the_truth(variant: str, middle: float, most: float) -> None:
    """A row has 7 um. Drusen lift the band off BM and lesions hide it: there the path is further off."""
    found = np.abs(np.concatenate([error(scan) for scan in eyes(variant)]))
    assert np.median(found) <= middle
    assert np.percentile(found, 95) <= most


def test_at_the_rows_of_an_instrument_the_error_is_a_few_um() -> None:
    for scan in eyes("standard", (2, 496, 256)):
        found = error(scan)
        assert len(found) > 0.9 * 2 * 256
        assert np.median(np.abs(found)) < 5.0
        assert np.percentile(np.abs(found), 95) < 10.0


def test_motion_and_tilt_do_not_matter() -> None:
    still, moved = (np.concatenate([error(s) for s in eyes("standard", motion=m)]) for m in (0.0, 3.0))
    assert np.median(np.abs(moved)) <= np.median(np.abs(still)) + 7.1


def test_what_was_not_measured_has_no_membrane() -> None:
    scan = eyes("standard")[0]
    valid = np.ones(SHAPE, bool)
    valid[2, :, 30:40] = False
    valid[5] = False
    found = find_membrane(replace(scan, valid=valid))
    assert np.isnan(found[2, 30:40]).all()
    assert np.isnan(found[5]).all()
    assert np.isfinite(np.delete(found, (2, 5), axis=0)).all()


@pytest.mark.parametrize("voxels", ["noise", "fog", "upside down ramp"])
def test_an_image_without_a_retina_has_no_membrane(voxels: str) -> None:
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(0, 1, SHAPE[1])[:, None], SHAPE)
    made = {
        "noise": rng.gamma(4, 0.25, SHAPE) ** 0.25,
        "fog": np.full(SHAPE, 0.3),
        "upside down ramp": ramp + 0.1 * rng.random(SHAPE),
    }
    assert np.isnan(find_membrane(Scan(made[voxels].astype(np.float32), (0.2, 0.007, 0.06)))).all()


def spectralis(name: str) -> tuple[Scan, np.ndarray]:
    """The one B-scan of a Heidelberg .vol file, and the instrument's own BM in rows (its second line)."""
    raw = real_data(f"spectralis/{name}.vol").read_bytes()
    columns, _, rows = struct.unpack_from("<3i", raw, 12)
    across, _, down = struct.unpack_from("<3d", raw, 24)
    slo, (header,) = struct.unpack_from("<2i", raw, 48), struct.unpack_from("<i", raw, 100)
    start = 2048 + slo[0] * slo[1]
    lines = struct.unpack_from("<i", raw, start + 52)[0] + start
    membrane = np.frombuffer(raw, "<f4", 2 * columns, lines)[columns:]
    image = np.frombuffer(raw, "<f4", rows * columns, start + header).reshape(1, rows, columns)
    seen = image < 1e30
    scan = Scan(np.where(seen, image, 0).astype(np.float32) ** 0.25, (1.0, down, across), valid=seen)
    return scan, np.where(membrane < 1e30, membrane, np.nan)


@pytest.mark.parametrize(("name", "middle", "most"), [("Willis_B_716_0", 4.0, 8.0), ("Willis_B_716_4", 4.0, 16.0)])
def test_real_scans_agree_with_the_instrument_s_own_membrane(name: str, middle: float, most: float) -> None:
    """A line through the fovea and a circle round the disc. In the third file the instrument's line is wrong."""
    scan, membrane = spectralis(name)
    found = np.abs(find_membrane(scan)[0] - membrane) * scan.spacing[1] * 1e3
    assert np.isfinite(found).mean() > 0.8
    assert np.nanmedian(found) < middle
    assert np.nanpercentile(found, 95) < most


def test_an_image_of_a_few_pixels_has_no_membrane() -> None:
    voxels = np.random.default_rng(0).random((2, 2, 5)).astype(np.float32)
    assert np.isnan(find_membrane(Scan(voxels, (1.0, 1.0, 1.0)))).all()
