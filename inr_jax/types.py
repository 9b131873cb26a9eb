"""The words every module shares: aliases and small named tuples, no behaviour.

Arrays that belong to a scan are ordered [D, H, W] = (B-scan, depth, A-scan); coordinates are in [-1, 1] in the
same order. 2D images are [H, W]. `N` counts scans (eyes, images, volumes), `k` the spatial axes, `C` channels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Params = Any  # a pytree of arrays
Modulation = Any  # a dict of pytrees of arrays: all that is adapted to one subject
CHANGES = ("weights", "encoding", "head", "factors")  # its parts that change shared parameters; all others are codes
NUISANCE = "nuisance"  # of its codes, what moved the scan and not the eye: no field reads it
Coords = Float[Array, "*points k"]
Values = dict[str, Array]  # head name -> [*points, channels]
Field = Callable[[Coords], Values]
Key = jax.Array


class MetaParams(NamedTuple):
    """What a population teaches."""

    field: Params  # shared weights
    start: Params  # where a new subject's modulation starts
    rule: Params  # how it moves: step sizes, mixing, the ridge


class Hyper(NamedTuple):
    """Numeric settings that reach the jitted step as leaves, so that a sweep can batch over them."""

    omega_first: Float[Array, ""]  # frequency of the first hidden layer
    omega_last: Float[Array, ""]  # of the last; linear between
    spread: Float[Array, ""]  # inverse width of WIRE's Gaussian
    intensity: Float[Array, ""]  # weight of the intensity loss
    segmentation: Float[Array, ""]  # weight of the segmentation loss
    penalty: Float[Array, ""]  # weight of the modulation's mean square (its distance from the start in `fit`)
    side: Float[Array, ""]  # 1: side values as they are, 0: masked
    step_size: Float[Array, ""]  # start of the rule's step sizes for the modulation's codes
    step_size_weights: Float[Array, ""]  # and for the weights, where they move
    rate_field: Float[Array, ""]  # Adam's rates in the outer loop, per part
    rate_start: Float[Array, ""]
    rate_rule: Float[Array, ""]
    rate_table: Float[Array, ""]
    seed: Int[Array, ""] | int = 0  # of everything that is drawn
    side_swapped: Float[Array, ""] | float = 0.0  # 1: side values of the next person, as a control
    training_scans: Float[Array, ""] | float = 0.0  # the first so many are learned from; 0: all
    labelled_bscans: Float[Array, ""] | float = 0.0  # of each training scan, so many have labels; 0: all
    context_segmentation: Float[Array, ""] | float = 0.0  # weight of the segmentation loss on a context with labels
    context_labels: Float[Array, ""] | float = 0.0  # of each context, so many B-scans have labels; 0: all that have any
    skip_ratio: Float[Array, ""] | float = float("inf")  # of a gradient to those before; more moves nothing
    prior: Float[Array, ""] | float = 0.0  # weight of the codes' mean square distance from the start, in inner steps


class Side(NamedTuple):
    """An en-face image that is sampled wherever the field is asked (the SLO of an OCT scan).

    `to_pixel` maps [first en-face coordinate, last coordinate, 1] (both in [-1, 1]) to (row, column).
    """

    image: Float[Array, "Y X"]
    to_pixel: Float[Array, "2 3"]


class Batch(NamedTuple):
    """Measurements at points of one subject. `labels` is -1 and `valid` 0 where nothing is known."""

    coords: Float[Array, "*points k"]
    intensity: Float[Array, "*points C"]
    labels: Int[Array, "*points"]
    valid: Float[Array, "*points"]


class Context(NamedTuple):
    """What was measured of one subject, as B-scans: what a start may look at. P: those with anything measured."""

    intensity: Float[Array, "P H W C"]
    valid: Bool[Array, "P H W"]  # False: not measured, or not to be seen
    places: tuple[Float[Array, "_"], ...]  # coordinates along each axis: [P], [H], [W]
    side: Side | None  # its values in [-1, 1], masked as `hyper.side` says


class Frame(NamedTuple):
    """Where the voxels of a scan lay before it was prepared, and the way back to them."""

    origin: tuple[float, float, float]  # mm, LPS, of voxel [0, 0, 0], as ITK has it
    direction: tuple[float, ...]  # ITK's 3 x 3, row by row
    undo: Callable[..., np.ndarray]  # (array [P, H, W], B-scan indices [P], labels=bool) -> the same, as it was
    # B-scan indices [P] -> where `undo` has something to bring back, in the shape of its result; None: everywhere
    known: Callable[..., np.ndarray] | None = None


class Population(NamedTuple):
    """Scans of one shape, ready for a model: preprocessed, in the model's orientation, with geometry in mm.

    Produced by every `data.<name>.load(config, split)`; NumPy throughout.
    """

    names: tuple[str, ...]  # N, one per scan, e.g. "phantom-0040-R"
    people: tuple[str, ...]  # N, who was scanned: splits never share one
    intensity: Float[np.ndarray, "N *grid C"]  # as measured, in [0, 1]
    valid: Bool[np.ndarray, "N *grid"]  # False: missing A-scans, padding
    labels: Int[np.ndarray, "N *grid"] | None  # in the frame of the measurement; None: no labels
    spacing: Float[np.ndarray, "N k"]  # mm, in the order of the grid's axes
    offset: Float[np.ndarray, "N k"]  # mm, the grid's centre in the frame of the model's box
    measured: Bool[np.ndarray, "*grid"]  # what a new scan offers (its fitted B-scans); the rest is to be predicted
    truth: Float[np.ndarray, "N *grid C"] | None  # noise-free and motion-free, where known; else scored on `intensity`
    truth_labels: Int[np.ndarray, "N *grid"] | None
    slo: Float[np.ndarray, "N Y X"] | None  # in [0, 1]
    # (row, column) on the SLO = slo_affine @ [mm along the first axis, mm along the last axis, 1], in `offset`'s frame
    slo_affine: Float[np.ndarray, "N 2 3"] | None
    frames: tuple[Frame, ...]  # N; of images (2D) an undo alone matters
    classes: tuple[str, ...]  # names of the labels 0 .. len - 1; empty: no segmentation
    note: str  # what every table about it must say: "phantom", "within one subject", ""
    # mm along the box's first and last axis from its centre, where A-scans lie that are no raster; None: a raster
    en_face: Float[np.ndarray, "N D W 2"] | None = None
