"""Measurements that a study's folder keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunebench.store.timings import MEASURED, Timings


class Clock:
    """Measures something else each time."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self) -> dict[str, float]:
        self.read += 1
        return {"seconds": float(self.read), "bytes": self.read}


def test_what_is_kept_is_measured_once_and_what_it_depends_on_tells_it_apart(tmp_path: Path) -> None:
    clock, first = Clock(), Timings()
    one, other = ("cpu", 2, {"torch": "2"}), ("cpu", 1, {"torch": "2"})
    assert first.measured(one, clock) == first.measured(one, clock) == {"seconds": 1.0, "bytes": 1}
    first.save(tmp_path)
    second = Timings()
    second.load(tmp_path)
    assert second.known(one) and not second.known(other)
    assert second.measured(one, clock) == {"seconds": 1.0, "bytes": 1} and clock.read == 1
    assert second.measured(other, clock)["bytes"] == 2
    second.save(tmp_path)
    first.load(tmp_path)
    assert len(first) == 2 and first.measured(other, clock)["bytes"] == 2, "and nothing was lost"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"measured": 3}', '{"measured": {"a": {"seconds": "long"}}}'])
def test_a_damaged_file_is_measured_again(tmp_path: Path, damage: str) -> None:
    (tmp_path / MEASURED).write_text(damage)
    found = Timings()
    found.load(tmp_path)
    assert len(found) == 0
    found.measured(("a",), Clock())
    found.save(tmp_path)
    again = Timings()
    again.load(tmp_path)
    assert len(again) == 1


def test_a_changed_number_is_not_believed(tmp_path: Path) -> None:
    first = Timings()
    first.measured(("a",), Clock())
    first.save(tmp_path)
    raw = json.loads((tmp_path / MEASURED).read_text())
    raw["measured"][next(iter(raw["measured"]))]["seconds"] = 9.0
    (tmp_path / MEASURED).write_text(json.dumps(raw))
    second = Timings()
    second.load(tmp_path)
    assert len(second) == 0
