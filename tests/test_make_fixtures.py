"""The kept reference outputs are what their script computes from the formulas."""

import make_fixtures
import numpy as np
import parity

ROUNDING = 1e-10  # sums in another order, times frequencies of hundreds


def test_the_script_gives_the_kept_files():
    made = dict(make_fixtures.files())
    assert {path.stem for path in parity.OWN.iterdir()} == set(made)
    for name, arrays in made.items():
        kept = parity.read("own", name)
        assert kept.keys() == arrays.keys()
        for key, array in arrays.items():
            assert kept[key].dtype == np.asarray(array).dtype, (name, key)
            assert parity.error(array, kept[key]) < ROUNDING, (name, key)
