"""The report as one self-contained HTML page."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from tunebench.report import vega_script
from tunebench.report.frame import asset, embed_json, page_environment, render
from tunebench.report.sections import PARTS, SECTIONS, section_of
from tunebench.report.source import Source

#: What the page runs, in this order, each in an element of its own; the filter before those that ask it.
_SCRIPTS = ("theme.js", "filter.js", "tables.js", "charts.js", "texts.js", "page.js")
#: A picture above this many bytes as SVG is embedded as PNG instead.
_LARGE_FIGURE = 250_000


def write_page(source: Source) -> Path:
    """Write ``report.html`` into the study's folder and return its path; the figures must be there already."""
    from tunebench.files import write_text

    path = source.folder / "report.html"
    write_text(path, render_page(source))
    return path


def render_page(source: Source) -> str:
    """Return the page; see :func:`~tunebench.report.frame.render`."""
    comparison = source.comparison
    environment = page_environment(comparison.labels, title=comparison.title, said=source.analysis.warnings)
    environment.globals["comparison"] = comparison
    found = {name: context for name, part in PARTS.items() if (context := part.build(source)) is not None}
    figures = _figures(source)
    scripts = [asset("theme.js"), vega_script.script(), *(asset(name) for name in _SCRIPTS[1:])]
    return render(
        environment,
        "page.html.j2",
        scripts,
        title=comparison.title,
        sections=[
            section
            for key in SECTIONS
            if (section := _section(key, source, _rendered(key, environment, found), figures)) is not None
        ],
        sizes=comparison.sizes,
        data={name: embed_json(context["data"]) for name, context in found.items() if "data" in context},
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
