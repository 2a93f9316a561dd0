"""What a tracker of whole studies is."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tunebench.store.record import RunRecord
from tunebench.store.rows import to_row
from tunebench.study.spec import RunSpec

Ending = Literal["complete", "failed", "interrupted"]

#: Columns of ``tunebench results`` that a finished run adds as metrics, beside its scores; names as there.
_FINAL = (
    *("test_loss", "selection_score", "selected_step"),
    *("train_seconds", "eval_seconds", "test_seconds", "wall_seconds", "seconds_per_step"),
    *("trainable_params", "total_params", "tokens", "train_flops", "peak_memory_bytes", "artifact_bytes"),
)


class StudyLog(ABC):
    """One study at one tracker; all calls come from one thread at a time. Any error ends it for the session."""

    @abstractmethod
    def log(self, spec: RunSpec, entries: Sequence[Mapping[str, Any]]) -> None:
        """Begin or resume a run, and log what is new in these entries of its log history."""

    @abstractmethod
    def end(self, spec: RunSpec, record: RunRecord, files: Sequence[Path]) -> None:
        """Log what a run's record holds beyond what was logged; does nothing for a record it knows.

        Args:
            spec: The run.
            record: Of a run that is complete, was given up by the search, or failed.
            files: Small files to keep beside it.
        """

    @abstractmethod
    def close(self, ending: Ending, files: Sequence[Path]) -> None:
        """End the study; runs that were begun and not ended were interrupted."""


def parameters(spec: RunSpec) -> dict[str, str]:
    """Return a run's recipe as flat text, with dotted names."""
    raw = spec.model_dump(mode="json")
    return {name: str(value)[:500] for name, value in _flat(raw)}


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, item in value.items():
        found += _flat(item, f"{prefix}{key}.") if isinstance(item, dict) else [(f"{prefix}{key}", item)]
    return found


def metrics(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a log entry under the Trainer's names, without the step."""
    return {key: float(value) for key, value in entry.items() if key != "step" and _is_number(value)}


def final_metrics(spec: RunSpec, record: RunRecord) -> dict[str, float]:
    """Return scores and costs of a record, under the names of ``tunebench results``."""
    row = to_row(spec, status=record.status, record=record)
    names = (*(record.scores.values if record.scores else ()), *_FINAL)
    return {key: float(row[key]) for key in names if _is_number(row[key])}


def last_step(record: RunRecord) -> int:
    """Return the last step of a run's log; 0 where it has none."""
    return max((int(entry.get("step", 0)) for entry in record.log_history), default=0)


def record_state(record: RunRecord) -> str:
    """Return what changes when a run is done again, or scored later."""
    return f"{record.status} {record.finished} {'scored' if record.scores else 'not scored'}"


def without_secrets(text: str) -> str:
    """Return text without the name and password that an address may hold."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
