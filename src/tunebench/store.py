"""A study on disk: a folder per run, complete exactly when its record is there.

``record.json`` is written last, by rename; whatever else lies in a run's folder before that is work
in progress. Everything read back is checked, and what is damaged is named and set aside, not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from filelock import FileLock, Timeout
from pydantic import ValidationError

from tunebench.comparison import Cell
from tunebench.config import SCHEMA_VERSION, RunSpec, StudyConfig
from tunebench.errors import StoreError
from tunebench.records import RunRecord, Status, StoredFile

#: Keys of a spec's identity in which the cells of one study may differ.
_AXES = frozenset({"kind", "params", "learning_rate", "train_size", "seed"})
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,150}-[0-9a-f]{16}")


class RunFolder:
    """Where one run lives.

    Args:
        path: Its folder, named by the run's id.
    """

    def __init__(self, path: Path) -> None:
        if not _RUN_ID.fullmatch(path.name):
            raise StoreError("This is no run id.", value=path.name)
        self.path = path
        self.record = path / "record.json"
        self.failure = path / "failure.json"
        self.spec = path / "spec.json"
        self.weights = path / "weights.safetensors"
        self.predictions = path / "predictions.npz"
        self.checkpoint = path / "checkpoint"
        self.best = path / "best.safetensors"
        self.log = path / "run.log"

    @property
    def complete(self) -> bool:
        """Whether the run is complete."""
        return self.record.exists()

    def begin(self, spec: RunSpec) -> None:
        """Make the folder, remove what a kill left half written, and write down what will run in it."""
        self.path.mkdir(parents=True, exist_ok=True)
        for left in self.path.glob(".*"):
            if left.is_file():
                left.unlink(missing_ok=True)
        write_json(self.spec, spec.model_dump(mode="json"))

    def write_predictions(self, *, logits: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> None:
        """Write what was predicted on the test part.

        Args:
            logits: float32 ``(n, classes)``.
            labels: ``(n,)``.
            indices: ``(n,)``, row numbers in the split the test part came from.
        """
        temporary = self.path / f".predictions.{os.getpid()}.npz"
        np.savez_compressed(temporary, logits=logits, labels=labels, indices=indices)
        os.replace(temporary, self.predictions)

    def read_predictions(self) -> dict[str, np.ndarray]:
        """Return logits, labels and indices.

        Raises:
            StoreError: The file is missing or damaged.
        """
        try:
            with np.load(self.predictions, allow_pickle=False) as stored:
                return {name: stored[name] for name in ("logits", "labels", "indices")}
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise StoreError(f"The predictions cannot be read: {error}", value=str(self.predictions)) from None

    def commit(self, record: RunRecord) -> None:
        """Make the run complete, and remove what it no longer needs.

        Raises:
            StoreError: The record is another run's, or its files are not there as it says.
        """
        if record.run_id != self.path.name or record.spec.run_id != self.path.name:
            raise StoreError("The record belongs to another run.", value=f"{self.path.name}: {record.run_id}")
        self.verify(record)
        for name in record.files:
            _sync(self.path / name)
        write_json(self.record, record.model_dump(mode="json"))
        self.tidy()

    def tidy(self) -> None:
        """Remove what a complete run does not need; a kill right after the commit leaves it behind."""
        self.failure.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)
        shutil.rmtree(self.checkpoint, ignore_errors=True)

    def fail(self, record: RunRecord) -> None:
        """Write down why the run did not end. Its checkpoint goes: it would fail again from there."""
        write_json(self.failure, record.model_dump(mode="json"))
        self.best.unlink(missing_ok=True)
        shutil.rmtree(self.checkpoint, ignore_errors=True)

    def note(self, line: str) -> None:
        """Append a dated line to the run's log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(timezone.utc).isoformat(timespec='seconds')} {line}\n")

    def read(self) -> RunRecord | None:
        """Return the record, or that of the failure, or None.

        Raises:
            StoreError: The record is damaged, of another schema, or of another run.
        """
        path = self.record if self.record.exists() else self.failure
        if not path.exists():
            return None
        raw = read_json(path)
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            raise StoreError(
                "The record has another schema version.",
                value=f"{path}: {version}",
                allowed=str(SCHEMA_VERSION),
                fix="read it with the version of tunebench that wrote it",
            )
        try:
            record = RunRecord.model_validate(raw)
        except ValidationError as error:
            raise StoreError(f"The record is damaged: {error.errors()[0]['msg']}", value=str(path)) from None
        if record.spec.run_id != self.path.name or record.run_id != self.path.name:
            raise StoreError("The record belongs to another run.", value=f"{path}: {record.spec.run_id}")
        return record

    def verify(self, record: RunRecord) -> None:
        """Check the files of a complete run against their recorded sizes and hashes.

        Raises:
            StoreError: A file is missing or differs; the message names it.
        """
        for name, expected in record.files.items():
            path = self.path / Path(name).name
            if not path.exists():
                raise StoreError("A file of a complete run is missing.", value=str(path))
            if stored_file(path) != expected:
                raise StoreError("A file of a complete run is damaged.", value=str(path))

    def quarantine(self) -> Path:
        """Set a damaged folder aside, and return where it went."""
        number = 1
        while (target := self.path.with_name(f"{self.path.name}.damaged-{number}")).exists():
            number += 1
        os.replace(self.path, target)
        return target


@dataclass(frozen=True)
class PlannedRun:
    """A cell of the plan as stored.

    Attributes:
        left_out: Why the budget leaves it out; None when it is to be run.
    """

    spec: RunSpec
    left_out: str | None = None


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
        self._locks = folder / "runs" / ".locks"

    @classmethod
    def open(cls, folder: Path) -> StudyStore:
        """Open an existing study for reading.

        Raises:
            StoreError: There is none.
        """
        store = cls(folder)
        if not store.plan_file.exists():
            raise StoreError(
                "There is no study in this folder.",
                value=str(folder),
                fix="tunebench run STUDY --out FOLDER makes one",
            )
        return store

    @classmethod
    def create(cls, folder: Path, study: StudyConfig, planned: list[PlannedRun]) -> StudyStore:
        """Make a study's folder, or open it again to go on.

        Going on may add cells (seeds, sizes, strategies, rates); it may not change what the cells
        share, or the tables would mix protocols.

        Raises:
            StoreError: The folder holds something else, another study, or cannot be written.
        """
        store = cls.check(folder, [p.spec for p in planned])
        try:
            store._locks.mkdir(parents=True, exist_ok=True)
            # Two processes may begin one study at the same time: the second one extends the first one's plan.
            with FileLock(store._locks / "plan.lock"):
                planned = store._extend(planned)
                write_text(store.study_file, yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
                cells = [{"spec": p.spec.model_dump(mode="json"), "left_out": p.left_out} for p in planned]
                write_json(store.plan_file, {"schema_version": SCHEMA_VERSION, "name": study.name, "cells": cells})
        except OSError as error:
            raise StoreError(
                f"The folder cannot be written: {error.strerror}", value=str(folder), fix="choose another --out"
            ) from None
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
        if folder.exists() and not folder.is_dir():
            raise StoreError("This is a file, not a folder.", value=str(folder), fix="choose another --out")
        others = [] if store._begun() or not folder.exists() else [p.name for p in folder.iterdir()]
        if others:
            raise StoreError(
                "The folder holds something else.",
                value=f"{folder}: {', '.join(sorted(others)[:5])}",
                allowed="an empty folder, a new one, or that of the same study",
                fix="choose another --out",
            )
        if store.plan_file.exists():
            store._check_mixing([p.spec for p in store.planned()], specs)
        return store

    def _begun(self) -> bool:
        """Tell whether this is a study's folder, if only one whose making was cut short."""
        return self.plan_file.exists() or self.study_file.exists() or self._locks.is_dir()

    def _check_mixing(self, stored: Sequence[RunSpec], specs: Sequence[RunSpec]) -> None:
        """Refuse cells that share no protocol with the stored ones, or reuse a label for something else."""
        if not stored or not specs:
            return
        before, after = _protocol(stored[0]), _protocol(specs[0])
        changes = [f"{key}: {before.get(key)} -> {after[key]}" for key in after if before.get(key) != after[key]]
        meanings = {spec.label: (spec.kind, spec.params) for spec in stored}
        labels = {spec.run_id[-16:]: spec.label for spec in stored}
        for spec in {s.label: s for s in specs}.values():
            known = meanings.get(spec.label)
            if known is not None and known != (spec.kind, spec.params):
                changes.append(f"strategy {spec.label}: {known[0]} {known[1]} -> {spec.kind} {spec.params}")
        for spec in specs:
            label = labels.get(spec.run_id[-16:], spec.label)
            if label != spec.label:
                changes.append(f"strategy {label} is called {spec.label}")
        if changes:
            raise StoreError(
                "The folder holds another study; they differ in:\n    " + "\n    ".join(dict.fromkeys(changes)),
                value=str(self.folder),
                allowed="the same study, or one that adds strategies, rates, sizes or seeds",
                fix="choose another --out, or give a changed strategy a label of its own",
            )

    def _extend(self, planned: list[PlannedRun]) -> list[PlannedRun]:
        """Keep the stored plan's other cells, behind these."""
        stored = self.planned() if self.plan_file.exists() else []
        self._check_mixing([p.spec for p in stored], [p.spec for p in planned])
        new = {p.spec.run_id for p in planned}
        return planned + [p for p in stored if p.spec.run_id not in new]

    def study(self) -> StudyConfig:
        """Return the stored study.

        Raises:
            StoreError: It is damaged.
        """
        try:
            raw = yaml.safe_load(self.study_file.read_text(encoding="utf-8"))
            return StudyConfig.model_validate(raw)
        except (OSError, yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
            raise StoreError(
                f"The stored study is damaged: {str(error).splitlines()[0]}", value=str(self.study_file)
            ) from None

    def planned(self) -> list[PlannedRun]:
        """Return the cells of the plan, in its order.

        Raises:
            StoreError: The plan is damaged.
        """
        raw = read_json(self.plan_file)
        try:
            return [PlannedRun(RunSpec.model_validate(c["spec"]), c["left_out"]) for c in raw["cells"]]
        except (KeyError, TypeError, ValidationError):
            raise StoreError("The stored plan is damaged.", value=str(self.plan_file)) from None

    def run_folder(self, run_id: str) -> RunFolder:
        """Return a run's folder, whether it exists or not.

        Raises:
            StoreError: The id is none.
        """
        if not _RUN_ID.fullmatch(run_id):
            raise StoreError("This is no run id.", value=run_id)
        return RunFolder(self.runs / run_id)

    @contextmanager
    def locked(self, run_id: str) -> Iterator[bool]:
        """Hold a run's lock, or yield False when another process does. The kernel frees it on a kill."""
        self._locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._locks / f"{self.run_folder(run_id).path.name}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def is_running(self, run_id: str) -> bool:
        """Tell whether a live process works on a run."""
        path = self._locks / f"{run_id}.lock"
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return False
        except (Timeout, OSError):
            return True

    def cells(self) -> list[Cell]:
        """Return every planned cell with its state and record, for tables and figures.

        A damaged record counts as a failed run with the damage as its reason, not as a missing row.
        """
        found = []
        for planned in self.planned():
            folder = self.run_folder(planned.spec.run_id)
            try:
                record = folder.read()
            except StoreError as error:
                found.append(Cell(planned.spec, "failed", None, str(error)))
                continue
            found.append(Cell(planned.spec, self._status(planned, record), record, planned.left_out))
        return found

    def _status(self, planned: PlannedRun, record: RunRecord | None) -> Status:
        if record is not None and record.status == "complete":
            return "complete"
        if self.is_running(planned.spec.run_id):
            return "running"
        if record is not None:
            return record.status
        return "left_out" if planned.left_out else "pending"


def _protocol(spec: RunSpec) -> dict[str, Any]:
    """Return what all cells of a study share."""
    return {k: v for k, v in spec.identity.items() if k not in _AXES}


def stored_file(path: Path) -> StoredFile:
    """Return size and hash of a file."""
    return StoredFile(bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def write_text(path: Path, text: str) -> None:
    """Write a file by rename, so that nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file, or a folder's entries, onto the disk; some systems cannot for folders."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write JSON by rename; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        StoreError: Missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"The file cannot be read: {error}", value=str(path)) from None
