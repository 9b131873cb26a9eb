"""Every key there is, with its unit. Other configs import this one and change a few."""

from ml_collections import ConfigDict


def data() -> ConfigDict:
    """Which scans. `path` is a file or folder; '' takes the generator or $INR_JAX_DATA/<the set's own folder>."""
    return ConfigDict(
        dict(
            name="phantom_oct",  # inr_jax/data/<name>.py
            path="",
            phantom_oct=dict(
                shape=(31, 128, 96),  # B-scans, rows, A-scans
                fitted_every=2,  # every which B-scan is measured
                people=(32, 8, 16),  # train, validation, test
                eyes=2,  # per person
                seed=0,  # of the population
                variant="standard",  # standard | shifted | pathology
                motion=1.0,  # 0.0: none
                align=True,  # find and undo the axial motion between B-scans
            ),
            interp_oct=dict(
                fold=1,
                slo_axes="auto",  # auto | WD | DW: needed where W == D
                validation_people=0.2,  # share of the training people
                subject_pattern=r"(?P<person>.+?)_?(?:OD|OS|R|L)?$",
                mirror_left=True,
            ),
            fundus=dict(
                size=(128, 128),  # rows, columns every image is resized to
                image_glob="*.jpg",
                label_suffix="_1stHO.png",  # '' : no labels
                subject_pattern=r"Image_(?P<person>\d+)[LR]",
                people=(("01", "02", "03", "04", "05", "06", "07", "08", "09", "10"), ("11", "12"), ("13", "14")),
                measured="subgrid",  # subgrid | random
                subgrid=4,  # every which pixel, both axes
                random_share=0.1,  # of the pixels
            ),
            volumes=dict(
                mode="slabs",  # whole | slices | patches | slabs (of one person, with a gap)
                subject_pattern=r"(?P<person>.+)",
                patch=(16, 64, 64),  # voxels
                fitted_every=2,  # every which slice is measured
                gap=4,  # slices left out between two slabs
                window=(-1000.0, 1000.0),  # in the file's units, to [0, 1]
                people=(0.6, 0.2, 0.2),  # shares of people (or of slabs)
            ),
        )
    )
