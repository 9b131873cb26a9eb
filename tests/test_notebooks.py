"""The notebooks run from top to bottom at toy size, and end in numbers that mean something."""

from pathlib import Path

import pytest
from real_data import real_data

nbformat = pytest.importorskip("nbformat", reason="the notebooks extra is not installed")
nbclient = pytest.importorskip("nbclient", reason="the notebooks extra is not installed")
pytest.importorskip("ipykernel", reason="the notebooks extra is not installed")

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def run(name: str, monkeypatch: pytest.MonkeyPatch, question: str) -> list[float]:
    """Runs a notebook and then one more cell; the numbers that cell prints."""
    monkeypatch.setenv("INR_JAX_TOY", "1")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiling is most of the time
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(f"print(*({question}))"))
    nbclient.NotebookClient(notebook, timeout=1500, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    return [float(word) for word in notebook.cells[-1].outputs[0].text.split()]


def test_quickstart_scores_its_answers(monkeypatch):
    psnr, dice, linear = run(
        "01_quickstart.ipynb",
        monkeypatch,
        'scores["inr_jax"]["psnr"], scores["inr_jax"]["dice"], scores["linear"]["psnr"]',
    )
    assert psnr > 10
    assert 0 <= dice <= 1
    assert linear > 15


@pytest.mark.slow
def test_learned_rule_adapts_better_than_guessed_step_sizes(monkeypatch):
    start, guessed, ruled, joint = run(
        "02_meta_learning_step_by_step.ipynb", monkeypatch, "ruled[0], guessed[-1], ruled[-1], joint[-1]"
    )
    assert ruled > start + 3
    assert ruled > guessed
    assert joint > start + 3


@pytest.mark.slow
def test_a_scan_of_ones_own_has_the_instruments_thickness_by_and_large(monkeypatch):
    monkeypatch.setenv("INR_JAX_DATA", str(real_data("spectralis").parent))
    apart, known, files = run(
        "03_adapt_your_own_scan.ipynb",
        monkeypatch,
        "np.nanmedian(apart), np.isfinite(apart).sum(), len(list(folder.iterdir()))",
    )
    assert apart < 60
    assert known > 400
    assert files > 15


@pytest.mark.slow
def test_a_sweep_in_a_notebook_scores_every_setting(monkeypatch):
    scores = run("04_ablations.ipynb", monkeypatch, "[setting.score(place).mean for setting in settings]")
    assert len(scores) == 3
    assert min(scores) > 5


@pytest.mark.parametrize("name", sorted(path.name for path in NOTEBOOKS.glob("*.ipynb")))
def test_notebooks_are_stored_without_outputs(name):
    cells = nbformat.read(NOTEBOOKS / name, as_version=4).cells
    assert not any(cell.get("outputs") for cell in cells)
