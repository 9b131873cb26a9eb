"""NiiVue as the extra `view3d` brings it: found, or said why not; shown by a browser where it is installed."""

import importlib.util
from urllib.parse import quote

import numpy as np
import pytest
from browser import BROWSER, browser
from test_viewer import view

from inr_jax import niivue, scan_report


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package that writes its NiiVue as ipyniivue does."""

    def write(widget):
        (tmp_path / "ipyniivue" / "static").mkdir(parents=True, exist_ok=True)
        (tmp_path / "ipyniivue" / "__init__.py").touch()
        (tmp_path / "ipyniivue" / "static" / "widget.js").write_text(widget, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()

    return write


def test_the_module_that_the_package_encodes_is_found_among_its_strings(installed):
    source = f"/* é {'x' * 200_000} */ class Niivue {{}}; export{{NVImage,Niivue,cmapper}};"
    installed(f'var a="{"b" * 150_000}",c="{quote(source, safe="!~*()-_.")}";export default c')
    assert niivue.module() == (source, "")


@pytest.mark.parametrize("widget", ["", 'var a="' + "b" * 150_000 + '"'])
def test_of_a_package_that_holds_no_such_module_it_is_said_what_to_install(installed, widget):
    installed(widget)
    module, why_not = niivue.module()
    assert module is None
    assert "another version of ipyniivue" in why_not
    assert niivue.INSTALL in why_not


def test_without_the_package_the_report_says_in_one_line_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    scan_report.write(tmp_path / "report.html", view(), {}, [])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "3D needs NiiVue: pip install &quot;inr-jax[view3d]&quot;, then adapt again." in page
    assert 'type="module"' not in page


@pytest.mark.slow  # without a graphics card
@pytest.mark.skipif(niivue.module()[0] is None, reason="the extra view3d is not installed")
@pytest.mark.skipif(BROWSER is None, reason="no Chromium to open the report with")
def test_niivue_shows_the_bscans_and_layers_of_the_page_and_moves_with_them(tmp_path):
    """The first B-scan lies lowest on the SLO: up on the SLO is along y."""
    scan = view()
    scan_report.write(tmp_path / "report.html", scan, {}, [])
    with browser(tmp_path / "profile") as page:
        page.open((tmp_path / "report.html").as_uri())
        shown = page.value("startVolume().then((nv) => { window.nv = nv; return nv.volumes.map((v) => v.dimsRAS); })")
        p, h, w = scan.intensity.shape
        assert shown == [[3, w, p, h]] * 2
        sizes = page.value("nv.volumes[0].pixDimsRAS.slice(1, 3)")
        assert sizes == pytest.approx([0.1, 0.5], rel=1e-5)
        labels = np.reshape(page.value("[...nv.volumes[1].img]"), (h, p, w))  # z up, y up, x
        np.testing.assert_array_equal(labels, scan.labels.transpose(1, 0, 2)[::-1])
        page.press("ArrowRight")
        assert page.value("Math.round(nv.frac2vox(nv.scene.crosshairPos)[1])") == 4
        assert page.complaints() == []
        assert {address.partition(":")[0] for address in page.requests()} <= {"file", "data"}
