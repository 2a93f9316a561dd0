"""``tunebench bench --statistics``: how often intervals cover and decisions are wrong, where the truth is known.

Each cell of the grid draws studies from a population (:mod:`tunebench.benchmarks.populations`) and decides them
with the functions that reports use. Every share stands with its standard error: a reader can tell a miss from luck.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.analysis.deciding import decide
from tunebench.analysis.pairs import ALL_PAIRS
from tunebench.benchmarks.coverage_page import coverage_page
from tunebench.benchmarks.drawn import LEVEL, MARGIN, Study, against_best, table_of_pairs
from tunebench.benchmarks.populations import COMMITTED, Population, make_population
from tunebench.benchmarks.rules import READINGS, RULES, read_often
from tunebench.files import read_json, write_json, write_text
from tunebench.machine.environment import describe
from tunebench.stats import equivalence

Tell = Callable[[str], None]

#: Texts of a test part.
N = 2_500
#: How far behind the cheap strategies are where cost is preferred, in margins.
BEHIND = 1.5
#: Studies drawn in each cell, by number of strategies.
STUDIES = {2: 1_200, 6: 600, 18: 300}


@dataclass(frozen=True)
class Cell:
    """One cell of the grid.

    Attributes:
        strategies: Compared in a study.
        seeds: Of each.
        classes: Of the task.
        balanced: Whether they are equally frequent.
        seed_points: Standard deviation over seeds in points of macro F1; None for that of the committed studies.
        first_seed_points: That of the first strategy, where it differs.
    """

    strategies: int
    seeds: int
    classes: int = 2
    balanced: bool = True
    seed_points: float | None = None
    first_seed_points: float | None = None

    @property
    def name(self) -> str:
        """Key in the file of results."""
        kind = "balanced" if self.balanced else "unbalanced"
        noise = "" if self.seed_points is None else f", seeds {self.seed_points:g} points"
        if self.first_seed_points is not None:
            noise = f", seeds of one {self.first_seed_points:g} points"
        return f"{self.strategies} strategies, {self.seeds} seeds, {self.classes} classes, {kind}{noise}"

    def population(self, gaps: Sequence[float]) -> Population:
        """Return the population with strategies so far behind the best."""
        return make_population(
            gaps,
            classes=self.classes,
            balanced=self.balanced,
            seed_points=self.seed_points,
            first_seed_points=self.first_seed_points,
            like=COMMITTED,
        )


#: The grid, in the order in which it is filled: numbers of strategies and seeds on two balanced classes, with seeds
#: as in the committed studies, with seeds that vary by a point, and with seeds of one strategy that do; then other
#: classes.
GRID = (
    *(Cell(k, s) for k, s in product((2, 6, 18), (1, 3, 5))),
    *(Cell(k, s, seed_points=1.0) for k, s in product((2, 6, 18), (2, 3, 5))),
    *(Cell(k, s, first_seed_points=1.0) for k, s in product((6, 18), (3, 5))),
    *(Cell(k, s, *kind) for kind in ((2, False), (5, True), (5, False)) for k, s in product((2, 6, 18), (1, 3, 5))),
)


class Tally:
    """Counts of what happened, each out of as many as could."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        self.trials: Counter[str] = Counter()

    def add(self, name: str, happened: bool) -> None:
        """Count one trial."""
        self.hits[name] += bool(happened)
        self.trials[name] += 1

    def shares(self) -> dict[str, dict[str, float]]:
        """Return share, standard error and number of trials of each."""
        found = {}
        for name, trials in self.trials.items():
            share = self.hits[name] / trials
            error = math.sqrt(max(share * (1 - share), 1 / trials) / trials)
            found[name] = {"share": share, "error": error, "trials": trials}
        return found


def run_cell(cell: Cell, *, studies: int, n: int = N, seed: int = 0) -> dict[str, dict[str, float]]:
    """Draw studies of three kinds and count coverage and errors.

    Args:
        cell: Which studies.
        studies: How many of each kind.
        n: Texts of the test part.
        seed: Of the draws.
    """
    rng = np.random.default_rng([seed, *cell.name.encode()])
    tally = Tally()
    equal = cell.population([0.0] * cell.strategies)
    # With one seed the claims are of the runs, so there it is the runs that must be equal.
    still = equal if cell.seeds > 1 else _without_seeds(equal)
    for _ in range(studies):
        study = Study.draw(equal, cell.seeds, n, rng)
        _count_equal(study, equal, tally)
        _count_claims(study if still is equal else Study.draw(still, cell.seeds, n, rng), tally, rng)
    apart = cell.population([0.0, MARGIN, *[MARGIN / 2] * (cell.strategies - 2)])
    apart = apart if cell.seeds > 1 else _without_seeds(apart)
    cheap = cell.population([0.0 if k < cell.strategies / 2 else BEHIND * MARGIN for k in range(cell.strategies)])
    for _ in range(studies // 2):
        study = Study.draw(apart, cell.seeds, n, rng)
        _count_equivalence(study, apart, tally)
        _count_decisions(Study.draw(cheap, cell.seeds, n, rng), cheap, tally)
    return tally.shares()


def _without_seeds(population: Population) -> Population:
    return replace(population, seed_sd=(0.0,) * len(population.eases))


def _count_equal(study: Study, population: Population, tally: Tally) -> None:
    """Count coverage: of a score, of a difference, of the best score; with one seed, of the runs' own truth."""
    truths = population.truths
    if study.scores.shape[1] == 1:
        ease = population.eases[0]
        truths = np.array([population.score(ease, effect) for effect in study.effects[:, 0]])
    one = study.interval(0)
    tally.add("score covered", one.low <= truths[0] <= one.high)
    (gap,) = study.differences([(0, 1)])
    tally.add("difference covered", gap.interval.low <= truths[0] - truths[1] <= gap.interval.high)
    best = int(np.argmax(study.means))
    winner = study.interval(best, 1 - LEVEL / len(truths))
    tally.add("best score covered", winner.low <= truths[best] <= winner.high)


def _count_claims(study: Study, tally: Tally, rng: np.random.Generator) -> None:
    """Count false differences: of one pair, of any pair of the table, of the recommendation."""
    (gap,) = study.differences([(0, 1)])
    tally.add("one pair different", gap.p_value <= LEVEL)
    nominated = int(rng.integers(len(study.scores)))  # validation knows nothing here: all are equal
    for name, reference in (("any pair different", nominated), ("any pair different, best on test", None)):
        if reference is None and len(study.scores) <= ALL_PAIRS:
            continue
        tests = table_of_pairs(study, reference=reference)
        tally.add(name, any(test.different for test in tests.values()))
    _, found = against_best(study)
    tally.add("recommendation different", any(test.different for test in found.values()))


def _count_equivalence(study: Study, population: Population, tally: Tally) -> None:
    """Count what is called equal though it is not: the first two differ by the margin itself."""
    (gap,) = study.differences([(0, 1)])
    tally.add("one pair falsely equal", equivalence(gap, margin=MARGIN).equivalent)
    ranked, tests = against_best(study)
    truths = population.truths
    false = [
        test.equivalent and abs(truths[int(label)] - truths[int(ranked[0])]) >= MARGIN - 1e-9
        for label, test in tests.items()
    ]
    tally.add("any falsely equal", any(false))


def _count_decisions(study: Study, population: Population, tally: Tally) -> None:
    """Count decisions that are conclusive, and those of them that lose more than the margin."""
    ranked, tests = against_best(study)
    truths, half = population.truths, len(study.scores) / 2

    def cheapest(labels: Sequence[str]) -> list[str]:
        cheap = [label for label in labels if int(label) >= half]
        return cheap or list(labels)

    for prefer in ("score", "cost"):
        found = decide(ranked, tests, cheapest, by_score=prefer == "score")
        wrong = truths.max() - truths[int(found.chosen)] > MARGIN
        # With one seed nothing is conclusive: it is counted what the tests alone would say.
        settled = found.settled and study.scores.shape[1] > 1
        tally.add(f"conclusive, by {prefer}", settled)
        tally.add(f"conclusive and wrong, by {prefer}", settled and wrong)


def run_coverage(
    out: Path, *, part: float = 1.0, grid: Sequence[Cell] = GRID, n: int = N, tell: Tell = lambda line: None
) -> dict[str, Any]:
    """Fill the grid, a cell at a time; cells that the file has already are kept.

    Args:
        out: File of results, beside which its page is written; both after every cell.
        part: Share of the usual number of studies.
        grid: The cells.
        n: Texts of the test part.
        tell: Is told of every cell.
    """
    found = read_json(out) if out.exists() else {}
    settings = {"texts": n, "margin": MARGIN, "part": part, "likeness": COMMITTED.to_dict()}
    if found.get("settings") != settings:
        found = {"settings": settings}
    found = {"cells": {}, "rules": {}, "readings": {}} | found | {"machine": describe()}
    for kind, name, work in _work(grid, part, n):
        if name in found[kind]:
            continue
        begun = time.perf_counter()
        found[kind][name] = work()
        write_json(out, found)
        write_text(out.with_suffix(".md"), coverage_page(found, behind=BEHIND, cells=len(grid)))
        tell(f"{name}: {time.perf_counter() - begun:.0f} s")
    return dict(found)


def run_and_render(
    folder: Path | None, *, part: float = 1.0, tell: Tell = lambda line: None
) -> tuple[dict[str, Any], str]:
    """Fill the grid, and return the counts and the page.

    Args:
        folder: For ``coverage.json`` and ``coverage.md``; None to write nothing that stays.
        part: Share of the usual number of studies.
        tell: Is told of every cell.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary) if folder is None else folder
        found = run_coverage(place / "coverage.json", part=part, tell=tell)
    return found, coverage_page(found, behind=BEHIND, cells=len(GRID))


def _work(grid: Sequence[Cell], part: float, n: int) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    for name, rule in RULES.items():
        yield "rules", name, partial(rule, max(2, round(4_000 * part)))
    for name, reading in READINGS.items():
        yield "readings", name, partial(read_often, reading, max(2, round(20_000 * part)))
    for cell in grid:
        studies = max(2, round(STUDIES[cell.strategies] * part))
        yield "cells", cell.name, partial(run_cell, cell, studies=studies, n=n)
