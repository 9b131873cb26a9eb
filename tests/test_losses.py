"""Losses against scikit-image, explicit sums and the reference's outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from make_fixtures import ssim_map
from parity import agree, cast, read
from scipy.ndimage import gaussian_filter
from scipy.special import log_softmax, softmax
from scipy.stats import gamma, norm
from skimage.metrics import structural_similarity

from inr_jax import losses

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(50, 4))
LABELS = RANDOM.integers(-1, 4, 50)
WEIGHTS = (RANDOM.random(50) > 0.3).astype(float)


def images():
    a = gaussian_filter(np.random.default_rng(0).random((40, 56)), 1)
    a = (a - a.min()) / np.ptp(a)
    return a, np.clip(a + 0.1 * np.random.default_rng(1).normal(size=a.shape), 0, 1)


def test_mse_is_the_mean_over_points_that_count():
    a, b = RANDOM.normal(size=(2, 50, 3))
    expected = ((a - b) ** 2)[WEIGHTS > 0].mean()
    np.testing.assert_allclose(losses.mse(jnp.float32(a), jnp.float32(b), jnp.float32(WEIGHTS)), expected, rtol=1e-5)


def test_cross_entropy_is_over_known_labels_that_count():
    known = (LABELS >= 0) & (WEIGHTS > 0)
    expected = -log_softmax(LOGITS, -1)[known, LABELS[known]].mean()
    got = losses.cross_entropy(jnp.float32(LOGITS), jnp.asarray(LABELS), jnp.float32(WEIGHTS))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.binary_cross_entropy])
def test_what_is_masked_has_no_gradient(loss):
    gradient = jax.grad(loss)(jnp.float32(LOGITS), jnp.asarray(LABELS), jnp.float32(WEIGHTS))
    masked = (LABELS < 0) | (WEIGHTS == 0)
    assert not np.asarray(gradient)[masked].any()
    assert np.abs(gradient).max(-1)[~masked].all()


def test_nothing_known_is_a_loss_of_0_with_no_gradient():
    labels = jnp.full(50, -1)
    value, gradient = jax.value_and_grad(losses.cross_entropy)(jnp.float32(LOGITS), labels, jnp.ones(50))
    assert float(value) == 0
    assert not np.asarray(gradient).any()


def test_ssim_agrees_with_scikit_image_where_its_window_is_inside():
    """scikit-image extends the image where Wang et al. pad with zeros: they agree 5 pixels off the border."""
    a, b = images()
    _, full = structural_similarity(a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True)  # fmt: skip # noqa: E501
    window = losses._gaussian_window(11, 1.5)
    assert window.sum() == pytest.approx(1)
    framed = np.pad(full[5:-5, 5:-5], 5)
    mine = ssim_map(a, b)
    np.testing.assert_allclose(mine[5:-5, 5:-5], framed[5:-5, 5:-5], atol=1e-7)
    np.testing.assert_allclose(losses.ssim(jnp.float32(a), jnp.float32(b)), mine.mean(), atol=2e-5)


def test_ssim_of_an_image_with_itself_is_1_and_its_gradient_0():
    a = jnp.float32(images()[0])
    value, gradient = jax.value_and_grad(losses.ssim)(a, a)
    np.testing.assert_allclose(value, 1, atol=1e-5)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_image_losses_are_the_reference_s(source, precision):
    stored = read(source, "losses")
    a, b = cast((stored["image_a"], stored["image_b"]), precision)
    found = {
        "ssim_loss": 1 - losses.ssim(a, b),
        "combi_loss": losses.combined(a, b),
        "mse": losses.mse(a[..., None], b[..., None], jnp.ones(a.shape, precision)),
    }
    for key, got in found.items():
        assert agree(got, stored[key], precision), key


def test_binary_cross_entropy_is_over_every_class_of_known_points():
    known = (LABELS >= 0) & (WEIGHTS > 0)
    p, t = softmax(LOGITS, -1)[known], np.eye(4)[LABELS[known]]
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    got = losses.binary_cross_entropy(jnp.float32(LOGITS), jnp.asarray(LABELS), jnp.float32(WEIGHTS))
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_binary_cross_entropy_of_a_certain_answer_is_clamped_with_finite_gradients():
    """Certain and wrong: both logs are -100, of 2 in 3 classes. Certain and right: 0."""
    logits = jnp.float32([[1e4, 0.0, 0.0]])
    both = jax.value_and_grad(losses.binary_cross_entropy)
    wrong, gradient = both(logits, jnp.array([1]), jnp.ones(1))
    np.testing.assert_allclose(wrong, 200 / 3, rtol=1e-6)
    assert np.isfinite(gradient).all()
    right, gradient = both(logits, jnp.array([0]), jnp.ones(1))
    assert float(right) == 0
    assert np.isfinite(gradient).all()


def test_binary_cross_entropy_is_the_reference_s(source, precision):
    stored = read(source, "losses")
    logits, labels = jnp.log(cast(stored["probabilities"], precision)), jnp.asarray(stored["onehot"].argmax(-1))
    got = losses.binary_cross_entropy(logits, labels, jnp.ones(len(labels), precision))
    assert agree(got, stored["bce"], precision)


SPREAD = RANDOM.normal(size=(50, 2))
MEAN, TARGET = RANDOM.uniform(0.05, 0.95, (2, 50, 2))
TARGET[:5] = 0.0  # where an instrument cuts its range off


def log_of(centre):
    """What the head `spread` says, bounded."""
    return centre + 4 * np.tanh(SPREAD / 4)


@pytest.mark.parametrize(
    ("name", "density", "known"),
    [
        ("heteroscedastic", lambda: norm.logpdf(TARGET, MEAN, np.exp(log_of(-4.0) / 2)), np.ones_like(TARGET)),
        ("gamma", lambda: gamma.logpdf(TARGET, np.exp(log_of(3.0)), scale=MEAN / np.exp(log_of(3.0))), TARGET > 0),
    ],
)
def test_a_likelihood_is_the_mean_log_density_of_what_is_known(name, density, known):
    counts = (known * WEIGHTS[:, None]) > 0
    values = {"intensity": jnp.float32(MEAN), "spread": jnp.float32(SPREAD)}
    got = losses.INTENSITY[name](values, jnp.float32(TARGET), jnp.float32(WEIGHTS))
    np.testing.assert_allclose(got, -density()[counts].mean(), rtol=1e-4)


@pytest.mark.parametrize("name", losses.LIKELIHOODS)
@pytest.mark.parametrize("told", [-1e4, 1e4])
def test_a_likelihood_that_is_told_an_extreme_spread_stays_finite_with_its_gradient(name, told):
    values = {"intensity": jnp.full((50, 2), 1e-9), "spread": jnp.full((50, 2), told)}
    value, gradient = jax.value_and_grad(losses.INTENSITY[name])(values, jnp.float32(TARGET), jnp.ones(50))
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_a_gamma_likelihood_is_steepest_nowhere_at_scipy_s_estimate_of_mean_and_looks():
    speckle = np.random.default_rng(0).gamma(12.0, 0.3 / 12.0, (400, 1))
    looks, _, scale = gamma.fit(speckle, floc=0)

    def of(told):
        values = {"intensity": jnp.full((400, 1), told[0]), "spread": jnp.full((400, 1), told[1])}
        return losses.gamma(values, jnp.float32(speckle), jnp.ones(400))

    best = jnp.float32([looks * scale, 4 * np.arctanh((np.log(looks) - 3) / 4)])
    np.testing.assert_allclose(jax.grad(of)(best), 0, atol=1e-3)
    assert np.abs(jax.grad(of)(1.1 * best)).min() > 1e-2


def test_terms_by_their_own_size_have_gradients_of_the_same_pull_whatever_their_scale():
    """d log L = dL / L, for a term and for ten thousand times the term; and nothing known pulls nowhere."""
    pull = jax.grad(lambda x, scale: losses.by_own_size(scale * x**2))
    np.testing.assert_allclose([pull(3.0, 1.0), pull(3.0, 1e4)], 2 / 3, rtol=1e-5)
    logits, unknown = jnp.float32(LOGITS), jnp.full(50, -1)
    gradient = jax.grad(lambda x: losses.by_own_size(losses.cross_entropy(x, unknown, jnp.ones(50))))(logits)
    assert not np.asarray(gradient).any()
