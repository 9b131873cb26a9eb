"""Rendering a scan: the field at every voxel, in memory that the answers take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from inr_jax import coordinates, measurements, model, render

GRID = (3, 70, 50)  # more than one block, and no multiple of it


def noise(grid: tuple[int, ...]) -> measurements.Measurements:
    """Two scans of noise, each with a box of its own."""
    random, n = np.random.default_rng(0), int(np.prod(grid))
    return measurements.Measurements(
        jnp.asarray(random.random((2, n, 1), np.float32)), jnp.full((2, n), -1, jnp.int8), jnp.ones((2, n), bool),
        jnp.asarray(random.uniform(0.01, 0.02, (2, 3)), jnp.float32), jnp.full((2, 3), -0.5), None, jnp.arange(2),
    )  # fmt: skip


@pytest.fixture(scope="module")
def made():
    config = toy.get_config()
    built = model.build(config, model.Signal(3, 1, 4, False))
    hyper = model.hyper_of(config)
    return built, built.init(jax.random.key(0), hyper), hyper


def test_a_scan_is_the_field_at_the_coordinates_of_its_voxels(made):
    built, params, hyper = made
    data, modulation = noise(GRID), built.modulation(params.start)
    intensity, labels = render.make_render(built, GRID)(params.field, modulation, data, jnp.int32(1), hyper)
    coords = coordinates.grid(GRID, data.scale[1], data.shift[1])
    values = built.learner.bind(params.field, modulation, None, hyper)(coords)
    np.testing.assert_allclose(intensity, values["intensity"], atol=1e-5)
    best_two = jnp.sort(values["segmentation"], -1)[..., -2:]
    clear = np.asarray(best_two[..., 1] - best_two[..., 0]) > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(np.asarray(labels)[clear], np.asarray(values["segmentation"].argmax(-1))[clear])


def test_memory_grows_by_the_answers_alone(made):
    """Four bytes of intensity and one of the label: coordinates of the whole scan would take twelve more."""
    built, params, hyper = made
    data = jax.eval_shape(lambda: noise(GRID))
    modulation = built.modulation(params.start)

    def temporary(grid: tuple[int, ...]) -> int:
        run = render.make_render(built, grid)
        return (
            run.lower(params.field, modulation, data, jnp.int32(0), hyper)
            .compile()
            .memory_analysis()
            .temp_size_in_bytes
        )

    few, many = (4, 64, 64), (64, 64, 64)
    assert temporary(many) - temporary(few) <= 5 * (np.prod(many) - np.prod(few))
