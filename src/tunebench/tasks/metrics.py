"""Metrics of a classifier by name: functions of labels and predictions, with what has to be known of each.

To add one here, write a function and register it. A package of your own adds one with an entry point in the
group ``tunebench.metrics`` that names a :class:`Metric`; see ``examples/extending``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy

from tunebench.registry import Registry
from tunebench.stats import measures
from tunebench.stats.measures import Influence, WeightedScore, mean_of
from tunebench.stats.softmax import log_softmax
from tunebench.tasks.outputs import ONE_LABEL, Needs, Outputs

#: Takes labels ``(n,)``; predicted classes ``(n,)``, or probabilities or logits ``(n, classes)``; and the number
#: of classes.
MetricFunction = Callable[[np.ndarray, np.ndarray, int], float]
#: The same arguments; returns one value an example, of shape ``(n,)``, whose mean is the metric.
PerExample = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Key in :data:`METRICS` and in study files.
        label: Name as it stands in a sentence.
        direction: Whether larger (``max``) or smaller (``min``) is better.
        function: See :data:`MetricFunction`. Returns NaN where the metric is not defined.
        needs: What the function is given: predicted classes (``labels``), ``probabilities`` or ``logits``.
        short: A shorter heading, for axes and narrow columns; the heading where it is empty.
        unit: Unit; None for a number without one.
        bounds: The range of its values; None where a side has no bound.
        points: Whether differences are shown as points, that is, times 100; else as they are.
        undefined: When the metric is not defined, as the reason that stands beside a missing value.
        per_example: For a metric that is a mean over examples: its value for each. None for others.
        weighted: The metric of weighted examples, for many resamples at once; see
            :data:`~tunebench.stats.measures.WeightedScore`. Without it every resample is scored by ``function``,
            which may take minutes.
        influence: Its influence function, for metrics that have one in closed form. It gives the variance that
            the test examples add to a score; for other metrics a bootstrap estimates that variance.
        outputs: How logits are read; by default, as those of one label a text.
        source: Where it comes from.
    """

    name: str
    label: str
    direction: Literal["max", "min"]
    function: MetricFunction
    needs: Needs = "labels"
    short: str = ""
    unit: str | None = None
    bounds: tuple[float | None, float | None] = (0.0, 1.0)
    points: bool = True
    undefined: str = "the metric is not defined for these predictions"
    per_example: PerExample | None = None
    weighted: WeightedScore | None = None
    influence: Influence | None = None
    outputs: Outputs = ONE_LABEL
    source: str = ""

    def __post_init__(self) -> None:
        if self.per_example is not None:
            weighted, influence = mean_of(self.per_example)
            object.__setattr__(self, "weighted", self.weighted or weighted)
            object.__setattr__(self, "influence", self.influence or influence)

    def __call__(self, labels: np.ndarray, logits: np.ndarray) -> float:
        """Return the score of predictions; NaN where the metric is not defined.

        Every column of ``logits`` is a class, also one that the labels do not hold.

        Args:
            labels: Integers of shape ``(n,)``.
            logits: Shape ``(n, classes)``.

        Raises:
            ValueError: Shapes or labels do not fit, there are no examples, or a logit is not finite.
        """
        labels, logits = self.outputs.checked(labels, logits)
        return float(self.function(labels, self.decode(logits), logits.shape[1]))

    def decode(self, logits: np.ndarray) -> np.ndarray:
        """Return what the function needs: predictions, probabilities in double precision, or the logits."""
        return self.outputs.decode(logits, self.needs)

    def weighted_scores(
        self, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray, classes: int
    ) -> np.ndarray:
        """Return one score a row of weights, ``(resamples,)``; see :data:`~tunebench.stats.measures.WeightedScore`.

        Args:
            labels: Shape ``(cells,)``.
            predictions: What :meth:`decode` gives, ``(cells,)`` or ``(cells, classes)``.
            weights: Shape ``(resamples, cells)``; integers where there is no :attr:`weighted`.
            classes: Number of classes.
        """
        if self.weighted is not None:
            return self.weighted(labels, predictions, weights, classes)
        drawn = (np.repeat(np.arange(len(labels)), np.asarray(row, dtype=np.int64)) for row in weights)
        return np.array([self.function(labels[rows], predictions[rows], classes) for rows in drawn])

    @property
    def heading(self) -> str:
        """The label with a capital letter."""
        return self.label[:1].upper() + self.label[1:]

    @property
    def short_heading(self) -> str:
        """The shorter heading, or the heading."""
        return self.short or self.heading

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is better."""
        return self.direction == "max"

    @property
    def sign(self) -> float:
        """``1.0`` where larger is better, ``-1.0`` where smaller is; a value times it is larger where better."""
        return 1.0 if self.direction == "max" else -1.0

    @property
    def scale(self) -> float:
        """What a difference is multiplied by to be shown."""
        return 100.0 if self.points else 1.0

    @property
    def difference_unit(self) -> str:
        """Unit of a difference as it is shown; empty where there is none."""
        return "points" if self.points else self.unit or ""

    def allows_margin(self, margin: float) -> bool:
        """Tell whether a margin, in hundredths of the metric, makes sense: points end at 100, and units do not."""
        return 0 < margin < math.inf and (margin <= 100 or not self.points)

    @property
    def margins(self) -> str:
        """Which margins make sense, in words."""
        if self.points:
            return f"points of {self.label}, above 0, up to 100"
        return f"hundredths of {self.label}, above 0: 100 is {' '.join(filter(None, ('1', self.unit)))}"

    def show_margin(self, margin: float) -> str:
        """Return a margin, given in hundredths of the metric, with its unit."""
        shown, unit = f"{margin / 100 * self.scale:g}", self.difference_unit
        unit = "point" if (shown, unit) == ("1", "points") else unit
        return f"{shown} {unit}" if unit else shown

    def show_size(self, difference: float) -> str:
        """Return the size of a difference with its unit: ``0.14 points``."""
        shown = f"{difference * self.scale:.{2 if self.points else 4}f}"
        return f"{shown} {self.difference_unit}" if self.difference_unit else shown

    def rising(self, value: float) -> float:
        """Return a value whose best is 1, as learning curves are fitted: itself, or 1 less it; its own inverse."""
        return value if self.higher_is_better else 1 - value

    def merit(self, value: float) -> float:
        """Return a number that is larger where the value is better; minus infinity for NaN."""
        return float("-inf") if np.isnan(value) else self.sign * value

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value is better than another one; any defined value is better than none or NaN."""
        if np.isnan(value):
            return False
        return than is None or bool(np.isnan(than)) or self.sign * value > self.sign * than


def member(found: Any) -> tuple[str, Metric]:
    """Return the name and the metric of what an entry point names.

    Raises:
        TypeError: It is no metric.
    """
    if not isinstance(found, Metric):
        raise TypeError(f"a tunebench.tasks.metrics.Metric is needed, got {type(found).__name__}")
    return found.name, found


#: All metrics by name, those of installed packages included.
METRICS: Registry[Metric] = Registry("tunebench.metrics", "metric", member)
#: The metric of a study that names none.
DEFAULT_METRIC = "macro_f1"
#: Metrics that stand beside the study's own in its tables.
ALWAYS_SHOWN = (DEFAULT_METRIC, "accuracy")
#: Bins of the expected calibration error.
BINS = 15


def register(metric: Metric) -> Metric:
    """Add a metric to :data:`METRICS`.

    Raises:
        ValueError: Its name is taken.
    """
    METRICS.add(metric.name, metric)
    return metric


def plain(weighted: WeightedScore) -> MetricFunction:
    """Return a metric's plain form: every example counts once."""

    def function(labels: np.ndarray, values: np.ndarray, classes: int) -> float:
        return float(weighted(labels, values, np.ones((1, len(labels))), classes)[0])

    return function


def averaged(per_example: PerExample) -> MetricFunction:
    """Return the metric that is the mean over examples."""

    def function(labels: np.ndarray, values: np.ndarray, classes: int) -> float:
        return float(per_example(labels, values, classes).mean())

    return function


def _log_losses(labels: np.ndarray, logits: np.ndarray, classes: int) -> np.ndarray:
    """Return cross-entropies in nats (Good 1952).

    They come from the logits: clipping probabilities would cap what a confident error costs.
    """
    return np.asarray(-log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels])


def _ranked(weighted: WeightedScore) -> MetricFunction:
    """Return the plain form of a metric of each class against the others: NaN where a class cannot be ranked."""
    unranked = plain(weighted)

    def function(labels: np.ndarray, probabilities: np.ndarray, classes: int) -> float:
        counts = np.bincount(labels, minlength=classes)
        return (
            float("nan") if 0 in counts or counts.max() == len(labels) else unranked(labels, probabilities, classes)
        )

    return function


def _squares(labels: np.ndarray, probabilities: np.ndarray, classes: int) -> np.ndarray:
    """Return ``sum over classes (p - [label])^2``, between 0 and 2 (Brier 1950)."""
    return np.asarray(((probabilities - np.eye(classes)[labels]) ** 2).sum(1))


def bins_of(shares: np.ndarray) -> np.ndarray:
    """Return which of :data:`BINS` bins of equal width each probability lies in; a bin holds its upper edge."""
    return np.asarray(np.clip(np.ceil(shares * BINS).astype(int) - 1, 0, BINS - 1))


def _calibration_gaps(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each example's bin of confidence, and whether it is right minus its confidence."""
    confidence = np.minimum(scipy.special.softmax(logits.astype(np.float64), axis=1).max(1), 1.0)
    hits = logits.argmax(1) == labels  # two logits may differ where their probabilities do not
    return bins_of(confidence), hits - confidence


def _weighted_ece(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """Return the expected calibration error of each row of weights (Guo et al. 2017)."""
    place, gaps = _calibration_gaps(labels, logits)
    return np.asarray(np.abs(weights @ (np.eye(BINS)[place] * gaps[:, None])).sum(1) / weights.sum(1))


_ABSENT = "a class has no test example, or all of them"
register(
    Metric(
        "macro_f1",
        "macro F1",
        "max",
        plain(measures.macro_f1),
        weighted=measures.macro_f1,
        influence=measures.macro_f1_influence,
    )
)
register(Metric("micro_f1", "micro F1", "max", averaged(measures.hits), per_example=measures.hits))
register(Metric("weighted_f1", "weighted F1", "max", plain(measures.weighted_f1), weighted=measures.weighted_f1))
register(Metric("accuracy", "accuracy", "max", averaged(measures.hits), per_example=measures.hits))
register(
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        "max",
        plain(measures.balanced_accuracy),
        short="Balanced acc.",
        weighted=measures.balanced_accuracy,
    )
)
register(
    Metric(
        "mcc",
        "Matthews correlation",
        "max",
        plain(measures.matthews),
        short="MCC",
        bounds=(-1.0, 1.0),
        undefined="the labels or the predictions hold one class only",
        weighted=measures.matthews,
    )
)
register(
    Metric(
        "log_loss",
        "log loss",
        "min",
        averaged(_log_losses),
        needs="logits",
        unit="nats",
        bounds=(0.0, None),
        points=False,
        per_example=_log_losses,
    )
)
register(
    Metric(
        "auroc",
        "AUROC (one-vs-rest)",
        "max",
        _ranked(measures.auroc),
        needs="probabilities",
        short="AUROC",
        undefined=_ABSENT,
        weighted=measures.auroc,
    )
)
register(
    Metric(
        "average_precision",
        "average precision (one-vs-rest)",
        "max",
        _ranked(measures.average_precision),
        needs="probabilities",
        short="Avg. precision",
        undefined=_ABSENT,
        weighted=measures.average_precision,
    )
)
register(
    Metric(
        "brier",
        "Brier score",
        "min",
        averaged(_squares),
        needs="probabilities",
        short="Brier",
        bounds=(0.0, 2.0),
        points=False,
        per_example=_squares,
    )
)
register(
    Metric(
        "ece",
        "expected calibration error",
        "min",
        plain(_weighted_ece),
        needs="logits",
        short="ECE",
        points=False,
        weighted=_weighted_ece,
    )
)


#: Metrics that every record holds. A metric of another package joins them where a study names it.
BUILT_IN = METRICS.known
