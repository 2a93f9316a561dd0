"""The report as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tunebench import __version__
from tunebench.analysis.comparison import MeanOverSeeds
from tunebench.formatting import learning_rate
from tunebench.report import vega
from tunebench.report.sections import SECTIONS
from tunebench.report.source import Source
from tunebench.report.tables.render import Column, ReportTable, to_csv

#: What the page runs, in this order, each in an element of its own.
_SCRIPTS = ("theme.js", "tables.js", "charts.js", "texts.js", "page.js")


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
    found = {name: section.build(source) for name, section in SECTIONS.items() if section.applies(source)}
    scripts = [_asset("theme.js"), vega.script(), *(_asset(name) for name in _SCRIPTS[1:])]
    return environment.get_template("page.html.j2").render(
        title=source.comparison.title,
        version=__version__,
        sections=[
            {
                "name": name,
                "title": SECTIONS[name].title,
                "content": Markup(environment.get_template(f"sections/{name}.html.j2").render(**context)),
                "data": None if "data" not in context else embed_json(context["data"]),
            }
            for name, context in found.items()
        ],
        style=Markup(_asset("report.css")),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
    )


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
        "csv_uri": lambda table: _csv_uri(to_csv(table)),
    }
    environment.globals |= {
        "labels": labels,
        "comparison": source.comparison,
        "rows_of": _rows_of,
        "look": lambda label: _look(labels.index(label)),
    }
    return environment


def _look(index: int) -> dict[str, str]:
    found = vega.look(index)
    return found | {"path": _PATHS[found["shape"]]}


def _rows_of(table: ReportTable) -> list[tuple[Any, list[tuple[Column, str]]]]:
    """Return each row's values, and its visible cells as text beside their columns."""
    return [
        (row, list(zip(table.visible, cells, strict=True)))
        for row, cells in zip(table.rows, table.body(), strict=True)
    ]


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
