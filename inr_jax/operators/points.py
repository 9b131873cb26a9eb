"""The simplest measurement: a field's values at points. What a finely sliced B-scan sees of the retina."""

from collections.abc import Callable

from inr_jax.types import Coords, Values


def measure(field: Callable[[Coords], Values], geometry: Coords) -> Values:
    """field(geometry): no slice profile, no motion. geometry: coordinates in [-1, 1], [*points, k]."""
    return field(geometry)
