"""Dense OCT volumes, labels and SLO to folds in INteRp-OCT's .npz files (doi 10.1007/978-3-658-47422-5_24).

inr-jax prepare --config=configs/prepare_oct.py --output=prepared --config.path=FOLDER

Without a path: 20 phantom eyes, two minutes at most on two cores, 340 MB.
The paper: 496 x 512 x 512 voxels, of which 31 B-scans are scored, 16 of them fitted; --config.crop="(230,496)".
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        dict(
            path="",  # a file (NIfTI, NRRD, MHA, .npz) or a folder of them; '' takes the phantom
            label_suffix="_labels",  # NAME_labels.nii.gz beside NAME.nii.gz; '': none
            slo_suffix="_slo",  # NAME_slo.png, .tif, .nii.gz ... beside it; '': none
            slo_axes="auto",  # auto | WD | DW: of slo_imgs in .npz files, needed where W == D
            subject_pattern=r"(?P<person>.+?)(?:[_-](?P<eye>OD|OS|R|L))?",  # of names without suffix; eye is optional
            phantom=dict(
                people=10,
                eyes=2,  # per person
                shape=(481, 128, 96),  # B-scans, rows, A-scans
                variant="standard",  # standard | shifted | pathology
                seed=0,  # of the population
                motion=1.0,  # 0.0: none
            ),
            fitted_every=32,  # every which B-scan is fitted; half-way between two one is scored. Names the files
            flatten=dict(
                target=0.65,  # of the rows: where Bruch's membrane (BM) comes to lie
                # BM from: labels | surfaces | image | auto (the first of these there is) | none (not flattened);
                # looked for in every scored B-scan, or in the fitted ones and interpolated between them.
                train=dict(membrane="auto", bscans="every"),
                # Labels of every B-scan would show where the retina of a held-out B-scan lies: results with
                # dict(membrane="labels", bscans="every") belong into a column of their own.
                test=dict(membrane="image", bscans="fitted"),
            ),
            percentiles=(0.0, 100.0),  # of a B-scan: what becomes 0 and 1
            normalise_by="fitted",  # whose percentiles: fitted (interpolated between them) | all (each B-scan's own)
            crop=(0, 0),  # rows round BM, middle A-scans; 0: all
            folds=5,
            seed=0,  # of the folds
        )
    )
