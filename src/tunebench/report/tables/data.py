"""The table of the data: what every part holds, by training size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.configuration import states
from tunebench.analysis.warnings import OPTIMISTIC, OWN_VALIDATION, data_warnings
from tunebench.formatting import integer, significant
from tunebench.report.tables.registry import SELECTION, SIZE, made, register
from tunebench.report.tables.render import Column, ReportTable
from tunebench.store.record import Examples
from tunebench.tasks.base import Task

#: What is said of numbers.
_NUMBERS = {"mean": "Mean", "sd": "SD", "minimum": "Smallest", "median": "Median", "maximum": "Largest"}
#: Classes up to which the balance names every share.
_MANY_CLASSES = 5


@register("data")
def data(analysis: Analysis) -> ReportTable:
    """Return samples and class balance of every part, by training size."""
    comparison = analysis.comparison
    names = comparison.cells[0].spec.data.label_names
    rows: list[dict[str, Any]] = []
    for split, audited in (comparison.audit or {}).get("splits", {}).items():
        rows.append({"split": f"{split} (whole)", **_audited(audited, names)})
    tests: list[tuple[str, dict[str, Any]]] = []
    for size in comparison.sizes:
        cells = [cell for cell in comparison.cells if cell.spec.train_size == size and not cell.is_fold]
        examples = next((c.record.examples for c in cells if c.record and c.record.examples), None)
        status = states(cells)
        if examples is None:
            rows.append({"train_size": size, "split": "train", "status": status})
        elif not examples.train_per_class and not examples.numbers:
            rows.append({"train_size": size, "split": "train", "samples": size, "status": status})
        for split, held in _parts(examples, names):
            if split.startswith("test"):
                tests += [(split, held)] if (split, held) not in tests else []
            else:
                rows.append({"train_size": size, "split": split, **held, "status": status})
    rows += [{"split": split, **held} for split, held in tests]
    columns = (
        SIZE,
        Column("split", "Split", align="left"),
        Column("samples", "Samples", show=integer),
        *_what_is_held(comparison.task, names),
        Column("status", "Runs", align="left"),
        SELECTION,
    )
    notes = [OPTIMISTIC] if comparison.selection == "test" else []
    if any(cell.spec.validation_fraction for cell in comparison.cells):
        notes.append("Validation is a part of the dataset size: train and validation together are the labels used.")
    if any(cell.spec.own_validation for cell in comparison.cells):
        notes.append(OWN_VALIDATION)
    notes += data_warnings(comparison)
    title = "Samples and class balance" if comparison.task.labelled else "Samples and their numbers"
    return made("data", title, columns, rows, comparison, notes)


def _what_is_held(task: Task, names: tuple[str, ...]) -> tuple[Column, ...]:
    """Return the columns of classes, of labels or of numbers."""
    if not task.labelled:
        return tuple(Column(key, heading, show=significant(4)) for key, heading in _NUMBERS.items())
    what, many = "Class balance", f"{len(names)} classes, smallest to largest"
    if not task.exclusive:
        what, many = "Texts with the label", f"{len(names)} labels, rarest to most common"
    header = " / ".join(names) if len(names) <= _MANY_CLASSES else many
    return Column("balance", f"{what}: {header}", "%"), Column("per_class", "Samples per class", csv_only=True)


def _audited(audited: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return what an audit says of a whole split."""
    counts = list(audited["per_class"].values())
    samples = audited.get("examples", sum(counts))
    return (
        {"samples": samples, **audited["numbers"]} if audited.get("numbers") else _balance(counts, names, samples)
    )


def _parts(examples: Examples | None, names: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the parts of a run, and what each holds."""
    for split in ("train", "validation", "test") if examples is not None else ():
        samples, counts = getattr(examples, split), getattr(examples, f"{split}_per_class")
        numbers = examples.numbers.get(split) if examples is not None else None
        if samples and (counts or numbers):
            name = "test (held out)" if split == "test" and examples and examples.test_held_out else split
            yield name, {"samples": samples, **numbers} if numbers else _balance(counts, names, samples)


def _balance(counts: list[int], names: tuple[str, ...], total: int) -> dict[str, Any]:
    shares = [100 * count / total for count in counts]
    few = len(names) <= _MANY_CLASSES
    text = " / ".join(f"{share:.1f}" for share in shares) if few else f"{min(shares):.1f} to {max(shares):.1f}"
    return {"samples": total, "balance": text, "per_class": " ".join(map(str, counts))}
