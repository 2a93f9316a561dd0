"""What a table is, and how it becomes text, Markdown and CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from rich.cells import cell_len

from tunebench.analysis.configuration import MeanOverSeeds
from tunebench.formatting import Units, csv_text, ends, escape_markdown, for_json, significant, unit_of
from tunebench.stats import Interval

if TYPE_CHECKING:
    from rich.console import Group

#: What stands where nothing is known.
UNDEFINED = "–"

#: Rows from which a LaTeX table may break across pages.
_LONG = 40
_TABLE_NUMBER = re.compile(r"^Table [IVXLC]+\. ")
#: What LaTeX gives a meaning to, what its fonts print as something else, and ligatures.
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    # Behind the end of a row, LaTeX would take these for the row end's own.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "-": "-{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "Δ": r"$\Delta$",
    "–": "--",
    "…": r"\ldots{}",
}
# A single hyphen is one; two in a row would become a dash.
_LATEX_SPECIAL = re.compile("-(?=-)|" + "|".join(re.escape(sign) for sign in _LATEX if sign != "-"))
_NEGATIVE = re.compile(r"(?<![\w.)-])-(?=[\d.])")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Key in the rows, and the header in CSV.
        header: Header for people.
        unit: Unit of the values, shown in the header.
        align: Numbers stand on the right.
        show: Turns a value that is not None into text; of a
            :class:`~tunebench.analysis.configuration.MeanOverSeeds` its mean, after which the standard deviation
            follows with as many digits; of an :class:`~tunebench.stats.Interval` its estimate, then its ends.
        per: What values are divided by before people read them: the size of the unit. CSV keeps them.
        csv_only: Kept out of what people read.
        units: Sizes and names of the units that the values may be shown in, each in the one that suits it, with
            three significant digits; instead of ``unit``, ``show`` and ``per``.
    """

    key: str
    header: str
    unit: str | None = None
    align: Literal["left", "right"] = "right"
    show: Callable[[Any], str] = str
    per: float = 1.0
    csv_only: bool = False
    units: Units = ()

    @property
    def title(self) -> str:
        """Header with unit."""
        return self.header if self.unit is None else f"{self.header} ({self.unit})"

    def text(self, value: Any) -> str:
        """Return a value as people read it, on one line."""
        if value is None:
            return UNDEFINED
        if self.units:
            size, name = unit_of(_middle(value), self.units)
            return f"{replace(self, units=(), show=significant(3), per=size).text(value)} {name}".rstrip()
        if isinstance(value, MeanOverSeeds):
            mean = self.show(value.mean / self.per)
            digits = len(mean.partition(".")[2])
            return mean if value.sd is None else f"{mean} ± {value.sd / self.per:,.{digits}f}"
        if isinstance(value, Interval):
            middle, low, high = (x / self.per for x in (value.estimate, value.low, value.high))
            return f"{self.show(middle)} {ends(low, high, self.show)}"
        if self.per != 1 and isinstance(value, (int, float)):
            value = value / self.per
        return " ".join(self.show(value).split())


def _middle(value: Any) -> float:
    """Return the number that decides the unit of a value."""
    if isinstance(value, MeanOverSeeds):
        return value.mean
    return value.estimate if isinstance(value, Interval) else float(value)


@dataclass(frozen=True)
class ReportTable:
    """A table, not yet rendered.

    Attributes:
        rows: Values by column key; a key that is missing is not known.
        notes: One sentence each.
        csv_rows: More rows, for CSV alone.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()
    csv_rows: tuple[Mapping[str, Any], ...] = ()

    def without_notes(self, said: Collection[str]) -> ReportTable:
        """Return the table without the notes that stand elsewhere on its page."""
        return replace(self, notes=tuple(note for note in self.notes if note not in said))

    @property
    def visible(self) -> tuple[Column, ...]:
        """The columns people read, but for those in which no row has a value."""
        known = {key for row in self.rows for key, value in row.items() if value is not None}
        return tuple(c for c in self.columns if not c.csv_only and (c.key in known or not self.rows))

    def body(self) -> list[list[str]]:
        """Return the visible cells as text."""
        return [[column.text(row.get(column.key)) for column in self.visible] for row in self.rows]


def to_rich(table: ReportTable) -> Group:
    """Return the table with title and notes for a rich console (a terminal)."""
    from rich import box
    from rich.console import Group as RichGroup
    from rich.table import Table as RichTable
    from rich.text import Text

    found = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    body = table.body()
    for column, *cells in zip(table.visible, *body, strict=True):
        # Where the terminal is narrow, headers wrap between words and numbers stay whole.
        whole = [*column.title.split(), *(cells if column.align == "right" else ())]
        width = max(map(cell_len, whole))
        found.add_column(Text(column.title), justify=column.align, overflow="fold", min_width=width)
    for row in body:
        # Text, not str: a label or an error message is no console markup.
        found.add_row(*(Text(cell) for cell in row))
    notes = [Text(f"- {note}", style="dim") for note in table.notes]
    title = Text(table.title, style="bold")
    return RichGroup(title, Text(), found, *([Text(), *notes] if notes else []))


def to_text(table: ReportTable) -> str:
    """Return the table as plain aligned lines, whatever their length, for pipes and files."""
    headers = [column.title for column in table.visible]
    body = table.body()
    widths = [max(map(cell_len, column)) for column in zip(headers, *body, strict=True)]

    def line(cells: list[str]) -> str:
        padded = []
        for cell, width, column in zip(cells, widths, table.visible, strict=True):
            gap = " " * (width - cell_len(cell))
            padded.append(cell + gap if column.align == "left" else gap + cell)
        return "  ".join(padded).rstrip()

    rule = "  ".join("-" * width for width in widths)
    lines = [table.title, "", line(headers), rule, *map(line, body)]
    if table.notes:
        lines += ["", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def to_markdown(table: ReportTable, *, level: int = 2) -> str:
    """Return the table in GitHub's Markdown, with title and notes.

    Args:
        table: The table.
        level: Level of its heading.
    """

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    rules = ["---:" if column.align == "right" else ":---" for column in table.visible]
    lines = [
        f"{'#' * level} {escape_markdown(table.title)}",
        "",
        line([escape_markdown(column.title) for column in table.visible]),
        line(rules),
        *(line([escape_markdown(cell) for cell in row]) for row in table.body()),
    ]
    if table.notes:
        lines += ["", *(f"- {escape_markdown(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


#: Further columns of values that are more than a number.
_PARTS: dict[type[Any], tuple[str, ...]] = {MeanOverSeeds: ("sd",), Interval: ("low", "high")}


def to_csv(table: ReportTable) -> str:
    """Return the rows as CSV with unrounded values; what is not known is empty, and so is an end that is not there.

    A column of means is followed by ``<key>_sd``, the standard deviation over seeds, one of intervals by
    ``<key>_low`` and ``<key>_high``.
    """
    rows = (*table.rows, *table.csv_rows)
    header, body = [], [[] for _ in rows]  # type: tuple[list[str], list[list[Any]]]
    for column in table.columns:
        values = [row.get(column.key) for row in rows]
        kind = next((k for k in _PARTS if any(isinstance(value, k) for value in values)), None)
        more = [] if kind is None else _PARTS[kind]
        header += [column.key, *(f"{column.key}_{name}" for name in more)]
        for cells, value in zip(body, values, strict=True):
            if kind is not None and isinstance(value, kind):
                cells += [value.mean if isinstance(value, MeanOverSeeds) else value.estimate]
                cells += [for_json(getattr(value, name)) for name in more]
            else:
                cells += [value, *(None for _ in more)]
    return csv_text(header, body)


def to_latex(table: ReportTable) -> str:
    r"""Return the table for LaTeX, ruled with booktabs, to be read in with ``\input``.

    LaTeX numbers tables itself, so the number goes from the title. One of more than a page's rows is a
    ``longtable``.
    """
    columns = table.visible
    frame = "@{}" + "".join("r" if column.align == "right" else "l" for column in columns) + "@{}"
    header = _latex_row([column.title for column in columns])
    body = [_latex_row(row) for row in table.body()]
    caption = rf"\caption{{{escape_latex(_TABLE_NUMBER.sub('', table.title))}}}\label{{tab:{table.name}}}"
    notes = [rf"\par\smallskip{{\footnotesize {escape_latex(note)}\par}}" for note in table.notes]
    if len(body) > _LONG:
        lines = [
            r"% needs \usepackage[T1]{fontenc}, \usepackage{textcomp,booktabs,longtable}",
            r"{\small",
            rf"\begin{{longtable}}{{{frame}}}",
            rf"{caption}\\",
            *(r"\toprule", header, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"),
            *body,
            *(r"\end{longtable}", *notes, "}"),
        ]
    else:
        lines = [
            r"% needs \usepackage[T1]{fontenc}, \usepackage{textcomp,booktabs}",
            *(r"\begin{table}[htbp]", r"\centering", caption, r"\small", rf"\begin{{tabular}}{{{frame}}}"),
            *(r"\toprule", header, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"),
            *(*notes, r"\end{table}"),
        ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: list[str]) -> str:
    return " & ".join(map(escape_latex, cells)) + r" \\"


#: What turns a table into text, by the name of the format.
RENDERERS: dict[str, Callable[[ReportTable], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
}


def escape_latex(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line; control characters go."""
    text = _NEGATIVE.sub("−", "".join(c for c in " ".join(text.split()) if c.isprintable()))
    return _LATEX_SPECIAL.sub(lambda found: _LATEX[found[0]], text)
