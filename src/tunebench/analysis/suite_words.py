"""What a suite answers, in sentences, and what its data sets cannot say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from tunebench.analysis.costs import SPENDS, Prefer
from tunebench.analysis.deciding import decide
from tunebench.analysis.suite import AtSize, SuiteAnalysis
from tunebench.analysis.suite_data import PairOverData, Standing
from tunebench.analysis.wording import show_difference
from tunebench.errors import ConfigError
from tunebench.formatting import listed, p_value
from tunebench.stats import FEWEST_DATA_SETS, Heterogeneity, MetaMean, Refusal
from tunebench.tasks.metric import Metric

#: What the first of two strategies is on a data set.
_WORDS: dict[Standing, str] = {
    "better": "better",
    "equal": "equal",
    "worse": "worse",
    "open": "too close to call",
}
#: Names that a sentence lists.
_NAMED = 4


@dataclass(frozen=True)
class SuiteAnswer:
    """What a suite answers at one training size.

    Attributes:
        size: The training size as the suite states it; None without any scores.
        chosen: The strategy to choose; None where none can be named.
        best: The strategy that the others are compared with; None likewise.
        standings: How each other strategy stands to the best, by label.
        verdict: The answer in a sentence.
        lines: The best against each other strategy, a sentence each.
        limits: What cannot be said, and what speaks against the answer, a sentence each.
    """

    size: str | None
    chosen: str | None
    best: str | None
    standings: dict[str, str]
    verdict: str
    lines: tuple[str, ...]
    limits: tuple[str, ...]


def suite_answer(suite: SuiteAnalysis, *, size: str | None = None, prefer: Prefer = "score") -> SuiteAnswer:
    """Answer over the data sets of a suite.

    Args:
        suite: The suite.
        size: The training size as the suite states it; by default the largest of those with the most data sets.
        prefer: What matters most; the rule is that of a study, with mean differences and mean costs over data sets.

    Raises:
        ConfigError: No data set has scores at the size, or there is no such preference.
    """
    if prefer not in SPENDS:
        raise ConfigError("There is no such preference.", value=prefer, allowed=", ".join(SPENDS))
    if size is not None and size not in suite.at:
        raise ConfigError("No data set has scores at this size.", value=size, allowed=", ".join(suite.at) or None)
    size = suite.deciding_size if size is None else size
    missing = [f"{one.name} has no scores{f': {one.why}' if one.why else ''}." for one in suite.missing]
    if size is None:
        verdict = "No data set has scores yet, so there is nothing to compare."
        return SuiteAnswer(None, None, None, {}, verdict, (), tuple(missing))
    at = suite.at[size]
    limits = (*missing, *_sizes_left_out(suite, size), *_limits(at))
    refusal = _no_answer(at)
    if refusal is not None:
        return SuiteAnswer(size, None, at.best, {}, refusal, (), limits)
    best = at.best
    assert best is not None
    chosen = _choose(at, prefer)
    stand = {label: _standing(at, label) for label in at.others}
    pairs = [pair for label in stand if (pair := at.pair(best, label)) is not None]
    return SuiteAnswer(
        size,
        chosen,
        best,
        stand,
        _verdict(at, chosen, stand),
        tuple(pair_sentence(pair, suite.metric) for pair in pairs),
        limits,
    )


def with_labels(size: str) -> str:
    """Return a stated training size in a phrase: ``with 200 labels``."""
    return "with all labels" if size == "all" else f"with {int(size):,} labels"


def pair_sentence(pair: PairOverData, metric: Metric) -> str:
    """Return how one strategy does against another over data sets."""
    counted = [f"{_WORDS[kind]} on {count}" for kind, count in pair.counts.items() if count]
    counts = f"{', '.join(counted)} of {len(pair.on)} data sets"
    if isinstance(pair.mean, Refusal) or pair.test is None:
        return f"{pair.first} against {pair.second}: {counts}."
    mean = show_difference(pair.mean.as_difference().interval, metric)
    number = pair.test.comparisons
    corrected = f" corrected for {number} pairs" if number > 1 else ""
    sentence = (
        f"{pair.first} minus {pair.second}: {mean} on average (95 %, this pair by itself; "
        f"{p_text(pair.test.p_value)}{corrected}); {counts}."
    )
    return f"{sentence}{predicted(pair.mean, metric)}"


def p_text(value: float) -> str:
    """Return a p value in a sentence: ``p = 0.012``, or ``p < 0.0001``."""
    shown = p_value(value)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def predicted(mean: MetaMean, metric: Metric) -> str:
    """Return where the difference on another data set lies, as a sentence behind another; empty if not known."""
    if isinstance(mean.prediction, Refusal):
        return ""
    digits = 2 if metric.points else 4
    low, high = (f"{value * metric.scale:+.{digits}f}" for value in mean.prediction)
    return f" On another data set like these, expect {low} to {high}{_unit(metric)}."


def spread_sentence(mean: MetaMean, metric: Metric) -> str | None:
    """Return how much a difference varies between data sets; None where few of them tell."""
    if not isinstance(mean.heterogeneity, Heterogeneity):
        return None
    digits = 2 if metric.points else 4
    found = mean.heterogeneity
    size = f"{found.tau * metric.scale:.{digits}f}{_unit(metric)}"
    return (
        f"The true difference varies between data sets with a standard deviation of {size}: {found.share:.0%} of "
        f"the variance that is seen ({p_text(found.p_value)} for no variation)."
    )


def _unit(metric: Metric) -> str:
    return f" {metric.difference_unit}" if metric.difference_unit else ""


def _no_answer(at: AtSize) -> str | None:
    """Return why nothing is chosen over data sets; None where something is."""
    if len(at.data_sets) < 2:
        return (
            f"Only {at.data_sets[0].name} has scores {with_labels(at.size)}: see its own report. Nothing is said "
            "over data sets."
        )
    if len(at.everywhere) < 2:
        what = "No strategy has" if not at.everywhere else f"Only {at.everywhere[0]} has"
        return f"{what} scores on all {len(at.data_sets)} data sets {with_labels(at.size)}, so none is chosen."
    return None


def _choose(at: AtSize, prefer: Prefer) -> str:
    """Return the strategy that the rule of a study chooses, of those on all data sets."""
    tests = {label: at.tests[label] for label in at.ranked if label in at.tests}
    least = partial(at.cheapest, kind=SPENDS[prefer])
    by_score = prefer == "score"
    return decide(at.ranked, tests, least, by_score=by_score, higher_is_better=at.metric.higher_is_better).chosen


def _standing(at: AtSize, label: str) -> str:
    if label not in at.everywhere:
        return "not on all data sets"
    test = at.tests.get(label)
    if test is None:
        return "not compared"
    if test.equivalent:
        return "as good"
    if not test.different:
        return "too close to call"
    return "better" if at.metric.merit(test.interval.estimate) > 0 else "worse"


def standing_of_best(at: AtSize) -> str:
    """Return how the strategy that the others are compared with stands."""
    return "the best mean" if at.by_mean[:1] == [at.best] else "the best by the tests"


def _verdict(at: AtSize, chosen: str, stand: dict[str, str]) -> str:
    """Return what to choose, and how the others stand to the best, in one sentence."""
    within = at.metric.show_margin(at.margin)
    parts = [f"Over {len(at.data_sets)} data sets {with_labels(at.size)}, choose {chosen}"]
    if chosen != at.best:
        which = "which has the best mean score" if at.by_mean[0] == at.best else "the best by the tests"
        parts = [f"{parts[0]}. Against {at.best}, {which}"]
    words = {"as good": f"as good within {within}"}
    for kind in ("better", "as good", "too close to call", "worse", "not compared", "not on all data sets"):
        labels = [label for label, standing in stand.items() if standing == kind]
        if labels:
            parts.append(f"{words.get(kind, kind)}: {listed(labels, _NAMED)}")
    if chosen == at.best:
        return f"{'; '.join(parts)}."
    return f"{parts[0]}, {'; '.join(parts[1:])}."


def _sizes_left_out(suite: SuiteAnalysis, size: str) -> list[str]:
    return [
        f"{one.name} is left out {with_labels(size)}: {one.left_out[size]}."
        for one in suite.data_sets
        if size in one.left_out
    ]


def _limits(at: AtSize) -> list[str]:
    """Return what the data sets of a size cannot say, and what to know of what they say."""
    lines, number = [], len(at.data_sets)
    highest = at.by_mean[0] if at.by_mean else at.best
    if highest != at.best:
        lines.append(
            f"{highest} has the best mean score, but {at.best} is shown to be better. A mean score counts all data "
            "sets alike. The test gives more weight to those on which the difference is measured well."
        )
    if 1 < number < FEWEST_DATA_SETS:
        lines.append(
            f"{number} data sets are too few for mean ranks, for how much data sets differ, and for what to expect "
            f"on another one: these need {FEWEST_DATA_SETS}. For the same reason the mean over {number} has a wide "
            "interval."
        )
    if number > 1:
        partial = [label for label in at.labels if label not in at.everywhere]
        lines += [
            f"{label} has no score on {listed(_lacking(at, label), _NAMED)}. It is not ranked, and its mean is "
            "over the other data sets."
            for label in partial
        ]
    single = [name for name, own in at.entries.items() if any(len(entry.seeds) < 2 for entry in own.values())]
    if single:
        lines.append(
            f"A strategy has one seed on {listed(single, _NAMED)}: intervals there hold the test texts alone, and "
            "the luck of training counts as a difference between data sets."
        )
    on_test = [one.name for one in at.data_sets if one.analysis and one.analysis.comparison.selection == "test"]
    if on_test:
        lines.append(f"Checkpoints were selected on test on {listed(on_test, _NAMED)}, so scores are optimistic.")
    doubted = [one.name for one in at.data_sets if not isinstance(one.answer, str) and not one.answer.conclusive]
    if doubted:
        lines.append(
            f"The reports of {listed(doubted, _NAMED)} have doubts of their own, such as too few seeds or learning "
            "rates."
        )
    if number > 1:
        lines.append(
            "The mean speaks of data sets like these. They were picked by hand, so what is like them is for the "
            "reader to judge."
        )
    return lines


def _lacking(at: AtSize, label: str) -> list[str]:
    return [name for name, own in at.entries.items() if label not in own]
