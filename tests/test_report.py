"""Tables are means over people; a report is one file that a browser opens without complaint or network."""

import csv
import json
import re
import shutil
import subprocess
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from synthetic import layered_population

from inr_jax import figures, metrics, tables
from inr_jax.errors import InputError
from inr_jax.page import DISCLAIMER, Picture, all_scores, write_report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def row(method, person, psnr, kind="interpolated", **more):
    return {
        "method": method,
        "person": person,
        "subject": f"{person}-R",
        "kind": kind,
        "note": "phantom",
        "psnr": psnr,
    } | more


ROWS = [
    row("ours", "a", 30.0, dice=0.9, seconds=0.5),
    row("ours", "a", 32.0, dice=np.nan, seconds=0.5),
    row("ours", "b", 35.0, dice=0.8, seconds=0.5),
    row("oracle: truth", "a", np.inf),
    row("oracle: truth", "b", np.inf),
    row("linear <raw>", "a", 28.0),
    row("linear <raw>", "b", 29.0),
]


def test_a_persons_eyes_are_averaged_before_people_are():
    ours = tables.summarise(ROWS)[0]
    assert ours.scores["psnr"][:3] == (pytest.approx((31 + 35) / 2), pytest.approx(np.std([31, 35], ddof=1)), 2)
    assert ours.scores["dice"].mean == pytest.approx(0.85)
    assert np.isnan(ours.scores["ssim"].mean)


def test_oracles_come_last_and_are_never_the_best():
    table = tables.summarise(ROWS)
    assert [line.method for line in table] == ["ours", "linear <raw>", "oracle: truth"]
    assert tables.best(table, "interpolated", "psnr") == 33.0
    printed = tables.print_table(table).splitlines()
    assert [line.split()[0] for line in printed if "*" in line] == ["ours", "mean"]
    assert "33.00 ± 2.83 *" in printed[2]
    assert "exact" in printed[4]


def test_columns_of_the_printed_table_line_up():
    block = tables.print_table(tables.summarise(ROWS)).split("\n\n")[0].splitlines()
    assert len({len(line) for line in block}) == 1


def test_every_form_of_a_table_says_what_its_data_are(page, tmp_path):
    table = tables.summarise(ROWS)
    assert tables.print_table(table).splitlines()[-1].startswith("mean ± SD over 2 people (phantom)")
    assert {line["note"] for line in json.loads(tables.to_json(table))} == {"phantom"}
    assert "people (phantom), a person's eyes averaged first." in page.read_text()
    plain = tables.summarise([row | {"note": ""} for row in ROWS])
    assert tables.print_table(plain).splitlines()[-1].startswith("mean ± SD over 2 people;")


def test_a_page_has_dashes_for_what_cannot_be_scored_and_says_why_below_its_tables(tmp_path):
    table = tables.summarise([row("ours", "a", 30.0), row("ours", "a", 32.0, kind="all", ssim=0.9)])
    undefined = {"dice": "no labels in <these>", "ssim": "of all pixels alone"}
    more = {"All scores": all_scores(table, undefined)}
    path = tmp_path / "r.html"
    write_report(path, title="t", lead="l", facts={}, scores={"S": table}, figures=[], more=more, undefined=undefined)
    found = path.read_text(encoding="utf-8")
    first = found[found.index("<tbody>") : found.index("</tbody>")]
    assert first.count("<td>–</td>") == 2  # Dice of both kinds; SSIM is no column of loose pixels
    assert "<p>Dice: no labels in &lt;these&gt;</p>\n<p>SSIM: of all pixels alone</p>" in found
    assert "Dice: no labels in &lt;these&gt;. SSIM: of all pixels alone.</caption>" in found


def test_json_has_null_for_what_is_undefined_or_infinite():
    ours, _, oracle = json.loads(tables.to_json(tables.summarise(ROWS)))
    spread = {"sd": pytest.approx(2.8284271), "low": None, "high": None}
    assert ours["psnr"] == {"mean": 33.0, "people": 2, "undefined": 0} | spread
    assert ours["ssim"]["mean"] is None
    assert oracle["psnr"]["mean"] is None


def test_csv_gives_rows_back_and_leaves_the_undefined_empty(tmp_path):
    tables.write_csv(ROWS, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [float(r["psnr"]) for r in found] == [r["psnr"] for r in ROWS]
    assert [r["dice"] for r in found[:3]] == ["0.9", "", "0.8"]
    assert found[5]["method"] == "linear <raw>"


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        tables.write_csv(ROWS, tmp_path / "absent" / "rows.csv")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def drawn():
    """One figure of each kind, of a synthetic eye."""
    eye = layered_population(people=1, eyes=1)
    bscan, labels = eye.intensity[0, 3, ..., 0], eye.labels[0]
    maps = {"true": metrics.thickness(labels, (1, 2, 3), 0.004), "first layer": metrics.thickness(labels, (1,), 0.004)}
    return {
        "bscans": figures.bscan_panel(
            {"measured": bscan, "truth": eye.truth[0, 3, ..., 0]},
            spacing=(0.004, 0.06),
            title="an eye",
            labels={"labels": labels[3]},
            classes=eye.classes,
            difference=("measured", "truth"),
        ),
        "images": figures.image_panel({"colour": np.random.default_rng(0).random((20, 24, 3))}, title="an image"),
        "maps": figures.en_face_maps(
            maps,
            spacing=(0.24, 0.06),
            measured=eye.measured.all(axis=(1, 2)),
            title="an eye",
            quantity="thickness (µm)",
        ),
        "curves": figures.curves({"ours": ([0, 1], [20, 30])}, x_name="step", y_name="PSNR (dB)", title="adaptation"),
        "dots": figures.dots({"PSNR (dB)": {"ours": [30, 31], "oracle": [np.inf]}}, title="scores", marked=["ours"]),
    }


@pytest.fixture(scope="module")
def files(drawn):
    return {name: figures.png(figure) for name, figure in drawn.items()}


@pytest.mark.parametrize("kind", ["bscans", "images", "maps", "curves", "dots"])
def test_every_figure_has_content_titles_and_axis_names_and_no_metadata(drawn, files, kind):
    figure, file = drawn[kind], files[kind]
    pixels = np.asarray(Image.open(BytesIO(file)).convert("L"))
    assert pixels.std() > 10
    assert b"http" not in file
    assert "Software" not in Image.open(BytesIO(file)).info
    panels = [axis for axis in figure.axes if axis.get_xlabel()]
    assert panels
    if kind in ("bscans", "maps"):
        assert all("mm" in axis.get_xlabel() for axis in panels)
        assert all("m)" in axis.get_ylabel() for axis in panels)


def test_a_bscan_is_drawn_in_millimetres_and_micrometres(drawn):
    left, right, bottom, top = drawn["bscans"].axes[0].images[0].get_extent()
    np.testing.assert_allclose((left, right, bottom, top), (0, 32 * 0.06, 40 * 4, 0))


@pytest.fixture(scope="module")
def page(tmp_path_factory, files):
    path = tmp_path_factory.mktemp("report") / "report.html"
    pictures = [Picture(file, name, f"what {name} shows", "a caption") for name, file in files.items()]
    write_report(
        path,
        title="Title & <tags>",
        lead="One claim.",
        facts={"Grid": "9 x 40 x 32"},
        scores={"Scores": tables.summarise(ROWS)},
        figures=pictures,
        notes={"linear <raw>": "no parameters"},
    )
    return path


class Reader(HTMLParser):
    """Tags with their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def test_a_report_names_no_address_and_runs_no_script(page):
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,", page.read_text())
    assert not re.search(r"https?:|//\w|@import|url\(", text)
    assert "<script" not in text
    for tag, attributes in Reader(text).tags:
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:"), tag


def test_a_report_shows_every_figure_with_words_for_who_cannot_see_it(page, files):
    images = [attributes for tag, attributes in Reader(page.read_text()).tags if tag == "img"]
    assert [image["alt"] for image in images] == [f"what {name} shows" for name in files]
    for image, file in zip(images, files.values(), strict=True):
        assert b64decode(image["src"].removeprefix("data:image/png;base64,")) == file


def test_a_report_escapes_names_marks_the_best_and_oracles_and_says_what_it_is_not_for(page):
    text = page.read_text()
    assert "Title &amp; &lt;tags&gt;" in text
    assert "linear &lt;raw&gt;" in text
    assert text.count(DISCLAIMER) == 2
    assert re.search(r'class="first best">33\.00 ± 2\.83<', text)
    assert re.search(r'<tr class="oracle start"><th scope="row">oracle: truth</th><td class="first">exact', text)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to open the report with")
def test_a_browser_opens_a_report_without_console_messages(page, tmp_path):
    command = (
        f"{BROWSER} --headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
        " --disable-background-networking --disable-component-update --disable-sync"
        f" --user-data-dir={tmp_path} --enable-logging=stderr --v=0 --dump-dom"
    )
    done = subprocess.run([*command.split(), page.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    assert "CONSOLE" not in done.stderr
    assert done.stdout.count("<img") == 5
