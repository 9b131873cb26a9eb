"""The folder of real scans: tests that need one skip, with the reason, where it is absent."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def real_data(name: str) -> Path:
    """A file or folder in $INR_JAX_DATA (default: ../shared/data beside the repository)."""
    path = Path(os.environ.get("INR_JAX_DATA") or REPOSITORY.parent / "shared" / "data") / name
    if not path.exists():
        pytest.skip(f"no real scans: {path} is absent (set INR_JAX_DATA)")
    return path
