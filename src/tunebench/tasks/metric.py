"""What a metric is: a function of labels and predictions, with what has to be known of it.

:mod:`tunebench.tasks.metrics` has those of one label a text by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tunebench.stats.measures import Influence, WeightedScore, mean_of
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
        name: Key in :data:`~tunebench.tasks.metrics.METRICS` and in study files.
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
        raise TypeError(f"a tunebench.tasks.metric.Metric is needed, got {type(found).__name__}")
    return found.name, found


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
