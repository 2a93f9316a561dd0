"""A clock that is set while a study runs, back and forth by decades: no duration comes from it."""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from faults import study as faulty
from tunebench.api import run_study
from tunebench.execution.display import PlainDisplay
from tunebench.machine.settings import Execution
from tunebench.store import live, record
from tunebench.study.yaml_file import load_study

pytestmark = pytest.mark.usefixtures("no_report")

_YEARS = 30 * 365 * 86400.0


@pytest.fixture
def jumping_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the system's clock anew between any two looks at it."""
    generator, real = random.Random(0), time.time

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=generator.choice([-_YEARS, 0.0, _YEARS]))

    monkeypatch.setattr(time, "time", lambda: real() + generator.choice([-_YEARS, 0.0, _YEARS]))
    monkeypatch.setattr(record, "datetime", Jumping)


def durations(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yield every number of a record or a progress file that is a duration or a rate, with its name."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from durations(part, str(key))
    elif isinstance(value, list):
        for part in value:
            yield from durations(part, name)
    elif isinstance(value, (int, float)) and any(word in name for word in ("second", "runtime", "time")):
        yield name, value


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_no_duration_is_negative_or_longer_than_the_study(
    tmp_path: Path, engine: str, jumping_clock: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))
    seen: list[dict[str, Any]] = []
    write = live.write_text
    monkeypatch.setattr(
        live, "write_text", lambda path, text, **options: (seen.append(json.loads(text)), write(path, text))
    )
    strategies = {"full": {"learning_rate": 3e-3}}
    study = faulty.make(tmp_path / "in", strategies=strategies, train_sizes=[40], epochs=1, engine=engine)
    begin = time.monotonic()
    result = run_study(
        load_study(str(study)),
        tmp_path / "out",
        execution=Execution(device="cpu", threads=1),
        display=PlainDisplay(io.StringIO(), interval=0.0),
        measure=False,
        budget_seconds=3600,
    )
    took = time.monotonic() - begin
    (cell,) = result.comparison.cells
    assert cell.status == "complete" and cell.record is not None
    found = list(durations(cell.record.model_dump(mode="json")))
    assert {"wall_seconds", "train_seconds", "eval_seconds", "test_seconds", "step_seconds"} <= dict(found).keys()
    assert seen and all(entry["history"] is not None for entry in seen)
    left = [number for entry in seen if (number := entry["left_seconds"]) is not None]
    wrong = [(name, number) for name, number in found if not 0 <= number <= took]
    assert wrong == []
    assert all(0 <= number <= 60 * took for number in left)
