"""`inr-jax demo`: phantom eyes, training, adaptation to new eyes, evaluation and report, in minutes."""

from pathlib import Path

from ml_collections import ConfigDict

from inr_jax import config_script, evaluate, train


def demo(output: str | Path, config: ConfigDict | None = None) -> Path:
    """Trains `configs/demo.py` (or another config) into output/model, and scores it on its test eyes.

    Returns where the report is. Raises InputError where `output` cannot be written or holds another training.
    """
    output = Path(output)
    config = config_script.load_config("configs/demo.py") if config is None else config
    train.train(config, output / "model")
    evaluate.evaluate(output / "model", output / "test", quick=True)
    return output / "test" / "report.html"
