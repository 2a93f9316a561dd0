"""What ways of training took when they were measured: kept in a study's folder, for its resumption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tunebench.errors import StoreError
from tunebench.files import read_json, write_json
from tunebench.store.seal import seal, unseal

#: Name of the file.
MEASURED = "measured.json"
#: Numbers of one measurement, by name.
Numbers = Mapping[str, float]


class Timings:
    """Measurements by all that they depend on."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, float]] = {}
        self._stored = 0

    def __len__(self) -> int:
        return len(self._known)

    def known(self, key: tuple[Any, ...]) -> bool:
        """Tell whether something was measured before."""
        return _name(key) in self._known

    def measured(self, key: tuple[Any, ...], measure: Callable[[], Numbers]) -> Numbers:
        """Return what was measured before, or else measure it.

        Args:
            key: All that it depends on: machine, threads, versions, data and settings.
            measure: Measures.
        """
        name = _name(key)
        if name not in self._known:
            self._known[name] = dict(measure())
        return self._known[name]

    def load(self, folder: Path) -> None:
        """Add what is kept in a study's folder; a file that is missing or damaged holds nothing."""
        try:
            raw = unseal(read_json(folder / MEASURED), folder / MEASURED)
            found = {str(name): _numbers(values) for name, values in raw["measured"].items()}
        except (StoreError, OSError, KeyError, TypeError, ValueError, AttributeError):
            return
        self._known = found | self._known
        self._stored = len(found)

    def save(self, folder: Path) -> None:
        """Keep everything in a study's folder, if there is something new."""
        if len(self._known) != self._stored:
            write_json(folder / MEASURED, seal({"measured": self._known}))
            self._stored = len(self._known)


def _name(key: tuple[Any, ...]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=repr).encode()).hexdigest()[:32]


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values.values()):
        raise TypeError("a measurement is numbers")
    return dict(values)
