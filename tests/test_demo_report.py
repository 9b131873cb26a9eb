"""The demo at toy size: what it prints, writes and shows agree; its report opens anywhere, without a network too."""

import contextlib
import csv
import io
import json
import math
import re
import shutil
import subprocess
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import toy
from PIL import Image

from inr_jax import demo

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DIGITS = {"psnr": ("PSNR (dB)", 2), "ssim": ("SSIM", 3), "dice": ("Dice", 3), "seconds": ("Time (s)", 2)}
FIGURES = (
    "Scores by person",
    "An example of median quality",
    "Thickness",
    "Scores by layer",
    "Agreement of thickness",
    "Adaptation",
    "Training",
)
TABLES = ("Scores", "All scores", "Layers")
ADDRESSES = ("src", "href", "srcset", "action", "formaction", "poster", "data", "background", "xlink:href")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo leaves of its own config at toy size, with two test people of two eyes; `printed.txt` it said."""
    config = toy.make_tiny(toy.read_config(toy.ROOT / "configs" / "demo.py"), steps=2)
    config.data.phantom_oct.update({"people": (2, 1, 2), "eyes": 2})
    config.model.modulation.parts = ("grid",)
    config.train.update({"stages": ("joint",), "calibrate": False})
    config.adapt.first_order = True
    config.fit.update({"points": 64, "steps": 5, "weights_steps": 5})
    folder = tmp_path_factory.mktemp("demo_report")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        page = demo.demo(folder, config)
    assert page == folder / "test" / "report.html"
    (folder / "printed.txt").write_text(said.getvalue())
    return folder


class Page(HTMLParser):
    """A report's tags in order, its figures by heading, and its tables: heading, caption and rows of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.images: list[tuple[str, dict]] = []
        self.tables: list[dict] = []
        self.title = self.heading = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append((tag, found))
        self.open.append(tag)
        if tag == "h2":
            self.heading = ""
        elif tag == "img":
            self.images.append((self.heading, found))
        elif tag == "table":
            self.tables.append({"heading": self.heading, "caption": "", "rows": []})
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
        elif tag in ("th", "td"):
            self.tables[-1]["rows"][-1] += [""] * int(found.get("colspan", 1))

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, text):
        inside = self.open[-1] if self.open else ""
        if inside in ("h2", "title"):
            name = "heading" if inside == "h2" else "title"
            setattr(self, name, getattr(self, name) + text)
        elif inside == "caption":
            self.tables[-1]["caption"] += text
        elif inside in ("th", "td"):
            row = self.tables[-1]["rows"][-1]
            first = len(row) - int(self.tags[-1][1].get("colspan", 1))
            row[first:] = [text] * (len(row) - first)


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "test" / "report.html").read_text(encoding="utf-8"))


def people_s_scores(folder: Path) -> dict[tuple[str, str, str], list[float]]:
    """Every person's mean by (method, kind, title of the score), straight from metrics.csv; [] where undefined."""
    with (folder / "test" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for method, kind in {(row["method"], row["kind"]): None for row in rows}:
        for metric, (title, _) in DIGITS.items():
            people: dict[str, list[float]] = {}
            for row in rows:
                if (row["method"], row["kind"]) == (method, kind) and row[metric]:
                    people.setdefault(row["person"], []).append(float(row[metric]))
            found[method, kind, title] = [sum(values) / len(values) for values in people.values()]
    return found


def written(values: list[float], digits: int) -> str:
    """mean ± standard deviation over people, as a reader would write it."""
    if not values:
        return "–"
    mean = sum(values) / len(values)
    if math.isinf(mean):
        return "exact"
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[tuple[str, str, str], str]:
    """The text of every cell by (method, kind, title)."""
    digits = dict(DIGITS.values())
    return {key: written(values, digits[key[2]]) for key, values in people_s_scores(folder).items()}


def printed_cells(folder: Path) -> dict[tuple[str, str, str], str]:
    """The cells of the printed table by (method, kind, title)."""
    blocks = (folder / "printed.txt").read_text().split("\n\n")
    tables = [block.splitlines() for block in blocks if "PSNR (dB)" in block]
    cells = {}
    for lines in tables:
        head, *rest = lines[next(i for i, line in enumerate(lines) if "PSNR (dB)" in line) :]
        kind, *titles = re.split(r"\s{2,}", head.strip())
        for line in rest[1:]:
            method, *values = re.split(r"\s{2,}", line.strip())
            for title, value in zip(titles, values, strict=True):
                cells[method, kind, title] = value
    return cells


def test_the_scores_are_of_two_people_of_two_eyes(folder: Path) -> None:
    """Else the means below would be of nothing."""
    assert {len(values) for values in people_s_scores(folder).values()} == {0, 2}
    assert sorted(p.name for p in (folder / "test").glob("phantom-*")) == [
        f"phantom-000{person}-{eye}" for person in (3, 4) for eye in "LR"
    ]


def test_the_printed_table_holds_the_means_of_the_csv_and_marks_the_best_that_is_no_oracle(folder, expected) -> None:
    printed = printed_cells(folder)
    assert {key: cell.removesuffix(" *") for key, cell in printed.items()} == expected
    scores = people_s_scores(folder)
    means = {key: np.mean(values) for key, values in scores.items() if values and not key[0].startswith("oracle")}
    for _, kind, title in dict.fromkeys(("", *key[1:]) for key in means):
        column = {key: mean for key, mean in means.items() if key[1:] == (kind, title)}
        best = (min if title == "Time (s)" else max)(column, key=column.__getitem__)
        assert [key for key, cell in printed.items() if cell.endswith(" *") and key[1:] == (kind, title)] == [best]


def test_the_report_s_table_holds_the_means_of_the_csv(page: Page, expected) -> None:
    table = page.tables[0]
    kinds, titles, *rows = table["rows"]
    found = {
        (method, kind, title): cell
        for method, *cells in rows
        for kind, title, cell in zip(kinds[1:], titles[1:], cells, strict=True)
    }
    times = [key for key in found if key[2] == "Time (s)"]  # a scan's time is of all its places: told once
    assert len({key[1] for key in times}) == 1
    assert found == {key: text for key, text in expected.items() if key[2] != "Time (s)" or key in times}


def test_the_summary_holds_the_means_of_the_csv(folder: Path) -> None:
    scores = people_s_scores(folder)
    for line in json.loads((folder / "test" / "summary.json").read_text()):
        for metric, (title, _) in DIGITS.items():
            values = scores[line["method"], line["kind"], title]
            defined = [mean for mean in [sum(values) / len(values)] if math.isfinite(mean)] if values else []
            assert line[metric]["people"] == len(values)
            assert line[metric]["mean"] == (pytest.approx(defined[0], rel=1e-12) if defined else None)


def test_a_scan_s_own_csv_holds_its_rows_of_the_whole(folder: Path) -> None:
    def rows(path: Path) -> list[dict[str, str]]:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    whole = rows(folder / "test" / "metrics.csv")
    for name in {row["subject"]: None for row in whole}:
        assert rows(folder / "test" / name / "metrics.csv") == [row for row in whole if row["subject"] == name]


def test_every_table_says_that_its_data_are_a_phantom(folder: Path, page: Page) -> None:
    first, *_, last = (folder / "printed.txt").read_text().strip().splitlines()
    assert first == "test scans (phantom), scored against noise-free, motion-free anatomy"
    assert last == f"phantom; report: {folder / 'test' / 'report.html'}"
    assert "phantom" in page.title
    for table in page.tables:
        assert "phantom" in table["heading"] + table["caption"], "a table that is copied says what it is of"


def test_every_figure_is_a_picture_with_words_for_who_cannot_see_it(folder: Path, page: Page) -> None:
    assert tuple(heading for heading, _ in page.images) == FIGURES
    alts = [image["alt"] for _, image in page.images]
    assert len(set(alts)) == len(FIGURES)
    assert all(len(alt.split()) >= 5 for alt in alts)
    for heading, image in page.images:
        data = b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)
        assert data == (folder / "test" / "figures" / f"{heading.lower().replace(' ', '_')}.png").read_bytes()
        picture = Image.open(io.BytesIO(data))
        assert picture.format == "PNG"
        assert min(picture.size) >= 100
        assert np.asarray(picture.convert("L"), float).std() > 5
        assert 100 <= int(image["width"]) <= picture.size[0]
    assert {path.name for path in (folder / "test" / "figures").iterdir()} == {
        f"{heading.lower().replace(' ', '_')}.png" for heading in FIGURES
    }


def test_the_report_names_no_address_outside_itself(folder: Path, page: Page) -> None:
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,", (folder / "test" / "report.html").read_text(encoding="utf-8"))
    assert not re.search(r"https?:|//|@import|@font-face|url\(", text)
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "base", "form"}
    addresses = [attributes[name] for _, attributes in page.tags for name in ADDRESSES if name in attributes]
    assert len(addresses) > len(FIGURES)
    assert all(address.startswith("data:") for address in addresses)


def opened(path: Path, profile: Path) -> subprocess.CompletedProcess:
    """The page as headless Chromium has it once it is loaded; its console goes to stderr."""
    command = (
        f"{BROWSER} --headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
        " --disable-background-networking --disable-component-update --disable-sync"
        f" --user-data-dir={profile} --enable-logging=stderr --v=0 --dump-dom"
    )
    return subprocess.run([*command.split(), path.as_uri()], capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to open the report with")
def test_a_browser_opens_the_report_without_a_word_and_would_complain_of_an_outside_picture(folder, tmp_path) -> None:
    done = opened(folder / "test" / "report.html", tmp_path / "profile")
    assert "CONSOLE" not in done.stderr
    shown = Page(done.stdout)
    assert tuple(heading for heading, _ in shown.images) == FIGURES
    assert tuple(table["heading"] for table in shown.tables) == TABLES
    text = (folder / "test" / "report.html").read_text(encoding="utf-8")
    outside = tmp_path / "outside.html"
    outside.write_text(text.replace("<main>", '<main><img alt="" src="http://127.0.0.1:9/a.png">'), encoding="utf-8")
    said = opened(outside, tmp_path / "profile").stderr
    assert re.search(r"CONSOLE.*Content Security Policy", said)
