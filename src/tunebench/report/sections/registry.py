"""What a section of the HTML report is, and the registry all of them are found in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunebench.report.source import Source

Build = Callable[[Source], dict[str, Any]]


@dataclass(frozen=True)
class Section:
    """A section; its template is ``html/sections/<name>.html.j2``.

    Attributes:
        build: Returns what the template is filled with. A key ``data`` is embedded as JSON for the
            page's script, under the section's name.
        applies: Tells whether a study has what it is about; elsewhere it is left out.
    """

    name: str
    title: str
    build: Build
    applies: Callable[[Source], bool] = lambda source: True


#: All sections by name, in the order of the page. A new one is a function under ``@section``, its module
#: imported by the package, and a template.
SECTIONS: dict[str, Section] = {}


def of_labels(source: Source) -> bool:
    """Tell whether texts have labels."""
    return source.comparison.task.labelled


def section(
    name: str, title: str, *, applies: Callable[[Source], bool] = lambda source: True
) -> Callable[[Build], Build]:
    """Add a function to the registry; see :class:`Section`."""

    def add(build: Build) -> Build:
        SECTIONS[name] = Section(name, title, build, applies)
        return build

    return add
