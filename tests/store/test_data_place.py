"""A stored study's data is found from wherever the study is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebench.data.reference import DataConfig
from tunebench.store.data_place import found_from


@pytest.mark.parametrize("here", [".", "out", "elsewhere"])
def test_a_path_is_looked_up_from_here_and_then_from_the_studys_folder_upwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    study, data = tmp_path / "out" / "study", tmp_path / "texts" / "a.csv"
    for folder in (study, data.parent, tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    data.touch()
    monkeypatch.chdir(tmp_path / here)
    found = found_from(study, DataConfig(source="texts/a.csv"))
    assert Path(found.source).resolve() == data.resolve()
    if here == ".":
        assert found.source == "texts/a.csv", "as it is named, where that is there"


@pytest.mark.parametrize("source", ["rotten-tomatoes", "owner/name", "missing.csv", "/no/such/file.csv"])
def test_everything_else_stays_as_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    (tmp_path / "rotten-tomatoes").mkdir()
    (tmp_path / "no").mkdir()
    monkeypatch.chdir(tmp_path)
    assert found_from(tmp_path / "out" / "study", DataConfig(source=source)).source == source
