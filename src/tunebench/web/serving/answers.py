"""What the server says of logits: a label, several labels, or a number for each text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.regression import REGRESSION
from tunebench.web.serving.schema import LabelsPrediction, NumberPrediction, Prediction

if TYPE_CHECKING:
    from tunebench.inference.predictor import Predictor
    from tunebench.tasks.outputs import Outputs

#: The answers for some texts, all of one form.
Answers = list[Prediction] | list[LabelsPrediction] | list[NumberPrediction]


def _one_label(outputs: Outputs, logits: np.ndarray, names: Sequence[str]) -> Answers:
    said = outputs.named(outputs.predicted(logits), names).tolist()
    return [
        Prediction(label=label, probability=own[label], probabilities=own)
        for label, own in zip(said, _shares(outputs, logits, names), strict=True)
    ]


def _several_labels(outputs: Outputs, logits: np.ndarray, names: Sequence[str]) -> Answers:
    said = outputs.named(outputs.predicted(logits), names).tolist()
    return [
        LabelsPrediction(labels=list(labels), probabilities=own)
        for labels, own in zip(said, _shares(outputs, logits, names), strict=True)
    ]


def _one_number(outputs: Outputs, logits: np.ndarray, names: Sequence[str]) -> Answers:
    return [NumberPrediction(value=value) for value in outputs.predicted(logits).tolist()]


def _shares(outputs: Outputs, logits: np.ndarray, names: Sequence[str]) -> list[dict[str, float]]:
    return [dict(zip(names, row.tolist(), strict=True)) for row in outputs.probabilities(logits)]


#: What answers are made of logits, by task.
_ANSWERS: dict[str, Callable[[Outputs, np.ndarray, Sequence[str]], Answers]] = {
    CLASSIFICATION.name: _one_label,
    MULTI_LABEL.name: _several_labels,
    REGRESSION.name: _one_number,
}


def answers_of(predictor: Predictor, logits: np.ndarray) -> Answers:
    """Return the answers for some texts.

    Args:
        predictor: The model that they were given to.
        logits: What it gave, ``(texts, classes)``.
    """
    answers = _ANSWERS[predictor.artifact.task.name]
    return answers(predictor.outputs, logits.astype(np.float64), predictor.label_names)
