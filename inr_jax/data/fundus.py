"""2D populations: a folder of fundus photographs, with vessel masks where there are any.

Photographs carry no millimetres: an image's width counts as 2 units and its pixels as square, so that spacing
keeps the aspect ratio of the original whatever the size they are resized to.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from ml_collections import ConfigDict
from skimage import io, transform, util

from inr_jax.data._files import data_path, laterality, match_subject
from inr_jax.data._splits import people_of_split
from inr_jax.errors import InputError
from inr_jax.preprocessing import image_frame
from inr_jax.types import Population

Size = tuple[int, int]


def load(config: ConfigDict, split: str) -> Population:
    """Photographs [N, H, W, channels] in [0, 1] of one split; labels 0 background, 1 vessel."""
    fundus = config.fundus
    folder = data_path(config.path, "chase_db1")
    files = sorted(folder.glob(fundus.image_glob))
    if not files:
        raise InputError(f"{folder}: expected images {fundus.image_glob} (data.fundus.image_glob), found none")
    subjects = [match_subject(fundus.subject_pattern, file.stem, str(file)) for file in files]
    people = [subject["person"] for subject in subjects]
    chosen = people_of_split(people, fundus.people, split, "data.fundus.people")
    keep = [i for i, person in enumerate(people) if person in chosen]
    mirror = [fundus.mirror_left and laterality(subjects[i]) == "L" for i in keep]
    size = tuple(fundus.size)
    images, spacing = zip(*(_photograph(files[i], size) for i in keep), strict=True)
    for i, image in zip(keep, images, strict=True):
        if image.shape != images[0].shape:
            raise InputError(f"{files[i]}: channels: expected {images[0].shape[2]}, found {image.shape[2]}")
    labels = None
    if fundus.label_suffix:
        labels = np.stack([_mask(files[i].with_name(files[i].stem + fundus.label_suffix), size) for i in keep])
        labels = _mirrored(labels, mirror)
    return Population(
        names=tuple(files[i].stem for i in keep),
        people=tuple(people[i] for i in keep),
        intensity=_mirrored(np.stack(images), mirror),
        valid=np.ones((len(keep), *size), bool),
        labels=labels,
        spacing=np.array(spacing, np.float32),
        offset=np.zeros((len(keep), 2), np.float32),
        measured=measured_pixels(fundus, size),
        truth=None,
        truth_labels=None,
        slo=None,
        slo_affine=None,
        frames=tuple(map(image_frame, mirror)),
        classes=("background", "vessel") if fundus.label_suffix else (),
        note="",
    )


def measured_pixels(fundus: ConfigDict, size: Size) -> Bool[np.ndarray, "H W"]:
    """The pixels that a new photograph offers: a regular subgrid, or a seeded random choice."""
    measured = np.zeros(size, bool)
    if fundus.measured == "subgrid":
        first = (fundus.subgrid - 1) // 2  # as far from one edge as from the other
        measured[first :: fundus.subgrid, first :: fundus.subgrid] = True
    elif fundus.measured == "random":
        count = round(fundus.random_share * measured.size)
        measured.flat[np.random.default_rng(fundus.seed).choice(measured.size, count, replace=False)] = True
    else:
        raise InputError(f"data.fundus.measured: expected subgrid or random, found {fundus.measured}")
    if not measured.any():
        raise InputError("data.fundus: expected at least one measured pixel, found none")
    return measured


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return io.imread(path)
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: not readable as an image, or cut short: {str(error).splitlines()[0]}") from error


def _photograph(path: Path, size: Size) -> tuple[Float[np.ndarray, "H W C"], tuple[float, float]]:
    """The image in [0, 1], averaged over each new pixel, and its spacing in units of half a width."""
    image = util.img_as_float32(_read(path))
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise InputError(f"{path}: expected an image of 1 or 3 channels, found shape {image.shape}")
    if not np.isfinite(image).all() or image.min() == image.max():
        raise InputError(f"{path}: expected an image of finite numbers, found NaN or one value everywhere")
    rows, columns = image.shape[:2]
    if rows < size[0] or columns < size[1]:
        raise InputError(f"{path}: size: expected at least {size} (data.fundus.size), found {(rows, columns)}")
    pixel = 2.0 / columns
    small = transform.resize_local_mean(image, size, channel_axis=2)
    return np.clip(small, 0.0, 1.0).astype(np.float32), (pixel * rows / size[0], pixel * columns / size[1])


def _mask(path: Path, size: Size) -> Int[np.ndarray, "H W"]:
    """1 where at least half of the pixel is marked."""
    mask = _read(path)
    if mask.ndim != 2 or len(np.unique(mask)) > 2:
        raise InputError(
            f"{path}: expected a mask of two values, found shape {mask.shape}, {len(np.unique(mask))} values"
        )
    return (transform.resize_local_mean((mask > 0).astype(np.float32), size) >= 0.5).astype(np.int32)


def _mirrored(arrays: np.ndarray, mirror: list[bool]) -> np.ndarray:
    """[N, H, W, ...] with the columns of the left eyes in reverse order."""
    flags = np.array(mirror).reshape(-1, *[1] * (arrays.ndim - 1))
    return np.where(flags, arrays[:, :, ::-1], arrays)
