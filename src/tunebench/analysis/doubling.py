"""What twice the labels would bring, read off the fitted learning curves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tunebench.stats import LEAST_SIZES, Interval, Refusal, gain, score_at
from tunebench.store.imported import is_answers

if TYPE_CHECKING:
    from tunebench.analysis.analysis import Analysis


#: A smaller gain is none for the reader: curves rise, so an interval of gains never holds 0.
_NOTHING = 0.001


@dataclass(frozen=True)
class Doubling:
    """A strategy at twice the labels.

    Attributes:
        label: The strategy.
        metric: Name of the metric, as people read it.
        labels: The most labels that it was run with; None where it has no score.
        now: Its score there, on the curve; None where there is no curve.
        then: Its score at twice the labels with its interval, or why it cannot be said.
        gain: The change of the score, with an interval of its own: both scores are of the same curve.
    """

    label: str
    metric: str
    labels: int | None
    now: float | None
    then: Interval | Refusal
    gain: Interval | Refusal

    @property
    def known(self) -> bool:
        """Whether it can be said."""
        return not isinstance(self.then, Refusal)

    @property
    def sentence(self) -> str:
        """The answer, with its interval and what it rests on."""
        if isinstance(self.then, Refusal):
            return f"{self.label}: what twice the labels would bring cannot be said: {self.then.reason}."
        assert self.labels is not None and self.now is not None
        gain = self.gain
        assert isinstance(gain, Interval)
        said = (
            f"{self.label}: {2 * self.labels:,} labels instead of {self.labels:,} are expected to change "
            f"{self.metric} from {self.now:.4f} to {self.then.estimate:.4f}, by {gain.estimate:+.4f} "
            f"[{gain.low:+.4f}, {gain.high:+.4f}] (95 %)."
        )
        if min(abs(gain.low), abs(gain.high)) < _NOTHING:
            said += " So more labels may bring next to nothing."
        return said


def more_labels(analysis: Analysis, strategy: str) -> str | None:
    """Say in one sentence what twice the labels would bring to a strategy.

    Returns:
        The sentence, which says why where the curve does not fit; None of a study with fewer sizes than a curve
        takes, and of the answers of another model, which no label changes.
    """
    if len(analysis.comparison.sizes) < LEAST_SIZES:
        return None
    return next((one.sentence for one in doublings(analysis) if one.label == strategy), None)


def doublings(analysis: Analysis) -> tuple[Doubling, ...]:
    """Return what twice the labels would bring to each strategy, along its power law.

    No label changes the answers of another model, which are left out. A curve that does not fit its own scores is
    refused, as everywhere.
    """
    metric, found = analysis.comparison.measure, []
    answers = {cell.spec.label for cell in analysis.comparison.cells if is_answers(cell.spec)}
    for curve in (curve for curve in analysis.curves if curve.label not in answers):
        if isinstance(curve.fit, Refusal):
            found.append(Doubling(curve.label, metric.label, None, None, curve.fit, curve.fit))
            continue
        largest = curve.fit.sizes[-1]
        now, then = score_at(curve.fit, largest), score_at(curve.fit, 2 * largest)
        change = gain(curve.fit, largest, 2 * largest)
        assert isinstance(now, Interval)
        if isinstance(then, Interval) and isinstance(change, Interval):
            ends = sorted(metric.rising(end) for end in (then.low, then.high))
            then = replace(then, estimate=metric.rising(then.estimate), low=ends[0], high=ends[1])
            if not metric.higher_is_better:
                change = replace(change, estimate=-change.estimate, low=-change.high, high=-change.low)
        found.append(Doubling(curve.label, metric.label, largest, metric.rising(now.estimate), then, change))
    return tuple(found)
