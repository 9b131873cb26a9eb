"""A retina that can be made at any resolution, with its truth: anatomy in mm, measured as an OCT instrument would."""

from inr_jax.phantom.anatomy import CLASSES, LAYERS, SURFACES
from inr_jax.phantom.eye import FIELD, VARIANTS, Eye, make_eye
from inr_jax.phantom.fields import VERSION
from inr_jax.phantom.pathology import Lesion
from inr_jax.phantom.physics import Motion

__all__ = [
    "CLASSES",
    "FIELD",
    "LAYERS",
    "SURFACES",
    "VARIANTS",
    "VERSION",
    "Eye",
    "Lesion",
    "Motion",
    "make_eye",
]
