"""The page that shows what ``tunebench bench --statistics`` counted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

#: What is promised of each count: its heading, the smallest and the largest share.
PROMISES: dict[str, tuple[str, float, float]] = {
    "score covered": ("score", 0.93, 0.97),
    "difference covered": ("difference", 0.93, 0.97),
    "best score covered": ("best score", 0.93, 1.0),
    "one pair different": ("one pair", 0.03, 0.06),
    "any pair different": ("any pair", 0.0, 0.06),
    "any pair different, best on test": ("any pair, best on test", 0.0, 0.06),
    "recommendation different": ("recommendation", 0.0, 0.06),
    "one pair falsely equal": ("one pair", 0.0, 0.06),
    "any falsely equal": ("recommendation", 0.0, 0.06),
    "conclusive and wrong, by score": ("wrong, by score", 0.0, 0.02),
    "conclusive and wrong, by cost": ("wrong, by cost", 0.0, 0.02),
    "conclusive, by score": ("conclusive, by score", 0.0, 1.0),
    "conclusive, by cost": ("conclusive, by cost", 0.0, 1.0),
}
#: The tables of the page: heading, explanation, counts.
TABLES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Intervals",
        "How often a 95 % interval holds the true value: of one strategy's macro F1, of the difference of two, "
        "and of the best score of a study (picked because it is the best, with the interval that the "
        "recommendation gives). With one seed the true value is that of the runs. Promised: 93 to 97 %, and no "
        "less than 93 % for the best score.",
        ("score covered", "difference covered", "best score covered"),
    ),
    (
        "False differences",
        "How often equal strategies are called different: one pair by its uncorrected p (promised: 3 to 6 %), "
        "and any pair of a study after correction (at most 6 %), where the reference is the best on validation "
        "or the best on test, and in the recommendation. With one seed equal runs are drawn, and the claim is "
        "of runs.",
        (
            "one pair different",
            "any pair different",
            "any pair different, best on test",
            "recommendation different",
        ),
    ),
    (
        "False equality",
        "How often two strategies whose scores differ by exactly the margin are called equal: one pair by "
        "itself, and any in the recommendation. Promised: at most 6 %.",
        ("one pair falsely equal", "any falsely equal"),
    ),
    (
        "Recommendations",
        "Half of the strategies are cheap and score {behind:g} margins less. How often the recommendation is "
        "conclusive, and how often it is conclusive and loses more than the margin (promised: at most 2 %). "
        "With one seed nothing is conclusive. Size as a preference follows the rule of cost.",
        (
            "conclusive, by score",
            "conclusive and wrong, by score",
            "conclusive, by cost",
            "conclusive and wrong, by cost",
        ),
    ),
)
#: The most of the studies that are called different, or equal, at any look; of those whose looks were declared.
READING_PROMISE = 0.06
#: A share misses its promise where it is outside by more standard errors than this.
_LUCK = 2.0


def missed(name: str, one: Mapping[str, float]) -> bool:
    """Whether a share is outside its promise by more than luck."""
    _, low, high = PROMISES[name]
    return one["share"] < low - _LUCK * one["error"] or one["share"] > high + _LUCK * one["error"]


def coverage_page(found: Mapping[str, Any], *, behind: float, cells: int) -> str:
    """Return the page in Markdown.

    Args:
        found: What :func:`~tunebench.benchmarks.coverage.run_coverage` returns.
        behind: How far behind the cheap strategies are, in margins.
        cells: Kinds of studies in the whole grid.
    """
    settings, like = found["settings"], found["settings"]["likeness"]
    lines = [
        "# How often decisions are right",
        "",
        "`tunebench bench --statistics --out docs/results` draws studies whose true scores are known, and "
        "decides them with the functions that reports use. This page and `coverage.json` are what it wrote on "
        f"{found['machine']['cpu']}, {found['machine']['cores']} cores.",
        "",
        f"Test parts have {settings['texts']:,} texts, and strategies within {100 * settings['margin']:g} points "
        f"count as equal. Runs are drawn to resemble those of the committed studies ({like['runs']} runs). They "
        f"get {like['accuracy']:.1%} of the texts right. What two runs get right has a correlation of "
        f"{like['same']:.2f} within a strategy, and of {like['other']:.2f} between two. Scores have a standard "
        f"deviation of {100 * like['seed_sd']:.2f} points over seeds; what a seed does to two strategies has a "
        f"correlation of {like['alike']:.2f}. In rows named *seeds 1 points* that standard deviation is one "
        "point, and in rows named *seeds of one 1 points* that of the first strategy. Rare classes are harder.",
        "",
        *_unfinished(found, cells),
        "Shares are in percent. **Bold**: outside the promise by more than two standard errors.",
    ]
    for heading, words, names in TABLES:
        lines += ["", f"## {heading}", "", words.format(behind=behind), "", *_table(found["cells"], names)]
    lines += ["", "## Outside the promise", "", *_misses(found["cells"])]
    lines += ["", "## Reading a study more than once", "", *_readings(found["readings"])]
    lines += ["", "## Choosing a rate, and looks at several strategies", ""]
    for name, counts in found["rules"].items():
        shown = "; ".join(f"{what} {_rule(what, value)}" for what, value in counts.items())
        lines.append(f"- **{name[0].upper()}{name[1:]}**: {shown}.")
    lines += [
        "",
        "Two equal strategies whose rates were chosen with one run each on 400 texts are "
        "called different too often, since no interval holds that choice; the warning that the choice is not "
        "settled stands in most of these cases. Where each seed chooses on validation texts of its own "
        "(`search: {seeds: each}`), the spread over seeds holds the choice.",
    ]
    return "\n".join(lines) + "\n"


def _unfinished(found: Mapping[str, Any], cells: int) -> list[str]:
    """Say what of the usual numbers is there, where it is not all."""
    done, part = len(found["cells"]), found["settings"]["part"]
    lines = [] if done == cells else [f"{done} of {cells} kinds of studies have been drawn so far."]
    if part < 1:
        lines.append(
            f"{part:.0%} of the usual number of studies were drawn of each kind, so that shares are coarse."
        )
    return [" ".join(lines), ""] if lines else []


def _readings(readings: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the table of designs: what each costs in errors, and what it saves."""
    lines = [
        "Two strategies are compared after each of several numbers of seeds, until there is an answer. Columns: "
        "how often equal ones are called different at any look; how often two whose scores differ by exactly the "
        "margin are called equal at any look; how often a true difference of 1 point is found; and after how many "
        "seeds, on average, such a study ends. Promised where looks are declared, and where a study may be read at "
        f"any time: at most {READING_PROMISE:.0%} of either error. Where looks are not declared, each is tested as "
        "if it were the only one. *Seeds 1 points*: scores have a standard deviation of one point over seeds. *No "
        "noise of texts*: nothing else adds to the noise, and repeated looks do most harm.",
        "",
        "| read | falsely different | falsely equal | found | seeds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name, one in readings.items():
        errors = [
            _error(name, one[f"{what} at any look"], one["studies"]) for what in ("different", "called equal")
        ]
        found = f"{100 * one['found at any look']:.1f} | {one['seeds on average']:.1f}"
        lines.append(f"| {name} | {' | '.join(errors)} | {found} |")
    return lines


def _error(name: str, share: float, studies: float) -> str:
    error = math.sqrt(max(share * (1 - share), 1 / studies) / studies)
    declared = not name.startswith("not declared")
    text = f"{100 * share:.1f}"
    return f"**{text}**" if declared and share > READING_PROMISE + _LUCK * error else text


def _rule(what: str, value: float | None) -> str:
    if value is None:
        return "not seen"
    return f"{value:.2f}" if "points" in what else f"{value:.1%}"


def _table(cells: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    heads = [PROMISES[name][0] for name in names]
    lines = [f"| {' | '.join(['study', *heads])} |", f"| --- |{' ---: |' * len(heads)}"]
    for cell, counts in sorted(cells.items(), key=lambda one: [int(n) for n in re.findall(r"\d+", one[0])]):
        shown = [_share(name, counts.get(name)) for name in names]
        lines.append(f"| {' | '.join([cell.replace(', 1 seeds,', ', 1 seed,'), *shown])} |")
    return lines


def _share(name: str, one: Mapping[str, float] | None) -> str:
    if one is None:
        return ""
    text = f"{100 * one['share']:.1f}"
    return f"**{text}**" if missed(name, one) else text


def _misses(cells: Mapping[str, Any]) -> list[str]:
    """Count what is outside, and say on which side that errs."""
    below, above, total = 0, 0, 0
    for counts in cells.values():
        for name, one in counts.items():
            total += 1
            if missed(name, one):
                claims_less = ("covered" in name) == (one["share"] > PROMISES[name][1])
                above, below = above + claims_less, below + (not claims_less)
    if not below and not above:
        return [f"None of {total} shares."]
    return [
        f"Of {total} shares, {above} are outside on the conservative side (an interval covers more, or a "
        f"test finds less, than promised) and {below} on the other. Few seeds are the cause: 2 or 3 seeds, "
        "mostly of two strategies, say little about a variance, and the test of Cochran and Cox allows for that. "
        "With 2 seeds it finds next to nothing.",
    ]
