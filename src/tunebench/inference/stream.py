"""Predictions for streams of texts: chunk by chunk, in order, from arguments, lines or a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tunebench.data.columns import TEXT_NAMES, find_column, is_encodable
from tunebench.data.delimited import long_fields
from tunebench.errors import DataError

if TYPE_CHECKING:
    from tunebench.inference.predictor import Predictor

#: Texts read, sorted by length and answered together.
CHUNK = 1024


@dataclass(frozen=True)
class Prediction:
    """The most likely label of a text, and its probability."""

    label: str
    probability: float


@dataclass(frozen=True)
class LabelsPrediction:
    """The labels of a text that may have several, the likeliest first, and their probabilities."""

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


def predict_stream(
    predictor: Predictor, texts: Iterable[tuple[str, str]], *, chunk: int = CHUNK
) -> Iterator[Prediction | LabelsPrediction]:
    """Answer texts one by one, in order, holding no more than a chunk of them.

    Args:
        predictor: The classifier.
        texts: Pairs of a text's place (for messages) and the text.
        chunk: Texts that are batched together.

    Raises:
        DataError: A text is not valid Unicode. The chunks before it have been answered by then.
    """
    stream = iter(texts)
    while rows := list(islice(stream, chunk)):
        for place, text in rows:
            if not is_encodable(text):
                raise DataError(
                    f"{place} is not valid Unicode (not UTF-8, or half of a surrogate pair).",
                    value=text,
                    allowed="characters that UTF-8 can encode",
                    fix="repair or remove it",
                )
        logits, outputs = predictor.predict_logits([text for _, text in rows]), predictor.outputs
        for predicted, row in zip(outputs.predicted(logits), outputs.probabilities(logits), strict=True):
            if predicted.ndim:
                given = [label for label in np.argsort(-row, kind="stable") if predicted[label]]
                names = tuple(predictor.label_names[label] for label in given)
                yield LabelsPrediction(names, tuple(float(row[label]) for label in given))
            else:
                yield Prediction(predictor.label_names[predicted], float(row[predicted]))


def from_arguments(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield texts of a command line with their places."""
    for number, text in enumerate(texts, start=1):
        yield f"Text {number}", text


def from_lines(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    r"""Yield each line of a stream, an empty one as well; only ``\n`` and ``\r\n`` end a line.

    Bytes that are not UTF-8 become lone surrogates, which the prediction refuses by the line's number.
    """
    reader = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline="\n")
    for number, line in enumerate(reader, start=1):
        yield f"Line {number}", line.removesuffix("\n").removesuffix("\r")


def _position(header: Sequence[str], column: str | None) -> int:
    return header.index(find_column(header, wanted=column, names=TEXT_NAMES, role="text", setting="--column "))


def from_csv(path: Path, *, column: str | None) -> Iterator[tuple[str, str]]:
    """Yield a column of a CSV file, row by row; the file is never held as a whole.

    A blank line is an empty text where the file has a single column, and no row where it has several.

    Args:
        path: UTF-8, with a first row that names the columns.
        column: The column; None takes the one that is called like a text column.

    Raises:
        DataError: The file cannot be read, has no such column, or a row of another length.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file, long_fields():
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not header:
                raise DataError("The file is empty.", value=str(path))
            position = _position(header, column)
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
                yield f"The row that ends on line {reader.line_num}", row[position]
    except OSError as error:
        raise DataError(f"The file cannot be read: {error.strerror or error}.", value=str(path)) from None
    except csv.Error as error:
        raise DataError(
            f"The row that ends on line {reader.line_num} is malformed: {error}.",
            value=str(path),
            fix='put " around texts that hold separators or line ends, and write " in them twice',
        ) from None
