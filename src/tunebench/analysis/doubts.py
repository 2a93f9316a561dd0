"""What makes a recommendation less than sure, and what the study does not know: one sentence each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration, states
from tunebench.analysis.deciding import Decision
from tunebench.analysis.evidence import POINTS, Entry, undefined
from tunebench.analysis.group import Group
from tunebench.analysis.looks import added_seeds, between_looks
from tunebench.analysis.pairs import best_on_selection
from tunebench.analysis.rate_warnings import unequal_rates
from tunebench.analysis.tuning import CloseChoice
from tunebench.analysis.warnings import UNKNOWN_SELECTION, overtaken, test_access
from tunebench.analysis.wording import contradicted_means, show_interval, show_test
from tunebench.formatting import in_words, listed
from tunebench.stats import Equivalence
from tunebench.store.imported import is_answers
from tunebench.strategies import STRATEGIES

#: Strategies that a sentence names; more are counted.
_NAMED = 3


def close_rates(
    chosen: Entry,
    ranked: Sequence[Entry],
    tests: dict[str, Equivalence],
    choices: Sequence[CloseChoice],
    margin: float,
) -> list[str]:
    """Name the strategies that might beat the recommended one at another learning rate, as good on validation.

    Args:
        chosen: What is recommended.
        ranked: All strategies of its size.
        tests: The others against the best.
        choices: Those whose runner-up is close.
        margin: Points that do not matter, where strategies are equal.
    """
    gains = {choice.group.label: choice.gain for choice in choices}
    metric, mine = chosen.metric, chosen.metric.merit(chosen.interval().estimate)
    found = []
    for entry in ranked:
        if entry is chosen or entry.label not in gains or not entry.selected_by_metric:
            continue
        test = tests.get(entry.label) or tests.get(chosen.label)
        spare = margin / POINTS if test is not None and test.equivalent else 0.0
        if metric.merit(entry.interval().estimate) + gains[entry.label] > mine + spare:
            found.append(entry.label)
    what = "setting" if any(entry.config.tuned for entry in ranked) else "learning rate"
    near = [label for label in found if math.isfinite(gains[label])]
    unknown = [label for label in found if label not in near]
    lines = []
    if near:
        lines.append(
            f"The {what} of {listed(near, _NAMED)} is not settled: on validation another one is within two "
            f"standard errors, which may be worth more than the distance to {chosen.label}."
        )
    if unknown:
        lines.append(
            f"The {what} of {listed(unknown, _NAMED)} may not be the best: one run of each does not tell how much "
            f"{metric.label} varies on validation. search: {{seeds: 2}} chooses with two."
        )
    return lines


def doubts_of(
    comparison: Comparison,
    chosen: Entry,
    ranked: list[Entry],
    tests: dict[str, Equivalence],
    margin: float,
) -> list[str]:
    """Return what makes the answer less than sure, one sentence each."""
    lines = []
    if comparison.selection == "test":
        lines.append("Checkpoints were selected on test, so all scores are optimistic.")
    if comparison.selection == "not known":
        lines.append(UNKNOWN_SELECTION)
    lines += [
        *test_access(comparison),
        *overtaken(comparison),
        *between_looks(comparison),
        *added_seeds(comparison),
        *comparison.doubts,
    ]
    groups = [g for g in comparison.groups() if g.train_size == chosen.train_size]
    lines += [*_contradicted(ranked, tests), *_missing(comparison, groups, ranked), *_undefined(comparison, ranked)]
    answered = [entry.label for entry in ranked if is_answers(entry.cells[0].spec)]
    if min((len(entry.seeds) for entry in ranked if entry.label not in answered), default=2) < 2:
        lines.append(
            "A strategy has a single run: intervals hold the test examples only, not the luck of training."
        )
    if answered:
        lines.append(f"How much the answers of {in_words(answered)} vary is not known: each text was asked once.")
    edge = [group.label for group in groups if group.at_edge]
    if edge:
        lines.append(
            f"The best learning rate of {', '.join(edge)} lies at the edge of those tried, so a better one may lie "
            "outside: the comparison is inconclusive until it is searched."
        )
    single = [g.label for g in groups if len(set(g.tried)) == 1 and g.configs[0].shown_learning_rate is not None]
    if single:
        lines.append(
            f"One learning rate for {', '.join(single)}: what looks like a difference of strategies may be one of "
            "learning rates."
        )
    lines += unequal_rates(groups)
    open_ = [label for label, test in tests.items() if test.verdict == "inconclusive"]
    if open_:
        lines.append(
            f"Too close to call against the best score: {', '.join(open_)} "
            f"(margin {chosen.metric.show_margin(margin)}; see what a new study needs)."
        )
    return lines


def _contradicted(ranked: Sequence[Entry], tests: dict[str, Equivalence]) -> list[str]:
    """Say that means and tests disagree on which strategy is best."""
    found = contradicted_means(ranked, tests)
    if not found:
        return []
    have, its, are = ("has", "its", "is") if len(found) == 1 else ("have", "their", "are")
    return [
        f"{listed(found, _NAMED)} {have} a better mean over all {its} seeds than {ranked[0].label}, but {are} "
        "shown to be worse on the seeds that both have. The test decides."
    ]


def _missing(comparison: Comparison, groups: list[Group], ranked: list[Entry]) -> list[str]:
    """Name the runs of this size that could have spoken, and did not."""
    entries = {entry.label: entry for entry in ranked}
    lacking = {group.label: group.lacking for group in groups}
    lines = []
    silent = [f"{g.label} ({states(g.cells)})" for g in groups if g.label not in entries]
    if silent:
        lines.append(f"Not compared, as no test score is there: {', '.join(silent)}.")
    for label, entry in entries.items():
        lost = lacking[label]
        if lost:
            what = "seeds" if label in comparison.chosen_by_seed else "runs at its learning rate"
            have = "has" if len(lost) == 1 else "have"
            lines.append(
                f"{label}: {len(lost)} of {len(lost) + len(entry.config.scored)} {what} {have} no score "
                f"({states(lost)}), and those that have one may not speak for them."
            )
    open_ = [
        g.label if config.shown_learning_rate is None else f"{g.label} at {config.setting}"
        for g in groups
        for config in g.configs
        if _to_come(config)
    ]
    if open_:
        lines.append(f"Still to come, and may be chosen instead: {', '.join(open_)}.")
    return lines


def _undefined(comparison: Comparison, ranked: list[Entry]) -> list[str]:
    """Name the strategies some of whose runs are left out, as the metric is not defined for them."""
    cells = [cell for cell in undefined(comparison) if cell.spec.train_size == ranked[0].train_size]
    lost = Counter(cell.spec.label for cell in cells)
    return [
        f"{comparison.measure.label} is not defined for {count} of the runs of {label}, as where one class alone "
        "is predicted. They are left out, which flatters it."
        for label, count in lost.items()
    ]


def _to_come(config: Configuration) -> bool:
    return not config.tried and any(cell.to_come for cell in config.cells)


def not_tried(comparison: Comparison, ranked: list[Entry]) -> list[str]:
    """Return what the study does not know, one sentence each."""
    lines = []
    if len(ranked) > 1:
        lines.append(
            f"How the best of {len(ranked)} does on fresh texts: it was picked by its score on these, which "
            "flatters the score; the interval allows for that." + _unflattered(ranked)
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


def _unflattered(ranked: Sequence[Entry]) -> str:
    """Return the test score of the strategy that validation would pick; nothing where it does not know all."""
    found = best_on_selection(ranked)
    if found is None or not all(entry.selected_by_metric and entry.config.selection_scores() for entry in ranked):
        return ""
    score = show_interval(found.interval())
    return f" Validation would pick {found.label}. Its score on test, {score} (95 %), is not flattered."


def _rates(comparison: Comparison, label: str) -> set[float | None]:
    """Return the learning rates that were tried, at any size; none of a strategy that has none."""
    configs = [config for group in comparison.groups() if group.label == label for config in group.configs]
    return {config.shown_learning_rate for config in configs if config.tried} - {None}


def not_cleared(decision: Decision, chosen: Entry, tests: dict[str, Equivalence], margin: float) -> list[str]:
    """Say where the strategy chosen for its cost may lose more than the margin."""
    if decision.cleared:
        return []
    difference = show_test(tests[chosen.label], chosen.metric)
    return [
        f"{chosen.label} may be worse than {decision.best} by more than {chosen.metric.show_margin(margin)} "
        f"({difference}): it was chosen for its cost."
    ]
