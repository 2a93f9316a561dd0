"""Predictions for streams of texts: chunk by chunk, in order, from arguments, lines, JSON lines or a CSV file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

import numpy as np

from tunebench.data.columns import TEXT_NAMES, find_column, is_encodable
from tunebench.data.delimited import long_fields
from tunebench.data.inputs import Inputs, template_parts
from tunebench.data.text import Pair, Text, as_text, sides_of
from tunebench.data.usual_inputs import usual_inputs
from tunebench.errors import DataError, did_you_mean
from tunebench.formatting import listed
from tunebench.inference.texts import checked_texts
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.regression import REGRESSION

if TYPE_CHECKING:
    from tunebench.inference.predictor import Predictor
    from tunebench.tasks.base import Task

#: Texts read, sorted by length and answered together.
CHUNK = 1024


#: How many digits of a probability are shown, and of a number as many as single precision has.
_SHARE, _SINGLE = ".6f", ".7g"


@dataclass(frozen=True)
class Prediction:
    """The most likely label of a text, and its probability."""

    digits: ClassVar[str] = _SHARE

    label: str
    probability: float


@dataclass(frozen=True)
class LabelsPrediction:
    """The labels of a text that may have several, the likeliest first, and their probabilities."""

    digits: ClassVar[str] = _SHARE

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class NumberPrediction:
    """The number that is predicted for a text, in the unit of the data."""

    digits: ClassVar[str] = _SINGLE

    value: float


Answer = Prediction | LabelsPrediction | NumberPrediction


def _one_label(predictor: Predictor, logits: np.ndarray) -> Iterator[Answer]:
    outputs = predictor.outputs
    for label, shares in zip(outputs.predicted(logits), outputs.probabilities(logits), strict=True):
        yield Prediction(predictor.label_names[label], float(shares[label]))


def _several_labels(predictor: Predictor, logits: np.ndarray) -> Iterator[Answer]:
    outputs = predictor.outputs
    for predicted, shares in zip(outputs.predicted(logits), outputs.probabilities(logits), strict=True):
        given = [label for label in np.argsort(-shares, kind="stable") if predicted[label]]
        names = tuple(predictor.label_names[label] for label in given)
        yield LabelsPrediction(names, tuple(float(shares[label]) for label in given))


def _one_number(predictor: Predictor, logits: np.ndarray) -> Iterator[Answer]:
    yield from map(NumberPrediction, predictor.outputs.predicted(logits).tolist())


#: What answers are made of logits, by task.
_ANSWERS: dict[str, tuple[type[Answer], Callable[[Predictor, np.ndarray], Iterator[Answer]]]] = {
    CLASSIFICATION.name: (Prediction, _one_label),
    MULTI_LABEL.name: (LabelsPrediction, _several_labels),
    REGRESSION.name: (NumberPrediction, _one_number),
}


def answer_of(task: Task) -> type[Answer]:
    """Return the type of the answers of a task."""
    return _ANSWERS[task.name][0]


def predict_stream(
    predictor: Predictor, texts: Iterable[tuple[str, Text]], *, chunk: int = CHUNK
) -> Iterator[Answer]:
    """Answer texts one by one, in order, holding no more than a chunk of them.

    Args:
        predictor: The classifier.
        texts: Pairs of a text's place (for messages) and the text.
        chunk: Texts that are batched together.

    Raises:
        DataError: A text is not valid Unicode, or not what the model reads. The chunks before it have been answered
            by then.
    """
    _, answers = _ANSWERS[predictor.artifact.task.name]
    stream = iter(texts)
    while rows := list(islice(stream, chunk)):
        for place, text in rows:
            if not all(map(is_encodable, sides_of(text))):
                raise DataError(
                    f"{place} is not valid Unicode (not UTF-8, or half of a surrogate pair).",
                    value=text,
                    allowed="characters that UTF-8 can encode",
                    fix="repair or remove it",
                )
        found = checked_texts([text for _, text in rows], predictor.inputs, [place for place, _ in rows])
        yield from answers(predictor, predictor.predict_logits(found))


def read_texts(
    inputs: Inputs | None,
    texts: Sequence[str],
    *,
    stdin: BinaryIO,
    csv_file: Path | None = None,
    jsonl_file: Path | None = None,
    columns: Sequence[str] | None = None,
) -> Iterator[tuple[str, Text]]:
    """Yield the texts that a command line asks for, with their places.

    Args:
        inputs: What the model reads; None where it is not known.
        texts: Texts of the command line; ``-`` alone stands for lines of ``stdin``: of JSON where the model reads
            pairs or columns are named, and otherwise each a text.
        stdin: Standard input.
        csv_file: A CSV file to read instead.
        jsonl_file: A file of JSON lines to read instead.
        columns: The columns of a text that the user names, if any.

    Raises:
        DataError: What is there is not what the model reads.
    """
    if csv_file is not None:
        yield from from_csv(csv_file, inputs, columns=columns)
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


def columns_of(inputs: Inputs | None, there: Sequence[str], wanted: Sequence[str] | None) -> Inputs:
    """Return the columns of a source that make a model's texts.

    Args:
        inputs: What the model reads, with the columns it was trained on; None where it is not known.
        there: The columns there are.
        wanted: Those that the user names, if any.

    Raises:
        DataError: They are not there, cannot be told, or are not as many as the model reads.
    """
    if wanted is not None:
        return _named_columns(inputs, there, wanted)
    if inputs is not None and len(inputs.columns) > 1:
        if set(inputs.columns) <= set(there):
            return inputs
        usual = usual_inputs(there, TEXT_NAMES) if inputs.pair else None
        if usual is not None and usual.pair:
            return usual
        raise DataError(
            f"The model reads {inputs.described}, and its columns are not all here.",
            value=listed(there, 30),
            allowed=", ".join(inputs.columns),
            fix=f"name the columns in the same order: --columns {','.join('NAME' for _ in inputs.columns)}",
        )
    name = find_column(there, wanted=None, names=TEXT_NAMES, role="text", setting="--column ")
    return Inputs(columns=(name,))


def _named_columns(inputs: Inputs | None, there: Sequence[str], wanted: Sequence[str]) -> Inputs:
    joined = inputs is not None and inputs.join is not None
    needed = {2} if inputs is not None and inputs.pair else {1} if inputs is not None else {1, 2}
    # A text that is joined already is one column.
    needed |= {len(inputs.columns)} if inputs is not None and joined else set()
    if len(wanted) not in needed:
        reads = "reads one text or a pair" if inputs is None else f"reads {inputs.described}"
        raise DataError(
            f"The model {reads}, which is not made of {len(wanted)} columns."
            if len(wanted) > 1
            else f"The model {reads}, which is not made of one column.",
            value=", ".join(wanted),
            allowed=f"{' or '.join(map(str, sorted(needed)))} columns" if needed != {1} else "one column",
        )
    if len(wanted) == 1:
        name = find_column(there, wanted=wanted[0], names=TEXT_NAMES, role="text", setting="--column ")
        return Inputs(columns=(name,))
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DataError(
            "There is no such text column.",
            value=missing[0],
            allowed=listed(there, 30),
            fix=did_you_mean(missing[0], there) or "name columns that are there: --columns",
        )
    return _renamed(inputs, wanted)


def _renamed(inputs: Inputs | None, wanted: Sequence[str]) -> Inputs:
    """Return what a model reads, of columns with other names; a template keeps its form."""
    if inputs is None or inputs.join is None:
        return Inputs(columns=tuple(wanted))
    names = dict(zip(inputs.columns, wanted, strict=True))
    parts = [
        literal.replace("{", "{{").replace("}", "}}") + ("" if name is None else f"{{{names[name]}}}")
        for literal, name in template_parts(inputs.join)
    ]
    return Inputs(columns=tuple(wanted), join="".join(parts))


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
        parts = [value[name] for name in chosen.columns]
        if chosen.join is not None:
            parts = ["" if part is None else part for part in parts]
        if all(isinstance(part, str) for part in parts):
            return chosen.texts([[part] for part in parts])[0]
    elif (text := as_text(value)) is not None:
        return text
    raise DataError(
        f"{place} holds no text.",
        value=value,
        allowed="an object whose columns are strings, a list of two strings, or a string",
    )


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
