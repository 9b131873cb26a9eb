"""The project's own `.npz`, where it is read beside other formats."""

from pathlib import Path

from inr_jax.npz_io import read_npz_scans
from inr_jax.scan import Scan


def read(path: Path, name: str, slo_axes: str = "auto") -> list[Scan]:
    """Every scan of an `.npz` file; `slo_axes` as in `read_npz_scans`."""
    return read_npz_scans(path, slo_axes=slo_axes)
