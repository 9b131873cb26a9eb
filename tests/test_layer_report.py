"""Figures and table of layers hold the numbers of the rows by label."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from PIL import Image
from synthetic import layered_population

from inr_jax import evaluate, layer_figures, layer_report
from inr_jax.baselines import Prediction

METHODS = ["ours", "atlas"]


@pytest.fixture(scope="module")
def rows():
    """Label rows of four people: ours is one row too deep, the atlas is the first eye's labels."""
    eyes = layered_population(people=4, eyes=2)
    predictions = {
        "ours": Prediction(None, np.roll(eyes.labels, 1, axis=2), ""),
        "atlas": Prediction(None, np.stack([eyes.labels[0]] * 8), ""),
        "linear": Prediction(eyes.intensity, None, ""),
    }
    return evaluate.score_all(eyes, predictions, split="test", layered=True)[1]


def test_every_person_is_a_dot_in_both_panels_for_each_layer_and_method():
    values = {"a": [0.8, 0.9, 1.0], "b": [0.5, np.nan]}
    panels = {"Dice": {"ours": values, "atlas": {"a": [0.7, 0.6, 0.5]}}, "ASSD": {"ours": values}}
    dice, assd = layer_figures.layer_boxes(panels, title="layers").axes
    dots = {
        axis: [len(c.get_offsets()) for c in axis.collections if isinstance(c, PathCollection)] for axis in (dice, assd)
    }
    assert dots == {dice: [3, 1, 3], assd: [3, 1]}  # what is undefined is left out
    assert [label.get_text() for label in dice.get_yticklabels()] == ["a", "b"]
    assert (dice.get_xlabel(), assd.get_xlabel()) == ("Dice", "ASSD")


def test_limits_of_agreement_are_1_96_standard_deviations_about_the_bias():
    differences = np.random.default_rng(0).normal(3.0, 2.0, 20_000)
    bias, low, high = layer_figures.limits_of_agreement(differences)
    assert bias == pytest.approx(3.0, abs=0.05)
    assert np.mean((differences > low) & (differences < high)) == pytest.approx(0.95, abs=0.005)
    assert np.isnan(layer_figures.limits_of_agreement(np.array([1.0]))[1:]).all()


def test_a_bland_altman_plot_draws_predicted_minus_true_against_their_mean():
    pairs = np.array([[52.0, 50.0], [58.0, 60.0], [75.0, 70.0]])
    (axis,) = layer_figures.bland_altman({"a": pairs}, title="t", quantity="thickness", unit="µm").axes
    (dots,) = (c for c in axis.collections if isinstance(c, PathCollection))
    np.testing.assert_allclose(dots.get_offsets(), [[51, 2], [59, -2], [72.5, 5]])
    heights = sorted(line.get_ydata()[0] for line in axis.lines)
    bias, low, high = layer_figures.limits_of_agreement(np.array([2.0, -2.0, 5.0]))
    np.testing.assert_allclose(heights, sorted([0, bias, low, high]))
    low, high = axis.get_ylim()
    assert low < heights[0] < heights[-1] < high


def test_one_scan_has_a_bias_and_no_limits():
    (axis,) = layer_figures.bland_altman({"a": np.array([[52.0, 50.0]])}, title="t", quantity="x", unit="µm").axes
    assert axis.get_title() == "a: +2.0 µm"


def test_the_pictures_of_layers_have_content_and_words(rows):
    boxes, agreement = layer_report.layer_pictures(rows, METHODS, "interpolated")
    assert (boxes.title, agreement.title) == ("Scores by layer", "Agreement of thickness")
    for picture in (boxes, agreement):
        assert np.asarray(Image.open(BytesIO(picture.png)).convert("L")).std() > 10
        assert len(picture.alt.split()) >= 5


def test_without_labels_there_are_no_pictures():
    assert layer_report.layer_pictures([], METHODS, "interpolated") == []


def test_the_table_of_layers_holds_means_over_people_by_kind_and_layer(rows):
    table = layer_report.layer_table(rows, "ours", "phantom")
    assert [row[0] for row in table.rows] == [
        f"{layer}, {kind}" for kind in ("fitted", "interpolated") for layer in ("inner", "middle", "outer")
    ]
    assert {len(row) for row in table.rows} == {len(table.header)}
    column = table.header.index("ASSD (µm)")
    own = [r for r in rows if (r["method"], r["kind"], r["label"]) == ("ours", "fitted", "inner")]
    assert table.rows[0][column].startswith(f"{np.mean([r['assd_um'] for r in own]):.2f} [")
    assert "4 people (phantom)" in table.caption
