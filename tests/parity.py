"""Parity with INteRp-OCT (doi 10.1007/978-3-658-47422-5_24): where its outputs lie, and how near ours must come.

`own` outputs are those of tests/make_fixtures.py, kept in tests/fixtures; `published` ones, of the reference's own
code, lie in $INR_JAX_FIXTURES in the same format.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import toy

OWN = Path(__file__).parent / "fixtures"
SOURCES = ("own", "published")
LIMITS = {"float64": 1e-8, "float32": 1e-5}
FINER_FLOAT32 = 1e-3  # arguments of its sines are in the thousands


def path(source, name):
    """Of an `own` file, which is always there, or a `published` one, without which a test is skipped."""
    return OWN / name if source == "own" else toy.fixture(name)


def read(source, name):
    with np.load(path(source, f"{name}.npz")) as file:
        return dict(file)


def cast(tree, precision):
    """Every leaf as a JAX array of this precision."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, precision), tree)


def error(got, expected):
    """max |d| / max |ref|."""
    return np.abs(np.asarray(got, np.float64) - expected).max() / np.abs(expected).max()


def limit(expected, precision):
    """What `error` must stay below: a value that float32 holds was computed in it, so that no more can be asked."""
    return LIMITS["float32" if np.array_equal(np.float32(expected), expected) else precision]


def agree(got, expected, precision):
    return error(got, expected) < limit(expected, precision)
