"""One number a text: which values are numbers, and what is said of those that are not."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from tunebench.data.classes import Classes, Label
from tunebench.data.labels import KeptLabels, is_list, is_missing, rows_left_out
from tunebench.data.reading import PassedOver, named_rows
from tunebench.data.reference import LabelChoices
from tunebench.errors import DataError, TunebenchError, raise_all

#: A number as programs write it. Python would take "1_000" and "٣" too.
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
#: The same with a comma for a point, or between thousands.
_WITH_COMMA = re.compile(r"[+-]?\d+(?:[.,]\d+)*,\d+(?:[.,]\d+)*", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
#: What programs write where a number is missing.
_MISSING = frozenset(("nan", "null", "none", "na", "n/a", "#n/a", "<na>", "nat", "nil"))
#: The largest number that single precision can square.
LARGEST = 1e18


@dataclass(frozen=True)
class Numbers(KeptLabels[float]):
    """One number a row."""

    @property
    def flat(self) -> list[Label]:
        """Nothing: numbers are no labels."""
        return []

    def classes(self, *, where: str, name: str, declared: Sequence[str] | None, by_likeness: bool) -> Classes:
        """Return the one output, called like the column; see :meth:`KeptLabels.classes`."""
        # In single precision, as they are trained on.
        if not np.ptp(np.asarray(self.values, dtype=np.float32)):
            raise DataError(
                f"{where}: all numbers are the same, so there is nothing to learn.",
                value=self.values[0],
                allowed="numbers that differ (in the first 7 digits)",
                fix="name another column: --set data.label_column=NAME",
            )
        return Classes((name,), {})

    def encoded(self, classes: Classes, *, where: str) -> np.ndarray:
        """Return the numbers as doubles of shape ``(rows,)``."""
        return np.asarray(self.values, dtype=np.float64)


def as_number(value: Any) -> float | None:
    """Return the number that a value is or spells, which may be infinite or NaN; None where it is none."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value := value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def clean_numbers(
    values: Sequence[Any], *, where: str, choices: LabelChoices, numbers: Sequence[int] | None = None
) -> Numbers:
    """Return the numbers of a split, less the rows that are left out.

    Args:
        values: A value a row.
        where: The split's name, for messages.
        choices: What becomes of rows without a number.
        numbers: Where the rows stand in their file, from 0; by default as they stand here.

    Raises:
        DataError: Values are missing, infinite, or no numbers.
        ErrorGroup: Several of these.
    """
    kept: dict[int, float] = {}
    missing: list[int] = []
    odd: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        number = as_number(value)
        if _is_missing(value):
            missing.append(row)
        elif number is not None and abs(number) <= LARGEST:
            kept[row] = number
        else:
            odd.setdefault(_kind(value, number), []).append(row)
    errors: list[TunebenchError] = []
    if missing and choices.missing == "refuse":
        errors.append(
            DataError(
                f"{where}: {len(missing)} of {len(values)} numbers are missing ({named_rows(missing, numbers)}): "
                "null, NaN or blank.",
                fix="remove this split, or add its numbers"
                if len(missing) == len(values)
                else "repair these rows, or leave them out: --set data.labels.missing=drop",
            )
        )
    errors += [
        DataError(
            f"{where}: {len(rows)} of {len(values)} values to learn {kind} ({named_rows(rows, numbers)}).",
            value=values[rows[0]],
            allowed=f"numbers from -{LARGEST:g} to {LARGEST:g}, such as 3.5; with a decimal point, nothing between "
            "thousands, and no unit",
            fix=_FIXES.get(kind, "repair these rows, or name another column: --set data.label_column=NAME"),
        )
        for kind, rows in odd.items()
    ]
    raise_all(errors)
    if not kept:
        raise DataError(
            f"{where}: every row is left out by data.labels.missing: drop.",
            fix="name another column: --set data.label_column=NAME",
        )
    left_out: tuple[PassedOver, ...] = ()
    if missing:
        reason, choice = "the number is missing", "data.labels.missing: drop"
        left_out = (rows_left_out(missing, len(values), where, reason, choice),)
    return Numbers(list(kept.values()), list(kept), frozenset(), left_out)


_COMMA, _INFINITY = "are written with a comma", "are infinite or too large"
_FIXES = {_COMMA: "write them with a decimal point, as in 3.5"}


def _is_missing(value: Any) -> bool:
    # No number is called so, as a class may be.
    return is_missing(value) or (isinstance(value, str) and value.strip().casefold() in _MISSING)


def _kind(value: Any, number: float | None) -> str:
    """Say what a value is that is no usable number."""
    if number is not None or (isinstance(value, str) and _INFINITE.fullmatch(value.strip())):
        return _INFINITY
    if is_list(value):
        return "are lists"
    if isinstance(value, str) and _WITH_COMMA.fullmatch(value.strip()):
        return _COMMA
    return "are no numbers"
