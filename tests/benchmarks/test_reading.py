"""Made-up tables are of the size that is asked for, and every format is measured once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tunebench.benchmarks import reading
from tunebench.data import load_dataset
from tunebench.data.reference import DataConfig
from tunebench.files import read_json, write_json


@pytest.mark.parametrize("kind", reading.FORMATS)
def test_a_made_up_table_is_read_whole(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"data.{kind}"
    rows = reading.write_made_up(path, 0.1)
    dataset = load_dataset(DataConfig(source=str(path)))
    assert len(dataset.train) == rows == len(set(dataset.train.texts))
    assert 1e5 <= sum(map(len, dataset.train.texts)) < 2e6
    assert dataset.label_names == ("no", "yes")


def test_the_command_measures_what_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "r.json"
    command = [
        sys.executable,
        "-m",
        "tunebench.benchmarks.reading",
        "--out",
        str(out),
        "--read",
        "--audited",
        "0.05",
    ]
    write_json(out, {"audit jsonl 1 MB": {"rows": 1}})
    subprocess.run([*command, "--read", "--audited", "0.05", "1"], check=True)
    found = read_json(out)
    assert found["audit jsonl 1 MB"] == {"rows": 1}, "measured before"
    assert found["audit jsonl 0.05 MB"]["rows"] > 10
    assert found["audit jsonl 0.05 MB"]["cpu_seconds"] > 0
