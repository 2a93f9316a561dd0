"""The report as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tunebench import __version__
from tunebench.analysis.comparison import MeanOverSeeds
from tunebench.formatting import learning_rate
from tunebench.report import vega, vega_script
from tunebench.report.sections import PARTS, SECTIONS, section_of
from tunebench.report.source import Source
from tunebench.report.tables.render import ReportTable, to_csv

#: What the page runs, in this order, each in an element of its own; the filter before those that ask it.
_SCRIPTS = ("theme.js", "filter.js", "tables.js", "charts.js", "texts.js", "page.js")
#: Columns that say whose a row is, which stay where all rows are alike in them.
_NAMES = ("strategy", "first", "second")
#: A picture above this many bytes as SVG is embedded as PNG instead.
_LARGE_FIGURE = 250_000


def write_page(source: Source) -> Path:
    """Write ``report.html`` into the study's folder and return its path; the figures must be there already."""
    from tunebench.files import write_text

    path = source.folder / "report.html"
    write_text(path, render_page(source))
    return path


def render_page(source: Source) -> str:
    """Return the page.

    Everything from outside is escaped by the template engine. Should that ever fail, the page's policy
    still runs no script but its own, which it knows by their hashes, and reaches no network.
    """
    environment = _environment(source)
    found = {name: context for name, part in PARTS.items() if (context := part.build(source)) is not None}
    figures = _figures(source)
    scripts = [_asset("theme.js"), vega_script.script(), *(_asset(name) for name in _SCRIPTS[1:])]
    return environment.get_template("page.html.j2").render(
        title=source.comparison.title,
        version=__version__,
        sections=[
            section
            for key in SECTIONS
            if (section := _section(key, source, _rendered(key, environment, found), figures)) is not None
        ],
        sizes=source.comparison.sizes,
        data={name: embed_json(context["data"]) for name, context in found.items() if "data" in context},
        style=Markup(_asset("report.css")),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
    )


def _rendered(key: str, environment: Environment, found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of a section."""
    return [
        {
            "name": name,
            "title": part.title,
            "content": Markup(environment.get_template(f"sections/{name}.html.j2").render(**found[name])),
        }
        for name, part in PARTS.items()
        if part.section == key and name in found
    ]


def _section(
    key: str, source: Source, parts: list[dict[str, Any]], figures: list[dict[str, str]]
) -> dict[str, Any] | None:
    """Return a section with its parts, tables and figures; None where it has nothing to show."""
    order = SECTIONS[key].tables
    tables = [table for table in source.shown_tables if section_of("tables", table.name) == key]
    tables.sort(key=lambda table: order.index(table.name) if table.name in order else len(order))
    drawn = [figure for figure in figures if section_of("figures", figure["name"]) == key]
    content = {"parts": parts, "tables": tables, "figures": drawn}
    return {"key": key, "title": SECTIONS[key].title, **content} if any(content.values()) else None


def _figures(source: Source) -> list[dict[str, str]]:
    """Return every figure that applies as it was written beside the page."""
    from tunebench.report.figures import figures_of

    found = []
    for name, maker in figures_of(source.analysis).items():
        svg = source.folder / "figures" / f"{name}.svg"
        path = svg if svg.stat().st_size <= _LARGE_FIGURE else svg.with_suffix(".png")
        mime = "image/svg+xml" if path.suffix == ".svg" else "image/png"
        content = base64.b64encode(path.read_bytes()).decode()
        found.append({"name": name, "title": maker.title, "uri": f"data:{mime};base64,{content}"})
    return found


def embed_json(value: Any) -> Markup:
    r"""Return JSON that is safe inside a script element: every ``<``, ``>`` and ``&`` as ``\u003c`` and so on."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _environment(source: Source) -> Environment:
    environment = Environment(
        loader=PackageLoader("tunebench", "report/html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    labels = source.comparison.labels
    environment.filters |= {
        "rate": learning_rate,
        "known": lambda value: "not known" if value is None else value,
        "thousands": lambda value: "not known" if value is None else f"{value:,}",
        "sort_key": _sort_key,
        "bare": lambda title: title.removesuffix(f": {source.comparison.title}"),
        "csv_uri": lambda table: _csv_uri(to_csv(table)),
    }
    environment.globals |= {
        "labels": labels,
        "comparison": source.comparison,
        "layout_of": _layout_of,
        "filters_of": lambda row: _filters_of(row, labels),
        "notes_of": lambda table: [note for note in table.notes if note not in source.analysis.warnings],
        "look": lambda label: _look(labels.index(label)),
    }
    return environment


def _look(index: int) -> dict[str, str]:
    found = vega.look(index)
    return found | {"path": _PATHS[found["shape"]]}


def _layout_of(table: ReportTable) -> dict[str, Any]:
    """Return the columns that tell rows apart, the rows as text beside them, and what all rows share in a line."""
    body = list(zip(*table.body(), strict=True))
    several = len(table.rows) > 2
    shared = [
        several and column.key not in _NAMES and len(set(cells)) == 1
        for column, cells in zip(table.visible, body, strict=True)
    ]
    alike = [f"{c.title}: {cells[0]}" for c, cells, one in zip(table.visible, body, shared, strict=True) if one]
    columns = [c for c, one in zip(table.visible, shared, strict=True) if not one]
    rows = [(row, [(column, column.text(row.get(column.key))) for column in columns]) for row in table.rows]
    return {"columns": columns, "rows": rows, "alike": f"In every row: {'; '.join(alike)}." if alike else None}


def _filters_of(row: Mapping[str, Any], labels: Sequence[str]) -> Markup:
    """Return the attributes by which the page's filter knows a row: numbers of its strategies, and its size."""
    shown = [labels.index(row[key]) for key in _NAMES if row.get(key) in labels]
    found = {"data-s": " ".join(map(str, shown)), "data-size": row.get("train_size")}
    return Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in found.items() if value)


def _sort_key(value: Any) -> str:
    """Return what a table's cell is sorted by: a number where it is one, empty where nothing is known."""
    if isinstance(value, MeanOverSeeds):
        return repr(value.mean)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    return "" if value is None else str(value)


def _csv_uri(text: str) -> str:
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()


def _policy(scripts: list[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return "; ".join(
        [
            "default-src 'none'",
            "script-src " + " ".join(f"'sha256-{found}'" for found in hashes),
            # The chart library places its styles itself.
            "style-src 'unsafe-inline'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _asset(name: str) -> str:
    return (resources.files("tunebench.report") / "html" / name).read_text(encoding="utf-8")


#: The markers of the charts, drawn in a box from -5 to 5.
_PATHS = {
    "circle": "M0,-4A4,4 0 1 1 0,4A4,4 0 1 1 0,-4Z",
    "square": "M-3.5,-3.5H3.5V3.5H-3.5Z",
    "diamond": "M0,-5L4,0L0,5L-4,0Z",
    "triangle-up": "M0,-4.5L4.5,4L-4.5,4Z",
    "triangle-down": "M0,4.5L4.5,-4L-4.5,-4Z",
    "cross": "M-1.6,-4.5H1.6V-1.6H4.5V1.6H1.6V4.5H-1.6V1.6H-4.5V-1.6H-1.6Z",
    "triangle-right": "M4.5,0L-4,4.5L-4,-4.5Z",
    "triangle-left": "M-4.5,0L4,4.5L4,-4.5Z",
}
