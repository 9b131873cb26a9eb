"""Reference outputs from INteRp-OCT's formulas alone: NumPy and SciPy in float64, nothing of this package.

Kepp et al., BVM 2025, doi 10.1007/978-3-658-47422-5_24. `python tests/make_fixtures.py` writes tests/fixtures/*.npz in
the format of the published files: weights under PyTorch names and in float32, linear layers [out, in], outputs in
float64. Gradients are by complex step: Im f(x + ih) / h takes no difference, so that it is exact to rounding.
"""

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
from scipy.signal import convolve2d

Arrays = dict[str, np.ndarray]

OMEGA, SPREAD = 30.0, 10.0
WIDTH, DEPTH, LATENT, POINTS, CLASSES = 6, 3, 4, 12, 3
STEP = 1e-30  # of the complex step: its square is nothing beside 1
PRIMES = (1, 2654435761, 805459861)
BRANCHES = {"siren": ("linear",), "finer": ("linear",), "relu": ("linear",), "wire": ("freqs", "scale")}
BODIES = ("mlp", "res", "coords", "res_coords")
RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-8  # of Adam


def gradient(loss: Callable[[np.ndarray], complex], at: np.ndarray) -> np.ndarray:
    """df/dx of a real function by the complex step, entry by entry."""
    steps = 1j * STEP * np.eye(at.size).reshape(at.size, *at.shape)
    return np.array([loss(at + step).imag / STEP for step in steps]).reshape(at.shape)


def affine(x: np.ndarray, weights: Arrays, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


ACTIVATIONS = {
    "siren": lambda u: np.sin(OMEGA * u),
    "wire": lambda u, v: np.cos(OMEGA * u) * np.exp(-((SPREAD * v) ** 2)),
    "finer": lambda u: np.sin(OMEGA * (np.abs(u.real) + 1) * u),  # the real part: no gradient through |u| + 1
    "relu": lambda u: np.where(u.real > 0, u, 0),
}


def field(weights: Arrays, coords: np.ndarray, latent: np.ndarray, activation: str, body: str, depth: int) -> Arrays:
    """Features, reconstruction and segmentation (probabilities) at coords [n, 4], the latent tiled over them."""
    h = np.concatenate([coords, np.tile(latent, (len(coords), 1))], -1)
    for i in range(depth):
        x = np.concatenate([coords, h], -1) if i and "coords" in body else h
        maps = [affine(x, weights, f"backbone.hid_layers.{i}.{branch}") for branch in BRANCHES[activation]]
        out = ACTIVATIONS[activation](*maps)
        h = out + h if i and "res" in body else out
    logits = affine(h, weights, "segmentation_head.seg_layer")
    powers = np.exp(logits - logits.real.max(-1, keepdims=True))
    return {
        "features": h,
        "reconstruction": 1 / (1 + np.exp(-affine(h, weights, "reconstruction_head.out_layer"))),
        "segmentation": powers / powers.sum(-1, keepdims=True),
    }


def modulated(weights: Arrays, coords: np.ndarray, latent: np.ndarray, depth: int) -> np.ndarray:
    """The modulated SIREN's last hidden layer: the last of its `depth` linear layers is never applied."""
    h = np.sin(OMEGA * affine(coords, weights, "backbone.hid_layers.0"))
    for i in range(1, depth - 1):
        phi, psi = np.split(affine(latent, weights, f"backbone.mod_layers.{i - 1}"), 2)
        h = np.sin(OMEGA * (phi * affine(h, weights, f"backbone.hid_layers.{i}")) + psi)
    return h


def mse(a: np.ndarray, b: np.ndarray) -> complex:
    return ((a - b) ** 2).mean()


def bce(p: np.ndarray, onehot: np.ndarray) -> complex:
    """Binary cross-entropy of every class. The reference's clamp of logs at -100 is out of reach here."""
    return -(onehot * np.log(p) + (1 - onehot) * np.log(1 - p)).mean()


def ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Wang et al. 2004 at every pixel: 11 x 11 Gaussian window of sigma 1.5, zeros outside, peak 1."""
    x = np.arange(-5, 6)
    window = np.exp(-(x[:, None] ** 2 + x**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image: np.ndarray) -> np.ndarray:
        return convolve2d(image, window, mode="same")

    c1, c2 = 0.01**2, 0.03**2
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    return (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))


def combi(a: np.ndarray, b: np.ndarray) -> complex:
    return mse(a, b) + 0.1 * (1 - ssim_map(a, b).mean())


def hash_level(table: np.ndarray, unit: np.ndarray, resolution: int) -> np.ndarray:
    """A hash grid's level, with Python's unbounded integers: sum over corners of weight * table[hash]."""
    rows = []
    for place in np.asarray(unit, np.float64) * resolution:
        low = np.floor(place).astype(int)
        row = np.zeros(table.shape[1])
        for corner in product((0, 1), repeat=len(place)):
            hashed = 0
            for cell, prime in zip(low + np.array(corner), PRIMES, strict=False):
                hashed ^= int(cell) * prime % 2**32
            weight = np.prod(np.where(np.array(corner) == 1, place - low, 1 - (place - low)))
            row += weight * table[hashed % len(table)]
        rows.append(row)
    return np.array(rows)


def linear(random: np.random.Generator, name: str, shape: tuple[int, int], bound: float, bias: float) -> Arrays:
    """Weights [out, in] from U(-bound, bound), biases from U(-bias, bias)."""
    weight, offset = random.uniform(-bound, bound, shape), random.uniform(-bias, bias, shape[0])
    return {f"{name}.weight": np.float32(weight), f"{name}.bias": np.float32(offset)}


def field_weights(random: np.random.Generator, activation: str, body: str, width: int, depth: int, latent: int):
    """A network as the reference starts it, but for FINER's first biases: within 3, not 10, a mean over this few points
    is right to 1e-5 in float32, too.
    """
    weights: Arrays = {}
    for i in range(depth):
        inputs = (4 + latent if i == 0 else width) + (4 if i and "coords" in body else 0)
        bias = 3.0 if activation == "finer" and i == 0 else inputs**-0.5
        bound = inputs**-0.5 if activation == "relu" else np.sqrt(6 / inputs) / OMEGA if i else 1 / inputs
        for branch in BRANCHES[activation]:
            weights |= linear(random, f"backbone.hid_layers.{i}.{branch}", (width, inputs), bound, bias)
    weights |= linear(random, "reconstruction_head.out_layer", (1, width), width**-0.5, width**-0.5)
    return weights | linear(random, "segmentation_head.seg_layer", (CLASSES, width), width**-0.5, width**-0.5)


def exact(arrays: Arrays) -> Arrays:
    return {name: np.asarray(array, np.float64) for name, array in arrays.items()}


def field_file(random: np.random.Generator, activation: str, body: str) -> Arrays:
    """A field's weights, inputs, outputs, losses, and the gradient of the total loss by the latent."""
    weights = field_weights(random, activation, body, WIDTH, DEPTH, LATENT)
    inputs = {
        "coords": np.float32(random.uniform(-1, 1, (POINTS, 4))),
        "latent": np.float32(0.1 * random.normal(size=LATENT)),
        "target": np.float32(random.random((POINTS, 1))),
        "onehot": np.eye(CLASSES, dtype=np.float32)[random.integers(0, CLASSES, POINTS)],
    }
    known, given = exact(weights), exact(inputs)

    def outputs(latent: np.ndarray) -> Arrays:
        values = field(known, given["coords"], latent, activation, body, DEPTH)
        terms = {
            "loss_reconstruction": mse(values["reconstruction"], given["target"]),
            "loss_segmentation": bce(values["segmentation"], given["onehot"]),
            "loss_latent": (latent**2).mean(),
        }
        total = 5 * terms["loss_reconstruction"] + terms["loss_segmentation"] + terms["loss_latent"]
        return values | terms | {"loss": total}

    slope = gradient(lambda latent: outputs(latent)["loss"], given["latent"])
    return weights | inputs | outputs(given["latent"]) | {"grad_latent": slope}


def modulated_file(random: np.random.Generator) -> Arrays:
    """As `field_file`, of a modulated SIREN with three sines; its loss is the features' mean square."""
    weights: Arrays = {}
    for i in range(DEPTH + 1):
        inputs = WIDTH if i else 4
        weights |= linear(random, f"backbone.hid_layers.{i}", (WIDTH, inputs), np.sqrt(6 / inputs) / OMEGA, 0.1)
    for i in range(DEPTH):
        weights |= linear(random, f"backbone.mod_layers.{i}", (2 * WIDTH, LATENT), 0.5, 0.1)
    inputs = {"coords": np.float32(random.uniform(-1, 1, (POINTS, 4))), "latent": random.normal(size=LATENT)}
    known, coords = exact(weights), np.float64(inputs["coords"])

    def features(latent: np.ndarray) -> np.ndarray:
        return modulated(known, coords, latent, DEPTH + 1)

    def loss(latent: np.ndarray) -> complex:
        return (features(latent) ** 2).mean()

    latent = inputs["latent"]
    outputs = {"features": features(latent), "loss": loss(latent), "grad_latent": gradient(loss, latent)}
    return weights | inputs | outputs


def hashgrid_file(random: np.random.Generator) -> Arrays:
    """Five levels of 4 to 48 cells and tables of at most 64 rows."""
    resolutions = [int(4 * (48 / 4) ** (level / 4)) for level in range(5)]
    tables = [np.float32(random.normal(size=(min(r**3, 64), 2))) for r in resolutions]
    x = np.float32(random.random((POINTS, 3)))
    y = np.concatenate([hash_level(np.float64(t), x, r) for t, r in zip(tables, resolutions, strict=True)], -1)
    sizes = {"resolutions": np.array(resolutions), "table_sizes": np.array([len(t) for t in tables])}
    return {f"table_{level}": table for level, table in enumerate(tables)} | sizes | {"x": x, "y": y}


def fourier_file(random: np.random.Generator) -> Arrays:
    x, matrix = np.float32(random.uniform(-1, 1, (POINTS, 3))), np.float32(random.normal(size=(8, 3)))
    angle = 2 * np.pi * np.float64(x) @ np.float64(matrix).T
    return {"x": x, "B": matrix, "y": np.concatenate([np.sin(angle), np.cos(angle)], -1)}


def losses_file(random: np.random.Generator) -> Arrays:
    a = np.float32(random.random((14, 18)))
    b = np.float32(np.clip(a + 0.3 * random.normal(size=a.shape), 0, 1))
    p, onehot = random.dirichlet(np.ones(CLASSES), POINTS), np.eye(CLASSES)[random.integers(0, CLASSES, POINTS)]
    x, y = np.float64(a), np.float64(b)
    return {
        "image_a": a, "image_b": b, "ssim_loss": 1 - ssim_map(x, y).mean(), "combi_loss": combi(x, y),
        "mse": mse(x, y), "probabilities": p, "onehot": onehot, "bce": bce(p, onehot),
    }  # fmt: skip


def bscan_coords(slo: np.ndarray, shape: tuple[int, int, int], bscan: int) -> np.ndarray:
    """[H * W, 4] of a B-scan: row, column and z = linspace(-1, 1, D) / 10 (in float32), and the SLO, slo [D, W]."""
    H, W, D = shape
    rows, columns = np.meshgrid(np.linspace(-1, 1, H), np.linspace(-1, 1, W), indexing="ij")
    z = np.full((H, W), np.float64(np.float32(np.linspace(-1, 1, D) / 10))[bscan])
    return np.stack([rows, columns, z, np.tile(slo[bscan], (H, 1))], -1).reshape(-1, 4)


def trace_file(random: np.random.Generator) -> Arrays:
    """Four steps of the auto-decoder, WIRE, res_coords, 4 x 8: dense Adam on all weights and both latents."""
    width, depth, size, shape = 8, 4, 3, (5, 9, 3)  # H, W, D: coordinates that float32 holds
    weights = field_weights(random, "wire", "res_coords", width, depth, size)
    stored = weights | {
        "latents": np.float32(0.01 * random.normal(size=(2, size))),
        "oct_vols": np.float32(random.random((2, *shape))),
        "seg_vols": random.integers(0, CLASSES, (2, *shape)),
        "slo_imgs": np.float32(random.random((2, shape[2], shape[1]))),
        "order": np.array([[0, 1], [1, 0], [0, 2], [1, 1]]),
    }
    given, params = exact(stored), exact({name: stored[name] for name in (*weights, "latents")})

    def loss(params: Arrays, subject: int, bscan: int) -> complex:
        coords, latent = bscan_coords(given["slo_imgs"][subject], shape, bscan), params["latents"][subject]
        values = field(params, coords, latent, "wire", "res_coords", depth)
        image = values["reconstruction"].reshape(shape[:2])
        onehot = np.eye(CLASSES)[stored["seg_vols"][subject, ..., bscan].ravel()]
        seen = combi(image, given["oct_vols"][subject, ..., bscan])
        return 5 * seen + bce(values["segmentation"], onehot) + (latent**2).mean()

    losses = []
    moments = {name: (np.zeros_like(p), np.zeros_like(p)) for name, p in params.items()}
    for step, visit in enumerate(stored["order"], start=1):
        losses.append(loss(params, *visit))
        slopes = {name: gradient(lambda p, n=name: loss(params | {n: p}, *visit), params[name]) for name in params}  # noqa: B023
        for name, slope in slopes.items():
            m, v = moments[name]
            m, v = BETA_1 * m + (1 - BETA_1) * slope, BETA_2 * v + (1 - BETA_2) * slope**2
            moments[name] = m, v
            root = np.sqrt(v / (1 - BETA_2**step))
            params[name] = params[name] - RATE * m / (1 - BETA_1**step) / (root + EPSILON)
    return stored | {"losses": np.array(losses), "final_latents": params["latents"]}


def files() -> Iterator[tuple[str, Arrays]]:
    """(name, arrays) of every file, one after the other, each from a seed of its own."""
    makers: dict[str, Callable[[np.random.Generator], Arrays]] = {
        f"field_{activation}_{body}": lambda random, a=activation, b=body: field_file(random, a, b)
        for activation in ACTIVATIONS
        for body in BODIES
    }
    makers |= {
        "field_modulated_siren": modulated_file, "encoding_hashgrid": hashgrid_file,
        "encoding_fourier": fourier_file, "losses": losses_file, "autodecoder_trace": trace_file,
    }  # fmt: skip
    for seed, (name, make) in enumerate(makers.items()):
        yield name, make(np.random.default_rng(seed))


if __name__ == "__main__":
    for name, arrays in files():
        np.savez_compressed(Path(__file__).parent / "fixtures" / f"{name}.npz", **arrays)
