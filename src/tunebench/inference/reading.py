"""Texts to predict: from arguments, lines, JSON lines, CSV files and tables, each with its place for messages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tunebench.data.csv_rows import long_fields
from tunebench.data.delimited import SIGNS
from tunebench.data.inputs import Inputs
from tunebench.data.readers import read_table
from tunebench.data.reference import ReadOptions
from tunebench.data.text import Pair, Text, as_text
from tunebench.errors import DataError
from tunebench.formatting import listed
from tunebench.inference.columns import columns_of


def read_texts(
    inputs: Inputs | None,
    texts: Sequence[str],
    *,
    stdin: BinaryIO,
    csv_file: Path | None = None,
    jsonl_file: Path | None = None,
    table_file: Path | None = None,
    options: ReadOptions | None = None,
    columns: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[str, Text]]:
    """Yield the texts that a command line asks for, with their places.

    Args:
        inputs: What the model reads; None where it is not known.
        texts: Texts of the command line; ``-`` alone stands for lines of ``stdin``: of JSON where the model reads
            pairs or columns are named, and otherwise each a text.
        stdin: Standard input.
        csv_file: A CSV file to read instead.
        jsonl_file: A file of JSON lines to read instead.
        table_file: A file to read instead as training reads it; see :func:`from_table`.
        options: How ``table_file`` is read, where what is recognised is not right.
        columns: The columns of a text that the user names, if any.
        tell: Told how a table was read.

    Raises:
        DataError: What is there is not what the model reads.
    """
    if csv_file is not None:
        yield from from_csv(csv_file, inputs, columns=columns)
    elif table_file is not None:
        yield from from_table(table_file, inputs, options=options, columns=columns, tell=tell)
    elif jsonl_file is not None:
        try:
            with jsonl_file.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as lines:
                yield from from_json_lines(lines, inputs, columns=columns)
        except OSError as error:
            message = f"The file cannot be read: {error.strerror or error}."
            raise DataError(message, value=str(jsonl_file)) from None
    elif list(texts) != ["-"]:
        yield from from_arguments(texts, inputs)
    elif columns is not None or (inputs is not None and inputs.pair):
        lines = io.TextIOWrapper(stdin, encoding="utf-8", errors="surrogateescape", newline="\n")
        yield from from_json_lines(lines, inputs, columns=columns)
    else:
        yield from from_lines(stdin)


def from_arguments(texts: Sequence[str], inputs: Inputs | None) -> Iterator[tuple[str, Text]]:
    """Yield texts of a command line with their places; two by two where a model reads pairs.

    Raises:
        DataError: A pair lacks its second text.
    """
    if inputs is None or not inputs.pair:
        yield from ((f"Text {number}", text) for number, text in enumerate(texts, start=1))
        return
    if len(texts) % 2:
        raise DataError(
            f"This model reads pairs of texts ({', '.join(inputs.columns)}), and the last text has no second one.",
            value=texts[-1],
            allowed="two texts for each pair, one after the other",
        )
    for number, (first, second) in enumerate(zip(texts[::2], texts[1::2], strict=True), start=1):
        yield f"Pair {number}", Pair(first, second)


def from_lines(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    r"""Yield each line of a stream, an empty one as well; only ``\n`` and ``\r\n`` end a line.

    Bytes that are not UTF-8 become lone surrogates, which the prediction refuses by the line's number.
    """
    reader = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="\n")
    for number, line in enumerate(reader, start=1):
        yield f"Line {number}", line.removesuffix("\n").removesuffix("\r")


def from_json_lines(
    lines: Iterable[str], inputs: Inputs | None, *, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, Text]]:
    """Yield texts of lines of JSON: objects with the columns, lists of the texts of a pair, or strings.

    Args:
        lines: The lines; empty ones are passed over.
        inputs: What the model reads; None where it is not known.
        columns: The keys of the texts; by default the columns the model was trained on, or usual ones.

    Raises:
        DataError: A line is no JSON, or holds no text that the model reads.
    """
    for number, line in enumerate(lines, start=1):
        place = f"Line {number}"
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (RecursionError, ValueError):
            raise DataError(
                f"{place} is no JSON.", value=line.strip(), allowed="an object, a list or a string"
            ) from None
        yield place, _of_json(value, place, inputs, columns)


def _of_json(value: Any, place: str, inputs: Inputs | None, columns: Sequence[str] | None) -> Text:
    if isinstance(value, dict):
        try:
            chosen = columns_of(inputs, list(value), columns)
        except DataError as error:
            raise DataError(
                f"{place}: {error.what}", value=error.value, allowed=error.allowed, fix=error.fix
            ) from None
        if (text := _text_of([value[name] for name in chosen.columns], chosen)) is not None:
            return text
    elif (text := as_text(value)) is not None:
        return text
    raise DataError(
        f"{place} holds no text.",
        value=value,
        allowed="an object whose columns are strings, a list of two strings, or a string",
    )


def _text_of(values: Sequence[Any], inputs: Inputs) -> Text | None:
    """Return the text of one row's values; a template leaves out what is missing, and nothing else may be."""
    parts = values if inputs.join is None else ["" if value is None else value for value in values]
    return inputs.texts([[part] for part in parts])[0] if all(isinstance(part, str) for part in parts) else None


def from_table(
    path: Path,
    inputs: Inputs | None = None,
    *,
    options: ReadOptions | None = None,
    columns: Sequence[str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[str, Text]]:
    """Yield the texts of a file that training could read (:func:`~tunebench.data.readers.read_table`), row by row.

    The file is held as a whole.

    Args:
        path: The file.
        inputs: What the model reads; None where it is not known.
        options: How it is read, where what is recognised is not right.
        columns: The columns of a text; by default those the model was trained on, or the ones with usual names.
        tell: Told what was recognised of the file, and which of its lines are no rows.

    Raises:
        DataError: The file cannot be read, has no such column, or a row without a text.
    """
    table = read_table(path, options)
    chosen = columns_of(inputs, table.columns, columns)
    for line in (*table.notes, *(f"Passed over: {item}." for item in table.passed_over)):
        tell(line)
    for number, values in enumerate(zip(*map(table.values, chosen.columns), strict=True), start=1):
        text = _text_of(values, chosen)
        if text is None:
            raise DataError(
                f"Row {number} holds no text.",
                value=dict(zip(chosen.columns, values, strict=True)),
                allowed=f"text in {listed(chosen.columns)}",
            )
        yield f"Row {number}", text


def from_csv(
    path: Path, inputs: Inputs | None = None, *, columns: Sequence[str] | None = None
) -> Iterator[tuple[str, Text]]:
    """Yield the texts of a CSV file, row by row; the file is never held as a whole.

    A blank line is an empty text where the file has a single column, and no row where it has several.

    Args:
        path: UTF-8, with a first row that names the columns.
        inputs: What the model reads; None where it is not known.
        columns: The columns of a text; by default those the model was trained on, or the ones with usual names.

    Raises:
        DataError: The file cannot be read, has no such column, or a row of another length.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file, long_fields():
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not header:
                raise DataError("The file is empty.", value=str(path))
            if len(header) == 1 and any(sign in header[0] for sign in SIGNS.values()):
                raise DataError(
                    "The first line of the file is not separated by commas.",
                    value=header[0],
                    allowed="names of columns with commas between them",
                    fix="read it with --file, which recognises the separator and the encoding",
                )
            chosen = columns_of(inputs, header, columns)
            places = [header.index(name) for name in chosen.columns]
            for row in reader:
                if not row:
                    if len(header) > 1:
                        continue  # no row
                    row = [""]  # of a single column, an empty field and a blank line are written alike
                if len(row) != len(header):
                    raise DataError(
                        f"The row that ends on line {reader.line_num} has {len(row)} fields.",
                        value=str(path),
                        allowed=f"{len(header)} fields, as in the first line",
                        fix='put " around texts that hold separators or line ends',
                    )
                (text,) = chosen.texts([[row[place]] for place in places])
                yield f"The row that ends on line {reader.line_num}", text
    except OSError as error:
        raise DataError(f"The file cannot be read: {error.strerror or error}.", value=str(path)) from None
    except csv.Error as error:
        raise DataError(
            f"The row that ends on line {reader.line_num} is malformed: {error}.",
            value=str(path),
            fix='put " around texts that hold separators or line ends, and write " in them twice',
        ) from None
