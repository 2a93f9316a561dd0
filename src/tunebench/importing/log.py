"""A Trainer's log, checked, and what can be read off it: evaluations, times, the number of examples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench.errors import StoreError
from tunebench.importing.files import WITHOUT, is_not_finite, is_number
from tunebench.importing.notes import Notes
from tunebench.importing.sets import PLAIN, SET, of_set

#: Half of the last digit that the Trainer logs of seconds and of rates.
_SECONDS_ROUNDING, _RATE_ROUNDING = 0.5e-4, 0.5e-3


@dataclass(frozen=True)
class Log:
    """The entries of a log, in their order.

    Attributes:
        entries: All of them.
        end: Place of the entry that ends the training (``train_runtime``); None where it did not end, or
            where the log holds several.
    """

    entries: tuple[dict[str, Any], ...]
    end: int | None

    @property
    def last_step(self) -> int:
        """The last step logged, 0 where nothing was."""
        return max((int(entry["step"]) for entry in self.entries if entry.get("step") is not None), default=0)

    @property
    def summary(self) -> dict[str, Any]:
        """The entry that ends the training, empty where there is none."""
        return {} if self.end is None else self.entries[self.end]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        """Evaluations during training: those that train_runtime includes."""
        during = self.entries if self.end is None else self.entries[: self.end]
        return [entry for entry in during if _is_evaluation(entry)]

    @property
    def after(self) -> list[dict[str, Any]]:
        """Evaluations after training; none where training did not end."""
        return [] if self.end is None else [e for e in self.entries[self.end + 1 :] if _is_evaluation(e)]

    @property
    def sets(self) -> list[str]:
        """Names of the sets that were evaluated, :data:`~tunebench.importing.sets.PLAIN` for one without a name."""
        return list(dict.fromkeys(entry.get(SET, PLAIN) for entry in (*self.evaluations, *self.after)))

    def during(self, name: str | None) -> list[dict[str, Any]]:
        """Evaluations of one set during training; none of no set."""
        return [entry for entry in self.evaluations if entry.get(SET, PLAIN) == name]

    def final(self, name: str | None) -> dict[str, Any] | None:
        """The last evaluation of a set after training; None where there is none, or where training did not end."""
        return next((entry for entry in reversed(self.after) if entry.get(SET, PLAIN) == name), None)

    @property
    def rates(self) -> list[tuple[int, float]]:
        """Every logged learning rate with its step."""
        return [
            (int(entry["step"]), entry["learning_rate"])
            for entry in self.entries
            if entry.get("learning_rate") is not None and entry.get("step") is not None
        ]

    @property
    def highest_rate(self) -> float | None:
        """The highest learning rate logged; the highest that was used is at least this."""
        rates = [entry["learning_rate"] for entry in self.entries if entry.get("learning_rate") is not None]
        return max(rates, default=None)


def checked_log(raw: Any, path: Path, notes: Notes) -> Log:
    """Check the entries of a log.

    Args:
        raw: What the file holds.
        path: The file, for messages.
        notes: Notes values that are NaN or infinite; they count as not known.

    Raises:
        StoreError: It is not a list of entries, or a value that is used is not a number.
    """
    if not isinstance(raw, list):
        raise StoreError(
            "A log must be a list of entries.",
            value=f"{path}: {type(raw).__name__}",
            allowed="[{...}, {...}]",
            fix=WITHOUT,
        )
    checked = [_checked(entry, position, path, notes) for position, entry in enumerate(raw)]
    entries = [entry for entry in checked if entry is not None]
    ends = [position for position, entry in enumerate(entries) if entry.get("train_runtime") is not None]
    return Log(tuple(entries), ends[0] if len(ends) == 1 else None)


def _checked(raw: Any, position: int, path: Path, notes: Notes) -> dict[str, Any] | None:
    """Return an entry with the values that are used; None where NaN stands for its step or epoch."""
    where = Path(f"{path} (entry {position + 1})")
    if not isinstance(raw, dict):
        raise StoreError(
            "An entry of the log is not an object.", value=f"{where}: {type(raw).__name__}", fix=WITHOUT
        )
    for key in (key for key, value in raw.items() if is_not_finite(value)):
        notes.not_finite(path, key)
    finite = {key: None if is_not_finite(value) else value for key, value in raw.items()}
    kept: dict[str, Any] = {}
    for key, value in of_set(finite).items():
        if value is None:
            kept[key] = None
        elif key in ("loss", "learning_rate", "epoch", "step") or key.startswith(("eval_", "train_")):
            if isinstance(value, (list, dict, str)) and key.startswith("eval_"):
                continue
            kept[key] = _number(value, key, where)
        elif isinstance(value, (int, float, str)):
            kept[key] = value
    for key in ("step", "epoch", "train_runtime", "eval_runtime"):
        if (kept.get(key) or 0) < 0:
            raise StoreError(f"{key} is negative.", value=f"{where}: {kept[key]!r}")
    if ("loss" in kept or _is_evaluation(kept)) and (kept.get("step") is None or kept.get("epoch") is None):
        if any(is_not_finite(raw.get(key)) for key in ("step", "epoch")):
            notes.passed_over(where, "its step or epoch is NaN or infinite")
            return None
        raise StoreError(
            "An entry of the log lacks its step or epoch.", value=str(where), allowed="entries as the Trainer logs"
        )
    return kept


def _number(value: Any, key: str, where: Path) -> Any:
    """Return a logged number; the Trainer writes nothing else, so anything else is damage."""
    whole = key == "step"
    if not is_number(value) or (whole and value != int(value)):
        wanted = "a whole number" if whole else "a number"
        raise StoreError(f"{key} is not {wanted}.", value=f"{where}: {value!r}", allowed=wanted)
    return int(value) if whole else float(value)


def _is_evaluation(entry: dict[str, Any]) -> bool:
    return any(key.startswith("eval_") and value is not None for key, value in entry.items())


@dataclass(frozen=True)
class Times:
    """Seconds of a run, as its log tells them.

    Attributes:
        total: ``train_runtime``: training with its evaluations.
        evaluations: Sum of ``eval_runtime`` over the evaluations logged before the end of training; None
            unless all of them have it.
        remark: Why the total is not told apart, where it is not.
    """

    total: float | None
    evaluations: float | None
    remark: str | None = None

    @property
    def training(self) -> float | None:
        """What is left of the total without the evaluations."""
        return None if self.total is None or self.evaluations is None else self.total - self.evaluations


def times(log: Log) -> Times:
    """Tell the evaluations from the training in a log that has its end."""
    total = log.summary.get("train_runtime")
    if total is None:
        return Times(None, None)
    found = [entry.get("eval_runtime") for entry in log.evaluations]
    known = [value for value in found if value is not None]
    if len(known) < len(found):
        return Times(
            total, None, "Some evaluations have no logged time, so the time of training only is not known."
        )
    evaluations = math.fsum(known)
    speed = log.summary.get("train_steps_per_second")
    steps = None if speed is None else (speed + _RATE_ROUNDING) * (total + _SECONDS_ROUNDING)
    if evaluations > total or (steps is not None and steps < log.last_step - 1):
        # train_runtime counts the last session of a resumed run only.
        return Times(None, None, "A run was resumed: its train_runtime counts the last session, not the whole run.")
    return Times(total, evaluations)


def examples_processed(entry: dict[str, Any], split: str) -> int | None:
    """Return the number of examples behind a rate and a time, if rounding leaves one only.

    Args:
        entry: Of the log.
        split: ``train`` or ``eval``.
    """
    low, high = _range(entry, split)
    return int(high) if math.floor(high) == math.ceil(low) and high > 0 else None


def train_size(log: Log, epochs: int | None) -> int | None:
    """Return the number of training examples that rate, time and epochs of a finished training leave.

    The Trainer counts examples times epochs, unless it was given a number of steps; then it counts steps
    times batch, and what it counts says nothing exact about the data. Where the count is a multiple of the
    steps it could be either, and None is returned.
    """
    epoch = log.summary.get("epoch")
    if not epochs or epoch is None or abs(epoch - epochs) > 1e-3:
        return None
    low, high = _range(log.summary, "train")
    first, last = math.ceil(low / epochs), math.floor(high / epochs)
    if first != last or last < 1 or (last * epochs) % max(1, log.last_step) == 0:
        return None
    return last


def _range(entry: dict[str, Any], split: str) -> tuple[float, float]:
    rate, seconds = entry.get(f"{split}_samples_per_second"), entry.get(f"{split}_runtime")
    if rate is None or seconds is None:
        return 0.0, -1.0
    low = max(0.0, rate - _RATE_ROUNDING) * max(0.0, seconds - _SECONDS_ROUNDING)
    return low, (rate + _RATE_ROUNDING) * (seconds + _SECONDS_ROUNDING)
