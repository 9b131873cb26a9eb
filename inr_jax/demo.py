"""`inr-jax demo`: phantom eyes, training, adaptation to new eyes, evaluation and report, in minutes."""

from pathlib import Path

from inr_jax import evaluate, train, workdir

CONFIG = Path(__file__).parent.parent / "configs" / "demo.py"
PACKAGED = Path(__file__).parent / "configs" / "demo.py"


def demo(output: str | Path) -> Path:
    """Trains `configs/demo.py` into output/model, scores it on its test eyes, and prints where the report is."""
    output = Path(output)
    config = workdir.load_config(CONFIG if CONFIG.is_file() else PACKAGED)
    train.train(config, output / "model")
    evaluate.evaluate(output / "model", output / "test", quick=True)
    return output / "test" / "report.html"
