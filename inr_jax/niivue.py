"""NiiVue's JavaScript, as the extra `view3d` installs it: ipyniivue holds it for the pages that it saves itself."""

import importlib.util
import re
from pathlib import Path
from urllib.parse import unquote

INSTALL = 'pip install "inr-jax[view3d]"'
WIDGET = "static/widget.js"
ENCODED = re.compile(r"""["`]([\w.!~*'()%-]{100000,})["`]""")  # by encodeURIComponent, within a string


def module() -> tuple[str | None, str]:
    """The source of an ES module that declares `Niivue`, and "", or None and why there is none, in a sentence."""
    found = importlib.util.find_spec("ipyniivue")
    if found is None or found.origin is None:
        return None, f"3D needs NiiVue: {INSTALL}, then adapt again."
    widget = Path(found.origin).parent / WIDGET
    if not widget.is_file():
        return None, f"3D needs another version of ipyniivue, whose {WIDGET} there is not: {INSTALL}."
    for text in map(unquote, ENCODED.findall(widget.read_text(encoding="utf-8"))):
        if re.search(r"export\{[^{}]*\bNiivue\b[^{}]*\};?\s*$", text):
            return text, ""
    return None, f"3D needs another version of ipyniivue, whose {WIDGET} holds NiiVue: {INSTALL}."
