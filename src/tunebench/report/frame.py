"""What all pages share: the templates' environment, the script's policy, and how tables and marks are drawn."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from tunebench import __version__
from tunebench.analysis.configuration import MeanOverSeeds
from tunebench.formatting import ends, learning_rate
from tunebench.report import marks
from tunebench.report.tables.render import ReportTable, to_csv
from tunebench.stats import Interval
from tunebench.templates import html_environment, policy_hash

#: Columns that say whose a row is, which stay where all rows are alike in them.
_NAMES = ("strategy", "first", "second")


def render(environment: Environment, template: str, scripts: Sequence[str], **context: Any) -> str:
    """Return a page from a template that extends ``base.html.j2``.

    Everything from outside is escaped by the template engine. Should that ever fail, the page's policy
    still runs no script but its own, which it knows by their hashes, and reaches no network.

    Args:
        environment: From :func:`page_environment`.
        template: Its name.
        scripts: What the page runs, in this order, each in an element of its own; the first stands in the head.
        context: What the template is filled with.
    """
    return environment.get_template(template).render(
        version=__version__,
        style=Markup(asset("report.css")),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
        **context,
    )


def embed_json(value: Any) -> Markup:
    r"""Return JSON that is safe inside a script element: every ``<``, ``>`` and ``&`` as ``\u003c`` and so on."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def page_environment(labels: Sequence[str], *, title: str, said: Sequence[str] = ()) -> Environment:
    """Return the templates' environment.

    Args:
        labels: Strategies, in the order of their colours and marks.
        title: Of the page; tables need not repeat it.
        said: Sentences that stand elsewhere on the page, and not below a table again.
    """
    environment = html_environment("report/html")
    environment.filters |= {
        "rate": learning_rate,
        "known": lambda value: "not known" if value is None else value,
        "thousands": lambda value: "not known" if value is None else f"{value:,}",
        "sort_key": _sort_key,
        "ends": lambda interval: ends(interval.low, interval.high, "{:.4f}".format),
        "bare": lambda text: text.removesuffix(f": {title}"),
        "csv_uri": lambda table: _csv_uri(to_csv(table)),
    }
    environment.globals |= {
        "labels": list(labels),
        "layout_of": _layout_of,
        "filters_of": lambda row: _filters_of(row, labels),
        "notes_of": lambda table: table.without_notes(said).notes,
        "look": lambda label: _look(labels.index(label)),
    }
    return environment


def _look(index: int) -> dict[str, str]:
    found = marks.look(index)
    return found | {"path": marks.MARKERS[found["shape"]]}


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
    if isinstance(value, Interval):
        return repr(value.estimate)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    return "" if value is None else str(value)


def _csv_uri(text: str) -> str:
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()


def _policy(scripts: Sequence[str]) -> str:
    return "; ".join(
        [
            "default-src 'none'",
            "script-src " + " ".join(map(policy_hash, scripts)),
            # The chart library places its styles itself.
            "style-src 'unsafe-inline'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def asset(name: str) -> str:
    """Return a file of the page that is no template."""
    return (resources.files("tunebench.report") / "html" / name).read_text(encoding="utf-8")
