"""A report as one HTML file that needs nothing else: styles, figures and any script inline, no network."""

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from inr_jax import tables
from inr_jax.figures import DPI
from inr_jax.scan_io import make_folder, replacing
from inr_jax.tables import METRICS, NOTHING, Line, Table, Undefined

CSS_DPI = 96  # of a browser, where a figure is to have the size it was laid out in
DISCLAIMER = "For research use, not for diagnosis."
# the browser, too, fetches nothing
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.5rem 4rem; color: #1b1b1b; background: #fff;
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
.lead { font-size: 1.08rem; margin: .2rem 0 1rem; }
.disclaimer { display: inline-block; margin: 0 0 1.2rem; padding: .3rem .8rem; background: #fff3cd;
  border-left: .3rem solid #b35c00; font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .86rem; }
caption { text-align: left; color: #555; padding: .2rem 0 .5rem; max-width: 60rem; }
th, td { padding: .32rem .4rem; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; font-weight: 500; }
thead th { border-bottom: 1px solid #999; } thead tr:first-child th { border-bottom: 0; text-align: center; }
tbody tr:nth-child(even) { background: #f6f7f9; }
td.best { font-weight: 700; color: #00568a; }
.first { border-left: 1px solid #ccc; }
tr.oracle th, tr.oracle td { color: #5f5f5f; font-style: italic; }
tr.oracle th::after { content: " \\2020"; font-style: normal; }
tbody tr.oracle.start > * { border-top: 2px solid #999; }
figure { margin: 1.2rem 0 2rem; } figure img { max-width: 100%; height: auto; }
figcaption { color: #444; font-size: .93rem; max-width: 60rem; }
ul { padding-left: 1.2rem; } footer { margin-top: 3rem; color: #555; font-size: .9rem; }
"""


def noted(note: str) -> str:
    """What must be said of all data, behind a name."""
    return f" ({note})" if note else ""


class Picture(NamedTuple):
    """A figure of a report: what it is called, what it shows to who cannot see it, what it says."""

    png: bytes
    title: str
    alt: str
    caption: str


class TextTable(NamedTuple):
    """A table whose cells are written already; the first column names the rows."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def all_scores(table: Table, undefined: Undefined = NOTHING) -> TextTable:
    """Every metric of every method and kind, with its interval; and why some are undefined."""
    shown = tables.found_metrics(table, undefined)
    people = max(summary.people for line in table for summary in line.scores.values())
    rows = [
        (f"{line.method}, {line.kind}", *(tables.interval_text(line.scores[metric], metric) for metric in shown))
        for line in table
    ]
    said = f"Mean [95% bootstrap interval] over {people} people{tables.noted(table)}, a person's eyes averaged first."
    caption = " ".join([said, *(f"{reason}." for reason in tables.reasons(undefined))])
    return TextTable(caption, ("Method, places", *(METRICS[metric].title for metric in shown)), rows)


def save_pictures(folder: Path, pictures: Sequence[Picture]) -> None:
    """Each picture of a report as a file of its own, named by its title: for papers and slides."""
    make_folder(folder)
    for picture in pictures:
        with replacing(folder / f"{picture.title.lower().replace(' ', '_')}.png") as temporary:
            temporary.write_bytes(picture.png)


def write_report(
    path: Path,
    *,
    title: str,
    lead: str,
    facts: Mapping[str, str],
    scores: Mapping[str, Table],
    figures: Sequence[Picture],
    notes: Mapping[str, str] | None = None,
    more: Mapping[str, TextTable] | None = None,
    undefined: Undefined = NOTHING,
) -> None:
    """Writes the page, complete or not at all.

    `scores` by their heading, then figures, then `more` tables by theirs, then notes on the methods. undefined: why
    metrics of `scores` have dashes.
    """
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            f'<p class="lead">{escape(lead)}</p>',
            f'<p class="disclaimer">{DISCLAIMER}</p>',
            definitions(facts),
            *(f"<h2>{escape(name)}</h2>\n{_score_table(table, undefined)}" for name, table in scores.items()),
            *map(figure, figures),
            *(f"<h2>{escape(name)}</h2>\n{_text_table(table)}" for name, table in (more or {}).items()),
            f"<h2>Methods</h2>\n{definitions(notes)}" if notes else "",
        ]
    )
    write_page(path, title=title, body=body)


class Script(NamedTuple):
    """JavaScript of a page, which holds it; the names of a module are its own."""

    text: str
    module: bool = False


def write_page(path: Path, *, title: str, body: str, style: str = "", scripts: Sequence[Script] = ()) -> None:
    """Writes a page of `body` (HTML), complete or not at all; its policy lets these very scripts run and no others."""
    scripts = [script._replace(text=_inline(script.text)) for script in scripts]
    hashes = [b64encode(hashlib.sha256(script.text.encode()).digest()).decode() for script in scripts]
    allowed = "".join(f" 'sha256-{found}'" for found in hashes)
    policy = POLICY + (f"; script-src{allowed}" if scripts else "")
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{STYLE}{style}</style>
</head>
<body>
<main>
{body}
</main>
<footer>Written by inr_jax. {DISCLAIMER}</footer>
{"".join(map(_script, scripts))}</body>
</html>
"""
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _inline(text: str) -> str:
    """The same JavaScript, without what would end its element in HTML: within strings a backslash changes nothing."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--").replace("\r\n", "\n")


def _script(script: Script) -> str:
    kind = ' type="module"' if script.module else ""
    return f"<script{kind}>{script.text}</script>\n"


def definitions(facts: Mapping[str, str]) -> str:
    """Names and what they stand for, as HTML."""
    items = [f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()]
    return "<dl>\n" + "\n".join(items) + "\n</dl>"


def figure(picture: Picture) -> str:
    """A picture under its title, as HTML."""
    data = b64encode(picture.png).decode()
    pixels = int.from_bytes(picture.png[16:20])  # the width in a PNG's header
    return (
        f"<h2>{escape(picture.title)}</h2>\n<figure>\n"
        f'<img alt="{escape(picture.alt)}" width="{pixels * CSS_DPI // DPI}" src="data:image/png;base64,{data}">\n'
        f"<figcaption>{escape(picture.caption)}</figcaption>\n</figure>"
    )


def _score_columns(table: Table, undefined: Undefined) -> list[tuple[str, str]]:
    """Kind and metric of every column: what some method has, and dashes of what no kind can have."""
    kinds, missing = tables.kinds(table), undefined.keys() - set(tables.found_metrics(table))
    # the time is of a scan, whatever the kind: told once
    return [
        (kind, metric)
        for kind in kinds
        for metric in tables.shown_metrics(table, undefined)
        if (metric in missing or any(line.kind == kind and line.scores[metric].people for line in table))
        and (metric != "seconds" or kind == kinds[-1])
    ]


def _score_table(table: Table, undefined: Undefined) -> str:
    """Methods as rows, metrics under kinds as columns; the best of a column in bold, oracles apart at the end."""
    kinds, columns = tables.kinds(table), _score_columns(table, undefined)
    lines = {(line.method, line.kind): line for line in table}
    methods = list(dict.fromkeys(line.method for line in table))
    oracles = [method for method in methods if method.startswith(tables.ORACLE)]
    first = {(kind, next(metric for k, metric in columns if k == kind)) for kind in kinds if kind in dict(columns)}
    groups = "".join(
        f'<th scope="colgroup" class="first" colspan="{sum(k == kind for k, _ in columns)}">{escape(kind)}</th>'
        for kind in kinds
        if kind in dict(columns)
    )
    heads = "".join(
        f'<th scope="col"{_class("first" if c in first else "")}>{escape(METRICS[c[1]].title)}</th>' for c in columns
    )
    rows = []
    for method in methods:
        names = ("oracle" if method in oracles else "") + (" start" if oracles[:1] == [method] else "")
        cells = "".join(_cell(table, lines.get((method, c[0])), c[1], c in first) for c in columns)
        rows.append(f'<tr{_class(names)}><th scope="row">{escape(method)}</th>{cells}</tr>')
    people = max(summary.people for line in table for summary in line.scores.values())
    oracle = " † An oracle sees the truth of the measured slices: no competitor." if oracles else ""
    data = escape(tables.noted(table))
    spread = f"Mean ± standard deviation over {people} people{data}, a person's eyes averaged first."
    caption = f"{spread} Best in bold.{oracle}"
    return (
        f'<div class="scroll"><table>\n<caption>{caption}</caption>\n'
        f'<thead><tr><td></td>{groups}</tr>\n<tr><th scope="col">Method</th>{heads}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table></div>"
        + "".join(f"\n<p>{escape(reason)}</p>" for reason in tables.reasons(undefined))
    )


def _text_table(table: TextTable) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    rows = [
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in table.rows
    ]
    return (
        f'<div class="scroll"><table>\n<caption>{escape(table.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{chr(10).join(rows)}\n</tbody>\n</table></div>"
    )


def _cell(table: Table, line: Line | None, metric: str, first: bool) -> str:
    if line is None:
        return f"<td{_class('first' if first else '')}></td>"
    is_best = not line.oracle and line.scores[metric].mean == tables.best(table, line.kind, metric)
    names = " ".join([*(["first"] if first else []), *(["best"] if is_best else [])])
    return f"<td{_class(names)}>{escape(tables.text_of(line.scores[metric], metric))}</td>"


def _class(names: str) -> str:
    return f' class="{names.strip()}"' if names.strip() else ""
