"""The tables of a comparison. To add one: a function and an entry in :data:`TABLES`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tunebench.comparison import Comparison, Group
from tunebench.errors import ConfigError
from tunebench.published import PublishedCell, is_report_model, published_cell


@dataclass(frozen=True)
class Table:
    """A table of text cells.

    Attributes:
        name: Its key in :data:`TABLES`.
        title: With the report's number where it is one of the report's.
        columns: Headings, with units.
        rows: Cells; ``-`` where something is not defined or not there.
        notes: Sentences under the table.
        left: How many first columns are text (the others are numbers).
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)
    left: int = 1


def data_table(comparison: Comparison) -> Table:
    """Return Table I: examples and class balance of each part, by size."""
    rows: list[tuple[str, ...]] = []
    seen = set()
    for group in comparison.groups():
        examples = next((c.record.examples for c in group.cells if c.record and c.record.examples), None)
        if examples is None or group.train_size in seen:
            continue
        seen.add(group.train_size)
        parts = {
            "training": examples.train_per_class,
            "validation": examples.validation_per_class,
            "test, held out" if examples.test_held_out else "test": examples.test_per_class,
        }
        for part, counts in parts.items():
            total = sum(counts)
            balance = " / ".join(f"{100 * n / total:.1f}" for n in counts) if total else "-"
            rows.append((f"{group.train_size:,}", part, f"{total:,}", balance))
    names = " / ".join(comparison.cells[0].spec.data.label_names)
    notes = [f"Classes: {names}."]
    notes += [] if rows else ["No run has ended yet."]
    notes += (comparison.audit or {}).get("warnings", [])
    columns = ("labels used", "part", "examples", "class balance (%)")
    return Table("data", "Table I. Data", columns, rows, notes, left=2)


def macro_f1_table(comparison: Comparison) -> Table:
    """Return Table II: macro F1 by strategy and size."""
    rows = []
    for group in _by_strategy(comparison):
        published = _published(group)
        rows.append(
            (
                group.label,
                f"{group.train_size:,}",
                _rate(group),
                _spread(group, "macro_f1", "{:.4f}"),
                _number(group.mean("accuracy"), "{:.4f}"),
                _number(group.mean("test_loss"), "{:.4f}"),
                _number(group.mean("selection_macro_f1"), "{:.4f}"),
                _seeds(group),
                _number(published and published.macro_f1, "{:.4f}"),
            )
        )
    columns = ("strategy", "labels", "rate", "macro F1", "accuracy", "log loss", "selection F1", "seeds")
    notes = [f"Selection F1: macro F1 of the chosen checkpoint on the {comparison.selection} split."]
    if comparison.selection == "last":
        notes = ["The last checkpoint was scored; nothing was selected."]
    return _with_published(comparison, "macro_f1", "Table II. Macro F1 on test", columns, rows, notes)


def time_table(comparison: Comparison) -> Table:
    """Return Table III: minutes, training and evaluation apart."""
    rows = []
    for group in _by_strategy(comparison):
        published = _published(group)
        train, evaluation = group.mean("train_seconds"), group.mean("eval_seconds")
        total = None if train is None or evaluation is None else train + evaluation
        test, memory = group.mean("test_seconds"), group.mean("peak_memory_bytes")
        rows.append(
            (
                group.label,
                f"{group.train_size:,}",
                _minutes(train),
                _minutes(evaluation),
                _minutes(total),
                _minutes(test),
                _number(group.mean("seconds_per_step"), "{:.3f}"),
                _number(_scale(group.mean("train_flops"), 1e-15), "{:.3f}"),
                _number(_scale(group.mean("trainer_total_flos"), 1e-15), "{:.3f}"),
                _number(_scale(memory, 1e-9), "{:.2f}"),
                _minutes(published and published.total_seconds),
            )
        )
    columns = ("strategy", "labels", "training (min)", "evaluations (min)", "sum (min)", "test (min)")
    columns += ("s/step", "PFLOP", "total_flos (P)", "peak memory (GB)")
    notes = [
        "The report's minutes are the sum: its training with its six evaluations of the whole test split.",
        "PFLOP is what the matrix products of training take; the Trainer's total_flos counts frozen weights "
        "and padding as if they were trained.",
    ]
    return _with_published(comparison, "time", "Table III. Time", columns, rows, notes)


def f1_per_million_table(comparison: Comparison) -> Table:
    """Return Table IV: macro F1 per million trainable parameters."""
    rows = []
    for group in _by_strategy(comparison):
        published = _published(group)
        rows.append(
            (
                group.label,
                f"{group.train_size:,}",
                _number(group.mean("trainable_params"), "{:,.0f}"),
                _number(group.mean("adapter_params"), "{:,.0f}"),
                _number(group.mean("head_params"), "{:,.0f}"),
                _number(group.mean("f1_per_million"), "{:.4f}"),
                _number(published and published.f1_per_million, "{:.4f}"),
            )
        )
    columns = ("strategy", "labels", "trainable", "of which adapter", "of which head", "F1 per million")
    notes = [
        "Read with care: the ratio rewards small heads above all. 592,130 of the report's 739,586 LoRA "
        "parameters are head, and its 67.7M for full fine-tuning is base plus adapter; 66,955,010 are trained."
    ]
    title = "Table IV. Macro F1 per million trainable parameters"
    return _with_published(comparison, "f1_per_million", title, columns, rows, notes)


def runs_table(comparison: Comparison) -> Table:
    """Return every run with its state."""
    rows = []
    for cell in comparison.cells:
        row = cell.row
        reason = (row["error"] or "").splitlines()
        rows.append(
            (
                row["strategy"],
                f"{row['train_size']:,}",
                f"{row['learning_rate']:g}",
                str(row["seed"]),
                row["status"].replace("_", " "),
                _number(row["macro_f1"], "{:.4f}"),
                _minutes(row["wall_seconds"]),
                reason[0] if reason else "-",
            )
        )
    columns = ("strategy", "labels", "rate", "seed", "status", "macro F1", "wall (min)", "reason")
    return Table("runs", "All runs", columns, rows, comparison.warnings())


TABLES: dict[str, Callable[[Comparison], Table]] = {
    "data": data_table,
    "macro_f1": macro_f1_table,
    "time": time_table,
    "f1_per_million": f1_per_million_table,
    "runs": runs_table,
}


def make_tables(comparison: Comparison, names: Sequence[str] | None = None) -> list[Table]:
    """Make the named tables, or all.

    Raises:
        ConfigError: A name is none.
    """
    unknown = [name for name in names or () if name not in TABLES]
    if unknown:
        raise ConfigError("There is no such table.", value=", ".join(unknown), allowed=", ".join(TABLES))
    return [TABLES[name](comparison) for name in names or TABLES]


def to_text(table: Table) -> str:
    """Render aligned plain text."""
    widths = [max(len(row[i]) for row in [table.columns, *table.rows]) for i in range(len(table.columns))]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            c.ljust(w) if i < table.left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(aligned).rstrip()

    lines = [table.title, line(table.columns), "  ".join("-" * w for w in widths)]
    return "\n".join([*lines, *map(line, table.rows), *(f"* {note}" for note in table.notes)]) + "\n"


def to_markdown(table: Table) -> str:
    """Render a Markdown table; markup in cells is escaped."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(escape_markdown(cell) for cell in cells) + " |"

    rule = "| " + " | ".join(":--" if i < table.left else "--:" for i in range(len(table.columns))) + " |"
    notes = "\n".join(f"- {escape_markdown(note)}" for note in table.notes)
    body = "\n".join([line(table.columns), rule, *map(line, table.rows)])
    return f"### {escape_markdown(table.title)}\n\n{body}\n\n{notes}\n"


def to_csv(table: Table) -> str:
    """Render CSV, headings first, without title and notes."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([table.columns, *table.rows])
    return stream.getvalue()


RENDERERS: dict[str, Callable[[Table], str]] = {"text": to_text, "markdown": to_markdown, "csv": to_csv}


def escape_markdown(text: str) -> str:
    """Escape what Markdown or HTML would read as markup."""
    for sign in "\\`*_[]|#":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", " ")


def _by_strategy(comparison: Comparison) -> list[Group]:
    order = {label: i for i, label in enumerate(comparison.labels)}
    return sorted(comparison.groups(), key=lambda g: (order[g.label], g.train_size))


def _published(group: Group) -> PublishedCell | None:
    return published_cell(group.cells[0].spec) if group.learning_rate is not None else None


def _with_published(
    comparison: Comparison,
    name: str,
    title: str,
    columns: tuple[str, ...],
    rows: list[tuple[str, ...]],
    notes: list[str],
) -> Table:
    """Close a table whose last column holds published values; drop the column where there are none."""
    notes = notes + comparison.warnings()
    if all(row[-1] == "-" for row in rows):
        return Table(name, title, columns, [row[:-1] for row in rows], notes)
    ours = is_report_model(comparison.cells[0].spec)
    heading = "the report" if ours else "the report (DistilBERT)"
    return Table(name, title, (*columns, heading), rows, notes)


def _rate(group: Group) -> str:
    if group.learning_rate is None:
        return f"{len(group.tried)} rates"
    suffix = f" (of {len(group.tried)})" if len(group.tried) > 1 else ""
    return f"{group.learning_rate:g}{suffix}"


def _seeds(group: Group) -> str:
    return f"{len(group.scored)}" + (f" ({group.status})" if group.status else "")


def _spread(group: Group, column: str, form: str) -> str:
    mean, deviation = group.mean(column), group.deviation(column)
    if mean is None:
        return group.status or "-"
    return form.format(mean) + (f" ± {form.format(deviation)}" if deviation is not None else "")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 60:.1f}"


def _scale(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
