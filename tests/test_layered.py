"""A field in layers: surfaces never cross, labels are what lies between them, intensity knows its place among them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from scipy.special import expit, log_softmax

from inr_jax import gauge, model
from inr_jax.errors import InputError
from inr_jax.networks import layered

NAMES = ("outside", "inner", "middle", "outer", "fluid")
EYE = model.Signal(dimensions=3, channels=1, classes=5, slo=False, names=NAMES)
HYPER = toy.hyper(omega_first=5.0, omega_last=5.0)
RANDOM = np.random.default_rng(0)
SURFACES = np.repeat(np.float32([[[-0.5, -0.2, 0.3]], [[-0.1, 0.0, 0.05]]]), 4, 1)  # at four places of two A-scans
DEPTHS = np.float32([[-0.9, -0.4, 0.1, 0.7], [-0.05, 0.02, 0.4, -0.6]])


def small():
    config = toy.get_config()
    config.model.network = "layered"
    config.model.layered.update({"width": 12, "depth": 2})
    return config


@pytest.fixture(scope="module")
def made():
    """(model, field of random weights, modulation of random codes and changes), the answer compiled."""
    built = model.build(small(), EYE)
    params = jax.eval_shape(built.init, jax.random.key(0), HYPER)
    draw = np.random.default_rng(3)
    shapes = (params.field, jax.eval_shape(built.modulation, params.start))
    field, modulation = jax.tree.map(lambda leaf: jnp.float32(0.5 * draw.normal(size=leaf.shape)), shapes)
    field["log_softness"] = jnp.float32(np.log(0.05))
    modulation["weights"] = jax.tree.map(lambda leaf: 0.1 * leaf, modulation["weights"])
    ask = jax.jit(lambda field, modulation, at: built.learner.bind(field, modulation, None, HYPER)(at))
    return built, field, modulation, ask


def columns(count=20, rows=64):
    """Places of whole A-scans [count, rows, 3]."""
    en_face = RANDOM.uniform(-1, 1, (count, 1, 2)).repeat(rows, 1)
    depth = np.linspace(-1, 1, rows)[None, :, None].repeat(count, 0)
    return jnp.float32(np.concatenate([en_face[..., :1], depth, en_face[..., 1:]], -1))


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_surfaces_keep_their_order_whatever_is_asked_of_them(scale):
    found = np.asarray(layered.ordered(jnp.float32(scale * RANDOM.normal(size=(500, 7)))))
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
    if scale == 1:
        assert (np.diff(found) > 0).all()


def test_a_new_field_s_layers_share_the_depth_evenly():
    found = layered.ordered(jnp.zeros((1, 6)))[0]
    np.testing.assert_allclose(found, layered.TOP + np.linspace(0, 1, 6), atol=1e-3)


def test_labels_are_differences_of_sigmoids_in_float64():
    softness = 0.1
    found = layered.log_probabilities(jnp.asarray(DEPTHS), jnp.asarray(SURFACES), jnp.float32(softness))
    sigma = expit((DEPTHS[..., None].astype(np.float64) - SURFACES) / softness)
    between = sigma[..., :-1] - sigma[..., 1:]
    expected = np.concatenate([1 - sigma[..., :1] + sigma[..., -1:], between], -1)
    np.testing.assert_allclose(np.exp(np.asarray(found, np.float64)), expected, atol=1e-6)


def test_far_from_every_surface_log_probabilities_and_their_gradients_stay_finite():
    surfaces = jnp.tile(jnp.float32([-0.5, -0.4999, 0.3]), (41, 1))

    def total(surfaces, softness):
        return layered.log_probabilities(jnp.linspace(-1, 1, 41), surfaces, softness).sum()

    value, found = jax.value_and_grad(total, argnums=(0, 1))(surfaces, jnp.float32(1e-3))
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in found)


def test_the_layer_coordinate_is_linear_between_surfaces_and_goes_on_as_the_depth():
    found = layered.layer_coordinate(jnp.asarray(DEPTHS), jnp.asarray(SURFACES))
    for i, surfaces in enumerate(SURFACES[:, 0]):
        inside = np.interp(DEPTHS[i], surfaces, [-1, 0, 1])
        beyond = np.minimum(DEPTHS[i] - surfaces[0], 0) + np.maximum(DEPTHS[i] - surfaces[-1], 0)
        np.testing.assert_allclose(found[i], inside + beyond, atol=1e-5)


@pytest.mark.parametrize("places", [(3, 4), (1, 3), ()])
def test_lesions_share_with_all_else_as_a_softmax_does_and_keep_the_place_of_their_class(places):
    layers = log_softmax(RANDOM.normal(size=(6, 5 - len(places))), -1)
    lesions = RANDOM.normal(size=(6, len(places)))
    found = np.asarray(layered.with_lesions(jnp.float32(layers), jnp.float32(lesions), places))
    expected = log_softmax(np.concatenate([layers, lesions], -1), -1)
    others = [i for i in range(5) if i not in places]
    np.testing.assert_allclose(found[:, [*others, *places]], expected, atol=1e-5)


def test_the_field_s_labels_are_probabilities_and_lie_between_its_surfaces(made):
    _, field, modulation, ask = made
    at = columns()
    values = ask(field, modulation, at)
    p = np.exp(np.asarray(values["segmentation"], np.float64))
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)
    surfaces = np.asarray(values["surfaces"])
    np.testing.assert_allclose(surfaces, surfaces[:, :1].repeat(64, 1), atol=1e-5)  # one of each per A-scan
    assert (np.diff(surfaces) > 0).all()
    among_layers = p[..., :4].argmax(-1)
    order = np.where(among_layers == 0, np.where(at[..., 1] < surfaces.mean(-1), 0, 4), among_layers)
    assert (np.diff(order, axis=1) >= 0).all()  # outside, then each layer below the one before, then outside


def test_intensities_alone_move_the_surfaces(made):
    """A new scan has no labels: what its codes learn of intensities has to reach where the layers lie."""
    _, field, modulation, ask = made
    at = columns(5, 16)

    @jax.jit
    def down(field, codes):
        """The gradient of an intensity loss by the surfaces' own field, and codes a step down that of the codes."""

        def total(field, codes):
            return (ask(field, modulation | codes, at)["intensity"] ** 2).sum()

        own, gradient = jax.grad(total, argnums=(0, 1))(field, codes)
        length = jnp.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
        return own["surfaces"], jax.tree.map(lambda c, g: c - 0.1 * g / length, codes, gradient)

    own, moved = down(field, {"grid": modulation["grid"]})
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(own))
    before, after = (np.asarray(ask(field, codes, at)["surfaces"]) for codes in (modulation, modulation | moved))
    assert np.abs(after - before).max() > 1e-3


def test_another_gauge_of_the_codes_is_the_same_field(made):
    built, field, modulation, ask = made
    with jax.enable_x64(True):

        def double(tree):
            return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)

        field, codes, at = double(field), double({"grid": modulation["grid"]}), double(columns(10, 8))
        maps = jax.tree.map(lambda zero: jnp.diag(jnp.linspace(0.5, 2.0, len(zero))), gauge.channels(codes))
        before = ask(field, codes, at)
        after = ask(built.change_gauge(field, maps), gauge.change(codes, maps), at)
        for head, values in before.items():
            np.testing.assert_allclose(after[head], values, rtol=1e-6, atol=1e-6)


def test_a_change_of_the_weights_equals_a_field_that_has_them(made):
    _, field, modulation, ask = made
    own = jax.tree.map(jnp.add, field, modulation["weights"])
    at = columns(10, 8)
    for head, values in ask(own, {"grid": modulation["grid"]}, at).items():
        np.testing.assert_allclose(ask(field, modulation, at)[head], values, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "signal", "said"),
    [
        ({}, {"dimensions": 2}, "model.modulation.axes"),
        ({"model.segmentation": False}, {}, "model.network: expected field where there are no layers"),
        ({"model.layered.lesions": NAMES[1:]}, {}, "model.layered.lesions: expected a layer beside them"),
        ({"model.network": "layers"}, {}, "model.network: expected one of field, layered, modulated_siren"),
    ],
)
def test_layers_that_cannot_be_are_refused_naming_the_key(changes, signal, said):
    config = small()
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=said):
        model.build(config, EYE._replace(**signal))
