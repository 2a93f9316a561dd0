"""CSV and TSV as people write them: nothing is lost without a word, whatever the separator, quotes and header."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebench.data.delimited import SIGNS, read_csv, read_tsv
from tunebench.data.reference import ReadOptions, Separator
from tunebench.data.table import Table, concatenate
from tunebench.errors import DataError

LABELS = ["neg", "pos"]


def _rows(table: Table) -> list[list[str]]:
    return [list(row) for row in zip(*(table.values(name) for name in table.columns), strict=True)]


def _said(table: Table) -> str:
    return " ".join([*table.how, *table.notes, *map(str, table.passed_over)])


def _joined(table: Table) -> list[tuple[int, int]]:
    """Return the lines that the account says were joined to rows."""
    return [(int(first), int(last)) for first, last in re.findall(r"(\d+) to (\d+)", " ".join(table.how))]


def _bare(rows: list[tuple[str, str]], sign: str) -> bytes:
    return "".join(sign.join(row) + "\n" for row in [("text", "label"), *rows]).encode()


#: Texts without separators or line ends, in which quotes may stand anywhere.
BARE_TEXTS = st.text(st.sampled_from('ab "'), min_size=1, max_size=6).filter(lambda text: text.strip())
BARE_ROWS = st.lists(st.tuples(BARE_TEXTS, st.sampled_from(LABELS)), min_size=4, max_size=12)


@settings(deadline=None, max_examples=80)
@given(BARE_ROWS, st.sampled_from(["comma", "tab"]))
def test_unquoted_files_lose_no_row_without_a_word(rows: list[tuple[str, str]], separator: Separator) -> None:
    read = read_tsv if separator == "tab" else read_csv
    table = read(_bare(rows, SIGNS[separator]), "x")
    # A class that stands in a swallowed row only cannot be known; then the lines are named.
    joined = {line for first, last in _joined(table) for line in range(first, last)}
    assert table.rows + len(joined) == len(rows)
    kept = [label for line, (_, label) in enumerate(rows, start=2) if line not in joined]
    assert [label.strip('"') for label in table.values("label")] == kept


QUOTED_TEXTS = st.text(st.sampled_from('ab,;"\n'), min_size=1, max_size=8)
QUOTED_ROWS = st.lists(st.tuples(QUOTED_TEXTS, st.sampled_from(LABELS)), min_size=4, max_size=12)


@settings(deadline=None, max_examples=80)
@given(QUOTED_ROWS, st.sampled_from([*SIGNS]))
def test_what_the_csv_module_wrote_is_given_back_or_refused(
    rows: list[tuple[str, str]], separator: Separator
) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=SIGNS[separator]).writerows([("text", "label"), *rows])
    raw = buffer.getvalue().encode()
    try:
        table = read_csv(raw, "x")
    except DataError as error:
        # A text may look like rows of its own; the message says how to read it all the same.
        assert "data.quotes=true" in str(error)
        table = read_csv(raw, "x", ReadOptions(quotes=True))
    if "read as part of the texts" not in _said(table):
        assert _rows(table) == [list(row) for row in rows]
    assert _rows(read_csv(raw, "x", ReadOptions(quotes=True, separator=separator))) == [list(row) for row in rows]


def _reviews(count: int = 30) -> list[tuple[str, str]]:
    return [(f"the soup of day {i} was fine", LABELS[i % 2]) for i in range(count)]


def test_quotation_mark_that_swallows_rows_is_read_as_a_character() -> None:
    rows = _reviews()
    rows[5] = ('"late again', "neg")
    rows[20] = ('what a day"', "pos")
    table = read_tsv(_bare(rows, "\t"), "x")
    assert _rows(table) == [list(row) for row in rows]
    assert "lines 7 to 22" in _said(table) and "data.quotes=true" in _said(table)


@pytest.mark.parametrize("label_first", [False, True])
def test_swallowed_rows_beside_rows_that_need_quotation_are_refused(label_first: bool) -> None:
    lines = [f"fine {i},{LABELS[i % 2]}" for i in range(20)]
    lines[3] = '"well, no",neg'
    lines[8], lines[14] = '"late again,neg', 'what a day",neg'
    if label_first:
        lines = [",".join(reversed(line.rsplit(",", 1))) for line in lines]
        lines[8], lines[14] = 'neg,"late again', 'neg,what a day"'
    header = "label,text" if label_first else "text,label"
    raw = "\n".join([header, *lines]).encode()
    with pytest.raises(DataError, match="lose about 6 rows") as caught:
        read_csv(raw, "x")
    assert "lines 10 to 16" in str(caught.value) and "data.quotes=false" in str(caught.value)


@pytest.mark.parametrize("label_first", [False, True])
def test_texts_of_several_lines_are_texts(label_first: bool) -> None:
    rows = [(f'It was "good", really.\nDay {i}, and so on.\n\nYes', LABELS[i % 2]) for i in range(10)]
    columns = [list(reversed(row)) if label_first else list(row) for row in rows]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([["label", "text"] if label_first else ["text", "label"], *columns])
    table = read_csv(buffer.getvalue().encode(), "x")
    assert _rows(table) == columns and "10 rows of several lines (lines 2 to 5, 6 to 9," in _said(table)


@pytest.mark.parametrize("separator", [*SIGNS])
@pytest.mark.parametrize("text", ["fine", "well, yes; no", 'a "good" day'])
def test_separator_is_recognised_and_said(separator: Separator, text: str) -> None:
    buffer = io.StringIO(newline="")
    rows = [[f"{text} {i}", LABELS[i % 2]] for i in range(6)]
    csv.writer(buffer, delimiter=SIGNS[separator]).writerows([["text", "label"], *rows])
    table = read_csv(buffer.getvalue().encode(), "x")
    assert _rows(table) == rows
    assert ("was recognised as" in _said(table)) == (separator != "comma")


def test_semicolons_between_texts_with_commas() -> None:
    rows = [[f"well, the soup {i}, really", LABELS[i % 2]] for i in range(6)]
    raw = "\n".join(["text;label", *(";".join(row) for row in rows)]).encode()
    assert _rows(read_csv(raw, "x")) == rows


def test_two_separators_that_fit_are_asked_about() -> None:
    raw = b"a;b|c\n" + b"x;y|z\n" * 5
    with pytest.raises(DataError, match="more than one separator") as caught:
        read_csv(raw, "x")
    assert "--set data.separator=semicolon" in str(caught.value)
    assert read_csv(raw, "x", ReadOptions(separator="pipe")).columns == ("a;b", "c")


def test_file_without_a_header_keeps_its_first_row() -> None:
    raw = "\n".join(",".join(row) for row in _reviews()).encode()
    table = read_csv(raw, "x")
    assert table.headless and table.rows == 30 and table.columns == ("column_1", "column_2")
    assert "data.header=true" in _said(table)
    assert read_csv(raw, "x", ReadOptions(header=True)).rows == 29
    assert concatenate([table, table]).headless


def test_header_without_usual_names_is_one() -> None:
    raw = "\n".join(["0,1", *(",".join(row) for row in _reviews())]).encode()
    table = read_csv(raw, "x")
    assert not table.headless and table.columns == ("0", "1") and table.rows == 30
    assert read_csv(raw, "x", ReadOptions(header=False)).rows == 31


def test_header_that_is_repeated_is_no_row() -> None:
    raw = b"text,label\na,neg\ntext,label\nb,pos\n"
    table = read_csv(raw, "x")
    assert _rows(table) == [["a", "neg"], ["b", "pos"]] and "1 rows (they repeat the header)" in _said(table)


def test_columns_without_a_name_are_passed_over_with_a_word() -> None:
    table = read_csv(b",text,label,,\n1,a,0,,\n2,b,1,,\n", "x")
    assert table.columns == ("text", "label")
    assert [item.what for item in table.passed_over] == ["column 1", "columns 4, 5"]


def test_every_uneven_row_is_counted() -> None:
    with pytest.raises(DataError, match=r"on line 3 has 3 fields\. The same is true of 2 more lines") as caught:
        read_csv(b'text,label\n"a, b",0\nb,c,1\nd,1\ne\nf,g,0\n', "x")
    assert "lines 3, 5, 6" in str(caught.value)


#: Texts that csv.writer quotes for their line ends and quotation marks; none holds a separator.
WRITTEN = st.lists(
    st.tuples(*[st.text(st.sampled_from('0a\n\r" '), min_size=1, max_size=4)] * 2), min_size=2, max_size=6
)


@given(WRITTEN)
@settings(max_examples=50)
def test_what_csv_writer_writes_is_read_as_it_is(rows: list[tuple[str, str]]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_MINIMAL).writerows([("text", "label"), *rows])
    assert _rows(read_csv(file.getvalue().encode(), "f.csv")) == [list(row) for row in rows]


def test_a_line_between_two_that_are_no_rows_is_no_row() -> None:
    rows = [["text", "label"], ["0", "0"], ["0", "0"], ["\n", "0\r"]]
    file = io.StringIO(newline="")
    csv.writer(file).writerows(rows)
    table = read_csv(file.getvalue().encode(), "f.csv")
    assert _rows(table) == rows[1:] and _joined(table) == [(4, 6)]


@pytest.mark.parametrize(
    ("raw", "said"),
    [(b"text,label\na,x\n\nb,y\n", "line 3"), (b"\ntext,label\n\na,x\nb,y\n\n", "3 lines: 1, 3, 6")],
)
def test_blank_lines_are_no_rows_and_are_counted(raw: bytes, said: str) -> None:
    table = read_csv(raw, "f.csv")
    assert _rows(table) == [["a", "x"], ["b", "y"]]
    assert [str(item) for item in table.passed_over] == [f"{said} (blank, so no row)"]
