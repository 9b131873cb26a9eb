"""Square patches of real images: photographs of a folder, or the slices of a volume."""

import re
from pathlib import Path

import numpy as np
from skimage import color, io, util

from inr_jax.data._splits import SPLITS, by_shares, split_number
from inr_jax.data.volumes import slabs
from inr_jax.errors import InputError
from inr_jax.preprocessing import image_frame, to_unit_range
from inr_jax.scan_io import IMAGE_SUFFIXES, read_image
from inr_jax.types import Population

SHARES = (0.6, 0.2, 0.2)  # of people, or of a volume's slices
GAP = 4  # slices between two splits of one volume
PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".tif")
EYE = r"(?P<person>.+?)[-_]?(?:OD|OS|L|R)?"  # both eyes of a person are in one split
FLAT = 0.02  # standard deviation below which a patch shows nothing
TRIES = 200  # per patch
WINDOW = (-1000.0, 1000.0)  # of a volume, in its units


def load(place: Path, split: str, *, counts: tuple[int, int, int], size: int, seed: int, glob: str) -> Population:
    """counts[split] patches [N, size, size, 1] in [0, 1], all pixels measured, drawn evenly over the split's images.

    place: a folder of photographs, whose file names tell the people, or one volume, split by slabs of its slices.
    Raises InputError where there are too few images, or none that is large enough and shows something.
    """
    images = _slices(place, split) if place.name.lower().endswith(IMAGE_SUFFIXES) else _photographs(place, split, glob)
    random = np.random.default_rng((seed, split_number(split)))
    names = list(images)
    chosen = [names[i % len(names)] for i in range(counts[split_number(split)])]
    patches = np.stack([_patch(name, images[name][1], size, random) for name in chosen])[..., None]
    count = len(patches)
    return Population(
        names=tuple(f"{name}-{i:04d}" for i, name in enumerate(chosen)),
        people=tuple(images[name][0] for name in chosen),
        intensity=patches,
        valid=np.ones(patches.shape[:-1], bool),
        labels=None,
        spacing=np.full((count, 2), 2 / size, np.float32),
        offset=np.zeros((count, 2), np.float32),
        measured=np.ones((size, size), bool),
        truth=None,
        truth_labels=None,
        slo=None,
        slo_affine=None,
        frames=tuple(map(image_frame, [False] * count)),
        classes=(),
        note="within one subject" if place.is_file() else "",
    )


def _photographs(folder: Path, split: str, glob: str) -> dict[str, tuple[str, np.ndarray]]:
    """Grey images of a split's people by name, with their person."""
    files = [path for path in sorted(folder.glob(glob)) if path.suffix.lower() in PHOTOGRAPHS]
    people = {path: _person(path.stem) for path in files}
    if len(set(people.values())) < len(SPLITS):
        raise InputError(f"{folder}: expected images of three people or more by {glob}; found {len(files)} images")
    own = by_shares(sorted(set(people.values())), SHARES, "--data")[split_number(split)]
    return {path.stem: (person, _grey(path)) for path, person in people.items() if person in own}


def _person(name: str) -> str:
    found = re.fullmatch(EYE, name)
    return found["person"] if found else name


def _grey(path: Path) -> np.ndarray:
    try:
        image = util.img_as_float32(io.imread(path))
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: not readable as an image: {str(error).splitlines()[0]}") from error
    return np.asarray(color.rgb2gray(image[..., :3]) if image.ndim == 3 else image, np.float32)


def _slices(path: Path, split: str) -> dict[str, tuple[str, np.ndarray]]:
    """The slices of a split's slab of one volume; each counts as a person of its own."""
    scan = read_image(path)
    voxels = to_unit_range(scan.voxels, *WINDOW)
    first, end = slabs(len(voxels), SHARES, GAP)[split_number(split)]
    return {f"slice-{d:03d}": (f"slice-{d:03d}", voxels[d]) for d in range(first, end)}


def _patch(name: str, image: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    rows, columns = (extent - size for extent in image.shape)
    if min(rows, columns) < 0:
        raise InputError(f"{name}: expected at least {size} x {size} pixels; found {image.shape}")
    for _ in range(TRIES):
        r, c = random.integers(rows + 1), random.integers(columns + 1)
        patch = image[r : r + size, c : c + size]
        if patch.std() > FLAT:
            return patch
    raise InputError(f"{name}: expected a patch that shows something; found none in {TRIES} places")
