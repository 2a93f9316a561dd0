"""One recommendation, with its reasons in plain sentences and each number with its interval."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from tunebench.analysis.costs import COSTS, cost_of
from tunebench.analysis.evidence import POINTS, Entry
from tunebench.analysis.pairs import difference_of, times_corrected
from tunebench.cautions import UNKNOWN_SELECTION, test_access, unequal_rates
from tunebench.comparison import Arm, Comparison, Group, states
from tunebench.errors import ConfigError, StoreError
from tunebench.rendering import learning_rate, significant
from tunebench.stats import Crossing, Difference, Equivalence, Interval, Refusal, equivalence, seeds_to_settle
from tunebench.strategies import STRATEGIES

Prefer = Literal["f1", "cost", "size"]
#: What each preference spends least of, among strategies that are good enough.
_SPENDS: dict[Prefer, str] = {"f1": "train_seconds", "cost": "train_seconds", "size": "artifact_bytes"}


@dataclass(frozen=True)
class Alternative:
    """A strategy beside the best one.

    Attributes:
        interval: Of its macro F1.
        difference: Of its macro F1 minus the best one's, with the equivalence test; None for the best.
        costs: Mean costs by name, in their units; what was not recorded is missing.
    """

    label: str
    learning_rate: float | None
    seeds: int
    interval: Interval
    difference: Equivalence | None
    costs: dict[str, float]


@dataclass(frozen=True)
class Recommendation:
    """What to do, and why.

    Attributes:
        strategy: The recommended label.
        train_size: Labels of the runs that speak for it.
        sentence: The answer in one sentence.
        conclusive: Whether nothing that is known stands against it.
        tie: Labels that are equal within the margin, the recommended one among them.
        reasons: Why, one sentence each.
        doubts: What makes it less than sure.
        not_tried: What the study does not know.
        would_change: What would change the answer.
        alternatives: All strategies at that size, best first.
    """

    strategy: str
    train_size: int
    learning_rate: float | None
    prefer: Prefer
    margin: float
    sentence: str
    conclusive: bool
    tie: tuple[str, ...]
    reasons: tuple[str, ...]
    doubts: tuple[str, ...]
    not_tried: tuple[str, ...]
    would_change: tuple[str, ...]
    alternatives: tuple[Alternative, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; differences and margins in shares, not points."""
        return asdict(self)


def recommend(
    comparison: Comparison, *, prefer: Prefer = "f1", margin: float | None = None, size: int | None = None
) -> Recommendation:
    """Recommend a strategy.

    ``f1``: the highest macro F1; where others are equal within the margin by two one-sided tests, it is a
    tie, and the one that trains fastest is recommended. ``cost`` and ``size`` turn the burden of proof
    round: of all that are not shown to be worse by more than the margin, the fastest to train or the
    smallest to keep.

    Args:
        comparison: The study.
        prefer: What matters most.
        margin: Macro F1 points that do not matter; the study's own by default.
        size: Training size to decide at; by default the largest with the most strategies.

    Raises:
        ConfigError: An argument is out of range.
        StoreError: No strategy has a selected run with predictions.
    """
    margin = comparison.margin if margin is None else margin
    if prefer not in _SPENDS:
        raise ConfigError("There is no such preference.", value=prefer, allowed=", ".join(_SPENDS))
    if not 0 < margin <= 100:
        raise ConfigError(
            "The margin is out of range.", value=margin, allowed="macro F1 points, above 0, up to 100"
        )
    entries = _at_size(comparison.analysis.entries, size)
    ranked = sorted(entries, key=lambda entry: -entry.interval().estimate)
    best, others = ranked[0], ranked[1:]
    differences = {entry.label: difference_of(entry, best) for entry in others}
    tests = _against(comparison, best, differences, margin / POINTS)
    alternatives = tuple(_alternative(entry, tests.get(entry.label)) for entry in ranked)
    tie = tuple(entry.label for entry in ranked if entry is best or tests[entry.label].equivalent)
    worse = {name for name, test in tests.items() if test.interval.high < -margin / POINTS}
    pool = tie if prefer == "f1" else tuple(entry.label for entry in ranked if entry.label not in worse)
    spends = _SPENDS[prefer]
    chosen = min(
        (entry for entry in ranked if entry.label in pool),
        key=lambda entry: (_infinite(cost_of(entry, spends)), ranked.index(entry)),
    )
    doubts = _doubts(comparison, chosen, ranked, tests, margin)
    return Recommendation(
        strategy=chosen.label,
        train_size=chosen.train_size,
        learning_rate=chosen.arm.shown_learning_rate,
        prefer=prefer,
        margin=margin,
        sentence=_sentence(chosen, best, tests, tie, prefer, margin),
        conclusive=not doubts,
        tie=tie if len(tie) > 1 else (),
        reasons=tuple(_reasons(chosen, best, ranked, tests, margin)),
        doubts=tuple(doubts),
        not_tried=tuple(_not_tried(comparison, ranked)),
        would_change=tuple(_would_change(comparison, best, differences, tests)),
        alternatives=alternatives,
    )


def _at_size(entries: list[Entry], size: int | None) -> list[Entry]:
    if not entries:
        raise StoreError(
            "There is nothing to recommend from: no selected run has test predictions.",
            fix="finish the study (tunebench run), or see tunebench status",
        )
    sizes = sorted({entry.train_size for entry in entries})
    if size is None:
        size = max(sizes, key=lambda n: (sum(entry.train_size == n for entry in entries), n))
    elif size not in sizes:
        raise ConfigError(
            "No strategy has scores at this size.", value=size, allowed=", ".join(f"{n}" for n in sizes)
        )
    return [entry for entry in entries if entry.train_size == size]


def _against(
    comparison: Comparison, best: Entry, differences: dict[str, Difference], margin: float
) -> dict[str, Equivalence]:
    """Test each difference from the best, with the corrected p that the table of pairs gives.

    A pair that is not in the table was found by looking at the scores, where it might have been any: its p is
    multiplied by the number of all pairs (Bonferroni).
    """
    table = {
        frozenset((pair.first.label, pair.second.label)): pair.p_holm
        for pair in comparison.analysis.pairs
        if pair.first.train_size == best.train_size
    }
    tests = {}
    for label, difference in differences.items():
        p = table.get(frozenset((label, best.label)))
        p = min(1.0, difference.p_value * _pairs(differences)) if p is None else p
        tests[label] = equivalence(difference, margin=margin, p_value=p)
    return tests


def _pairs(differences: dict[str, Difference]) -> int:
    """Return how many pairs the best and the others make."""
    return len(differences) * (len(differences) + 1) // 2


def _infinite(value: float | None) -> float:
    return float("inf") if value is None else value


def _alternative(entry: Entry, test: Equivalence | None) -> Alternative:
    known = {kind: cost_of(entry, kind) for kind in COSTS}
    return Alternative(
        entry.label,
        entry.arm.shown_learning_rate,
        len(entry.seeds),
        entry.interval(),
        test,
        {kind: value for kind, value in known.items() if value is not None},
    )


# Sentences -----------------------------------------------------------------------------------------


def show_interval(interval: Interval) -> str:
    """Return a score with its interval: ``0.8812 [0.8741, 0.8880]``."""
    return f"{interval.estimate:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def show_points(interval: Interval) -> str:
    """Return a difference in points with its interval: ``-0.3 points [-0.8, +0.2]``."""
    values = (interval.estimate * POINTS, interval.low * POINTS, interval.high * POINTS)
    middle, low, high = (f"{value:+.2f}" for value in values)
    return f"{middle} points [{low}, {high}]"


def show_costs(entry: Entry) -> str:
    """Return the main costs in a phrase."""
    parts = []
    for kind, words in (("train_seconds", "of training"), ("artifact_bytes", "of weights to keep")):
        value = cost_of(entry, kind)
        if value is not None:
            parts.append(f"{significant(2)(value / COSTS[kind].per)} {COSTS[kind].unit} {words}")
    return ", ".join(parts)


def _name(entry: Entry) -> str:
    rate = entry.arm.shown_learning_rate
    return entry.label if rate is None else f"{entry.label} (learning rate {learning_rate(rate)})"


def _sentence(
    chosen: Entry,
    best: Entry,
    tests: dict[str, Equivalence],
    tie: tuple[str, ...],
    prefer: Prefer,
    margin: float,
) -> str:
    head = f"Use {_name(chosen)}: macro F1 {show_interval(chosen.interval())} with {chosen.train_size:,} labels"
    if chosen is best and len(tie) == 1:
        if not tests:
            return f"{head}; nothing else was compared."
        open_ = [label for label, test in tests.items() if test.verdict == "inconclusive"]
        doubt = f", but the difference to {' and '.join(open_)} is not settled" if open_ else ""
        return f"{head}, the highest of {1 + len(tests)}{doubt}."
    goal = "keeps least" if prefer == "size" else "trains fastest"
    if cost_of(chosen, _SPENDS[prefer]) is None:
        goal = "scores highest, as their costs are not known"
    if chosen.label in tie:
        others = " and ".join(label for label in tie if label != chosen.label)
        return f"{head}, a tie with {others} within {margin:g} points; of these it {goal}."
    difference = show_points(tests[chosen.label].interval)
    return (
        f"{head}; it {goal}, and was not shown to be more than {margin:g} points below {best.label} ({difference})."
    )


def _reasons(
    chosen: Entry, best: Entry, ranked: list[Entry], tests: dict[str, Equivalence], margin: float
) -> list[str]:
    lines = [f"{_name(chosen)}: {show_costs(chosen)}."] if show_costs(chosen) else []
    for entry in ranked:
        if entry is chosen:
            continue
        line = f"{_name(entry)}: macro F1 {show_interval(entry.interval())}"
        line += f"; {show_costs(entry)}." if show_costs(entry) else "."
        lines.append(line)
    for label, test in tests.items():
        said = {
            "equivalent": f"equal within {margin:g} points",
            "different": "a difference",
            "equivalent and different (small but real)": f"a real difference, smaller than {margin:g} points",
            "inconclusive": f"neither a difference nor equality within {margin:g} points could be shown",
        }[test.verdict]
        lines.append(
            f"{label} minus {best.label}: {show_points(test.interval)} ({test.interval.level:.0%} interval over "
            f"{test.over}, corrected p = {test.p_value:.2g}): {said}."
        )
    return lines


def _doubts(
    comparison: Comparison,
    chosen: Entry,
    ranked: list[Entry],
    tests: dict[str, Equivalence],
    margin: float,
) -> list[str]:
    lines = []
    if comparison.selection == "test":
        lines.append("Checkpoints were selected on test, so all scores are optimistic.")
    if comparison.selection == "not known":
        lines.append(UNKNOWN_SELECTION)
    lines += test_access(comparison)
    groups = [g for g in comparison.groups() if g.train_size == chosen.train_size]
    lines += _missing(groups, ranked)
    if min(len(entry.seeds) for entry in ranked) < 2:
        lines.append(
            "A strategy has a single run: intervals hold the test examples only, not the luck of training."
        )
    edge = [group.label for group in groups if group.at_edge]
    if edge:
        lines.append(
            f"The best learning rate of {', '.join(edge)} lies at the edge of those tried, so a better one may lie "
            "outside: the comparison is inconclusive until it is searched."
        )
    single = [g.label for g in groups if len(g.tried) == 1 and g.arms[0].shown_learning_rate is not None]
    if single:
        lines.append(
            f"One learning rate for {', '.join(single)}: what looks like a difference of strategies may be one of "
            "learning rates."
        )
    lines += unequal_rates(groups)
    open_ = [label for label, test in tests.items() if test.verdict == "inconclusive"]
    if open_:
        lines.append(
            f"Not settled against the highest score: {', '.join(open_)} (margin {margin:g} points; "
            "see what more seeds would do)."
        )
    return lines


def _missing(groups: list[Group], ranked: list[Entry]) -> list[str]:
    """Name the runs of this size that could have spoken, and did not."""
    entries = {entry.label: entry for entry in ranked}
    lines = []
    silent = [f"{g.label} ({states(g.cells)})" for g in groups if g.label not in entries]
    if silent:
        lines.append(f"Not compared, as no test score is there: {', '.join(silent)}.")
    for label, entry in entries.items():
        lost = [cell for cell in entry.arm.cells if not cell.scored]
        if lost:
            lines.append(
                f"{label}: {len(lost)} of {len(entry.arm.cells)} runs at its learning rate have no score "
                f"({states(lost)}), and those that have one may not speak for them."
            )
    open_ = [f"{g.label} at {learning_rate(arm.learning_rate)}" for g in groups for arm in g.arms if _to_come(arm)]
    if open_:
        lines.append(f"Still to come, and may be chosen instead: {', '.join(open_)}.")
    return lines


def _to_come(arm: Arm) -> bool:
    return not arm.tried and any(cell.status in ("pending", "running") for cell in arm.cells)


def _not_tried(comparison: Comparison, ranked: list[Entry]) -> list[str]:
    lines = []
    if len(ranked) > 1:
        lines.append(
            f"How the highest of {len(ranked)} does on fresh texts: it was picked by its score on these, which "
            "flatters it."
        )
    kinds = {cell.spec.kind for cell in comparison.cells}
    missing = [name for name in STRATEGIES if name not in kinds]
    unknown = dict.fromkeys(cell.spec.label for cell in comparison.cells if cell.spec.kind is None)
    if unknown:
        lines.append(
            f"What kind of strategy {', '.join(unknown)} is was not recorded, so what was not run is not known."
        )
    elif missing:
        lines.append(f"Kinds of strategy that were not run: {', '.join(missing)}.")
    single = [label for label in comparison.labels if len(_rates(comparison, label)) == 1]
    if single:
        lines.append(f"Other learning rates of {', '.join(single)}.")
    if len({cell.spec.subset_seed for cell in comparison.cells}) == 1:
        lines.append("Another draw of the training subset: no interval here holds it.")
    lines.append("Other models and other data.")
    return lines


def _rates(comparison: Comparison, label: str) -> set[float | None]:
    """Return the learning rates that were tried, at any size; none of a strategy that has none."""
    arms = [arm for group in comparison.groups() if group.label == label for arm in group.arms]
    return {arm.shown_learning_rate for arm in arms if arm.tried} - {None}


def _would_change(
    comparison: Comparison, best: Entry, differences: dict[str, Difference], tests: dict[str, Equivalence]
) -> list[str]:
    lines = []
    for label, difference in differences.items():
        test = tests[label]
        times = times_corrected(difference.p_value, test.p_value, comparisons=_pairs(differences))
        settle = seeds_to_settle(difference, margin=test.margin, comparisons=times)
        if not isinstance(settle, Refusal) and settle.more != 0:
            lines.append(f"{label} against {best.label}: {settle.reason}.")
    for first, second, found in comparison.analysis.crossings:
        if not isinstance(found, Refusal):
            lines.append(crossing_sentence(first, second, found, train_size=best.train_size))
    return lines


def crossing_sentence(first: str, second: str, found: Crossing, *, train_size: int) -> str:
    """Say at which sizes, on the other side of the crossing, the other one of two leads."""
    size = found.size
    below, above = (first, second) if found.leads_below == "first" else (second, first)
    where = f"than about {size.labels:,.0f} labels [{size.low:,.0f}, {size.high:,.0f}]"
    where += " (extrapolated)" if size.extrapolated else ""
    if size.labels < train_size:
        return f"Fewer {where}: below, {below} leads of {first} and {second}."
    return f"More {where}: above, {above} leads of {first} and {second}."
