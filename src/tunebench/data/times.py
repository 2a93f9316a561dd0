"""Times of texts: ISO dates, or numbers."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

from tunebench.data.columns import is_empty
from tunebench.data.types import Time
from tunebench.data.used_rows import UsedRows
from tunebench.errors import DataError

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_ZONE = re.compile(r"(Z|[-+]\d\d(:?\d\d)?)$")


def read_times(used: UsedRows) -> list[Time]:
    """Return the times of rows, as numbers or as dates with a time zone.

    Raises:
        DataError: Some are no times, or they are of several kinds that cannot be compared.
    """
    found: dict[int, Time] = {}
    texts: dict[int, str] = {}
    bad: list[int] = []
    for row, value in used:
        if isinstance(value, str) and not is_empty(value):
            texts[row] = value.strip()
        elif is_empty(value) or (time := _plain(value)) is None:
            bad.append(row)
        else:
            found[row] = time
    written = _written(texts)
    bad = sorted([*bad, *(row for row in texts if row not in written)])
    if bad:
        raise DataError(
            f"{used.where}: {len(bad)} of {len(used.rows)} times in {used.column!r} cannot be read "
            f"({used.named(bad)}).",
            value=used.values[bad[0]],
            allowed="ISO dates such as 2024-05-31 or 2024-05-31T12:00:00Z, or numbers",
            fix="repair or remove these rows, or drop data.time_column",
        )
    found |= written
    _check_kinds(found, used)
    return [_in_utc(found[row]) for row in used.rows]


def shown_time(time: Time) -> str:
    """Return a time as a message shows it; midnight is left out."""
    if not isinstance(time, datetime):
        return str(time)
    plain = time.replace(tzinfo=None)
    return (
        plain.date().isoformat() if plain == datetime(plain.year, plain.month, plain.day) else plain.isoformat(" ")
    )


def _plain(value: Any) -> Time | None:
    """Return a value that is a time already, else ``None``."""
    # NaT calls itself a date, and is equal to nothing.
    if isinstance(value, bool) or value != value:
        return None
    if isinstance(value, (int, float, Decimal)):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day) if isinstance(value, date) else None


def _written(texts: dict[int, str]) -> dict[int, Time]:
    """Read numbers and ISO dates; what is neither is missing in the result."""
    found: dict[int, Time] = {}
    dates: dict[int, str] = {}
    for row, text in texts.items():
        if _NUMBER.fullmatch(text):
            found[row] = Decimal(text)
        else:
            dates[row] = text
    if dates:
        import pandas as pd

        read = pd.to_datetime(pd.Series(list(dates.values())), format="ISO8601", errors="coerce", utc=True)
        for (row, text), time in zip(dates.items(), read, strict=True):
            if not pd.isna(time):
                # Without a zone it stays without one here, so that a mixture is seen.
                found[row] = time if _ZONE.search(text[10:]) else time.tz_localize(None)
    return found


def _check_kinds(found: dict[int, Time], used: UsedRows) -> None:
    """Refuse numbers beside dates, and dates with a time zone beside dates without."""
    kinds: dict[str, list[int]] = {}
    for row, time in sorted(found.items()):
        if isinstance(time, datetime):
            kinds.setdefault("dates with a time zone" if time.tzinfo else "dates without a time zone", []).append(
                row
            )
        else:
            kinds.setdefault("numbers", []).append(row)
    if len(kinds) > 1:
        raise DataError(
            f"{used.where}: the times in {used.column!r} are of several kinds, which cannot be compared.",
            value="; ".join(f"{kind}: {used.named(rows, 3)}" for kind, rows in kinds.items()),
            allowed="one kind in the whole column",
            fix="write all times the same way, or drop data.time_column",
        )


def _in_utc(time: Time) -> Time:
    if not isinstance(time, datetime):
        return time
    return time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time.astimezone(timezone.utc)
