"""Another gauge of the codes is the same field, and in the whitened one every channel moves the answer alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from inr_jax import gauge, model
from inr_jax.model import Signal

PARTS = (("grid",), ("vector", "grid"), ("vector", "lowrank"))
AT = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (200, 3)), jnp.float32)


def a_model(parts):
    config = default.get_config()
    config.model.update({"width": 16, "depth": 3})
    config.model.modulation.parts = parts
    config.model.modulation.vector.size = 5
    config.model.modulation.grid.levels = ((2, 3, 4), (3, 5, 2))
    built = model.build(config, Signal(3, 1, 3, False))
    hyper = model.hyper_of(config)
    params = built.init(jax.random.key(0), hyper)
    leaves, structure = jax.tree.flatten(built.codes)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    codes = [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return built, hyper, params.field, jax.tree.unflatten(structure, codes)


def random_maps(codes):
    """A well-conditioned matrix for every array of codes."""
    draw = np.random.default_rng(2)

    def one(zero):
        c = len(zero)
        return jnp.asarray(np.eye(c) + 0.3 * draw.normal(size=(c, c)) / c**0.5, jnp.float32)

    return jax.tree.map(one, gauge.channels(codes))


@pytest.mark.parametrize("parts", PARTS, ids="+".join)
def test_a_field_answers_the_same_in_every_gauge(parts):
    built, hyper, field, codes = a_model(parts)
    maps = random_maps(codes)
    moved, other = built.change_gauge(field, maps), gauge.change(codes, maps)
    before, after = (built.learner.bind(f, c, None, hyper)(AT) for f, c in ((field, codes), (moved, other)))
    for head in before:
        np.testing.assert_allclose(after[head], before[head], atol=2e-4)
    wrong = built.learner.bind(field, other, None, hyper)(AT)
    assert np.abs(wrong["intensity"] - before["intensity"]).max() > 0.01


def test_curvature_is_the_mean_square_of_finite_differences():
    built, hyper, field, codes = a_model(("vector", "grid"))

    def answer(c):
        return built.learner.bind(field, c, None, hyper)(AT)["intensity"][:, 0]

    found = gauge.curvature(answer, codes)
    step = 1e-2
    for part, name in (("grid", "level_0"), ("grid", "level_1"), ("vector", None)):
        leaf = codes[part] if name is None else codes[part][name]
        slopes = []
        for channel in range(leaf.shape[-1]):
            ahead, behind = (leaf.at[..., channel].add(s * step) for s in (1, -1))
            pair = [codes | {part: moved if name is None else codes[part] | {name: moved}} for moved in (ahead, behind)]
            slopes.append((np.asarray(answer(pair[0]), np.float64) - answer(pair[1])) / (2 * step))
        expected = np.array(slopes) @ np.array(slopes).T / len(AT)
        matrix = found[part] if name is None else found[part][name]
        np.testing.assert_allclose(matrix, expected, rtol=0.03, atol=1e-3 * np.abs(expected).max())


def test_without_damping_the_whitened_curvature_is_a_multiple_of_the_identity():
    built, hyper, field, codes = a_model(("grid",))

    def curvature(field, codes):
        return gauge.curvature(lambda c: built.learner.bind(field, c, None, hyper)(AT)["intensity"][:, 0], codes)

    before = curvature(field, codes)
    maps = gauge.whitening(before, 0.0)
    after = curvature(built.change_gauge(field, maps), gauge.change(codes, maps))
    for level, size in (("level_0", 4), ("level_1", 2)):
        steepest = np.linalg.eigvalsh(np.asarray(before["grid"][level])).max()
        np.testing.assert_allclose(after["grid"][level], steepest * np.eye(size), atol=0.02 * steepest)


def test_a_plain_step_in_the_new_gauge_is_a_damped_newton_step_in_the_old_one():
    draw = np.random.default_rng(3)
    a = draw.normal(size=(4, 4))
    a, damping = a @ a.T, 0.3
    gradient = draw.normal(size=4)
    t = np.asarray(gauge.whitening({"vector": jnp.asarray(a)}, damping)["vector"], np.float64)
    in_old = np.linalg.inv(t) @ np.linalg.inv(t).T @ gradient  # c' = c T, so that its gradient is T^-1 g
    damped = a + damping * np.linalg.eigvalsh(a).mean() * np.eye(4)
    newton = np.linalg.eigvalsh(damped).max() * np.linalg.solve(damped, gradient)
    np.testing.assert_allclose(in_old, newton, rtol=1e-3)
