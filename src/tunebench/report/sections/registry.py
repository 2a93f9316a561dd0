"""What a part of the HTML report is, the registry all of them are found in, and the sections they fold into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunebench.report.source import Source

Build = Callable[[Source], dict[str, Any] | None]


@dataclass(frozen=True)
class Part:
    """A part of a section; its template is ``html/sections/<name>.html.j2``.

    Attributes:
        section: A key of :data:`SECTIONS`.
        title: Its heading; none where it begins its section.
        build: Returns what the template is filled with, or None where there is nothing to show. A key ``data`` is
            embedded as JSON for the page's script, under the part's name.
    """

    name: str
    section: str
    title: str | None
    build: Build


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        title: Its heading.
        tables: Tables of the registry that stand in it, in this order.
        figures: Figures of the registry that stand in it.
    """

    title: str
    tables: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()


#: All parts by name, in the order of the page. A new one is a function under ``@part``, its module imported by the
#: package, and a template.
PARTS: dict[str, Part] = {}
#: The sections in the order in which a reader asks.
SECTIONS = {
    "answer": Section("The answer"),
    "sure": Section(
        "How sure is it?",
        ("scores", "intervals", "pairs", "variance", "tuning"),
        ("differences", "score_by_learning_rate"),
    ),
    "cost": Section(
        "What does it cost?",
        ("front", "time", "cost", "score_per_million"),
        ("score_by_train_time", "score_by_parameters", "score_per_million_by_size"),
    ),
    "labels": Section("Would more labels help?", ("learning_curve",), ("score_by_size", "learning_curves")),
    "errors": Section(
        "Where does it err?",
        ("per_class", "label_errors", "label_pairs", "errors", "calibration", "agreement"),
        ("reliability", "predicted_against_true", "residuals"),
    ),
    "measured": Section("How was it measured?", ("data",), ("loss_curves", "score_by_step", "score_by_truncation")),
    "runs": Section("Every run", ("runs",)),
}
#: Where tables and figures stand that no section names.
OTHERS = "measured"


def part(name: str, section: str, title: str | None = None) -> Callable[[Build], Build]:
    """Add a function to the registry."""

    def add(build: Build) -> Build:
        PARTS[name] = Part(name, section, title, build)
        return build

    return add


def section_of(kind: str, name: str) -> str:
    """Return the section in which a table or figure stands.

    Args:
        kind: ``tables`` or ``figures``.
        name: Its name in the registry.
    """
    return next((key for key, section in SECTIONS.items() if name in getattr(section, kind)), OTHERS)
