"""How far intensities are from the truth: MSE, MAE, PSNR, SSIM, MS-SSIM and GMSD.

Intensities are in [0, 1]. Samples that were not measured (`valid` False: missing A-scans, padding) do not
count.
"""

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.ndimage import convolve, gaussian_filter
from skimage.metrics import structural_similarity

from inr_jax.errors import InputError

WINDOW = 11  # pixels: the Gaussian window of SSIM, sigma 1.5 cut off at 3.5 sigma
UNIFORM = 7  # pixels: the box window, scikit-image's default
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # exponents of MS-SSIM, finest first
C1, C2 = 0.01**2, 0.03**2  # of SSIM, for a data range of 1
PREWITT = np.array([[1, 0, -1]] * 3) / 3
GMS_CONSTANT = 170 / 255**2  # of GMSD: 170 for intensities of 0 to 255


def mse(
    prediction: Float[np.ndarray, "*grid C"],
    truth: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"] | None = None,
) -> float:
    """Mean squared error, mean (prediction - truth)^2 over the valid samples; nan where there is none."""
    return mean(_difference(prediction, truth, valid) ** 2)


def mae(
    prediction: Float[np.ndarray, "*grid C"],
    truth: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"] | None = None,
) -> float:
    """Mean absolute error, mean |prediction - truth| over the valid samples; nan where there is none."""
    return mean(np.abs(_difference(prediction, truth, valid)))


def psnr(
    prediction: Float[np.ndarray, "*grid C"],
    truth: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"] | None = None,
    *,
    data_range: float = 1.0,
) -> float:
    """Peak signal-to-noise ratio in dB, 10 log10(data_range^2 / MSE) over the valid samples.

    Infinite for an exact match; nan where no sample is valid or the data range is 0.
    """
    error = mse(prediction, truth, valid)
    if data_range <= 0:
        return float("nan")
    return float("inf") if error == 0 else float(10 * np.log10(data_range**2 / error))


def ssim(
    prediction: Float[np.ndarray, "*grid C"],
    truth: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"] | None = None,
    *,
    data_range: float = 1.0,
    gaussian: bool = True,
) -> float:
    """Structural similarity of one slice [H, W, C], the mean over pixels and channels of

        (2 m_p m_t + C1) (2 s_pt + C2) / ((m_p^2 + m_t^2 + C1) (s_p^2 + s_t^2 + C2)),

    C1 = (0.01 R)^2, C2 = (0.03 R)^2, R the data range, with an 11 x 11 Gaussian window of sigma 1.5, or (not
    `gaussian`) scikit-image's default, a 7 x 7 box and sample covariances; pixels whose window leaves the
    image are left out, and so are invalid ones, which are set to the truth first. nan where the data range is 0.
    Raises InputError for anything but a slice of at least a window's size: loose points have no neighbourhood.
    Wang et al., IEEE TIP 13 (2004) 600.
    """
    window = WINDOW if gaussian else UNIFORM
    if truth.ndim != 3 or min(truth.shape[:2]) < window:
        raise InputError(
            f"SSIM: expected a slice [H, W, C] of at least {window} x {window} pixels, not loose points,"
            f" found shape {truth.shape}"
        )
    if data_range <= 0:
        return float("nan")
    seen = np.ones(truth.shape[:2], bool) if valid is None else valid
    weights = (
        dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False) if gaussian else dict(win_size=UNIFORM)
    )
    _, similarity = structural_similarity(
        np.where(seen[..., None], prediction, truth),
        truth,
        data_range=data_range,
        channel_axis=-1,
        full=True,
        **weights,
    )
    inner = (slice(window // 2, -(window // 2)),) * 2
    return mean(similarity[inner][seen[inner]])


def volume_ssim(
    prediction: Float[np.ndarray, "D H W"], truth: Float[np.ndarray, "D H W"], *, data_range: float = 1.0
) -> float:
    """Structural similarity of a volume in a 7 x 7 x 7 box, scikit-image's default; nan where the data range is 0.

    Raises InputError for a volume smaller than the box.
    """
    if min(truth.shape) < UNIFORM:
        raise InputError(f"SSIM: expected a volume of at least {UNIFORM} voxels a side, found shape {truth.shape}")
    if data_range <= 0:
        return float("nan")
    return float(structural_similarity(prediction, truth, data_range=data_range, win_size=UNIFORM))


def ms_ssim_scales(shape: tuple[int, ...]) -> int:
    """How many of MS-SSIM's five scales a slice of this size [H, W] has room for."""
    return sum(min(shape) // 2**scale >= WINDOW for scale in range(len(SCALES)))


def ms_ssim(
    prediction: Float[np.ndarray, "*grid C"],
    truth: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"] | None = None,
) -> float:
    """Multi-scale structural similarity of one slice [H, W, C], the mean over channels of

        l_M^w_M  prod_j cs_j^w_j,    l = (2 m_p m_t + C1) / (m_p^2 + m_t^2 + C1),
                                    cs = (2 s_pt + C2) / (s_p^2 + s_t^2 + C2),

    each averaged over pixels (l and cs together at the coarsest scale M), windows as in `ssim`, a scale half the one
    before by 2 x 2 means. A slice too small for five scales (176 pixels) has as many as fit, the exponents w divided
    by their sum; negative factors count as 0. Invalid pixels are set to the truth and left out. Raises InputError for
    anything but a slice of at least 11 x 11 pixels. Wang, Simoncelli and Bovik, Asilomar (2003) 1398.
    """
    count = ms_ssim_scales(truth.shape[:2]) if truth.ndim == 3 else 0
    if not count:
        raise InputError(f"MS-SSIM: expected a slice [H, W, C] of at least 11 x 11 pixels, found shape {truth.shape}")
    seen = np.ones(truth.shape[:2], bool) if valid is None else valid
    weights = np.array(SCALES[:count]) / sum(SCALES[:count])
    p, t = np.where(seen[..., None], prediction, truth).astype(np.float64), truth.astype(np.float64)
    out = np.ones(truth.shape[-1])
    for scale, weight in enumerate(weights):
        luminance, structure = _similarity(p, t)
        factor = structure if scale < count - 1 else luminance * structure
        inner = (slice(WINDOW // 2, -(WINDOW // 2)),) * 2
        if not seen[inner].any():
            return float("nan")
        out *= np.maximum(factor[inner][seen[inner]].mean(axis=0), 0) ** weight
        p, t, seen = _halved(p), _halved(t), _halved(seen[..., None].astype(float))[..., 0] == 1
    return float(out.mean())


def _similarity(
    p: Float[np.ndarray, "H W C"], t: Float[np.ndarray, "H W C"]
) -> tuple[Float[np.ndarray, "H W C"], Float[np.ndarray, "H W C"]]:
    """l and cs of SSIM at every pixel; within half a window of the edge they are not defined."""

    def local(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, (1.5, 1.5, 0), truncate=3.5)

    m_p, m_t = local(p), local(t)
    s_p, s_t, s_pt = local(p * p) - m_p**2, local(t * t) - m_t**2, local(p * t) - m_p * m_t
    return (2 * m_p * m_t + C1) / (m_p**2 + m_t**2 + C1), (2 * s_pt + C2) / (s_p + s_t + C2)


def gmsd(
    prediction: Float[np.ndarray, "*grid C"],
    truth: Float[np.ndarray, "*grid C"],
    valid: Bool[np.ndarray, "*grid"] | None = None,
) -> float:
    """Gradient magnitude similarity deviation of one slice [H, W, C]: 0 is best; it follows what people see.

        GMS = (2 g_p g_t + c) / (g_p^2 + g_t^2 + c),    GMSD = standard deviation of GMS over pixels,

    g the gradient's magnitude by Prewitt filters (divided by 3) after 2 x 2 means, c = 170 / 255^2; the mean over
    channels. Invalid pixels are set to the truth first and left out. nan where no pixel is valid. Raises InputError
    for anything but a slice of at least 6 x 6 pixels. Xue et al., IEEE TIP 23 (2014) 684.
    """
    if truth.ndim != 3 or min(truth.shape[:2]) < 6:
        raise InputError(f"GMSD: expected a slice [H, W, C] of at least 6 x 6 pixels, found shape {truth.shape}")
    seen = np.ones(truth.shape[:2], bool) if valid is None else valid
    p, t = (_gradient(_halved(x.astype(np.float64))) for x in (np.where(seen[..., None], prediction, truth), truth))
    similarity = (2 * p * t + GMS_CONSTANT) / (p**2 + t**2 + GMS_CONSTANT)
    counted = _halved(seen[..., None].astype(float))[..., 0] == 1
    return float(similarity[counted].std(axis=0).mean()) if counted.any() else float("nan")


def _gradient(image: Float[np.ndarray, "H W C"]) -> Float[np.ndarray, "H W C"]:
    """Magnitude of the gradient in each channel."""
    across, down = (convolve(image, kernel[..., None], mode="nearest") for kernel in (PREWITT, PREWITT.T))
    return np.hypot(across, down)


def _halved(image: Float[np.ndarray, "H W C"]) -> Float[np.ndarray, "h w C"]:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    h, w = image.shape[0] // 2, image.shape[1] // 2
    return image[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1).mean(axis=(1, 3))


def mean(values: np.ndarray) -> float:
    """The mean of what is defined; nan where nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _difference(
    prediction: Shaped[np.ndarray, "*grid C"], truth: Shaped[np.ndarray, "*grid C"], valid: np.ndarray | None
) -> np.ndarray:
    difference = prediction.astype(np.float64) - truth
    return difference if valid is None else difference[valid]
