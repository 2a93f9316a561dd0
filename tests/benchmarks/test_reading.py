"""Made-up tables are of the size that is asked for, and every format is measured once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebench.benchmarks import reading
from tunebench.data import load_dataset
from tunebench.data.reference import DataConfig


@pytest.mark.parametrize("kind", reading.FORMATS)
def test_a_made_up_table_is_read_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"data.{kind}"
    rows = reading.write_made_up(path, 0.1)
    dataset = load_dataset(DataConfig(source=str(path)))
    assert len(dataset.train) == rows == len(set(dataset.train.texts))
    assert 1e5 <= sum(map(len, dataset.train.texts)) < 2e6
    assert dataset.label_names == ("no", "yes")


def test_what_was_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    class Done:
        stdout = '{"rows": 1}'

    def run(command: list[str], **options: object) -> Done:
        calls.append(command)
        return Done()

    monkeypatch.setattr(reading.subprocess, "run", run)
    monkeypatch.setattr(reading, "write_made_up", lambda path, size: 1)
    monkeypatch.setattr(reading, "FORMATS", ("jsonl",))
    first = reading.run_reading_bench(tmp_path / "r.json", read=(1,), audited=(1,))
    assert list(first) == ["read jsonl 1 MB", "audit jsonl 1 MB"]
    assert reading.run_reading_bench(tmp_path / "r.json", read=(1, 2), audited=(1,)).keys() > first.keys()
    assert len(calls) == 3
    assert ["--audit" in command for command in calls] == [False, True, False]
