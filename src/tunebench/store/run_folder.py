"""One run on disk: complete exactly when its record is there.

``record.json`` is written last, by rename; whatever else lies in a run's folder before that is work
in progress.
"""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from tunebench.errors import StoreError
from tunebench.files import (
    StoredFile,
    append_line,
    read_json,
    set_aside,
    stored_file,
    sync,
    write_json,
)
from tunebench.store.best_files import BestFiles
from tunebench.store.imported import AnyRun
from tunebench.store.predictions import read_predictions, write_predictions
from tunebench.store.record import READABLE, RunRecord, now
from tunebench.store.rescore import check_scores
from tunebench.store.seal import seal, unseal
from tunebench.study.spec import RunSpec

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+@-]{0,150}-[0-9a-f]{16}")


class RunFolder:
    """Where one run lives.

    Args:
        path: Its folder, named by the run's id.
    """

    def __init__(self, path: Path) -> None:
        if not is_run_id(path.name):
            raise StoreError("This is no run id.", value=path.name)
        self.path = path
        self.record = path / "record.json"
        self.failure = path / "failure.json"
        self.spec = path / "spec.json"
        self.weights = path / "weights.safetensors"
        self.predictions = path / "predictions.npz"
        #: What :class:`~tunebench.store.partial_logits.PartialLogits` keeps.
        self.partial_logits = path / "partial_logits.npz"
        self.checkpoint = path / "checkpoint"
        self.best = BestFiles(path)
        self.log = path / "run.log"
        #: Where the run stands and its curves so far; see :mod:`tunebench.store.live`.
        self.live = path / "progress.json"
        #: Outputs of frozen layers, shared by all runs; :class:`~tunebench.store.study_folder.StudyStore` removes
        #: it.
        self.prefixes = path.parent / ".prefix"

    @property
    def complete(self) -> bool:
        """Whether the run is complete."""
        return self.record.exists()

    def begin(self, spec: AnyRun) -> None:
        """Make the folder, remove what a kill left half written, and write down what will run in it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._remove_halves()
        write_json(self.spec, spec.model_dump(mode="json"))

    def _remove_halves(self) -> None:
        """Remove files that a kill left half written; only the holder of the run's lock may."""
        for left in self.path.glob(".*"):
            if left.is_file():
                left.unlink(missing_ok=True)

    def write_predictions(
        self,
        *,
        labels: np.ndarray,
        indices: np.ndarray,
        logits: np.ndarray | None = None,
        predicted: np.ndarray | None = None,
    ) -> None:
        """Write what was predicted on the test part: logits, or predictions where logits are not known.

        Args:
            logits: float32 ``(n, classes)``.
            predicted: In the form of ``labels``.
            labels: ``(n,)``, or ``(n, labels)`` of several labels a text; of numbers doubles.
            indices: ``(n,)``, row numbers in the split the test part came from.
        """
        write_predictions(self.predictions, labels=labels, indices=indices, logits=logits, predicted=predicted)

    def read_predictions(self, expected: StoredFile | None = None) -> dict[str, np.ndarray]:
        """Return what :meth:`write_predictions` was given.

        Args:
            expected: What the record says of the file. None only where there is no record yet.

        Raises:
            StoreError: The file is missing, damaged, or another one.
        """
        return read_predictions(self.predictions, expected)

    def has_predictions(self, record: RunRecord) -> bool:
        """Tell whether the run keeps its predictions; a file that the record does not name is not the run's."""
        return self.predictions.name in record.files and self.predictions.exists()

    def check_results(self, record: RunRecord) -> None:
        """Check the stored predictions against the record, and its scores against them.

        Raises:
            StoreError: Either is not what was written.
        """
        if self.has_predictions(record):
            stored = self.read_predictions(record.files[self.predictions.name])
            check_scores(record, stored, path=self.record)

    def commit(self, record: RunRecord) -> None:
        """Make the run complete, and remove what it no longer needs.

        Raises:
            StoreError: The record is another run's, or its files are not there as it says.
        """
        if record.run_id != self.path.name or record.spec.run_id != self.path.name:
            raise StoreError("The record belongs to another run.", value=f"{self.path.name}: {record.run_id}")
        self.verify(record)
        for name in record.files:
            sync(self.path / name)
        write_json(self.record, seal(record.model_dump(mode="json")))
        self.tidy()

    def tidy(self) -> None:
        """Remove what a complete run does not need; a kill right after the commit leaves it behind.

        A kill while the run was scored on the test part leaves halves too, and the run is not begun again.
        """
        self._remove_halves()
        self.failure.unlink(missing_ok=True)
        self.live.unlink(missing_ok=True)
        self.partial_logits.unlink(missing_ok=True)
        self.best.keep()
        shutil.rmtree(self.checkpoint, ignore_errors=True)

    def fail(self, record: RunRecord, *, resumable: bool = False) -> None:
        """Write down why the run did not end. Its checkpoint goes: it would fail again from there.

        Args:
            record: Says why.
            resumable: Keep the checkpoint: what went wrong was the disk, and not the run.

        Raises:
            OSError: It cannot be written.
        """
        if not self.path.is_dir():
            # Moved away with its study: nothing is made in the old place.
            raise FileNotFoundError(errno.ENOENT, "the run's folder is no longer there", str(self.path))
        write_json(self.failure, seal(record.model_dump(mode="json")))
        if resumable:
            return
        self.partial_logits.unlink(missing_ok=True)
        self.best.keep()
        shutil.rmtree(self.checkpoint, ignore_errors=True)

    def note(self, line: str) -> None:
        """Append a dated line to the run's log, where it can be written: no run ends for want of a log line."""
        try:
            append_line(self.log, f"{now()} {line}")
        except (OSError, StoreError):
            pass

    def read(self) -> RunRecord | None:
        """Return the record, or that of the failure, or None.

        Raises:
            StoreError: The record is damaged, was edited, is of another schema, or of another run.
        """
        try:
            path = self.record if self.record.exists() else self.failure
            if not path.exists():
                return None
        except OSError as error:
            # Another user's, who lets nobody look into it.
            raise StoreError(f"The run's folder cannot be read: {error.strerror}", value=str(self.path)) from None
        raw = read_json(path)
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version not in READABLE:
            raise StoreError(
                "The record has a format that this version of tunebench cannot read.",
                value=f"{path}: {version}",
                allowed=", ".join(map(str, READABLE)),
                fix="read it with the version of tunebench that wrote it",
            )
        try:
            record = RunRecord.model_validate(unseal(raw, path))
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
            try:
                found = stored_file(path)
            except FileNotFoundError:
                raise StoreError("A file of a complete run is missing.", value=str(path)) from None
            if found != expected:
                raise StoreError("A file of a complete run is damaged.", value=str(path))

    def discard_weights(self, record: RunRecord) -> int:
        """Remove the weights of a complete run for good, and return the bytes that gives back.

        The record forgets them first: after a kill in between, the file is one that nothing asks for.
        """
        size = self.weights.stat().st_size if self.weights.exists() else 0
        kept = {name: stored for name, stored in record.files.items() if name != self.weights.name}
        write_json(self.record, seal(record.model_copy(update={"files": kept}).model_dump(mode="json")))
        self.weights.unlink(missing_ok=True)
        self.note("weights discarded")
        return size

    def require_weights(self, record: RunRecord) -> None:
        """Check that a complete run has its weights, undamaged.

        Raises:
            StoreError: A file of the run is missing or damaged, or the weights were discarded.
        """
        self.verify(record)
        if self.weights.name not in record.files:
            raise StoreError(
                "The weights of this run were discarded; what was measured with them is still there.",
                value=self.path.name,
                fix="remove the run's folder, and run the study again: it trains this run alone",
            )

    def quarantine(self) -> Path:
        """Set a damaged folder aside, and return where it went."""
        return set_aside(self.path)


def is_run_id(name: str) -> bool:
    """Tell whether a name is a run's id, and so safe as a folder's name."""
    return _RUN_ID.fullmatch(name) is not None


def kept_bytes(spec: RunSpec, parameters: int) -> int:
    """Return about what a complete run keeps: its trained weights in fp32, its predictions, and the rest.

    Args:
        spec: The run.
        parameters: Trained parameters.
    """
    if spec.fold:
        return 2**20  # it chooses, and is never scored or exported
    return 4 * parameters + spec.test_size * (4 * len(spec.data.label_names) + 16) + 2**20
