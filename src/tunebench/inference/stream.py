"""Predictions for streams of texts: chunk by chunk, in order, and what an answer holds for each task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tunebench.data.columns import is_encodable
from tunebench.data.text import Text, sides_of
from tunebench.errors import DataError
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
                    fix="repair or remove it; a table in another encoding is read with --file",
                )
        found = checked_texts([text for _, text in rows], predictor.inputs, [place for place, _ in rows])
        yield from answers(predictor, predictor.predict_logits(found))
