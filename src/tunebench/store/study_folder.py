"""A study on disk: its file, its plan, a folder per run, and who works on which run.

Everything read back is checked, and what is damaged is named and set aside, not used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tunebench.errors import StoreError
from tunebench.files import read_json, remove_abandoned, set_aside, stored_file
from tunebench.store.audit_file import read_audit
from tunebench.store.cell import Cell
from tunebench.store.imported import AnyRun, ImportedStudy, is_imported, parse_spec
from tunebench.store.locks import RunLocks
from tunebench.store.mixing import check_mixing
from tunebench.store.output_folder import refuse_file, refuse_others, writing
from tunebench.store.plan_file import PlannedRun, StoredRun, read_plan, write_plan
from tunebench.store.record import RunRecord, Status
from tunebench.store.run_folder import RunFolder, is_run_id
from tunebench.store.study_file import read_stored_study, write_study
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np


class StudyStore:
    """A study's folder.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study_file = folder / "study.yaml"
        self.plan_file = folder / "plan.json"
        self.audit_file = folder / "audit.json"
        self.runs = folder / "runs"
        self._locks = RunLocks(folder)
        #: Outputs of frozen layers, shared by all runs; gone when the study is complete.
        self.prefixes = folder / "runs" / ".prefix"

    @classmethod
    def open(cls, folder: Path) -> StudyStore:
        """Open an existing study for reading.

        Raises:
            StoreError: There is none.
        """
        store = cls(folder)
        if not store.plan_file.exists():
            below = ", ".join(sorted(str(path.parent) for path in folder.glob("*/*/plan.json"))[:3])
            raise StoreError(
                "There is no study in this folder.",
                value=str(folder),
                fix=f"name one below it: {below}" if below else "tunebench run STUDY --out FOLDER makes one",
            )
        return store

    @classmethod
    def create(cls, folder: Path, study: StudyConfig, planned: Sequence[PlannedRun]) -> StudyStore:
        """Make a study's folder, or open it again to resume.

        Cells may be added (seeds, sizes, strategies, rates). What all cells share may not change, or the tables
        would mix protocols.

        Raises:
            StoreError: The folder holds something else, another study, or cannot be written.
        """
        store = cls.check(folder, [p.spec for p in planned])
        # Two processes may begin one study at the same time: the second one extends the first one's plan.
        with writing(folder), store._locks.plan():
            remove_abandoned(folder)
            store._write(study, store._extend(planned))
        return store

    @classmethod
    def check(cls, folder: Path, specs: Sequence[RunSpec]) -> StudyStore:
        """Check, writing nothing, that a study's cells may go into a folder.

        Args:
            folder: The folder; it need not exist.
            specs: The cells.

        Returns:
            The store.

        Raises:
            StoreError: The folder holds something else, or cells that these must not be mixed with.
        """
        store = cls(folder)
        refuse_file(folder)
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise StoreError(
                "The folder cannot be written.",
                value=str(folder),
                allowed=f"a folder that can be made; {existing} is no folder that is open to you",
                fix="choose another --out",
            )
        others = [] if store._is_there() or not folder.exists() else [p.name for p in folder.iterdir()]
        refuse_others(folder, others, kind="study")
        if stored := store.begun():
            ours = [spec for spec in stored if not is_imported(spec)]
            if not ours:
                raise StoreError(
                    "The folder holds imported runs; nothing can be trained in it.",
                    value=str(folder),
                    fix="choose another --out",
                )
            check_mixing(ours, specs, folder)
        return store

    @classmethod
    def create_imported(
        cls, folder: Path, study: ImportedStudy, runs: Sequence[tuple[RunRecord, dict[str, np.ndarray] | None]]
    ) -> StudyStore:
        """Make a study's folder of imported runs: whole, or not at all.

        Args:
            folder: A new folder, or an empty one.
            study: How the runs are to be compared.
            runs: Records, and for each what :meth:`RunFolder.write_predictions` takes, if it is known.

        Raises:
            StoreError: The folder holds something, or cannot be written.
        """
        store = cls(folder)
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise StoreError(
                "Imported runs go to a folder of their own, and this is not empty.",
                value=str(folder),
                allowed="a new folder, or an empty one",
                fix="choose another --out",
            )
        parent = folder.resolve().parent
        # Beside its place and then renamed: a kill leaves no half of an import.
        with writing(folder):
            parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=parent, prefix=f".{folder.name}.") as temporary:
                made = cls(Path(temporary) / folder.name)
                made._locks.make()
                for record, predictions in runs:
                    made._add_imported(record, predictions)
                made._write(study, [StoredRun(record.spec) for record, _ in runs])
                os.replace(made.folder, folder.resolve())
        return store

    def join_imported(
        self, runs: Sequence[tuple[RunRecord, dict[str, np.ndarray] | None]], *, label: str
    ) -> tuple[Path, ...]:
        """Let imported runs of one label join the study; they take the place of those that have the label now.

        Args:
            runs: As for :meth:`create_imported`.
            label: Their label, which no run has that was trained here.

        Returns:
            Where the folders went whose place they take.

        Raises:
            StoreError: The folder cannot be written.
        """
        try:
            with self._locks.plan():
                planned = self.planned()
                old = {p.spec.run_id for p in planned if is_imported(p.spec) and p.spec.label == label}
                aside = tuple(set_aside(self.run_folder(run_id).path, "replaced") for run_id in sorted(old))
                for record, predictions in runs:
                    self._add_imported(record, predictions)
                kept = [p for p in planned if p.spec.run_id not in old]
                joined = [StoredRun(record.spec) for record, _ in runs]
                write_plan(self.plan_file, self.study().name, [*kept, *joined])
        except OSError as error:
            raise StoreError(f"The folder cannot be written: {error.strerror}", value=str(self.folder)) from None
        return aside

    def _write(self, study: StudyConfig | ImportedStudy, planned: Sequence[StoredRun]) -> None:
        """Write study and plan."""
        write_study(self.study_file, study)
        write_plan(self.plan_file, study.name, planned)

    def _add_imported(self, record: RunRecord, predictions: dict[str, np.ndarray] | None) -> None:
        run = self.run_folder(record.run_id)
        run.begin(record.spec)
        if predictions is not None:
            run.write_predictions(**predictions)
            record = record.model_copy(update={"files": {run.predictions.name: stored_file(run.predictions)}})
        run.commit(record)

    def _is_there(self) -> bool:
        """Tell whether this is a study's folder, if only one whose making was cut short."""
        return self.plan_file.exists() or self.study_file.exists() or self._locks.there

    def _extend(self, planned: Sequence[PlannedRun]) -> list[StoredRun]:
        """Keep the stored plan's other cells, behind these; a damaged plan is set aside."""
        stored, whole = self._known()
        if not whole:
            set_aside(self.plan_file)
        ours = [p.spec for p in stored if not is_imported(p.spec)]
        check_mixing(ours, [p.spec for p in planned], self.folder)
        new = {p.spec.run_id for p in planned}
        return [*planned, *(p for p in stored if p.spec.run_id not in new)]

    def begun(self) -> list[AnyRun]:
        """Return the cells that the folder holds already; none where there is no study yet."""
        return [p.spec for p in self._known()[0]]

    def trainable(self) -> list[RunSpec]:
        """Return the cells of :meth:`begun` that were not imported."""
        return [spec for spec in self.begun() if not is_imported(spec)]

    def _known(self) -> tuple[list[StoredRun], bool]:
        """Return the cells of the plan, if there is one, and whether it is whole.

        Of a damaged plan they are those that were begun, since each run has its spec.
        """
        if not self.plan_file.exists():
            return [], True
        try:
            return self.planned(), True
        except StoreError:
            return [StoredRun(spec) for spec in self._begun_runs()], False

    def _begun_runs(self) -> list[AnyRun]:
        """Return the runs whose folder holds their spec, sound and under its own id."""
        found = []
        for path in sorted(self.runs.glob("*/spec.json")):
            try:
                spec = parse_spec(read_json(path))
            except (StoreError, ValidationError):
                continue
            if spec.run_id == path.parent.name:
                found.append(spec)
        return found

    def study(self) -> StudyConfig | ImportedStudy:
        """Return the stored study, or what stands in its place where the runs were imported.

        Raises:
            StoreError: It is damaged, or a strategy or the metric of it is not installed.
        """
        return read_stored_study(self.study_file)

    def planned(self) -> list[StoredRun]:
        """Return the cells of the plan, in its order.

        Raises:
            StoreError: The plan is damaged.
        """
        return read_plan(self.plan_file)

    def audit(self) -> dict[str, Any] | None:
        """Return the stored audit of the data as plain values; None where there is none.

        Raises:
            StoreError: It is damaged.
        """
        return read_audit(self.audit_file)

    def run_folder(self, run_id: str) -> RunFolder:
        """Return a run's folder, whether it exists or not.

        Raises:
            StoreError: The id is none.
        """
        # RunFolder sees the last part of a path alone.
        if not is_run_id(run_id):
            raise StoreError("This is no run id.", value=run_id)
        return RunFolder(self.runs / run_id)

    def locked(self, run_id: str) -> AbstractContextManager[bool]:
        """Hold a run's lock; see :meth:`RunLocks.run`.

        Raises:
            StoreError: The study's folder was moved or removed meanwhile, or the id is none.
        """
        return self._locks.run(self.run_folder(run_id).path.name)

    def test_part_locked(self, *, waits: Callable[[], None] = lambda: None) -> AbstractContextManager[None]:
        """Hold the lock under which runs are chosen for the test part; see :meth:`RunLocks.test_part`."""
        return self._locks.test_part(waits)

    def is_running(self, run_id: str) -> bool:
        """Tell whether a live process works on a run."""
        return self._locks.is_held(run_id)

    def cells(self) -> list[Cell]:
        """Return every planned cell with its state and record, for tables and figures.

        A run counts as failed, and none of its numbers is used, if its record or predictions are damaged or closed
        to this user, or if its scores are not those that its predictions give. The cell's note has the reason.
        """
        found = []
        for planned in self.planned():
            folder = self.run_folder(planned.spec.run_id)
            try:
                record = folder.read()
                if record is not None:
                    folder.check_results(record)
            except (StoreError, PermissionError) as error:
                found.append(Cell(planned.spec, "failed", None, str(error)))
                continue
            predictions = None
            if record is not None and folder.has_predictions(record):
                predictions = partial(folder.read_predictions, record.files[folder.predictions.name])
            found.append(Cell(planned.spec, self._status(planned, record), record, planned.left_out, predictions))
        return found

    def _status(self, planned: StoredRun, record: RunRecord | None) -> Status:
        if record is not None and record.status == "complete":
            return "complete"
        if self.is_running(planned.spec.run_id):
            return "running"
        if record is not None:
            return record.status
        return "left_out" if planned.left_out else "pending"
