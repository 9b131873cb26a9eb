"""What a reconstruction and a segmentation of one scan are worth, in NumPy: intensities, labels, borders, thickness."""

from inr_jax.metrics.intensity import gmsd, mae, ms_ssim, ms_ssim_scales, mse, psnr, ssim, volume_ssim
from inr_jax.metrics.layers import (
    BorderDistances,
    border_distances,
    dice,
    score_layers,
    thickness,
    upper_border,
)
from inr_jax.metrics.scoring import CONVENTIONS, kinds, over_layers, reference, score, score_scan_layers, undefined

__all__ = [
    "CONVENTIONS",
    "BorderDistances",
    "border_distances",
    "dice",
    "gmsd",
    "kinds",
    "mae",
    "ms_ssim",
    "ms_ssim_scales",
    "mse",
    "over_layers",
    "psnr",
    "reference",
    "score",
    "score_layers",
    "score_scan_layers",
    "ssim",
    "thickness",
    "undefined",
    "upper_border",
    "volume_ssim",
]
