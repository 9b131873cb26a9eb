"""The best setting of a sweep as a config script that trains as it is."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from pprint import pformat
from textwrap import fill
from typing import Any

from inr_jax.config_script import tuples
from inr_jax.scan_io import replacing

WIDTH = 110

SCRIPT = '''"""{said}
"""

{imports}

CONFIG = {config}


def get_config() -> ConfigDict:
    return ConfigDict(CONFIG)
'''


def with_seed_of(config: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """A variant's config with the seed of the base, JSON's lists as the tuples they were."""
    return tuples(dict(config) | {"train": dict(config["train"]) | {"seed": base["train"]["seed"]}})


def write_best(path: Path, config: Mapping[str, Any], said: Iterable[str]) -> None:
    """Writes the script, whole or not at all: all keys of the config as a literal, under lines that say what it is."""
    literal = pformat(config, width=WIDTH, sort_dicts=False)
    names = [name for name in ("inf", "nan") if re.search(rf"\b{name}\b", literal)]  # so is a float written
    imports = [f"from math import {', '.join(names)}\n"] if names else []
    docstring = "\n".join(fill(line, WIDTH, break_long_words=False, break_on_hyphens=False) for line in said)
    text = SCRIPT.format(
        said=docstring.replace("\\", "\\\\").replace('"', "'"),
        imports="\n".join([*imports, "from ml_collections import ConfigDict"]),
        config=literal,
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
