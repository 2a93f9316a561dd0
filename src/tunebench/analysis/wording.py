"""The sentences of a recommendation: each number with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from tunebench.analysis.costs import COSTS, SPENDS, Prefer, cost_of
from tunebench.analysis.deciding import Decision
from tunebench.analysis.evidence import Entry
from tunebench.analysis.looks import next_look
from tunebench.formatting import ends, in_words, listed, quantity
from tunebench.stats import Crossing, Difference, Equivalence, Interval, Refusal, SeedsNeeded, seeds_needed
from tunebench.store.imported import is_answers, is_imported
from tunebench.strategies import capabilities_of
from tunebench.tasks.metric import Metric

#: Strategies that the answer names one by one; more are counted.
_NAMED = 3


def show_interval(interval: Interval) -> str:
    """Return a score with its interval: ``0.8812 [0.8741, 0.8880]``."""
    return f"{interval.estimate:.4f} {ends(interval.low, interval.high, '{:.4f}'.format)}"


def show_score(entry: Entry, strategies: int) -> str:
    """Return a score with its interval; one picked among several has the interval that holds for all together."""
    if strategies < 2:
        return show_interval(entry.interval())
    return show_together(together(entry, strategies), strategies)


def together(entry: Entry, strategies: int) -> Interval:
    """Return the interval of a score that holds for so many strategies together (Bonferroni)."""
    return entry.interval(level=1 - 0.05 / strategies)


def show_together(interval: Interval, strategies: int) -> str:
    """Return a score with an interval that holds for so many strategies together."""
    return f"{show_interval(interval)} ({holds_for(strategies)})"


def holds_for(strategies: int) -> str:
    """Say what an interval of :func:`together` holds for."""
    return f"95 % for {'both' if strategies == 2 else f'all {strategies}'} together"


def holds_for_pairs(level: float, pairs: int) -> str:
    """Say what the interval of a difference holds for: ``95 %``, or ``95 % for all 3 pairs together``."""
    together = f" for all {pairs} pairs together" if pairs > 1 else ""
    return f"{100 * level:g} %{together}"


def show_difference(interval: Interval, metric: Metric) -> str:
    """Return a difference with its interval: ``-0.3 points [-0.8, +0.2]``."""

    def show(value: float) -> str:
        return f"{value * metric.scale:+.{2 if metric.points else 4}f}"

    middle = " ".join(filter(None, (show(interval.estimate), metric.difference_unit)))
    return f"{middle} {ends(interval.low, interval.high, show)}"


def show_test(test: Equivalence, metric: Metric) -> str:
    """Return a difference with the interval of its test of equality, and what that holds for."""
    return f"{show_difference(test.interval, metric)}, {holds_for_pairs(1 - 2 * test.alpha, test.comparisons)}"


def show_plan(plan: SeedsNeeded | Refusal, metric: Metric) -> str:
    """Return how many seeds or test texts a new study of two strategies needs, or why that is not known."""
    if isinstance(plan, Refusal):
        return plan.reason
    most = f"more than {plan.cap}"
    if plan.examples is not None:
        most = f"about {float(f'{plan.examples:.2g}'):,.0f} test texts or more"
    if plan.to_differ is None and plan.to_equal is None:
        if plan.examples is None:
            return f"{most} seeds of each: seeds vary too much for this margin"
        return f"{most} (the present ones leave +-{metric.show_size(plan.left)}, however many seeds)"
    return (
        f"{most if plan.to_differ is None else plan.to_differ} seeds of each to find a difference as large as the "
        f"margin, {most if plan.to_equal is None else plan.to_equal} to show equality if there is none "
        f"(power {plan.power:.0%})"
    )


def show_costs(entry: Entry) -> str:
    """Return the main costs in a phrase."""
    parts = []
    for kind, words in (("train_seconds", "of training"), ("artifact_bytes", "of weights to keep")):
        value = cost_of(entry, kind)
        if value is not None:
            parts.append(f"{quantity(value, COSTS[kind].units)} {words}")
    return ", ".join(parts)


def _name(entry: Entry) -> str:
    config = entry.config
    what = "learning rate" if config.is_single else f"{config.searched}:"
    return f"{entry.label} ({what} {config.setting})" if config.learning_rates else entry.label


def sentence_of(
    decision: Decision,
    chosen: Entry,
    ranked: Sequence[Entry],
    tests: dict[str, Equivalence],
    prefer: Prefer,
    margin: float,
) -> str:
    """Return the answer in one sentence.

    Args:
        decision: Which one, and what stands against it.
        chosen: What is recommended.
        ranked: All strategies, the best first.
        tests: The others against the best.
        prefer: What matters most.
        margin: Points that do not matter.
    """
    metric, within, label = chosen.metric, chosen.metric.show_margin(margin), chosen.label
    head = f"Use {_name(chosen)}: {metric.label} {show_score(chosen, len(ranked))}"
    head += (
        ", answers of another model" if is_answers(chosen.cells[0].spec) else f" with {chosen.train_size:,} labels"
    )
    if not tests:
        return f"{head}; nothing else was compared."
    contradicted = contradicted_means(ranked, tests)
    first = f"the best of {len(ranked)}"
    if contradicted:
        first = f"better than {listed(contradicted, _NAMED)} on the seeds that both have"
    if label == decision.best and len(decision.tie) == 1 and prefer == "score":
        open_ = decision.open
        names = in_words(open_) if len(open_) <= _NAMED else f"{len(open_)} others"
        doubt = f"; {names} {'is' if len(open_) == 1 else 'are'} too close to call" if open_ else ""
        return f"{head}, {first}{doubt}."
    goal = goal_of(chosen, prefer, alone=len(decision.least) == 1)
    if label in decision.tie and len(decision.tie) > 1:
        others = in_words([other for other in decision.tie if other != label])
        runs = " on these runs" if any(test.over == "test examples" for test in tests.values()) else ""
        return f"{head}, equal to {others} within {within}{runs}; of these it {goal}."
    if label == decision.best:
        return f"{head}, {first}; {good_enough(within)}, it {goal}."
    shown = "loses no more than" if decision.cleared else "may lose more than"
    difference = show_test(tests[label], metric)
    return f"{head}; {good_enough(within)}, it {goal}. It {shown} {within} against {decision.best} ({difference})."


def good_enough(within: str) -> str:
    """Say among which strategies one of low cost is chosen, given the margin as shown."""
    return f"of those not shown to be worse by more than {within}"


def contradicted_means(ranked: Sequence[Entry], tests: dict[str, Equivalence]) -> list[str]:
    """Name the strategies whose mean is better than that of the best, while a test shows them to be worse.

    Args:
        ranked: All strategies, the best first.
        tests: The others against the best.
    """
    metric, best = ranked[0].metric, ranked[0].interval().estimate
    return [
        entry.label
        for entry in ranked[1:]
        if metric.merit(entry.interval().estimate) > metric.merit(best)
        and tests[entry.label].different
        and metric.merit(tests[entry.label].interval.estimate) < 0
    ]


def goal_of(chosen: Entry, prefer: Prefer, *, alone: bool) -> str:
    """Say what a strategy was chosen for, among those that are good enough."""
    if cost_of(chosen, SPENDS[prefer]) is None:
        return "scores best, as their costs are not known"
    if alone:
        return "has the smallest weights" if prefer == "size" else "trains fastest"
    least = "those with the smallest weights" if prefer == "size" else "the fastest to train"
    return f"scores best among {least}"


def not_exported(chosen: Entry, ranked: Sequence[Entry]) -> str | None:
    """Say why what is recommended cannot be exported, and which of the others can; None where it can be."""
    if can_be_exported(chosen):
        return None
    spec = chosen.cells[0].spec
    if is_answers(spec):
        why = "its answers were imported, so there is no model of it here"
    else:
        why = "its weights were not imported" if is_imported(spec) else "it trains nothing"
    others = [entry for entry in ranked if can_be_exported(entry)]
    best = f" The best that can be: {others[0].label}." if others else ""
    return f"{chosen.label} cannot be exported: {why}.{best}"


def can_be_exported(entry: Entry) -> bool:
    """Tell whether the runs left something to export."""
    spec = entry.cells[0].spec
    return not is_imported(spec) and capabilities_of(spec.kind).exportable


def reasons_of(
    chosen: Entry, best: Entry, ranked: list[Entry], tests: dict[str, Equivalence], margin: float
) -> list[str]:
    """Return why, one sentence each: the scores, the costs, the differences."""
    metric, within = chosen.metric, chosen.metric.show_margin(margin)
    lines = [f"{_name(chosen)}: {show_costs(chosen)}."] if show_costs(chosen) else []
    for entry in ranked:
        if entry is chosen:
            continue
        line = f"{_name(entry)}: {metric.label} {show_score(entry, len(ranked))}"
        line += f"; {show_costs(entry)}." if show_costs(entry) else "."
        lines.append(line)
    for label, test in tests.items():
        lines.append(
            f"{label} minus {best.label}: {show_test(test, metric)} (over {test.over}; corrected "
            f"p = {test.p_value:.2g}): {said_of(test, within)}."
        )
    return lines


def said_of(test: Equivalence, within: str) -> str:
    """Return a verdict in words.

    Args:
        test: The test.
        within: Its margin, as shown.
    """
    return {
        "equivalent": f"equal within {within}",
        "different": "a difference",
        "equivalent and different (small but real)": f"a real difference, smaller than {within}",
        "inconclusive": "too close to call",
        "equivalent on these runs": f"equal within {within} on these runs",
        "different on these runs": "a difference of these runs, not shown of the strategies",
        "equivalent and different on these runs (small but real)": "a difference of these runs, smaller than "
        f"{within}",
    }[test.verdict]


def would_change(
    crossings: Sequence[tuple[str, str, Crossing | Refusal]],
    best: Entry,
    differences: dict[str, Difference],
    tests: dict[str, Equivalence],
) -> list[str]:
    """Return what would change the answer, one sentence each."""
    lines = []
    ahead = next_look(best)
    if ahead is not None and any(test.verdict == "inconclusive" for test in tests.values()):
        lines.append(ahead)
    for label, difference in differences.items() if ahead is None else ():
        test = tests[label]
        plan = seeds_needed(difference, margin=test.margin, alpha=test.alpha)
        if test.verdict == "inconclusive" and not isinstance(plan, Refusal):
            lines.append(f"A new study of {label} against {best.label} needs {show_plan(plan, best.metric)}.")
    if lines and ahead is None:
        lines.append(
            "Seeds added to this study because it is open, and tested again, make false differences more frequent "
            f"than {100 * next(iter(tests.values())).alpha:g} %: fix the number of seeds of a new study before its "
            "first run."
        )
    for first, second, found in crossings:
        if not isinstance(found, Refusal):
            lines.append(crossing_sentence(first, second, found, train_size=best.train_size))
    return lines


def crossing_sentence(first: str, second: str, found: Crossing, *, train_size: int) -> str:
    """Say at which sizes, on the other side of the crossing, the other one of two leads."""
    size = found.size
    below, above = (first, second) if found.leads_below == "first" else (second, first)
    where = f"than about {size.labels:,.0f} labels [{size.low:,.0f}, {size.high:,.0f}] (95 %)"
    where += " (extrapolated)" if size.extrapolated else ""
    if size.labels < train_size:
        return f"Fewer {where}: below, {below} leads of {first} and {second}."
    return f"More {where}: above, {above} leads of {first} and {second}."
