"""Topcon's `.fda`, by eyepy, which asks oct-converter: it is heavy, and an extra of its own."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from inr_jax.errors import InputError
from inr_jax.readers import heyex, placing
from inr_jax.scan import Scan


def read(path: Path, name: str) -> list[Scan]:
    """The raster of an `.fda` file, with the fundus photograph in the place of the SLO."""
    if find_spec("oct_converter") is None:
        raise InputError(f"{name}: .fda needs a reader that is not installed: pip install 'inr-jax[topcon]'")
    import eyepy

    volume = eyepy.import_topcon_fda(path)
    meta, photograph = volume.meta, volume.localizer
    bscans = meta["bscan_meta"]
    pixels = np.asarray(photograph.data, np.float32)
    pixel = (float(photograph.scale_y), float(photograph.scale_x))
    voxels = np.asarray(volume._raw_data, np.float32)
    starts, ends = (np.array([bscan[key][::-1] for bscan in bscans], float) for key in ("start_pos", "end_pos"))
    layers = {layer.name: np.asarray(layer.data, np.float32) for layer in volume.layers.values()}
    names, surfaces = heyex.stacked([{k: v[i] for k, v in layers.items()} for i in range(len(voxels))], voxels.shape[2])
    scan = Scan(
        voxels=voxels,
        spacing=(float(meta["scale_z"]), float(meta["scale_y"]), float(meta["scale_x"])),
        surfaces=surfaces,
        surface_names=names,
        slo=pixels.mean(axis=-1) if pixels.ndim == 3 else pixels,
        slo_spacing=pixel,
        ascans_on_slo=placing.places(starts, ends, voxels.shape[2], pattern="raster", laterality=None, pixel=pixel),
        name=name,
        person=name,
        pattern="raster",
        remarks=("every .fda was taken to be a raster of horizontal B-scans, over its colour photograph",),
    )
    return [placing.placed(scan)]
