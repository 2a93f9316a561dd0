"""One recommendation, with its reasons in plain sentences and each number with its interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.confirmed import confirmation_of
from tunebench.analysis.costs import COSTS, SPENDS, Prefer, cheapest, cost_of, trained_beside_others
from tunebench.analysis.deciding import best_first, decide
from tunebench.analysis.doubts import close_rates, doubts_of, not_cleared, not_tried
from tunebench.analysis.evidence import POINTS, Entry
from tunebench.analysis.metric_doubts import beside_of, metric_doubts
from tunebench.analysis.pairs import difference_of, pairs_at_all_sizes
from tunebench.analysis.tuning import close_choices
from tunebench.analysis.undertraining import sentences
from tunebench.analysis.wording import goal_of, not_exported, reasons_of, sentence_of, together, would_change
from tunebench.errors import ConfigError, StoreError
from tunebench.formatting import for_json
from tunebench.stats import Difference, Equivalence, Interval, equivalence
from tunebench.store.imported import is_answers


@dataclass(frozen=True)
class Alternative:
    """A strategy beside the best one.

    Attributes:
        interval: Of its score.
        difference: Of its score minus the first one's, with the equivalence test; None for the first.
        beside: Of its score minus the recommended one's; None for the recommended one.
        costs: Mean costs by name, in their units; what was not recorded is missing.
        together: The interval of its score that holds for all strategies together; None where there is no other.
        trained: Whether it was trained, here or elsewhere; of other models only answers are known.
        chosen_by_seed: The settings in words, where the seeds chose several.
        shared_machine: Whether other work shared the machine whenever it was trained, so that its time is too long.
    """

    label: str
    learning_rate: float | None
    seeds: int
    interval: Interval
    difference: Equivalence | None
    beside: Equivalence | None
    costs: dict[str, float]
    together: Interval | None = None
    trained: bool = True
    chosen_by_seed: str | None = None
    shared_machine: bool = False


@dataclass(frozen=True)
class Recommendation:
    """What to do, and why.

    Attributes:
        strategy: The recommended label.
        train_size: Labels of the runs that speak for it.
        sentence: The answer in one sentence.
        beside: The metrics that are always shown, of the recommended strategy and of the next one.
        conclusive: Whether nothing that is known stands against it.
        metric: Name of the metric that decides.
        tie: Labels that are equal within the margin, the recommended one among them.
        reasons: Why, one sentence each.
        doubts: What makes it less than sure.
        not_tried: What the study does not know.
        would_change: What would change the answer.
        alternatives: All strategies at that size, best first.
        task: Name of the task, which says what the metric is.
        confirmed: What the sealed part of the test texts says, or that it is still sealed; None without one.
        not_exported: Why what is recommended cannot be exported, and what can be; None where it can.
        chosen_by_seed: The settings in words, where the seeds chose several; ``learning_rate`` is None then.
        goal: What it was chosen for, of those that are good enough, where a cost was preferred; None otherwise.
    """

    strategy: str
    train_size: int
    learning_rate: float | None
    metric: str
    prefer: Prefer
    margin: float
    sentence: str
    beside: str
    conclusive: bool
    tie: tuple[str, ...]
    reasons: tuple[str, ...]
    doubts: tuple[str, ...]
    not_tried: tuple[str, ...]
    would_change: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    task: str = "single_label"
    confirmed: str | None = None
    not_exported: str | None = None
    chosen_by_seed: str | None = None
    goal: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; differences and margins in shares, not points.

        The end of an interval that has none is None.
        """
        return dict(for_json(asdict(self)))


def recommend(
    analysis: Analysis,
    *,
    prefer: Prefer | Literal["f1"] = "score",
    margin: float | None = None,
    size: int | None = None,
) -> Recommendation:
    """Recommend a strategy.

    ``score``: the best score, unless a test shows another strategy to be better, see
    :func:`~tunebench.analysis.deciding.best_first`. Where others are equal within the margin by two one-sided
    tests, it is a tie, and the one that trains fastest is recommended. ``cost`` and ``size`` turn the burden of
    proof round: of all that are not shown to be worse by more than the margin, the fastest to train or the
    smallest to keep. That answer is conclusive only if the one chosen is shown to lose no more than the margin.
    Where costs cannot be told apart, the better score decides.

    Args:
        analysis: Of the study.
        prefer: What matters most; ``f1`` is an older name of ``score``.
        margin: Points (hundredths of the metric) that do not matter; the study's own by default.
        size: Training size to decide at; by default the largest with the most strategies.

    Raises:
        ConfigError: An argument is out of range.
        StoreError: No strategy has a selected run with predictions.
    """
    comparison = analysis.comparison
    margin = comparison.margin if margin is None else margin
    prefer = "score" if prefer == "f1" else prefer
    metric = comparison.measure
    if prefer not in SPENDS:
        raise ConfigError("There is no such preference.", value=prefer, allowed=", ".join(SPENDS))
    if not metric.allows_margin(margin):
        raise ConfigError("The margin is out of range.", value=margin, allowed=metric.margins)
    entries = _at_size(analysis, size)
    by_mean = sorted(entries, key=lambda entry: -metric.merit(entry.interval().estimate))
    named = {entry.label: entry for entry in by_mean}

    @cache
    def differences(label: str) -> dict[str, Difference]:
        return {other: difference_of(entry, named[label]) for other, entry in named.items() if other != label}

    @cache
    def tests_against(label: str) -> dict[str, Equivalence]:
        return against(analysis, named[label], differences(label), margin / POINTS)

    order = best_first(list(named), tests_against, higher_is_better=metric.higher_is_better)
    ranked = [named[label] for label in order]
    best, tests = ranked[0], tests_against(order[0])

    def least(labels: Sequence[str]) -> list[str]:
        return cheapest(labels, SPENDS[prefer], [named], [analysis.entries])

    decision = decide(order, tests, least, by_score=prefer == "score", higher_is_better=metric.higher_is_better)
    chosen = named[decision.chosen]
    beside = tests_against(chosen.label)
    alternatives = tuple(
        _alternative(entry, tests.get(entry.label), beside.get(entry.label), len(ranked)) for entry in ranked
    )
    doubts = [
        *sentences([one for one in analysis.undertrained if one.train_size == chosen.train_size]),
        *not_cleared(decision, chosen, tests, margin),
        *doubts_of(comparison, chosen, ranked, tests, margin),
        *close_rates(chosen, ranked, tests, close_choices(comparison, chosen.train_size), margin),
        *metric_doubts(chosen, ranked, difference_of),
    ]
    return Recommendation(
        strategy=chosen.label,
        train_size=chosen.train_size,
        learning_rate=chosen.config.shown_learning_rate,
        metric=metric.name,
        prefer=prefer,
        margin=margin,
        sentence=sentence_of(decision, chosen, ranked, tests, prefer, margin),
        beside=beside_of(chosen, ranked),
        conclusive=not doubts,
        tie=decision.tie if len(decision.tie) > 1 else (),
        reasons=tuple(reasons_of(chosen, best, ranked, tests, margin)),
        doubts=tuple(doubts),
        not_tried=tuple(not_tried(comparison, ranked)),
        would_change=tuple(would_change(analysis.crossings, best, differences(best.label), tests)),
        alternatives=alternatives,
        task=comparison.task.name,
        confirmed=confirmation_of(comparison, chosen.label, chosen.train_size),
        not_exported=not_exported(chosen, ranked),
        chosen_by_seed=_chosen_by_seed(chosen),
        goal=None if prefer == "score" else goal_of(chosen, prefer, alone=len(decision.least) == 1),
    )


def recommended(analysis: Analysis) -> Recommendation | str:
    """Return the recommendation for the best score, or why there is none."""
    try:
        return recommend(analysis)
    except StoreError as error:
        return error.what


def _at_size(analysis: Analysis, size: int | None) -> list[Entry]:
    """Return the entries of a size; by default the largest of those at which the most strategies are done.

    A strategy counts only at the sizes that it is for.
    """
    entries = analysis.entries
    if not entries:
        raise StoreError(
            "There is nothing to recommend from: no selected run has test predictions.",
            fix="finish the study (tunebench run), or see tunebench status",
        )
    sizes = sorted({entry.train_size for entry in entries})
    if size is None:
        planned = Counter(group.train_size for group in analysis.comparison.groups())
        done = Counter(entry.train_size for entry in entries)
        size = max(sizes, key=lambda n: (done[n] / planned[n], n))
    elif size not in sizes:
        raise ConfigError(
            "No strategy has scores at this size.", value=size, allowed=", ".join(f"{n}" for n in sizes)
        )
    return [entry for entry in entries if entry.train_size == size]


def against(
    analysis: Analysis, one: Entry, differences: dict[str, Difference], margin: float
) -> dict[str, Equivalence]:
    """Test each difference from one strategy, the best or the recommended one, corrected for all pairs.

    It was found by looking at the scores, where it might have been any, so all pairs count, at all sizes. Where the
    table of pairs has them all, its corrected p is taken; else the p is multiplied by their number (Bonferroni).
    The intervals hold for all pairs together.
    """
    number = pairs_at_all_sizes(analysis.entries)
    table = {
        frozenset((pair.first.label, pair.second.label)): pair.p_holm
        for pair in (analysis.pairs if len(analysis.pairs) == number else ())
        if pair.first.train_size == one.train_size
    }
    tests = {}
    for label, difference in differences.items():
        p = table.get(frozenset((label, one.label)), min(1.0, difference.p_value * number))
        tests[label] = equivalence(
            difference, margin=margin, alpha=analysis.comparison.alpha, p_value=p, comparisons=number
        )
    return tests


def _alternative(
    entry: Entry, test: Equivalence | None, beside: Equivalence | None, strategies: int
) -> Alternative:
    known = {kind: cost_of(entry, kind) for kind in COSTS}
    return Alternative(
        entry.label,
        entry.config.shown_learning_rate,
        len(entry.seeds),
        entry.interval(),
        test,
        beside,
        {kind: value for kind, value in known.items() if value is not None},
        together(entry, strategies) if strategies > 1 else None,
        not is_answers(entry.cells[0].spec),
        _chosen_by_seed(entry),
        trained_beside_others(entry),
    )


def _chosen_by_seed(entry: Entry) -> str | None:
    return None if entry.config.is_single else entry.config.setting
