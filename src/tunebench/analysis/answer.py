"""The answer in a few lines, the same for the page, the terminal, the report in Markdown and the model card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunebench.analysis.costs import currency_of
from tunebench.analysis.doubling import more_labels
from tunebench.analysis.looks import next_look
from tunebench.analysis.recommend import Alternative, Recommendation
from tunebench.analysis.wording import good_enough, holds_for, show_interval, show_plan
from tunebench.formatting import BYTES, TIMES, counted, in_words, learning_rate, listed, quantity
from tunebench.stats import Interval, Refusal
from tunebench.tasks.registry import TASKS

if TYPE_CHECKING:
    from tunebench.analysis.analysis import Analysis
    from tunebench.analysis.comparison import Comparison
    from tunebench.analysis.pairs import Pair

#: Strategies that the verdict names of each kind; more are counted.
_NAMED = 3
#: Characters of the first doubt that the line of trust holds.
_LONGEST = 120
#: What stands behind a time that is too long.
_SHARED = " (shared machine)"
#: How a strategy stands to the chosen one, in the order of the verdict.
STANDINGS = ("better", "better in these runs", "as good", "too close to call", "worse in these runs", "worse")


@dataclass(frozen=True)
class Figures:
    """What a strategy scores and costs.

    Attributes:
        interval: Of the score, at 95 %; where strategies were compared, for all of them together: the best was
            picked among them.
        holds_for: What the interval holds for, in words; empty for this strategy alone.
        seconds: Of training one run; None where that was not recorded.
        bytes: Of the weights to keep; None likewise.
        trained: Whether it was trained; of other models only answers are known.
        answering: Time of answering the test part, and the price where one was stated; None where neither is known.
        chosen_by_seed: What it is, and the settings in words, where the seeds chose several.
        shared_machine: Whether other work shared the machine in all of its trainings.
    """

    label: str
    learning_rate: float | None
    interval: Interval
    holds_for: str
    seconds: float | None
    bytes: float | None
    trained: bool = True
    answering: str | None = None
    chosen_by_seed: str | None = None
    shared_machine: bool = False

    @property
    def score(self) -> str:
        """The score with its interval."""
        return show_interval(self.interval) + (f" ({self.holds_for})" if self.holds_for else "")

    @property
    def time(self) -> str | None:
        """Time of training in words."""
        return None if self.seconds is None else quantity(self.seconds, TIMES)

    @property
    def training(self) -> str | None:
        """Time of training in words, and whether it is too long."""
        return None if self.time is None else f"{self.time}{_SHARED * self.shared_machine}"

    @property
    def weights(self) -> str | None:
        """Size of the weights in words."""
        return None if self.bytes is None else quantity(self.bytes, BYTES)


@dataclass(frozen=True)
class Answer:
    """A recommendation in words.

    Attributes:
        verdict: What to choose, and how the others stand to it, in one sentence.
        metric: Name of the metric for people.
        train_size: Labels of the runs that speak for it.
        figures: Of the chosen strategy, and of the best of the others.
        beside: The metrics that are always shown beside the one that decides.
        trust: Whether the answer is conclusive, and the first doubt if it is not.
        settling: What would settle what is open, and what that costs; None where nothing is known to.
        confirmed: What the sealed part of the test texts says; None where there is none.
        not_exported: Why what is chosen cannot be exported; None where it can be.
        more_labels: What twice the labels would bring to it; None where too few sizes were run to tell.
    """

    verdict: str
    metric: str
    train_size: int
    figures: tuple[Figures, ...]
    beside: str
    trust: str
    settling: str | None
    confirmed: str | None = None
    not_exported: str | None = None
    more_labels: str | None = None

    @property
    def lines(self) -> list[str]:
        """The answer for a terminal, about six lines."""
        return [
            self.verdict,
            *map(self._line, self.figures),
            self.beside,
            self.trust,
            *filter(None, [self.settling, self.more_labels, self.confirmed, self.not_exported]),
        ]

    def _line(self, one: Figures) -> str:
        costs = [
            f"; {words} {what}"
            for words, what in (
                (one.training, "to train"),
                (one.weights, "to keep"),
                (None if one.trained else one.answering, "for these answers"),
            )
            if words is not None
        ]
        known = None if one.learning_rate is None else learning_rate(one.learning_rate)
        rate = f" at learning rate {known}" if known else ""
        if one.chosen_by_seed:
            rate = f" ({one.chosen_by_seed})"
        labels = f"with {self.train_size:,} labels" if one.trained else "without training here"
        return f"  {one.label}: {self.metric} {one.score} {labels}{rate}{''.join(costs)}"


def answer_of(analysis: Analysis, found: Recommendation) -> Answer:
    """Put a recommendation into words.

    Args:
        analysis: What it was made from.
        found: The recommendation.
    """
    chosen = next(one for one in found.alternatives if one.label == found.strategy)
    others = [one for one in found.alternatives if one is not chosen]
    return Answer(
        verdict=verdict_of(found),
        metric=TASKS[found.task].metrics[found.metric].label,
        train_size=found.train_size,
        figures=tuple(_figures(one, found, analysis.comparison) for one in [chosen, *others[:1]]),
        beside=found.beside,
        trust=trust_of(found),
        settling=None if found.conclusive else _settling(analysis, found),
        confirmed=found.confirmed,
        not_exported=found.not_exported,
        more_labels=more_labels(analysis, found.strategy),
    )


def verdict_of(found: Recommendation) -> str:
    """Return what to choose and how the others stand to it, in one sentence."""
    stand = standings(found)
    margin = TASKS[found.task].metrics[found.metric].show_margin(found.margin)
    words = {
        "as good": f"as good within {margin}",
        # A cost was preferred, and what is shown to lose more than the margin is not chosen.
        "better": f"better, perhaps by more than {margin}",
        "better in these runs": f"better in these runs, perhaps by more than {margin}",
    }
    why = f": {good_enough(margin)}, it {found.goal}" if found.goal and stand else ""
    parts = [f"Choose {found.strategy}{why}"]
    for kind in STANDINGS:
        labels = [label for label, standing in stand.items() if standing == kind]
        if labels:
            parts.append(f"{words.get(kind, kind)}: {listed(labels, _NAMED)}")
    return "; ".join(parts if stand else [*parts, "nothing else was compared"]) + "."


def standings(found: Recommendation) -> dict[str, str]:
    """Return how each of the others stands to the chosen strategy, one of :data:`STANDINGS`, the best first."""
    return {one.label: _standing(found, one) for one in found.alternatives if one.label != found.strategy}


def _standing(found: Recommendation, one: Alternative) -> str:
    test = one.beside
    if test is None or test.equivalent:
        return "as good"
    if not test.different:
        return "too close to call"
    metric = TASKS[found.task].metrics[found.metric]
    word = "better" if metric.merit(test.interval.estimate) > 0 else "worse"
    return f"{word} in these runs" if test.over == "test examples" else word


def trust_of(found: Recommendation) -> str:
    """Return how sure the answer is, in one line; what speaks against it first of all."""
    if found.conclusive:
        return "Conclusive: nothing known speaks against it."
    more = len(found.doubts) - 1
    rest = f" {counted(more, 'more doubt')}." if more else ""
    return f"Not conclusive: {shortened(found.doubts[0])}{rest}"


def shortened(sentence: str, limit: int = _LONGEST) -> str:
    """Return a sentence short enough for a line: a long one ends before its first bracket, or else after a word."""
    if len(sentence) <= limit:
        return sentence
    before, bracket, _ = sentence[:limit].partition(" (")
    return f"{(before if bracket else before.rsplit(' ', 1)[0]).rstrip(',;:')} …"


def _figures(one: Alternative, found: Recommendation, comparison: Comparison) -> Figures:
    costs, strategies, currency = one.costs, len(found.alternatives), currency_of(comparison)
    seconds, price = costs.get("test_seconds"), costs.get("price")
    answering = [
        None if seconds is None else quantity(seconds, TIMES),
        None if price is None else " ".join(filter(None, [f"{price:,.2f}", currency])),
    ]
    return Figures(
        one.label,
        one.learning_rate,
        one.together or one.interval,
        holds_for(strategies) if one.together else "",
        costs.get("train_seconds"),
        costs.get("artifact_bytes"),
        one.trained,
        ", ".join(filter(None, answering)) or None,
        _chosen_by_seed(one, found, comparison),
        one.shared_machine,
    )


def _chosen_by_seed(one: Alternative, found: Recommendation, comparison: Comparison) -> str | None:
    """Return what the seeds chose, behind the word for what was searched; None where they chose nothing."""
    group = comparison.group(one.label, found.train_size) if one.chosen_by_seed else None
    return None if group is None else f"{group.searched}: {one.chosen_by_seed}"


def _settling(analysis: Analysis, found: Recommendation) -> str | None:
    """Return what would settle the strategies that are too close to call, with the training time it takes."""
    open_ = [label for label, standing in standings(found).items() if standing == "too close to call"]
    if not open_:
        return None
    entry = next(one for one in analysis.at(found.train_size) if one.label == found.strategy)
    if (ahead := next_look(entry)) is not None:
        return ahead
    seconds = {one.label: one.costs.get("train_seconds") for one in found.alternatives}
    # No seed of answers can be added here.
    trained = [one for one in found.alternatives if one.trained and one.label in (found.strategy, *open_)]
    if min((one.seeds for one in trained), default=2) < 2:
        again = [one.label for one in trained]
        names = listed(again, _NAMED) if len(again) > _NAMED else in_words(again)
        return (
            f"To learn more: one more seed of {names} shows how much seeds vary"
            f"{_cost([seconds[label] for label in again])}."
        )
    pair = next(filter(None, (_pair(analysis, found, label) for label in open_)), None)
    if pair is None or isinstance(pair.new_study, Refusal) or len(trained) < 1 + len(open_):
        return None
    both, plan = f"{pair.first.label} and {pair.second.label}", pair.new_study
    if plan.to_differ is None or plan.to_equal is None:
        return f"To settle {both}: a new study with {show_plan(plan, pair.first.metric)}."
    needed = max(plan.to_differ, plan.to_equal)
    each = [seconds[pair.first.label], seconds[pair.second.label]]
    cost = _cost([None if one is None else one * needed for one in each])
    return f"To settle {both}: a new study with {needed} seeds of each (power {plan.power:.0%}){cost}."


def _pair(analysis: Analysis, found: Recommendation, label: str) -> Pair | None:
    wanted = {found.strategy, label}
    here = (pair for pair in analysis.pairs if pair.first.train_size == found.train_size)
    return next((pair for pair in here if {pair.first.label, pair.second.label} == wanted), None)


def _cost(seconds: list[float | None]) -> str:
    known = [one for one in seconds if one is not None]
    return f", for about {quantity(sum(known), TIMES)} of training" if len(known) == len(seconds) else ""
