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


def samples_of(covariance, count, seed=4):
    root = np.linalg.cholesky(covariance)
    return np.random.default_rng(seed).normal(size=(count, len(covariance))) @ root.T


WIDE = np.diag([9.0, 1.0, 0.25]) + 0.1


@pytest.mark.parametrize("count", [2, 8, 200])
def test_a_shrunk_covariance_is_ledoit_and_wolf_s(count):
    x = samples_of(WIDE, count)
    s = x.T @ x / count
    target = np.trace(s) / 3 * np.eye(3)
    spread = np.mean([((np.outer(row, row) - s) ** 2).sum() for row in x]) / count
    rho = min(1, spread / ((s - target) ** 2).sum())
    found = gauge.shrunk(jnp.asarray(x, jnp.float32), float(count))
    np.testing.assert_allclose(found, (1 - rho) * s + rho * target, rtol=1e-4, atol=1e-5)
    assert np.linalg.eigvalsh(found).min() > 0


def test_the_covariance_of_channels_is_that_factor_of_a_kronecker_product():
    draw = np.random.default_rng(5)
    rows = np.exp(-np.abs(np.subtract.outer(np.arange(6), np.arange(6))) / 3)  # 2 x 3 cells, of variance 1
    root_cells, root_channels = np.linalg.cholesky(rows), np.linalg.cholesky(WIDE)
    codes = 7 + root_cells @ draw.normal(size=(20_000, 6, 3)) @ root_channels.T
    table = {"grid": {"level_0": jnp.asarray(codes.reshape(-1, 2, 3, 3), jnp.float32)}}
    channels = gauge.covariance(table, jnp.ones(len(codes)))["grid"]["level_0"]
    np.testing.assert_allclose(channels, WIDE, atol=0.02 * WIDE.max())


def test_subjects_that_are_not_learned_from_have_no_part_in_a_covariance():
    codes = jnp.asarray(np.random.default_rng(6).normal(size=(30, 2, 3, 4)), jnp.float32)
    first = jnp.where(jnp.arange(30) < 11, 1.0, 0.0)
    found, expected = (
        gauge.covariance({"grid": c}, n)["grid"] for c, n in ((codes, first), (codes[:11], jnp.ones(11)))
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_in_the_gauge_of_their_covariance_all_channels_vary_alike():
    table = {"vector": jnp.asarray(samples_of(WIDE, 20_000), jnp.float32)}
    learned = jnp.ones(20_000)
    found = gauge.covariance(table, learned)
    maps = gauge.maps("covariance", found, found, 3.0)
    after = np.asarray(gauge.covariance(gauge.change(table, maps), learned)["vector"])
    np.testing.assert_allclose(after / after[0, 0], np.eye(3), atol=0.01)
