"""What more steps than were learned do to a model's answers: none of them must ruin what the learned ones reached.

    python benchmarks/more_steps.py --workdir=runs/oct --steps=5,10,20,50

On validation people, scored as `inr-jax evaluate` does; beside each number of steps the field alone.
"""

import argparse
from pathlib import Path

from inr_jax import data, evaluate, tables, trained
from inr_jax.baselines import Prediction


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="of a training")
    parser.add_argument("--steps", default="5,10,20,50", help="[5,10,20,50]")
    options = parser.parse_args()
    model = trained.restore(options.workdir)
    scans = data.load(model.config.data, "validation")
    predictions = {}
    for steps in map(int, options.steps.split(",")):
        found = trained.adapt_population(model, scans, steps=steps, shown=f"{steps} steps")
        predictions[f"{steps} steps"] = Prediction(found.intensity, found.labels, "", found.seconds)
        predictions[f"{steps} steps, field alone"] = Prediction(found.field, None, "")
    rows, _ = evaluate.score_all(scans, predictions, split="validation", layered=model.is_oct)
    print(tables.print_table(tables.summarise(rows)))


if __name__ == "__main__":
    main()
