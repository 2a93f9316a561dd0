"""Texts of lines, CSV files and tables, each with its place."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tunebench.data.inputs import Inputs
from tunebench.data.readers import read_table
from tunebench.errors import DataError, TunebenchError
from tunebench.inference.reading import from_csv, from_lines, from_table


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        (b"", None, "empty"),
        (b"a,b\n1,2\n", None, "No column looks like the text column"),
        (b"text,b\n1,2\n", "c", "no such text column"),
        (b"text,b\n1,2,3\n", None, "has 3 fields"),
        (b'text,b\n"1,2\n', None, "malformed"),
        (b"text;b\n1;2\n", None, "not separated by commas(.|\n)*--file"),
        (None, None, "cannot be read"),
    ],
)
def test_csv_files_that_do_not_fit(tmp_path: Path, content: bytes | None, column: str | None, message: str) -> None:
    path = tmp_path / "x.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TunebenchError, match=message):
        list(from_csv(path, columns=None if column is None else [column]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "text;label\na lovely, lively film;1\nun café;0\n;1\n".encode("cp1252")),
        ("x.csv", "text;label\na lovely, lively film;1\nun café;0\n;1\n".encode("utf-16")),
        ("x.tsv", "text\tlabel\n\na lovely, lively film\t1\nun café\t0\n\t1\n".encode()),
        ("x.json", b'[{"text": "a lovely, lively film"}, {"text": "un caf\xc3\xa9"}, {"text": ""}]'),
    ],
)
def test_a_table_is_read_as_training_reads_it(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    told: list[str] = []
    found = list(from_table(tmp_path / name, tell=told.append))
    assert found == [("Row 1", "a lovely, lively film"), ("Row 2", "un café"), ("Row 3", "")]
    table = read_table(tmp_path / name)
    assert len(told) == len(table.notes) + len(table.passed_over)
    assert any("recognised as ';'" in line for line in told) == (name == "x.csv")
    assert any("Passed over: x.tsv: line 2 (blank" in line for line in told) == (name == "x.tsv")


def test_a_row_of_a_table_without_a_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "fine", "b": "c"}\n{"text": null, "b": "c"}\n')
    with pytest.raises(DataError, match="Row 2 holds no text"):
        list(from_table(tmp_path / "x.jsonl"))
    joined = Inputs(columns=("text", "b"), join="{text}: {b}")
    assert [text for _, text in from_table(tmp_path / "x.jsonl", joined)] == ["fine: c", ": c"]


def test_the_column_of_training_is_found_again(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,verdict\na,b\n")
    assert [text for _, text in from_csv(tmp_path / "x.csv", Inputs(columns=("verdict",)))] == ["b"]
    assert [text for _, text in from_csv(tmp_path / "x.csv", Inputs(columns=("other",)))] == ["a"]


@pytest.mark.parametrize("rows", [["a", "", "b"], ["", ""], ["a", ""], ["", "a", "", "", "b c"]])
@pytest.mark.parametrize("quoted", [False, True])
def test_every_line_of_a_single_column_is_a_text(tmp_path: Path, rows: list[str], quoted: bool) -> None:
    """A blank line is an empty text, as it is on standard input."""
    path = tmp_path / "x.csv"
    lines = [f'"{row}"' if quoted else row for row in rows]
    path.write_text("".join(f"{line}\n" for line in ["text", *lines]))
    assert [text for _, text in from_csv(path)] == rows
    given = "".join(f"{row}\n" for row in rows).encode()
    assert [text for _, text in from_lines(io.BytesIO(given))] == rows


def test_a_blank_line_among_several_columns_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,b\none,1\n\ntwo,2\n\n")
    assert [text for _, text in from_csv(tmp_path / "x.csv")] == ["one", "two"]


def test_a_field_longer_than_the_csv_modules_limit(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "x.csv").write_text("text\n" + "long " * 40_000 + "\n")
    ((_, text),) = from_csv(tmp_path / "x.csv")
    assert len(text) == 200_000
    assert csv.field_size_limit() == before
