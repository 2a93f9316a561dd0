"""The check of an export: its run's model and the export predict the same texts, within tolerances."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.registry import metric_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tunebench.data.text import Text
    from tunebench.inference.export.base import Tolerance
    from tunebench.inference.predictor import Predictor
    from tunebench.tasks.base import Task

#: Texts whose latency is measured, one at a time.
_LATENCY_TEXTS = 16


@dataclass(frozen=True)
class ExportCheck:
    """How the predictions of an export and its run agree, on the same texts.

    Attributes:
        texts: How many texts were compared.
        largest_logit_difference: Over all texts and classes; of numbers in standard deviations of the predictions.
        mean_logit_difference: Mean of the absolute differences.
        equal_predictions: Share of texts with the same prediction; of numbers, see
            :meth:`~tunebench.tasks.outputs.OneNumber.same`.
        metric: The metric of the two scores.
        score_before: Of the run, on these texts; None where the metric is not defined.
        score_after: Of the export, on these texts.
    """

    texts: int
    largest_logit_difference: float
    mean_logit_difference: float
    equal_predictions: float
    metric: str
    score_before: float | None
    score_after: float | None

    def violations(self, tolerance: Tolerance) -> list[str]:
        """Return what is beyond a tolerance, one sentence each."""
        found = []
        limit = tolerance.logit_difference
        if limit is not None and not self.largest_logit_difference <= limit:
            found.append(f"a logit differs by {self.largest_logit_difference:.3g}, and {limit:g} is allowed")
        if not self.equal_predictions >= tolerance.equal_predictions:
            found.append(
                f"{self.equal_predictions:.1%} of the predictions are equal, "
                f"and {tolerance.equal_predictions:.1%} are needed"
            )
        if self.score_before is not None and self.score_after is not None:
            loss = self.score_before - self.score_after
            if not loss <= tolerance.score_loss:
                found.append(
                    f"{metric_label(self.metric)} falls by {loss:.4f}, and {tolerance.score_loss:g} is allowed"
                )
        return found


def agreement(
    labels: np.ndarray, before: np.ndarray, after: np.ndarray, task: Task = CLASSIFICATION
) -> ExportCheck:
    """Compare logits of the same texts.

    Args:
        labels: Of the texts, as the task has them.
        before: Logits of the run, ``(n, classes)``.
        after: Logits of the export, of the same shape.
        task: What was learned.

    Raises:
        ValueError: Shapes do not fit, or a logit is not finite.
    """
    if before.shape != after.shape:
        raise ValueError(f"logits of shape {before.shape} and {after.shape}")
    difference = np.abs(before.astype(np.float64) - after) / task.outputs.spread(before)
    # The default of every task is one of which more is better, without a unit.
    metric = task.metric(task.default_metric)
    scores = [score if np.isfinite(score) else None for score in (metric(labels, before), metric(labels, after))]
    return ExportCheck(
        texts=len(labels),
        largest_logit_difference=float(difference.max()),
        mean_logit_difference=float(difference.mean()),
        equal_predictions=float(task.outputs.same(before, after).mean()),
        metric=metric.name,
        score_before=scores[0],
        score_after=scores[1],
    )


def chosen_texts(available: int, wanted: int) -> np.ndarray:
    """Return evenly spaced positions, at most ``wanted``: the same ones every time, from the whole test part."""
    count = min(available, wanted)
    return np.unique(np.linspace(0, available - 1, count).round().astype(np.int64))


def latency_ms(predictor: Predictor, texts: Sequence[Text]) -> float:
    """Return the median milliseconds that a single text takes, tokenisation included."""
    seconds = []
    for text in texts[:_LATENCY_TEXTS]:
        start = time.perf_counter()
        predictor.predict_logits([text])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3
