"""What runs must share to stand in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tunebench.analysis.group import Group
from tunebench.errors import StoreError
from tunebench.store.cell import Cell
from tunebench.store.imported import AnyRun, ImportedData, is_imported
from tunebench.tasks.registry import TASKS

#: What imported runs must share beside their fingerprints, which they do not have.
IMPORTED_PROTOCOL: dict[str, Callable[[AnyRun], Any]] = {
    "data": lambda spec: spec.data.source if is_imported(spec) else None,
    "number of classes": lambda spec: len(spec.data.label_names) or None,
    "class names": lambda spec: ", ".join(spec.data.label_names) if _of(spec, "named", True) else None,
    "labels of the test examples (sha256)": lambda spec: _of(spec, "test_labels", None),
}


def _of(spec: AnyRun, name: str, otherwise: Any) -> Any:
    return getattr(spec.data, name) if isinstance(spec.data, ImportedData) else otherwise


#: What all cells of a comparison share; tables never mix values of runs that differ here. What is not known
#: of an imported run is ``None``: it may stand beside others, which is said, and is averaged with none.
PROTOCOL: dict[str, Callable[[AnyRun], Any]] = {
    "task": lambda spec: TASKS[spec.task].label,
    "data (fingerprint)": lambda spec: spec.data.fingerprint,
    **IMPORTED_PROTOCOL,
    "selection": lambda spec: spec.selection,
    "validation_fraction": lambda spec: spec.validation_fraction,
    "the draw of the test part": lambda spec: spec.test_draw,
    "test_size": lambda spec: spec.test_size,
    "sealed part": lambda spec: None if is_imported(spec) else spec.sealed,
    "copies": lambda spec: spec.copies,
    "folds of the cross-validation": lambda spec: spec.folds or None,
    "the data's own validation part, groups and times": lambda spec: spec.splits,
    "metric": lambda spec: spec.metric,
}


def check_cells(cells: Sequence[Cell]) -> None:
    """Check that cells may stand in one table: one protocol, each run once, each record its cell's.

    Raises:
        StoreError: They may not.
    """
    for what, key in PROTOCOL.items():
        values = sorted({str(value) for cell in cells if (value := key(cell.spec)) is not None})
        if len(values) > 1:
            raise StoreError(
                f"These runs cannot be compared: they differ in {what}.",
                value=", ".join(values),
                fix="put runs of different protocols in different study folders",
            )
    _check_records(cells)
    for place in dict.fromkeys((cell.spec.label, cell.spec.train_size) for cell in cells):
        check_coordinates([c.spec for c in cells if (c.spec.label, c.spec.train_size) == place])


def _check_records(cells: Sequence[Cell]) -> None:
    seen = set()
    for cell in cells:
        run_id = cell.spec.run_id
        if run_id in seen:
            raise StoreError("A run stands in the plan twice; it would count as two seeds.", value=run_id)
        seen.add(run_id)
        if cell.record is not None and cell.record.run_id != run_id:
            raise StoreError("A record belongs to another run.", value=cell.record.run_id, allowed=run_id)
        if cell.status == "complete" and cell.record is None:
            raise StoreError("A complete run has no record.", value=run_id, fix="remove its folder, run again")


def check_coordinates(specs: Sequence[AnyRun]) -> None:
    """Check that runs of one label and size can be told apart, and so averaged or chosen from.

    Args:
        specs: All of one label and training size.

    Raises:
        StoreError: Several of them, and a learning rate or a seed is not known or stands there twice.
    """
    if len(specs) < 2 or not any(map(is_imported, specs)):
        return
    where = f"{specs[0].label!r} at size {specs[0].train_size}"
    for name in ("learning_rate", "seed"):
        if any(getattr(spec, name) is None for spec in specs):
            raise StoreError(
                f"Runs of {where} cannot be averaged: of some the {name.replace('_', ' ')} is not known.",
                value=", ".join(str(getattr(spec, name)) for spec in specs).replace("None", "not known"),
                fix=f"state it (tunebench.yaml in each folder, or --set FOLDER:{name}=...), or give each run a "
                "label of its own (strategy)",
            )
    cells = [(spec.learning_rate, spec.seed, spec.subset_seed) for spec in specs]
    for rate, seed, subset in cells:
        if cells.count((rate, seed, subset)) > 1:
            raise StoreError(
                f"Runs of {where} stand there twice; they would count as two seeds.",
                value=f"learning rate {rate:g}, seed {seed}",
                fix="import each run once, or give each a label of its own (strategy)",
            )


def check_recipe(group: Group) -> None:
    """Refuse to average over anything but seeds, or to choose among anything but learning rates.

    Raises:
        StoreError: The runs of the group differ in something else.
    """
    first, *others = [cell.spec.effective for cell in group.cells]
    for other in others:
        # That the test part is the same is checked for all runs together.
        tuned = {name for cell in group.cells for name in cell.spec.tuned}
        axes = {"seed", "subset_seed", "test_seed", "learning_rate", "fold", *tuned}
        differ = [k for k in first | other if first.get(k) != other.get(k) and k not in axes]
        if differ:
            raise StoreError(
                f"Runs of {group.label!r} at size {group.train_size} cannot be averaged: "
                f"they differ in {', '.join(differ)}.",
                value=" and ".join(f"{key}: {first.get(key)!r} or {other.get(key)!r}" for key in differ),
                fix="give each recipe its own strategy label",
            )
