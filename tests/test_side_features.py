"""The SLO's neighbourhood: a small CNN's features, read wherever the field is asked, masked and moved like all else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from scipy.ndimage import correlate, map_coordinates

from inr_jax import gauge, model
from inr_jax.errors import InputError
from inr_jax.networks.side_features import side_features
from inr_jax.types import Side

EYE = model.Signal(dimensions=3, channels=1, classes=4, slo=True)
RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.uniform(0, 1, (18, 21)).astype(np.float32)
SIDE = Side(jnp.asarray(IMAGE), jnp.float32([[8, 1, 8.5], [-0.5, 9, 10]]))
PLACES = jnp.asarray(RANDOM.uniform(-1, 1, (40, 3)), jnp.float32)
HYPER = toy.hyper(omega_first=3.0, omega_last=3.0)


def built(features="cnn", **changes):
    config = toy.get_config()
    config.model.slo.update({"features": features, "channels": 3, "dilations": (1, 2), "patch": 1})
    config.update_from_flattened_dict(changes)
    return model.build(config, EYE)


def random_like(tree, seed=0):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.float32(0.3 * random.normal(size=leaf.shape)), tree)


@pytest.fixture(scope="module")
def made():
    """(model, field of random weights, modulation of random codes and changes) with features."""
    one = built()
    params = jax.eval_shape(one.init, jax.random.key(0), HYPER)
    modulation = random_like(jax.eval_shape(one.modulation, params.start), seed=2)
    return one, random_like(params.field, seed=1), modulation


@pytest.fixture(scope="module")
def answer(made):
    """The intensities at PLACES, compiled: of the random field and modulation where no other is given."""
    one, own, codes = made
    ask = jax.jit(lambda field, modulation, side, hyper: one.learner.bind(field, modulation, side, hyper)(PLACES))

    def found(*, field=own, modulation=codes, image=IMAGE, hyper=HYPER):
        return np.asarray(ask(field, modulation, SIDE._replace(image=jnp.asarray(image)), hyper)["intensity"])

    return found


@pytest.mark.parametrize("patch", [1, 2])
def test_features_are_dilated_convolutions_of_patches_in_float64_with_the_edge_repeated(patch):
    init, apply = side_features(channels=2, dilations=(1, 3), patch=patch)
    params = random_like(jax.eval_shape(init, jax.random.key(0)))
    filled = np.pad(IMAGE.astype(np.float64), [(0, -n % patch) for n in IMAGE.shape], mode="edge")
    h = np.stack([filled[i::patch, j::patch] for i in range(patch) for j in range(patch)], -1)
    for i, dilation in enumerate((1, 3)):
        p = jax.tree.map(np.float64, params[f"convolution_{i}"])
        spread = np.zeros((2 * dilation + 1, 2 * dilation + 1, *p["kernel"].shape[2:]))
        spread[::dilation, ::dilation] = p["kernel"]
        parts = [[correlate(h[..., c], spread[..., c, f], mode="nearest") for c in range(h.shape[-1])] for f in (0, 1)]
        h = np.stack([sum(part) for part in parts], -1) + p["bias"]
        if i == 0:  # gelu
            h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    np.testing.assert_allclose(apply(params, jnp.asarray(IMAGE)), h, atol=1e-5)


def test_features_enter_behind_the_value_bilinear_where_the_field_is_asked_and_masked():
    seen = []
    maps = RANDOM.normal(size=(9, 11, 2)).astype(np.float32)

    def apply(field, modulation, inputs, hyper):
        seen.append(inputs)
        return {"intensity": inputs}

    bind = model.make_bind(apply, features=lambda own, image: jnp.asarray(maps) * own, patch=2)
    bind({"side": jnp.float32(2.0)}, {}, SIDE, HYPER._replace(side=jnp.float32(0.5)))(PLACES)
    row, column = (np.asarray(SIDE.to_pixel) @ [PLACES[:, 0], PLACES[:, 2], np.ones(40)] - 0.5) / 2  # of 2 x 2 pixels
    for c in range(2):
        expected = map_coordinates(maps[..., c], [row, column], order=1, mode="nearest")
        np.testing.assert_allclose(seen[0][:, 4 + c], expected, atol=1e-5)  # 0.5 x 2
    assert seen[0].shape == (40, 6)


def test_a_new_field_with_features_is_the_one_without():
    one, other = (built(features) for features in ("cnn", "value"))
    fields = [m.init(jax.random.key(3), HYPER).field for m in (one, other)]
    both = [m.learner.bind(field, m.codes, SIDE, HYPER)(PLACES) for m, field in zip((one, other), fields, strict=True)]
    for head, values in both[1].items():
        np.testing.assert_allclose(both[0][head], values, atol=1e-6)


def test_what_lies_beside_a_place_moves_the_answer_there_and_the_mask_hides_it(answer):
    image = IMAGE.copy()
    image[9, 10] += 0.5
    places = np.asarray(SIDE.to_pixel) @ [PLACES[:, 0], PLACES[:, 2], np.ones(40)]
    distance = np.abs(places - [[9], [10]]).max(0)
    moved = np.abs(answer(image=image) - answer())[:, 0]
    beside = (distance > 1) & (distance < 3)  # its own value is the same, what is round it is not
    assert beside.any()
    assert (moved[beside] > 1e-4).any()
    assert (moved[distance > 4] == 0).all()  # 7 x 7 pixels are seen, one more between two
    masked = HYPER._replace(side=jnp.float32(0.0))
    np.testing.assert_array_equal(answer(image=image, hyper=masked), answer(hyper=masked))


def test_a_change_of_the_weights_moves_the_features_too(made, answer):
    _, field, modulation = made
    assert jax.tree.structure(modulation["weights"]) == jax.tree.structure(field)
    moved = field | {"side": jax.tree.map(jnp.add, field["side"], modulation["weights"]["side"])}
    still = modulation | {"weights": modulation["weights"] | {"side": jax.tree.map(jnp.zeros_like, field["side"])}}
    np.testing.assert_allclose(answer(), answer(field=moved, modulation=still), atol=1e-6)
    assert np.abs(answer() - answer(modulation=still)).max() > 1e-2


def test_every_weight_of_the_features_is_learned_with_the_field(made):
    one, field, modulation = made

    def total(field):
        return (one.learner.bind(field, modulation, SIDE, HYPER)(PLACES)["intensity"] ** 2).sum()

    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(field)["side"]))


def test_another_gauge_of_the_codes_leaves_the_features_alone(made, answer):
    one, field, modulation = made
    codes = {"grid": modulation["grid"]}
    maps = jax.tree.map(lambda zero: jnp.diag(jnp.linspace(0.5, 2.0, len(zero))), gauge.channels(codes))
    moved = one.change_gauge(field, maps)
    before = answer(modulation=codes)
    np.testing.assert_allclose(
        answer(field=moved, modulation=gauge.change(codes, maps)), before, atol=1e-5
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "slo", "said"),
    [
        ({}, False, "model.slo.features: expected value for scans without an SLO; found 'cnn'"),
        (
            {"model.network": "modulated_siren", "model.modulation.parts": ("vector",)},
            True,
            "model.slo.features: expected value for modulated_siren; found 'cnn'",
        ),
        ({"model.slo.features": "value2"}, True, "model.slo.features: expected one of cnn, value; found 'value2'"),
        ({"model.slo.dilations": ()}, True, "model.slo.dilations: expected one or more"),
        ({"model.slo.patch": 0}, True, "model.slo.patch: expected 1 or more; found 0"),
        ({"model.slo.channels": 0}, True, "model.slo.channels: expected 1 or more; found 0"),
    ],
)
def test_features_that_cannot_be_are_refused_naming_the_key(changes, slo, said):
    config = toy.get_config()
    config.model.slo.features = "cnn"
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError, match=said):
        model.build(config, EYE._replace(slo=slo))
