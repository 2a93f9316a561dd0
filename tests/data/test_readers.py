"""Tables: what is read is what was written, and what is wrong is said with its place."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebench.data.delimited import read_csv, read_tsv
from tunebench.data.json_tables import read_json
from tunebench.data.readers import READERS, read_table
from tunebench.data.reference import ReadOptions
from tunebench.data.table import Table
from tunebench.errors import DataError

#: Texts that careless readers change: missing-value words, quotes, line ends, separators, blanks.
AWKWARD = ["NA", "null", "nan", "None", "007", "1.0", 'say "hi"', "a,b", "a\tb", "one\ntwo", "one\r\ntwo", " x "]


def _rows(table: Table) -> list[list[Any]]:
    return [list(row) for row in zip(*(table.values(name) for name in table.columns), strict=True)]


def _write(rows: list[list[str]], delimiter: str) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=delimiter).writerows([["text", "label"], *rows])
    return buffer.getvalue().encode()


# Without surrogates (no UTF-8) and NUL (no CSV).
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS | st.sampled_from(AWKWARD), CELLS), min_size=1, max_size=5))
def test_csv_and_tsv_give_back_what_was_written(rows: list[tuple[str, str]]) -> None:
    expected = [list(row) for row in rows]
    assert _rows(read_csv(_write(expected, ","), "x.csv")) == expected
    assert _rows(read_tsv(_write(expected, "\t"), "x.tsv")) == expected


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS | st.sampled_from([*AWKWARD, "\u2028"]), st.integers()), min_size=1, max_size=5))
def test_jsonl_gives_back_what_was_written(rows: list[tuple[str, int]]) -> None:
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows]
    assert _rows(read_json("\n".join(lines).encode(), "x")) == [list(row) for row in rows]


def test_parquet_keeps_types_and_gaps(tmp_path: Path) -> None:
    columns = {"text": ["a", None, "NA"], "label": [1, None, 3], "flag": [True, False, None]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet")
    assert {name: table.values(name) for name in table.columns} == columns
    assert [type(value) for value in table.values("label")] == [int, type(None), int]


def test_class_names_that_datasets_writes_into_parquet_are_read(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
    written = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    pq.write_table(written.data.table, tmp_path / "x.parquet")
    assert read_table(tmp_path / "x.parquet").class_names == {"label": ("neg", "pos")}


def test_bare_quotes_in_tsv_are_characters() -> None:
    table = read_tsv(b'text\tlabel\n"Good" film\t1\n5" screen\t0\n"unclosed\t0\n', "x")
    assert table.values("text") == ['"Good" film', '5" screen', '"unclosed']


def test_quoted_tsv_is_unquoted() -> None:
    assert read_tsv(b'text\tlabel\n"a\tb"\t1\n', "x").values("text") == ["a\tb"]


def test_byte_order_mark_and_blank_lines_are_no_data() -> None:
    table = read_csv(b"\xef\xbb\xbftext, label\n\na,1\n\n", "x")
    assert table.columns == ("text", "label") and table.rows == 1


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_of_every_system_are_read(end: bytes) -> None:
    assert _rows(read_csv(end.join([b"text,label", b"a,0", b"b,1", b""]), "x")) == [["a", "0"], ["b", "1"]]


def test_texts_longer_than_the_csv_module_allows_by_itself_are_read() -> None:
    before = csv.field_size_limit()
    assert read_csv(b"text,label\n" + b"x" * 200_000 + b",1\n", "x").values("text") == ["x" * 200_000]
    assert csv.field_size_limit() == before


def test_jsonl_keys_may_be_lacking() -> None:
    assert read_json(b'{"text": "a"}\n\n{"label": 1}', "x").values("label") == [None, 1]


BAD: dict[str, tuple[str, bytes, str]] = {
    "too many fields": ("x.csv", b"text,label\na,0\nb,1,2\n", "on line 3 has 3 fields"),
    "too few fields": ("x.csv", b"text,label\na,0\nb\n", "on line 3 has 1 fields"),
    "trailing separators": ("x.csv", b"text,label\na,0,\nb,1,\n", "on line 2 has 3 fields"),
    "line of a row after a text of two lines": ("x.csv", b'text,label\n"a\nb",0\nc\n', "on line 4 has 1 fields"),
    "stray quote": ("x.csv", b'text,label\n"c, d",1\n"a" b,0\n', "on line 3 is malformed"),
    "unclosed quote": ("x.csv", b'text,label\n"a, d",0\n"b,1\nc,0\n', "on line 3 is malformed"),
    "TSV": ("x.tsv", b"text\tlabel\na\t0\nb\n", "on line 3 has 1 fields"),
    "same name twice": ("x.csv", b"text,text,label\na,b,0\n", "same name"),
    "not JSON": ("x.jsonl", b'{"text": "a"}\n{"text": }\n', "Line 2 of the file is not JSON"),
    "deep JSON": ("x.jsonl", b"[" * 100_000, "Line 1 of the file is not JSON"),
    "no object": ("x.jsonl", b'{"text": "a"}\n\n[1]\n', "Line 3 of the file is not a JSON object"),
    "one line of Latin-1": (
        "x.csv",
        "text,label\nnaïve,0\nété,1\n".encode() + b"caf\xe9,0\n",
        "1 of its 3 lines that are not plain ASCII (line 4, byte offset 31)",
    ),
    "Latin-1 behind a mark": ("x.csv", b"\xef\xbb\xbftext,label\nna\xefve,0\n", "(line 2, byte offset 16)"),
    "no Parquet": ("x.parquet", b"PAR1 not really", "cannot be read as Parquet"),
    "cut Parquet": ("x.parquet", b"", "empty"),
    "empty CSV": ("x.csv", b"", "empty"),
    "blank CSV": ("x.csv", b" \n\n", "empty"),
    "header only": ("x.csv", b"text,label\n", "no rows"),
    "empty JSONL": ("x.jsonl", b"\n", "no rows"),
    "unknown ending": ("x.docx", b"PK", "cannot be read"),
    "no workbook": ("x.xlsx", b"PK", "cannot be read as an Excel workbook"),
    "no Arrow": ("x.arrow", b"ARROW1 not really", "cannot be read as Arrow"),
    "key twice": ("x.jsonl", b'{"text": "a", "label": 1, "label": 0}', "an object has the key 'label' twice"),
    "no rows in JSON": ("x.json", b'{\n"a": 1\n}', "holds no rows"),
    "array of texts": ("x.json", b'["a", "b"]', "Item 1 of the file's array is not a JSON object"),
    "no gzip": ("x.csv.gz", b"text,label\na,0\n", "cannot be unpacked"),
    "no zip": ("x.zip", b"PK", "cannot be unpacked"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_file_is_said_with_its_place(case: str, tmp_path: Path) -> None:
    name, content, message = BAD[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert message in str(caught.value) and name in str(caught.value)


def test_every_reader_refuses_an_empty_file(tmp_path: Path) -> None:
    for ending in READERS:
        (tmp_path / f"x{ending}").touch()
        with pytest.raises(DataError, match=r"empty|no rows"):
            read_table(tmp_path / f"x{ending}")


def test_messages_stay_short(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "' + "x" * 100_000 + "\n")
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert len(str(caught.value)) < 600


def test_folder_named_like_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / "x.csv")


CSV = b"text,label\na,0\nb,1\n"


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv.gz", gzip.compress(CSV, mtime=0)),
        ("x.CSV.GZ", gzip.compress(CSV, mtime=0)),
        ("x.csv.bz2", bz2.compress(CSV)),
        ("x.csv.xz", lzma.compress(CSV)),
        ("x.zip", _zip({"folder/x.csv": CSV, "__MACOSX/folder/._x.csv": b"-", "README": b"-"})),
        ("x.ndjson", b'{"text": "a", "label": "0"}\n{"text": "b", "label": "1"}\n'),
        ("x.json", b'{"text": "a", "label": "0"}\n{"text": "b", "label": "1"}\n'),
        ("x.json", b'[{"text": "a", "label": "0"}, {"text": "b", "label": "1"}]'),
        ("x.jsonl", b'[\n {"text": "a", "label": "0"},\n {"text": "b", "label": "1"}\n]\n'),
        ("x.json", b'{"data": [{"text": "a", "label": "0"}, {"text": "b", "label": "1"}], "version": 1}'),
        ("x.json", b'{"text": ["a", "b"], "label": ["0", "1"]}'),
        ("x.json", b'{"text": {"0": "a", "1": "b"}, "label": {"0": "0", "1": "1"}}'),
        ("x.tab", CSV.replace(b",", b"\t")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_file_gives_the_same_rows(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert _rows(read_table(tmp_path / name)) == [["a", "0"], ["b", "1"]]


@pytest.mark.parametrize("ending", [".arrow", ".feather"])
def test_arrow_files_are_read(ending: str, tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "label": pa.array(["0", "1"]).dictionary_encode()})
    write = pa.ipc.new_stream if ending == ".arrow" else pa.ipc.new_file
    with write(tmp_path / f"x{ending}", table.schema) as writer:
        writer.write_table(table)
    assert _rows(read_table(tmp_path / f"x{ending}")) == [["a", "0"], ["b", "1"]]


def test_workbook_is_read_and_its_other_sheets_are_named(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in [["text", "label", None], ["a", 0, "note"], [], ["b", 1, None]]:
        book.active.append(row)
    book.create_sheet("old")
    book.save(tmp_path / "x.xlsx")
    table = read_table(tmp_path / "x.xlsx")
    assert _rows(table) == [["a", 0], ["b", 1]]
    assert [item.what for item in table.passed_over] == ["x.xlsx: sheets old", "x.xlsx: 1 rows", "x.xlsx: column 3"]


def test_zip_file_of_several_tables_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(_zip({"a.csv": CSV, "b.csv": CSV}))
    with pytest.raises(DataError, match="holds 2 tables") as caught:
        read_table(tmp_path / "x.zip")
    assert "a.csv, b.csv" in str(caught.value)


def test_zip_file_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("x.csv", b"text,label\n" + b"a" * 50_000_000)
    (tmp_path / "x.zip").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="far more than a table of texts takes"):
        read_table(tmp_path / "x.zip")


def test_a_parquet_file_whose_texts_are_no_utf8_is_refused(tmp_path: Path) -> None:
    texts = pa.array([b"fine", b"\xe1"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts, "label": [0, 1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"cannot be read as Parquet.*UTF8"):
        read_table(tmp_path / "x.parquet")


def _arrow(table: pa.Table, new_writer: Any) -> bytes:
    written = io.BytesIO()
    with new_writer(written, table.schema) as writer:
        writer.write_table(table)
    return written.getvalue()


@pytest.mark.parametrize("kind", ["x.parquet", "x.feather", "x.arrow"])
def test_a_flipped_bit_in_a_binary_table_costs_no_rows_and_crashes_nothing(kind: str, tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"] * 15, "label": [0, 1] * 15})
    if kind == "x.parquet":
        pq.write_table(table, tmp_path / kind)
        sound = (tmp_path / kind).read_bytes()
    else:
        sound = _arrow(table, pa.ipc.new_file if kind == "x.feather" else pa.ipc.new_stream)
    refused = 0
    for bit in range(0, 8 * len(sound), 23):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / kind).write_bytes(damaged)
        try:
            read = read_table(tmp_path / kind)
        except DataError:
            refused += 1
            continue
        assert all(len(read.values(column)) == 30 for column in read.columns)
    assert refused > 50


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_reading_takes_little_more_than_the_file_and_its_texts(ending: str, tmp_path: Path) -> None:
    # One emoji used to make every character of the file four bytes wide.
    rows = [(f"\U0001f600 {'word ' * 200}{i}", "pos" if i % 2 else "neg") for i in range(2000)]
    path = tmp_path / f"x{ending}"
    with path.open("w", newline="", encoding="utf-8") as file:
        if ending == ".csv":
            csv.writer(file).writerows([("text", "label"), *rows])
        else:
            file.writelines(json.dumps({"text": "plain " + "word " * 200, "label": 1}) + "\n" for _ in rows)
            file.write(json.dumps({"text": "\U0001f600", "label": 0}, ensure_ascii=False) + "\n")
    tracemalloc.start()
    table = read_table(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    texts = sum(sys.getsizeof(text) for text in table.values("text"))
    assert peak < path.stat().st_size + 1.3 * texts + 2**21


def test_a_packed_file_that_grows_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.csv.bz2"
    path.write_bytes(bz2.compress(bytes(20_000_000)))
    assert path.stat().st_size < 1000
    with pytest.raises(DataError, match="far more than a table of texts takes"):
        read_table(path)


@pytest.mark.parametrize(
    "setting", [{"header": False}, {"separator": "tab"}, {"encoding": "cp1252"}, {"quotes": True}]
)
def test_settings_of_separated_values_are_named_where_they_have_no_effect(
    setting: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a", "label": 0}\n')
    (tmp_path / "x.csv").write_text("text\tlabel\na\tb\n")
    options, (name,) = ReadOptions(**setting), setting
    found = read_table(tmp_path / "x.jsonl", options).passed_over
    assert [item.what for item in found] == [f"x.jsonl: setting data.{name}"]
    assert not any("setting" in item.what for item in read_table(tmp_path / "x.csv", options).passed_over)
