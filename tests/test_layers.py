"""Who may import whom: the table of the design, read off the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import inr_jax

PACKAGE = Path(inr_jax.__file__).parent
NAMES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

NUMERIC = {"types", "activations", "encodings", "losses", "coordinates", "modulations", "metrics", "errors"}
SCANS = {"scan", "npz_io", "label_tables", "readers", "scan_io", "errors"}
PREPARE = SCANS | {"types", "coordinates", "registration", "slo_registration"}
FACE = "*"  # may import everything but the command line

# module or folder -> the modules and folders of the package that it may import
MAY_IMPORT: dict[str, set[str] | str] = {
    "errors": set(),
    "types": set(),
    "activations": {"types"},
    "encodings": {"types"},
    "losses": {"types"},
    "coordinates": {"types"},
    "modulations": {"types"},
    "metrics": {"metrics", "types", "errors"},
    "lpips": {"errors"},
    "kernels": {"activations"},
    "flops": {"types"},
    "networks": NUMERIC | {"networks", "kernels"},
    "guard": set(),
    "rules": {"types", "errors"},
    "adaptation": {"types", "errors", "rules"},
    "population": {"types", "errors", "adaptation", "rules", "guard"},
    "gauge": {"types"},
    "ridge": {"types"},
    "uncertainty": {"types", "errors"},
    "calibration": {"types", "errors"},
    "operators": {"types", "coordinates"},
    "tasks": {"types", "coordinates", "losses", "metrics", "operators"},
    "scan": {"errors"},
    "label_tables": set(),
    "npz_io": {"scan", "errors"},
    "readers": {"scan", "npz_io", "errors", "limits", "readers"},
    "scan_io": SCANS,
    "phantom": {"phantom", "errors"},
    "registration": {"scan", "errors"},
    "slo_registration": {"scan"},
    "flattening": {"errors"},
    "membrane": {"scan", "registration"},
    "grids": {"scan", "errors"},
    "en_face": set(),
    "etdrs": {"en_face", "thickness"},
    "profiles": {"en_face", "thickness"},
    "thickness_figures": {"en_face", "etdrs", "figures", "profiles", "thickness"},
    "thickness_files": SCANS
    | {
        "en_face",
        "etdrs",
        "figures",
        "grids",
        "profiles",
        "surfaces",
        "tables",
        "thickness",
        "thickness_figures",
    },
    "dicom_files": SCANS | {"grids"},
    "tiff_files": SCANS | {"grids"},
    "surfaces": {"grids", "flattening", "phantom"},
    "thickness": {"surfaces", "metrics"},
    "preprocessing": PREPARE | {"flattening"},
    "cropping": {"scan", "errors", "etdrs"},
    "records": SCANS | {"flattening"},
    "folds": {"errors", "flat_volumes"},
    "raw_scans": SCANS | {"data", "phantom"},
    "flat_volumes": SCANS | {"flattening", "membrane", "records"},
    **dict.fromkeys(
        ("interpolation", "tuning", "denoising", "registered", "baselines", "residual"),
        PREPARE | {"interpolation", "tuning", "denoising", "registered", "progress"},
    ),
    "progress": set(),
    "programs": set(),
    "data": PREPARE | {"preprocessing", "phantom", "data", "progress", "records", "flattening"},
    "checkpoint": {"types", "errors"},
    "sealed": {"types", "errors", "npz_io"},
    "measurements": {"types", "coordinates"},
    "epochs": set(),
    "workdir": {"types", "errors", "config_script"},
    "limits": {"errors"},
    "program_cache": {"errors", "limits"},
    "places": {"errors"},
    "stopping": set(),
    "config_script": {"errors"},
    "sweeps": {"errors", "config_script"},
    "command_flags": {"errors", "config_script"},
    "joining": {"types"},
    "choices": NUMERIC | {"networks"},
    "model": NUMERIC | {"networks", "choices", "adaptation", "rules", "population", "ridge", "tasks", "operators"},
    **dict.fromkeys(
        (
            "prepare",
            "recipe",
            "subjects",
            "entering",
            "starting",
            "stage_checks",
            "visits",
            "render",
            "train",
            "adapting",
            "kept_fits",
            "trained",
            "new_scan",
            "flat_scans",
            "result",
            "restored",
            "many_scans",
            "coverage",
            "given_layers",
            "adapted_record",
            "likeness",
            "export",
            "adapted_files",
            "inspecting",
            "between",
            "asking",
            "doubt",
            "doubt_tables",
            "doubt_scores",
            "calibrate",
            "evaluate",
            "compare",
            "validate",
            "batched",
            "chunks",
            "variant_runs",
            "ablate",
            "commands",
            "command_runs",
            "demo",
            "doctor",
            "engines",
            "ray_cluster",
            "ray_engine",
            "sweep_progress",
        ),
        FACE,
    ),
    **dict.fromkeys(
        (
            "figures",
            "layer_figures",
            "scan_figures",
            "tables",
            "page",
            "report",
            "scan_report",
            "layer_report",
            "model_card",
        ),
        FACE,
    ),
    "viewer_images": set(),
    "viewer": {"viewer_images", "between", "figures", "page"},
    "niivue": set(),
    "serve": {"errors"},
    "sweep_results": {"sweeps", "tables", "errors"},
    "sweep_tables": {"sweep_results", "tables"},
    "sweep_figures": {"figures"},
    "sweep_best": {"config_script", "scan_io"},
    **dict.fromkeys(("sweep_text", "sweep_report"), FACE),
    "__init__": FACE,
    "main": FACE,
    "__main__": {"main"},
}

# library -> the only modules and folders that may import it
ONLY_IN = {
    "flax": {"networks"},
    "orbax": {"checkpoint"},
    "optax": {"adaptation", "population", "render"},
    "SimpleITK": {"scan_io", "readers", "registered"},
    "eyepy": {"readers"},
    "pydicom": {"readers", "dicom_files"},
    "tifffile": {"readers", "tiff_files"},
    "tensorboardX": {"train"},
    "tqdm": {"progress"},
    "ray": {"ray_cluster"},
    "absl": {"main", "commands", "command_runs", "command_flags"},
}
# what is imported before a command is known
COMMAND_LINE = {
    "main", "commands", "command_runs", "command_flags", "config_script", "limits", "places", "program_cache",
    "stopping", "errors",
}  # fmt: skip
WITHOUT_JAX = SCANS | {
    "phantom",
    "registration",
    "slo_registration",
    "flattening",
    "membrane",
    "records",
    "flat_volumes",
    "folds",
    "raw_scans",
    "preprocessing",
    "interpolation",
    "tuning",
    "denoising",
    "registered",
    "baselines",
    "data",
    "metrics",
    "sweeps",
    "grids",
    "surfaces",
    "en_face",
    "etdrs",
    "profiles",
    "thickness",
    "thickness_files",
    "dicom_files",
    "tiff_files",
}


def row_of(name):
    """The table's row: the module's own, or its folder's."""
    return name.split(".")[0]


def imports(name):
    """(module, lazily?) of every import of a module; `from inr_jax import x` counts as inr_jax.x."""
    tree = ast.parse(NAMES[name].read_text())
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            module = node.module or ""
            inner = [f"{module}.{a.name}" for a in node.names if f"{module}.{a.name}".removeprefix("inr_jax.") in NAMES]
            yield from ((found, id(node) not in top) for found in inner or [module])


def libraries(name):
    return {module.split(".")[0] for module, _ in imports(name)}


def own(name):
    """Rows of the package that a module imports."""
    found = [module for module, _ in imports(name) if module.split(".")[0] == "inr_jax"]
    return {row_of(module.removeprefix("inr_jax.")) for module in found if module != "inr_jax"}


@pytest.mark.parametrize("name", NAMES)
def test_every_module_has_a_row_and_imports_only_what_its_row_allows(name):
    assert row_of(name) in MAY_IMPORT, f"{name}: place it in the table"
    allowed = MAY_IMPORT[row_of(name)]
    if allowed == FACE:
        allowed = set(MAY_IMPORT) - {"main", "__main__", "__init__"}
    assert own(name) <= allowed


def test_rows_have_their_modules():
    assert {row_of(name) for name in NAMES} == set(MAY_IMPORT)


@pytest.mark.parametrize("library", ONLY_IN)
def test_heavy_libraries_stay_where_they_belong(library):
    assert {row_of(name) for name in NAMES if library in libraries(name)} <= ONLY_IN[library]


def test_ray_is_imported_only_where_a_sweep_asks_for_it():
    """It is an extra: without it the module must still load, to say so."""
    assert all(lazily for module, lazily in imports("ray_cluster") if module.split(".")[0] == "ray")


@pytest.mark.parametrize("name", [name for name in NAMES if row_of(name) in WITHOUT_JAX])
def test_reading_preparing_and_simulating_need_no_jax(name):
    assert not libraries(name) & {"jax", "jaxlib", "flax", "optax", "orbax"}


@pytest.mark.parametrize("name", sorted(COMMAND_LINE))
def test_the_command_line_imports_modules_only_where_a_command_needs_them(name):
    eager = {module for module, lazily in imports(name) if not lazily}
    assert {module.split(".")[0] for module in eager} <= sys.stdlib_module_names | {"absl", "ml_collections", "inr_jax"}
    assert {module.removeprefix("inr_jax.") for module in eager if module.startswith("inr_jax")} <= COMMAND_LINE


def loaded_after(code):
    """Which of the heavy libraries a fresh interpreter has loaded after some code."""
    program = (
        f"import sys\n{code}\nprint(*sorted({{'jax', 'flax', 'orbax', 'skimage'}} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.split()


@pytest.mark.parametrize("first", ["", "from inr_jax import evaluate, prepare, train", "import inr_jax.demo"])
def test_public_functions_are_called_by_their_names_whatever_was_imported_before(first):
    out, _ = loaded_after(
        f"{first}\nimport inr_jax\nfor name in ('train', 'evaluate', 'prepare') * 2:\n"
        "    try: getattr(inr_jax, name)()\n    except TypeError as error: print(error)"
    )
    assert [line.split()[0] for line in out.splitlines()] == ["train()", "evaluate()", "prepare()"] * 2


def test_help_answers_without_loading_jax():
    out, loaded = loaded_after("from inr_jax.main import main\nassert main(['--help']) == 0")
    assert "train" in out
    assert loaded == []


def test_files_are_read_and_eyes_simulated_without_loading_jax():
    _, loaded = loaded_after("import inr_jax.scan_io, inr_jax.phantom")
    assert "jax" not in loaded
