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


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="says there how much memory it takes")
def test_of_a_parquet_file_only_the_texts_stay_in_memory(tmp_path: Path) -> None:
    small, large = tmp_path / "small.parquet", tmp_path / "large.parquet"
    reading.write_made_up(small, 0.1)
    reading.write_made_up(large, 20)
    program = """
import resource, sys
from pathlib import Path
from tunebench.data import load_dataset
from tunebench.data.reference import DataConfig

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

load_dataset(DataConfig(source=sys.argv[1]))
before = resident()
dataset = load_dataset(DataConfig(source=sys.argv[2]))
print((resident() - before) / sum(map(len, dataset.train.texts)))
"""
    command = [sys.executable, "-c", program, str(small), str(large)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert 0.9 < float(done.stdout) < 2.5


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
