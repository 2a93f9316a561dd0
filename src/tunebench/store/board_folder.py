"""A leaderboard on disk: a folder for each entry, which anybody may add to and nobody is trusted in.

An entry is read only if it has the schema. Text has a bounded length, files are read by size and hash, and paths
never come from what an entry says.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, StringConstraints, ValidationError, model_validator

from tunebench.errors import StoreError
from tunebench.files import StoredFile, read_json, stored_file, write_json
from tunebench.schema import Part
from tunebench.store.predictions import read_predictions, write_predictions
from tunebench.tasks.registry import TASKS

#: On one line, and without signs that turn the direction of what follows.
_LINE = r"^[^\x00-\x1f\x7f\u2028-\u202e\u2066-\u2069]+$"
_Word = Annotated[str, StringConstraints(max_length=200, strip_whitespace=True, pattern=_LINE)]
_Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]

#: Most bytes of the predictions of one run.
_MOST_BYTES = 2**27


class BoardRun(Part):
    """One run of an entry.

    Attributes:
        scores: As the entry states them, by metric.
        thresholds: Of several labels a text, where they were chosen.
        predictions: The file of predictions beside the entry; None where only scores are given.
    """

    seed: int | None = None
    scores: dict[_Word, _Finite | None] = Field(max_length=100)
    thresholds: tuple[_Finite, ...] | None = None
    predictions: StoredFile | None = None


class BoardProvenance(Part):
    """Who says so, and where it comes from."""

    by: _Word
    added: _Word
    tunebench: _Word
    study: _Word
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s<>\"']{1,300}$")] | None = None
    note: Annotated[str, StringConstraints(max_length=1000)] = ""


class BoardEntry(Part):
    """A strategy at a training size on a data set.

    Attributes:
        data_fingerprint: Of the texts and labels, as in records.
        test_part: Of the row numbers and labels of the test part; see :func:`test_part_of`.
        labels: Names of the classes.
    """

    schema_version: Literal[1] = 1
    strategy: _Word
    kind: _Word
    model: _Word
    data: _Word
    data_fingerprint: _Hash
    test_part: _Hash
    test_texts: int = Field(ge=1)
    labels: tuple[_Word, ...] = Field(max_length=100_000)
    task: _Word
    metric: _Word
    selection: _Word
    train_size: int = Field(ge=1)
    learning_rate: _Cost | None = None
    trainable_params: int | None = Field(default=None, ge=0)
    train_seconds: _Cost | None = None
    artifact_bytes: _Cost | None = None
    runs: tuple[BoardRun, ...] = Field(min_length=1, max_length=1000)
    provenance: BoardProvenance

    @model_validator(mode="after")
    def _known_metric(self) -> BoardEntry:
        if self.task not in TASKS:
            raise ValueError(f"there is no task {self.task!r}")
        if self.metric not in TASKS[self.task].metrics:
            raise ValueError(f"there is no metric {self.metric!r} of this task")
        return self

    @property
    def key(self) -> str:
        """Name of its folder: readable, and the same for the same runs."""
        content = self.model_dump(mode="json", exclude={"provenance"})
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
        words = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{self.data}-{self.strategy}-n{self.train_size}").strip("-.")
        return f"{words[:80]}-{digest}"


def test_part_of(predictions: Mapping[str, np.ndarray]) -> str:
    """Return what two runs share that were scored on the same test part: a hash of its rows and labels."""
    digest = hashlib.sha256()
    for name, kind in (("indices", np.int64), ("labels", np.float64)):
        digest.update(np.ascontiguousarray(predictions[name], dtype=kind).tobytes())
    return digest.hexdigest()


class BoardFolder:
    """A leaderboard's folder.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries = folder / "entries"

    def add(self, entry: BoardEntry, predictions: Sequence[Mapping[str, np.ndarray] | None]) -> str:
        """Write an entry and the predictions of its runs, one a run; an entry of the same runs is replaced.

        Returns:
            The name of its folder.

        Raises:
            StoreError: The folder cannot be written.
        """
        path = self._entries / entry.key
        runs = []
        try:
            for number, (run, found) in enumerate(zip(entry.runs, predictions, strict=True)):
                if found is not None:
                    file = _file(path, number)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    write_predictions(
                        file, logits=found["logits"], labels=found["labels"], indices=found["indices"]
                    )
                    run = run.model_copy(update={"predictions": stored_file(file)})
                runs.append(run)
            # Last: an entry is there when all of it is.
            write_json(path / "entry.json", entry.model_copy(update={"runs": tuple(runs)}).model_dump(mode="json"))
        except OSError as error:
            raise StoreError(f"The leaderboard cannot be written: {error.strerror}", value=str(path)) from None
        return path.name

    def entries(self) -> tuple[dict[str, BoardEntry], dict[str, str]]:
        """Return the entries that have the schema, by the name of their folder, and why others are left out.

        Raises:
            StoreError: There is no leaderboard.
        """
        if not self._entries.is_dir():
            raise StoreError(
                "There is no leaderboard in this folder.",
                value=str(self.folder),
                fix="tunebench leaderboard add STUDY FOLDER --by NAME makes one",
            )
        found: dict[str, BoardEntry] = {}
        refused: dict[str, str] = {}
        for path in sorted(self._entries.iterdir()):
            if not path.is_dir() or path.is_symlink():
                refused[path.name] = "it is no folder"
                continue
            try:
                found[path.name] = BoardEntry.model_validate(read_json(path / "entry.json"))
            except StoreError:  # its own words name a path of this machine
                refused[path.name] = "its entry.json is missing, or cannot be read"
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"])
                refused[path.name] = f"{where}: {first['msg']}" if where else str(first["msg"])
        return found, refused

    def predictions(self, name: str, entry: BoardEntry) -> list[dict[str, np.ndarray] | None]:
        """Return what each run of an entry predicted; None of a run without predictions.

        Raises:
            StoreError: A file is missing, damaged, or not the one that the entry names.
        """
        path = self._entries / name
        if any(run.predictions is not None and run.predictions.bytes > _MOST_BYTES for run in entry.runs):
            raise StoreError(f"Its predictions are larger than {_MOST_BYTES:,} bytes.")
        return [
            None if run.predictions is None else read_predictions(_file(path, number), run.predictions)
            for number, run in enumerate(entry.runs)
        ]


def _file(path: Path, number: int) -> Path:
    """Return where the predictions of a run of an entry lie."""
    return path / f"run-{number}" / "predictions.npz"
