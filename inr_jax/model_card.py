"""The card of an exported model: what it is for, what it was trained on, what it cannot do."""

from collections.abc import Mapping
from typing import Any

from inr_jax import likeness, starting
from inr_jax.flat_volumes import Options
from inr_jax.likeness import Likeness
from inr_jax.page import DISCLAIMER
from inr_jax.trained import Trained

PRIVACY = """The weights of a model hold what its training scans have in common, and may hold more of them than that:
treat this folder as patient data where its training scans are. So are the modulations that `adapt` stores
(`modulation.npz`): with the model they are the scan. The vessels of an SLO identify a person."""
LIMITS = """- It knows scans like those below. `adapt` says in one sentence, with a number, where a scan is unlike them;
  it cannot know of all that is unlike.
- What lies between measured B-scans is synthesised. A lesion that no B-scan met is not in it.
- Intervals, where there are any, hold for people like the validation people."""
PHANTOM = """It was trained on a phantom, simulated eyes that are nobody's. It is there to try the program with; what it
says of a real scan has been compared with nothing."""


def text(model: Trained, facts: Mapping[str, Any], known: Likeness | None, calibrated: bool) -> str:
    """The card as Markdown. facts: the exported `model.json`."""
    title = f"A model of {model.config.data.name}" + (f": {model.mark}" if model.mark else "")
    doubt = "stated, calibrated on validation people" if calibrated else "not calibrated: none is stated"
    sections = {
        "Intended use": f"{DISCLAIMER} B-scans between measured ones"
        + (", labels and thickness" if model.classes else "")
        + " of new scans of the kind it was trained on, in research.",
        "Limits": "\n".join(([PHANTOM, ""] if model.mark else []) + [LIMITS]),
        "Trained on": _table(_trained_on(model, facts)),
        "How a scan is prepared": _table(_preparation(model)),
        "The validation scans": _validation(known),
        "Uncertainty": f"{doubt[0].upper()}{doubt[1:]}.",
        "Privacy": PRIVACY,
        "Licence": facts["licence"],
        "Files": "`weights.npz` (arrays by their path), `config.json`, `model.json`, `population.json`, "
        "`calibration.json`; `seal.json` has their SHA-256. This card is not sealed: add to it what you know.",
    }
    use = "    inr-jax adapt --model=THIS_FOLDER SCAN --output=FOLDER\n"
    return "\n".join([f"# {title}\n", use, *(f"## {name}\n\n{body}\n" for name, body in sections.items())])


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _trained_on(model: Trained, facts: Mapping[str, Any]) -> dict[str, str]:
    versions = ", ".join(f"{name} {facts['versions'][name]}" for name in ("inr-jax", "jax", "flax"))
    return {
        "Data": f"`{model.config.data.name}`" + (f" ({model.note})" if model.note else ""),
        **starting.told(model.config),
        "Scans": f"{facts['training_scans']} of {facts['training_people']} people",
        "Fingerprint of the training data": f"`{facts['data']['train']}`",
        "Fingerprint of the validation data": f"`{facts['data']['validation']}`",
        "Labels": ", ".join(model.classes) or "none",
        "Seed": str(facts["seed"]),
        "Code": f"{facts['git'] or 'no checkout'}; {versions}",
    }


def _preparation(model: Trained) -> dict[str, str]:
    """What `adapt` does to a scan before the model sees it, as in training."""
    options = model.config.data
    own = options[options.name]

    def done(key: str) -> str:
        return "yes" if dict(own).get(key) else "no"

    box = " x ".join(f"{2 * half:.3g}" for half in model.half)
    return {
        "Box that it knows": f"{box} mm (B-scans, depth, A-scans)",
        "Left eyes mirrored": "yes" if options.name == "phantom_oct" else done("mirror_left"),
        "Motion between B-scans taken out": done("align"),
        "Placed on its SLO by vessels": done("register_slo"),
        "SLO": "used" if model.signal.slo else "not used",
    } | ({} if model.prepared is None else {"As its folds were": _flattening(model.prepared)})


def _flattening(options: Options) -> str:
    """How folds were prepared, in a line."""
    low, high = options.percentiles
    scaled = f"B-scans scaled by their percentiles {low:g} to {high:g}"
    flat = f"flattened at Bruch's membrane, which lies at {options.target:g} of the rows that are kept round it"
    return f"{scaled}; {flat}" if options.membrane != "none" else f"{scaled}; not flattened"


def _validation(known: Likeness | None) -> str:
    if known is None:
        return "Not known: a scan unlike them is not told."
    rows = [
        f"| {likeness.TRAITS[name][0]} | {q[likeness.LOW]:.3g} | {q[likeness.MEDIAN]:.3g} | {q[likeness.HIGH]:.3g} "
        f"| {likeness.TRAITS[name][1]} |"
        for name, q in known.quantiles.items()
    ]
    head = [f"Of {known.people} people, measured B-scans alone; intensities in [0, 1].", ""]
    return "\n".join([*head, "| | 5 % | median | 95 % | |", "|---|---|---|---|---|", *rows])
