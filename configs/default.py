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
                register_slo=True,  # find where the measured B-scans lie on the SLO by their vessels
            ),
            interp_oct=dict(
                fold=1,
                slo=True,  # False: the SLO is not read, the network has no input for it
                slo_axes="auto",  # auto | WD | DW: needed where W == D
                normalise_by="fitted",  # B-scans whose range becomes [0, 1]: fitted | all | none (values as they are)
                use_valid=True,  # False: what was not measured counts as any other voxel
                validation_people=0.2,  # share of the training people; 0.0 (of folds): all are both
                subject_pattern=r"(?P<person>.+?)(?:[_-](?P<eye>OD|OS|R|L))?",  # of the names; eye is optional
                mirror_left=True,  # left eyes (by the name) to right
                classes=("background", *(f"layer {i}" for i in range(1, 13))),  # names of the labels 0, 1, ...
            ),
            fundus=dict(
                size=(128, 128),  # rows, columns every image is resized to
                image_glob="*.jpg",
                label_suffix="_1stHO.png",  # '' : no labels
                subject_pattern=r"Image_(?P<person>\d+)(?P<eye>[LR])",  # of the names without suffix
                mirror_left=True,  # left eyes (by the name) to right
                people=(  # train, validation, test: names, or three shares such as (0.6, 0.2, 0.2)
                    ("01", "02", "03", "04", "05", "06", "07", "08", "09", "10"),
                    ("11", "12"),
                    ("13", "14"),
                ),
                measured="subgrid",  # subgrid | random
                subgrid=4,  # every which pixel, both axes
                random_share=0.1,  # of the pixels
                seed=0,  # of the random pixels
            ),
            volumes=dict(
                mode="slabs",  # whole | slices | patches | slabs (of one person, with a gap)
                subject_pattern=r"(?P<person>.+)",  # of the file names without suffix
                classes=(),  # names of the labels 0, 1, ...; empty: no labels
                labels=("_image", "_label"),  # what to replace in an image's name for its labels' file
                patch=(16, 64, 64),  # voxels
                fitted_every=2,  # every which slice is measured
                gap=4,  # slices left out between two slabs
                window=(-1000.0, 1000.0),  # in the file's units, to [0, 1]
                people=(0.6, 0.2, 0.2),  # shares of people (or of slabs), or names
            ),
        )
    )


def model() -> ConfigDict:
    """The field and its modulation (inr_jax/networks/fields.py, inr_jax/modulations.py)."""
    return ConfigDict(
        dict(
            network="field",  # field | layered | modulated_siren (inr_jax/networks/)
            layered=dict(  # surfaces en face, and what lies between them; the labels 1, 2, ... by depth
                lesions=("fluid", "drusen"),  # classes that are no layers
                width=32,  # of the field of the surfaces
                depth=2,
            ),
            width=96,  # of every hidden layer
            depth=5,  # hidden layers
            activation="sine",  # sine | wire | finer | finer_whole | gaussian | relu
            encoding="identity",  # identity | pi (times pi) | fourier | hashgrid
            encodings=dict(
                identity=dict(),
                pi=dict(),
                fourier=dict(features=128, scale=2.0),
                # shift: coordinates enter as [0, 1], which the grid is for; False: as they are, [-1, 1]
                hashgrid=dict(levels=8, features=2, log2_size=14, coarsest=8, finest=128, shift=True),
            ),
            residual=False,  # x <- layer(x) + x from the second layer on
            inputs_everywhere=False,  # the encoded coordinates enter every layer
            intensity="affine",  # the head: affine (around 0.5) | sigmoid
            side="centred",  # the SLO's values enter in [-1, 1] (centred) or as they are in [0, 1] (raw)
            slo=dict(
                features="value",  # value: the SLO's at a place | cnn: and features of its neighbourhood
                channels=8,  # of the CNN's features (inr_jax/networks/side_features.py)
                patch=2,  # pixels along the sides of what one feature stands for; 1 takes four times as long
                dilations=(1, 2),  # patches, of its 3 x 3 convolutions: 7 x 7 of them are seen
            ),
            start="learned",  # a new scan's first codes: learned, the same for all | encoder: and what it sees of it
            encoder=dict(  # inr_jax/networks/encoders.py
                rows=64,  # depths of the box that A-scans are seen at
                cells=(32, 64),  # en face, along B-scans and A-scans
                channels=(8, 16, 16),  # of the convolutions along depth
                features=16,  # of an A-scan
                width=24,  # of the U-Net
            ),
            extent=dict(
                of="population",  # [-1, 1] is a box in mm of the population | volume: each scan's own extent
                divide_first=1.0,  # what the first coordinate (of the B-scans) is divided by
            ),
            segmentation=True,  # a head for labels, where the data have them
            block=0,  # points that are asked at once; 0: all
            bfloat16=False,  # hidden products with bfloat16 factors, float32 accumulation
            kernel="xla",  # xla | fused: a hidden layer of sines as one kernel on an NVIDIA GPU (inr_jax/kernels/)
            modulation=dict(
                # any of vector, grid, lowrank: codes; nuisance: how B-scans moved (operators/moved_bscan.py);
                # weights, encoding (its tables), head (of intensities), factors (low-rank changes of hidden matrices):
                # changes of what is shared. weights alone: one network for each scan
                parts=("grid", "weights"),
                axes=(0, 2),  # the coordinates a grid spans; OCT: en face
                read="linear",  # linear | nearest (with cell-local coordinates)
                vector=dict(size=128),
                vector_enters="shift",  # shift (of every layer) | input (further inputs of the first layer)
                code_start="siren",  # what reads a code, in U(-b, b): siren, b = (6/size)^.5 / omega | linear, size^-.5
                grid=dict(levels=((8, 6, 16), (16, 32, 8))),  # per level: cells along each axis, channels
                lowrank=dict(rank=4),
                nuisance=dict(bscans=64),  # at most so many in a scan
                factors=dict(rank=4),
            ),
        )
    )


def loss() -> ConfigDict:
    """What a field is scored by (inr_jax/losses.py); the weights are in `hyper`."""
    return ConfigDict(
        dict(
            # mse | ssim | combined (MSE + 0.1 (1 - SSIM)): the last two on B-scans and patches alone
            # heteroscedastic (Gaussian) | gamma (with model.intensity sigmoid): -log likelihood, its spread a head
            intensity="mse",
            segmentation="cross_entropy",  # cross_entropy | binary_cross_entropy
            balance="fixed",  # of both in the outer loss: fixed | own size (each divided by its own; weights on top)
        )
    )


def hyper() -> ConfigDict:
    """Numbers that reach the jitted step as leaves (inr_jax/types.py, Hyper)."""
    return ConfigDict(
        dict(
            omega_first=30.0,
            omega_last=30.0,
            spread=10.0,  # of the Gaussian in wire: its inverse width
            intensity=1.0,
            segmentation=0.02,
            penalty=1e-4,
            side=1.0,  # 0.0: the SLO masked
            side_swapped=0.0,  # 1.0: the SLO of the next person, as a control
            training_scans=0.0,  # the first so many are learned from; 0.0: all
            labelled_bscans=0.0,  # of each training scan so many, evenly spread, have labels (images: rows); 0.0: all
            context_segmentation=0.02,  # of labels in learned steps, where adapt.labels
            context_labels=0.0,  # there, so many measured B-scans of every scan have labels; 0.0: all that have any
            # an outer step whose whole gradient is so many times as long as those before it, or not finite, is left out
            skip_ratio=10.0,
            step_size=10.0,  # overwritten where train.calibrate is on
            step_size_weights=1e-3,
            prior=0.0,  # weight of the codes' mean square distance from the start in the inner loss; 0.0: none
        )
    )


def rule() -> ConfigDict:
    """How a modulation moves in an inner step (inr_jax/adaptation.py)."""
    return ConfigDict(
        dict(
            per="channel",  # step sizes per leaf | channel | element
            per_step=True,  # for every step its own step sizes and mixing
            changes_from=0,  # the first step at which weights (all that is shared) move, too
            # of the steps of a grid's cells: none | conv | attention (networks/mixing.py)
            mixing="none",
            mixings=dict(
                conv=dict(cells=3),  # width of the kernel along each axis
                attention=dict(heads=2, size=16),  # size: of queries, keys and values, over all heads
            ),
        )
    )


def train() -> ConfigDict:
    """The staged recipe: auto-decoder (-> encoder) -> rule -> joint. A stage learns the parts its rates name."""
    return ConfigDict(
        dict(
            seed=0,
            start_from="",  # a training or exported model (phantom: the shipped one) to go on from; its table is new
            stages=("autodecoder", "rule", "joint"),
            autodecoder=dict(
                steps=6000,
                subjects=8,  # per step
                draw="points",  # points | patches | bscans (each whole, every one once an epoch)
                points=1024,  # targets per subject
                patch=(64, 64),  # rows, A-scans
                targets="all",  # all | measured: the B-scans that are learned from
                over="map",  # subjects one after the other (map: faster on a CPU here) or at once (vmap: on a GPU)
                warmup=0,
                rates=dict(field=5e-4, table=1e-2),
            ),
            encoder=dict(  # where `stages` names it: right after the auto-decoder, from its codes
                steps=600,
                subjects=4,
                context=8192,  # measurements per subject that the codes are whitened by
                over="vmap",
                warmup=20,
                rates=dict(start=1e-3),
            ),
            rule=dict(
                steps=80,
                subjects=2,
                points=2048,
                context=8192,  # measurements per subject and inner step
                over="vmap",
                warmup=10,
                rates=dict(rule=0.02, start=1e-3),
            ),
            joint=dict(
                steps=900,
                subjects=2,
                points=2048,
                context=8192,
                over="vmap",
                warmup=20,  # steps in which the rates rise: fresh Adam moments take too large first steps
                rates=dict(field=3e-5, start=1e-3, rule=0.01),
            ),
            whiten=3.0,  # damping of the curvature that codes are whitened by after the auto-decoder; 0.0: not
            whiten_by="curvature",  # curvature | covariance (of the population's codes) (inr_jax/gauge.py)
            calibrate=True,  # choose the first step sizes by trial before the rule is learned
            skipped_in_row=100,  # steps left out one after the other at which training stops; 0: never
            clip=1.0,  # of each part's gradient norm; 0.0: none
            table_scale=0.01,  # standard deviation of the table's first codes
            schedule="cosine",  # cosine | exponential
            final_rate=0.1,  # cosine: share of its rate a stage ends with
            epoch_decay=0.99,  # exponential: share of its rate that is left after an epoch
            stop=dict(  # of an auto-decoder of whole B-scans alone: by its epochs' mean loss, which says the best, too
                epochs=0,  # at most; 0: the stage's steps say
                patience=0,  # epochs without a better one; 0: never
                min_delta=1e-5,  # what counts as better
                first_epoch=100,  # the first that counts
            ),
            steps_per_dispatch=20,
            save_every=200,  # outer steps; validation and a checkpoint
            log_every=20,
            keep=3,  # newest checkpoints kept, besides the best
            validation_scans=8,
        )
    )


def get_config() -> ConfigDict:
    return ConfigDict(
        dict(
            data=data(),
            model=model(),
            loss=loss(),
            hyper=hyper(),
            rule=rule(),
            adapt=dict(
                steps=5,  # more of them than were learned shrink as 1 / n (rules.py)
                points=32_768,  # new measurements at every step
                # the head of intensities is solved for after the last step, with this penalty of its squared change
                # (the sum over points unweighted; the rule learns its logarithm); 0.0: not
                ridge=0.0,
                together=1,  # scans that are adapted at once (vmap); 1: one after the other, faster on a CPU
                labels=False,  # the scan's own labels are learned from, too, where it has them
                epochs=0,  # at most, instead of learned steps: Adam on the modulation; 0: not. Of these alone:
                draw="bscans",  # bscans (each measured one whole once an epoch) | patches | points
                draws=0,  # of an epoch of patches or points; 0: as many as take what was measured once
                patch=(64, 64),  # rows, A-scans
                rate=1e-3,  # of this Adam
                epoch_decay=0.99,  # share of it that is left after an epoch
                start_scale=1e-4,  # standard deviation of the codes it begins with
                stop=dict(patience=0, min_delta=1e-5, first_epoch=100),  # early, as train.stop
                first_order=False,
                checkpoint=False,  # recompute inner steps on the way back: less memory
                residual=dict(  # what the field leaves of the measurement, put back (inr_jax/residual.py)
                    sigma=(0.7, 1.0),  # rows, A-scans of the Gaussian it is smoothed by
                    length=0.2,  # mm: how far it reaches into a gap; 0.0: the field alone
                    path="straight",  # across a gap between B-scans: straight | registered (the field's own B-scans)
                    path_sigma=(0.7, 2.0),  # as sigma, of what is carried along a registered path
                ),
            ),
            fit=dict(
                points=8192,
                steps=60,  # Adam on the modulation
                rate=1e-2,
                weights_steps=60,  # then on the weights too; 0: leave them
                weights_rate=1e-4,
                held_out=0.1,  # share of the measured A-scans that stop the fit
                patience=3,  # checks (every 5 steps) without a new best
            ),
            doubt=dict(  # how sure an answer is (inr_jax/doubt.py)
                calibrate=True,  # at the end of training, on validation people
                of="noisy",  # the value that intervals hold: noisy (as a repeated scan would measure) | noise-free
                parts=("laplace", "residual", "label"),  # what the spread is a function of
                draws=8,  # of the codes, for labels and thickness
                sigma=(2.0, 3.0),  # rows, A-scans of the Gaussian by which residuals are local
                scans=16,  # validation scans that are calibrated on, at most, spread over people
                bscans=12,  # of each of these scans
                points=5000,  # voxels of these B-scans, and thicknesses
            ),
            train=train(),
        )
    )
