"""The B-scan viewer: what it is told of arrays, and what a person at a keyboard then sees of it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import BROWSER, browser
from scipy.ndimage import gaussian_filter

from inr_jax import scan_report, viewer
from inr_jax.page import DISCLAIMER, Script, write_page
from inr_jax.viewer import EnFace, Overlay, Thickness, View

P, H, W = 7, 32, 24
CLASSES = ("outside", "RNFL", "GCL", "fluid")
GIVEN = [True, False, False, True, False, False, True]


def view(count=P, *, slo=True):
    """Layers that sink by a row a B-scan; every third B-scan given."""
    rng = np.random.default_rng(0)
    rows = np.arange(H)[None, :, None] - np.arange(count)[:, None, None]
    labels = np.broadcast_to(1 * ((rows >= 5) & (rows < 9)) + 2 * ((rows >= 9) & (rows < 15)), (count, H, W))
    intensity = (labels / 3 + 0.1 * rng.random(labels.shape)).astype(np.float32)
    half = np.full(labels.shape, 0.2, np.float32)
    half[:, :3] = np.nan
    um = {name: np.full((count, W), 4.0 * rows) for name, rows in (("RNFL", 4), ("GCL", 6))}
    y, x = np.meshgrid(5 - 0.5 * np.arange(count), 1 + 0.1 * np.arange(W), indexing="ij")
    return View(
        intensity=intensity,
        spacing=(0.004, 0.1),
        places=0.5 * np.arange(count),
        origin=np.broadcast_to(np.array((GIVEN * count)[:count])[:, None, None], labels.shape).astype(np.int8),
        linear=intensity[:, ::-1],
        labels=labels,
        classes=CLASSES,
        overlays=[Overlay(half, "of intensity", "grey values", "Half of an interval.")],
        thickness={
            "all layers": Thickness(um["RNFL"] + um["GCL"]),
            "RNFL": Thickness(um["RNFL"], np.full((count, W), 3.0)),
            "GCL": Thickness(um["GCL"]),
        },
        level="90%",
        slo=EnFace(rng.random((30, 20)), (0.25, 0.25), np.stack([y, x], -1)) if slo else None,
    )


# --- what the page is told ---


def test_everything_that_is_shown_of_a_bscan_is_there_for_each_of_them():
    told = viewer.described(view())
    counts = {name: len(told[name]) for name in ("places", "given", "model", "linear")}
    assert counts == dict.fromkeys(("places", "given", "model", "linear"), P)
    assert told["given"] == GIVEN
    assert [len(layer["paths"]) for layer in told["layers"]] == [P, P]
    assert [len(overlay["images"]) for overlay in told["overlays"]] == [P]
    assert all(len(found["value"]) == P for found in told["thickness"])
    assert len(told["slo"]["lines"]) == P


def test_layers_that_are_nowhere_are_not_listed_and_no_two_look_alike():
    many = tuple(f"layer {i}" for i in range(13))
    labels = np.arange(13)[None, :, None] * np.ones((P, 1, W), int)
    odd = viewer.described(view()._replace(labels=labels, classes=many))["layers"]
    assert len({(layer["colour"], layer["dash"]) for layer in odd}) == 12
    assert [layer["name"] for layer in viewer.described(view())["layers"]] == ["RNFL", "GCL"]


def test_what_is_not_known_is_told_as_nothing_rather_than_as_a_number():
    value = np.full((P, W), np.nan)
    value[0, 0] = 12.34
    (told,) = viewer.described(view()._replace(thickness={"x": Thickness(value)}))["thickness"]
    assert told["value"][0][:2] == [12.3, None]
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("places", "expected"),
    [([0.0, 1.0, 2.0], [0, 1, 2]), ([0.0, 1.0, 4.0], [0, 0, 1, 1, 1, 2, 2]), ([3.0], [0])],
)
def test_a_map_s_rows_are_the_nearest_bscans_however_unevenly_they_lie(places, expected):
    rows = viewer.nearest_rows(np.array(places))
    first, last = viewer.edges(np.array(places))
    at = first + (np.arange(len(rows)) + 0.5) / len(rows) * (last - first)
    assert len(rows) >= len(places)
    assert set(rows) == set(range(len(places)))
    gaps = np.abs(at[:, None] - np.array(places))
    np.testing.assert_allclose(gaps[np.arange(len(rows)), rows], gaps.min(axis=1))
    assert (len(rows) == len(places)) == (len(expected) == len(places))


def test_scan_lines_lie_in_mm_from_the_slo_s_corner_and_the_map_is_turned_as_the_slo_is():
    told = viewer.described(view())
    assert told["slo"]["size"] == [5.0, 7.5]
    assert told["slo"]["lines"][0][0] == [1.125, 5.125]  # (x, y): half a pixel from the first pixel's centre
    assert told["upwards"] is True
    assert viewer.described(view(slo=False))["upwards"] is False


def test_linear_interpolation_gives_the_given_bscans_themselves_and_means_half_way():
    stack = np.random.default_rng(0).random((4, 3, 2)).astype(np.float32)
    found = scan_report.between_neighbours(stack, np.array([0, 0.5, 2.25, 3]))
    expected = [stack[0], (stack[0] + stack[1]) / 2, 0.75 * stack[2] + 0.25 * stack[3], stack[3]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# --- the page ---


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("viewer") / "report.html"
    scan_report.write(path, view(), {"Model": "toy"}, [])
    return path


def test_the_report_says_what_it_is_not_for_and_names_no_address(report):
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,", report.read_text(encoding="utf-8"))
    assert text.count(DISCLAIMER) == 2
    assert not re.search(r"https?:|@import|url\(", text)
    addresses = [v for _, found in Tags(text).found for k, v in found.items() if k in ("src", "href", "action")]
    assert all(address.startswith("data:") for address in addresses)


def test_the_report_s_policy_lets_its_own_scripts_run_and_no_others(report):
    text = report.read_text(encoding="utf-8")
    (policy,) = [found["content"] for tag, found in Tags(text).found if found.get("http-equiv")]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    scripts = re.findall(r"<script(?: type=\"module\")?>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(found.encode()).digest()).decode() for found in scripts]
    assert rules["script-src"].split() == [f"'sha256-{found}'" for found in hashes]


def test_every_control_has_a_name(report):
    tags = Tags(report.read_text(encoding="utf-8")).found
    sliders = [found for tag, found in tags if tag == "input" and found.get("type") == "range"]
    stops = [found for _, found in tags if found.get("tabindex") == "0"]
    assert len(sliders) == 3
    assert len(stops) >= 4
    assert all(found.get("aria-label") for found in stops)


@pytest.mark.parametrize(("shape", "most"), [((31, 128, 96), 5e6 - 2.5e6), ((4, 496, 512), 60e6 * 4 / 60 - 0.2e6)])
def test_a_report_of_speckle_stays_small(shape, most, tmp_path):
    """Nothing packs worse. 4 of 60 large B-scans are looked at; what is left off is for NiiVue."""
    rng = np.random.default_rng(0)
    speckle = rng.gamma(4, 0.25, shape).astype(np.float32)
    smooth = gaussian_filter(speckle, (0, 1, 1))
    labels = 1 + (np.arange(shape[1])[:, None] + rng.integers(0, 2, shape[2])) * 10 // shape[1]
    scan = view(shape[0])._replace(
        intensity=smooth,
        linear=speckle,
        labels=np.broadcast_to(labels, shape),
        classes=tuple(map(str, range(12))),
        overlays=[Overlay(smooth, "a", "", ""), Overlay(smooth[::-1], "b", "", "")],
        origin=np.zeros(shape, np.int8),
        thickness={str(i): Thickness(speckle[:, i], speckle[:, i]) for i in range(11)},
    )
    scan_report.write(tmp_path / "report.html", scan, {}, [])
    assert (tmp_path / "report.html").stat().st_size < most


# --- the page in a browser ---


@pytest.fixture(scope="module")
def opened(report, tmp_path_factory):
    if BROWSER is None:
        pytest.skip("no Chromium to open the report with")
    with browser(tmp_path_factory.mktemp("profile")) as page:
        page.address = report.as_uri()
        yield page


@pytest.fixture
def page(opened):
    opened.open(opened.address)
    yield opened
    assert opened.complaints() == []
    assert {address.partition(":")[0] for address in opened.requests()} <= {"file", "data"}


def bscan(page):
    return int(page.value("document.getElementById('viewer').dataset.bscan"))


def text(page, selector):
    return page.value(f"document.querySelector('{selector}').textContent")


def is_seen(page, selector):
    return page.value(f"document.querySelector('{selector}').checkVisibility()")


def source(page, selector):
    return page.value(f"document.querySelector('{selector}').src")


def test_arrow_keys_scroll_and_every_bscan_is_marked_as_what_it_is(page):
    told = viewer.described(view())
    for _ in range(P):
        page.press("ArrowLeft")
    for i, is_given in enumerate(GIVEN):
        assert bscan(page) == i
        assert text(page, "#where") == f"B-scan {i + 1} of 7, at {0.5 * i:.3f} mm"
        marks = [text(page, f"{where} .tag") for where in ("#model", "#linear")]
        assert text(page, "#status") == ("■ GIVEN: measured" if is_given else "◇ SYNTHESISED: not measured")
        assert marks[0] == ("MODEL, at a given B-scan" if is_given else "SYNTHESISED by the model")
        assert marks[1] == ("GIVEN: measured" if is_given else "INTERPOLATED, not measured")
        assert source(page, "#model .bscan") == told["model"][i]
        assert source(page, "#linear .bscan") == told["linear"][i]
        assert (
            page.value("document.querySelector('#model .outlines path').getAttribute('d')")
            == (told["layers"][0]["paths"][i])
        )
        page.press("ArrowRight")
    assert bscan(page) == P - 1
    page.press("ArrowLeft", shift=True)
    assert bscan(page) == 3  # the given one before it


def test_a_focussed_picture_scrolls_with_up_and_down_and_a_slider_moves_by_itself_once(page):
    page.value("document.querySelector('#model .stack').focus()")
    page.press("ArrowDown")
    assert bscan(page) == 4
    page.value("document.getElementById('bscan').focus()")
    page.press("ArrowRight")
    assert bscan(page) == 5
    page.value("document.getElementById('ascan').focus()")
    before = text(page, "#at")
    page.press("ArrowRight")
    assert (bscan(page), text(page, "#at") != before) == (5, True)


def test_keys_and_boxes_switch_layers_uncertainty_and_the_comparison(page):
    told = viewer.described(view())

    def seen():
        return [is_seen(page, s) for s in ("#model .outlines", "#model .colour", "#linear .stack")]

    assert seen() == [True, False, True]
    for key, expected in (("l", [0, 0, 1]), ("u", [0, 1, 1]), ("c", [0, 1, 0]), ("l", [1, 1, 0])):
        page.press(key)
        assert seen() == list(map(bool, expected)), key
    assert source(page, "#model .colour") == told["overlays"][0]["images"][3]
    assert "grey values" in text(page, "#overlay-legend .high")
    page.press("u")
    assert seen() == [True, False, False]
    page.click("#numbers input[type=checkbox]")  # of RNFL alone
    paths = page.value("[...document.querySelectorAll('#model .outlines path')].map((p) => p.checkVisibility())")
    assert paths == [False, True]


def test_a_click_on_the_map_goes_to_its_bscan_whose_line_is_drawn_there(page):
    """The first B-scan lies lowest on the SLO, and so on the map."""
    page.click("#map .stack", 0.9, 0.99)
    assert bscan(page) == 0
    page.click("#map .stack", 0.26, 1.5 / P)
    assert bscan(page) == P - 2
    box = "document.querySelector('#map {}').getBoundingClientRect()"
    line, stack = (page.value(f"{box.format(s)}.toJSON()") for s in (".line", ".stack"))
    assert (line["top"] - stack["top"]) / stack["height"] == pytest.approx(1.5 / P, abs=0.02)
    assert text(page, "#at").endswith("A-scan 7 of 24")


def test_a_click_on_the_slo_goes_to_the_nearest_scan_line(page):
    page.click("#slo .stack", 2 / 5, (5.125 - 2.0) / 7.5)
    assert bscan(page) == 4
    now = page.value("document.querySelector('#slo .now').getAttribute('d')")
    assert now.startswith("M1.125 3.125L")
    assert page.value("document.querySelectorAll('#slo .given path').length") == sum(GIVEN)


def test_numbers_of_the_chosen_layer_are_told_in_um_with_their_intervals(page):
    rows = page.value(
        "[...document.querySelectorAll('#numbers tbody tr')].map((r) => [...r.cells].map((c) => c.textContent.trim()))"
    )
    assert rows == [["all layers", "40.0", "40.0"], ["RNFL", "16.0 ± 3.0", "16.0 ± 3.0"], ["GCL", "24.0", "24.0"]]
    assert "µm" in text(page, "#numbers thead")
    page.value("document.getElementById('layer').focus()")
    page.press("R")  # as a list's entries are found by their letters
    assert text(page, "#profile figcaption") == "Thickness of RNFL along this B-scan, with its 90% interval"
    assert source(page, "#map img") == viewer.described(view())["thickness"][1]["map"]


def test_a_line_scan_alone_has_a_profile_and_no_map(opened, tmp_path):
    one = View(*(value[:1] if isinstance(value, np.ndarray) else value for value in view(slo=False)))
    one = one._replace(thickness={"RNFL": Thickness(np.full((1, W), 16.0))}, overlays=[])
    scan_report.write(tmp_path / "one.html", one, {}, [])
    opened.open((tmp_path / "one.html").as_uri())
    assert [is_seen(opened, s) for s in ("#map", "#slo", "#overlays", "#profile", "#numbers")] == [False] * 3 + [
        True
    ] * 2
    opened.press("ArrowRight")
    assert bscan(opened) == 0
    assert opened.complaints() == []


def test_a_script_that_the_policy_does_not_know_is_kept_from_running(opened, report, tmp_path):
    other = tmp_path / "other.html"
    other.write_text(
        report.read_text(encoding="utf-8").replace("</main>", "<script>window.ran = 1</script></main>"),
        encoding="utf-8",
    )
    opened.open(other.as_uri())
    assert opened.value("window.ran") is None
    assert any("Content Security Policy" in said for said in opened.complaints())


def test_scripts_are_written_so_that_html_ends_them_where_they_end(opened, tmp_path):
    write_page(tmp_path / "p.html", title="t", body="", scripts=[Script("window.said = '</script><!-- <script>';\r\n")])
    opened.open((tmp_path / "p.html").as_uri())
    assert opened.value("window.said") == "</script><!-- <script>"
    assert opened.complaints() == []
