"""Small populations of layered volumes and of images, made in milliseconds."""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from inr_jax.preprocessing import image_frame
from inr_jax.types import Population

CLASSES = ("background", "inner", "middle", "outer")
BRIGHTNESS = np.array([0.05, 0.7, 0.3, 0.9])


def layered_population(
    people: int = 2,
    eyes: int = 2,
    shape: tuple[int, int, int] = (9, 40, 32),
    noise: float = 0.15,
    seed: int = 0,
) -> Population:
    """Three smooth layers over background, as noisy volumes of which every second B-scan is measured."""
    random = np.random.default_rng(seed)
    D, H, W = shape
    rows = np.arange(H)[None, :, None]
    labels, truth = [], []
    for _ in range(people * eyes):
        bumps = gaussian_filter(random.normal(size=(4, D, W)), (0, 2, 6)) * 0.4 * H
        edges = H * np.array([0.2, 0.4, 0.55, 0.8])[:, None, None] + bumps
        above = [rows >= edge[:, None] for edge in np.sort(edges, axis=0)]
        label = np.where(above[3], 0, above[0].astype(int) + above[1] + above[2])
        labels.append(label)
        truth.append(gaussian_filter(BRIGHTNESS[label], (0, 0.7, 0.7))[..., None])
    truth = np.stack(truth).astype(np.float32)
    names = [(f"p{i // eyes}", "RL"[i % eyes]) for i in range(people * eyes)]
    measured = np.zeros(shape, bool)
    measured[::2] = True
    return Population(
        names=tuple(f"{person}-{eye}" for person, eye in names),
        people=tuple(person for person, _ in names),
        intensity=np.clip(truth + noise * random.normal(size=truth.shape), 0, 1).astype(np.float32),
        valid=np.ones(truth.shape[:-1], bool),
        labels=np.stack(labels),
        spacing=np.tile([0.24, 0.004, 0.06], (len(truth), 1)),
        offset=np.zeros((len(truth), 3)),
        measured=measured,
        truth=truth,
        truth_labels=np.stack(labels),
        slo=None,
        slo_affine=None,
        classes=CLASSES,
        frames=tuple(map(image_frame, [False] * len(truth))),
        note="synthetic",
    )


def image_population(count: int = 3, size: int = 32, every: int = 2, seed: int = 0) -> Population:
    """Smooth noise-free colour images with bright blobs as labels, measured on a regular subgrid."""
    random = np.random.default_rng(seed)
    field = gaussian_filter(random.normal(size=(count, size, size, 3)), (0, 3, 3, 0), mode="wrap")
    intensity = (0.5 + 0.4 * field / np.abs(field).max()).astype(np.float32)
    measured = np.zeros((size, size), bool)
    measured[::every, ::every] = True
    return Population(
        names=tuple(f"image{i}" for i in range(count)),
        people=tuple(f"p{i}" for i in range(count)),
        intensity=intensity,
        valid=np.ones((count, size, size), bool),
        labels=(intensity[..., 0] > 0.55).astype(int),
        spacing=np.ones((count, 2)),
        offset=np.zeros((count, 2)),
        measured=measured,
        truth=None,
        truth_labels=None,
        slo=None,
        slo_affine=None,
        classes=("background", "blob"),
        frames=tuple(map(image_frame, [False] * count)),
        note="",
    )


def write_folds(
    folder: Path,
    *,
    people: tuple[int, int] = (5, 2),
    shape: tuple[int, int, int] = (7, 16, 12),
    without: tuple[str, ...] = (),
) -> Path:
    """Fold 1 in the reference's .npz contract: training and test people with both eyes, labels and SLO.

    without: arrays that are left out, seg_vols or slo_imgs.
    """
    first = 0
    for part, count in zip(("train", "test"), people, strict=True):
        scans = layered_population(people=count, eyes=2, shape=shape, seed=first)
        names = [f"p{first + i}_{eye}" for i in range(count) for eye in ("OD", "OS")]
        first += count
        volumes, labels = scans.intensity[..., 0].transpose(0, 2, 3, 1), scans.labels.transpose(0, 2, 3, 1)
        for every, step in ((16, 1), (32, 2)):
            arrays = dict(
                oct_vols=volumes[..., ::step], seg_vols=labels[..., ::step], slo_imgs=volumes.mean(1)[..., ::step],
                subject_names=np.array(names), spacing_oct=np.array([0.004, 0.06, 0.12 * step]),
            )  # fmt: skip
            kept = {name: array for name, array in arrays.items() if name not in without}
            np.savez(folder / f"dataset_flat_subsmpl{every}_{part}_fold1.npz", **kept)
    return folder
