"""Import runs of other Trainer scripts as a study that tables and reports can show."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from tunebench.analysis.comparison import Comparison
from tunebench.errors import StoreError, TunebenchError, raise_all
from tunebench.importing.build import build_record
from tunebench.importing.folder import NothingHereError, read_folder
from tunebench.importing.stated import parse_setting, read_stated
from tunebench.store.cell import Cell
from tunebench.store.imported import ImportedStudy, is_imported
from tunebench.store.record import RunRecord
from tunebench.store.study_folder import StudyStore

__all__ = ["import_folders"]


def import_folders(
    folders: Sequence[Path],
    *,
    out: Path,
    settings: Sequence[str] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Make a study of folders that Trainer scripts left: one run a folder.

    Everything is read and checked before anything is written; what a folder does not tell, and nobody
    states, is ``None`` in its record.

    Args:
        folders: The folders.
        out: Where the study goes: a new folder, or an empty one.
        settings: ``KEY=VALUE`` for all folders, ``FOLDER:KEY=VALUE`` for one; the keys are those of
            :class:`~tunebench.importing.stated.Stated`.
        tell: Told which folders are passed over, as they hold nothing of a run.

    Returns:
        The comparison of all runs.

    Raises:
        TunebenchError: Everything that is wrong with folders and statements, each with the file.
    """
    _check_places(folders, out)
    names = {name for folder in folders for name in (str(folder), folder.name)}
    for setting in settings:
        parse_setting(setting, names)
    runs = []
    errors: list[TunebenchError] = []
    empty: dict[Path, NothingHereError] = {}
    for folder in folders:
        try:
            contents = read_folder(folder)
            stated = read_stated(
                folder, contents.sidecar, where=contents.sidecar_path, settings=settings, names=names
            )
            runs.append(build_record(contents, stated))
        except NothingHereError as error:
            empty[folder] = error
        except TunebenchError as error:
            errors.append(error)
    raise_all([*errors, *([] if runs else empty.values())])
    for folder, why in empty.items():
        tell(f"note: {folder} was passed over: {why.what[0].lower()}{why.what[1:].splitlines()[0]}")
    _check_contents(
        [folder for folder in folders if folder not in empty],
        [record.spec.content for record, _ in runs if is_imported(record.spec)],
    )
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", out.resolve().name).lstrip("_.-")[:64] or "imported"
    # Before anything is written: runs that do not belong together are refused here.
    metric = _metric([record for record, _ in runs])
    comparison = Comparison(name=name, cells=[Cell(r.spec, r.status, r) for r, _ in runs], metric=metric)
    StudyStore.create_imported(out, ImportedStudy(name=name, metric=metric), runs)
    return comparison


def _metric(records: Sequence[RunRecord]) -> str:
    """Return the metric to compare runs by: the task's default, else the first that is known of all of them."""
    task = records[0].task
    known = [name for name in task.built_in if all(r.scores and r.scores[name] is not None for r in records)]
    anywhere = any(r.scores and r.scores[task.default_metric] is not None for r in records)
    if anywhere or not known:
        return task.default_metric
    return next((name for name in task.always_shown if name in known), known[0])


def _check_places(folders: Sequence[Path], out: Path) -> None:
    if not folders:
        raise StoreError("There is no folder to import.", fix="tunebench import FOLDER... --out DIR")
    target = out.resolve()
    seen: dict[Path, Path] = {}
    errors: list[TunebenchError] = []
    for folder in folders:
        real = folder.resolve()
        if real in seen:
            errors.append(StoreError("A folder is given twice.", value=f"{seen[real]} and {folder}"))
        seen[real] = folder
        if real == target or target in real.parents or real in target.parents:
            errors.append(
                StoreError(
                    "The folder to import and --out must not lie inside each other.",
                    value=f"{folder} and --out {out}",
                    fix="choose another --out",
                )
            )
    raise_all(errors)


def _check_contents(folders: Sequence[Path], contents: Sequence[str]) -> None:
    seen: dict[str, Path] = {}
    for folder, content in zip(folders, contents, strict=True):
        if content in seen:
            raise StoreError(
                "Two folders hold the same run, which would count twice.", value=f"{seen[content]} and {folder}"
            )
        seen[content] = folder
