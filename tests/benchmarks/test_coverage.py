"""The study of errors: its populations are what they say, and a short form of it keeps its promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from thorough import mostly_thorough
from tunebench.benchmarks import coverage
from tunebench.benchmarks.coverage import Cell, run_cell, run_coverage
from tunebench.benchmarks.coverage_page import coverage_page
from tunebench.benchmarks.drawn import Study
from tunebench.benchmarks.populations import COMMITTED, SHARES, likeness_of, make_population
from tunebench.benchmarks.rules import READINGS, RULES, read_often
from tunebench.files import read_json
from tunebench.stats import MACRO_F1, crossed_difference, crossed_interval

RESULTS = Path(__file__).parents[2] / "docs" / "results"


ONCE_AND_OFTEN = [
    f"{read}; seeds 1 points" for read in ("once, after 10 seeds", "not declared, after every seed from 2 to 10")
]


def test_the_populations_are_like_the_committed_studies() -> None:
    found = likeness_of([RESULTS / name for name in ("honest-minilm", "parity", "equivalence", "batch-order")])
    assert found.to_dict() == pytest.approx(COMMITTED.to_dict(), abs=6e-4)


@pytest.mark.parametrize("shape", list(SHARES))
def test_the_true_score_is_that_of_a_large_sample(shape: tuple[int, bool]) -> None:
    population = make_population([0.0, 0.02], classes=shape[0], balanced=shape[1], seed_points=1.0)
    assert population.truths[0] - population.truths[1] == pytest.approx(0.02, abs=1e-6)
    labels, predictions, effects = population.sample(np.random.default_rng(0), 2, 100_000)
    for ease, rows, own in zip(population.eases, predictions, effects, strict=True):
        for run, effect in zip(rows, own, strict=True):
            seen = f1_score(labels, run, average="macro")
            assert seen == pytest.approx(population.score(ease, effect), abs=0.006)


def test_a_study_that_was_drawn_is_decided_as_reports_decide() -> None:
    population = make_population([0.0, 0.02])
    study = Study.draw(population, 3, 600, np.random.default_rng(1))
    (mine,) = study.differences([(0, 1)])
    theirs = crossed_difference(study.labels, *study.predictions, classes=2, metric=MACRO_F1)
    assert (mine.interval.low, mine.interval.high) == pytest.approx((theirs.interval.low, theirs.interval.high))
    assert mine.p_value == pytest.approx(theirs.p_value)
    (early,) = study.first(2).differences([(0, 1)])
    two = crossed_difference(study.labels, *study.predictions[:, :2], classes=2, metric=MACRO_F1)
    assert early.p_value == pytest.approx(two.p_value)
    one = crossed_interval(study.labels, study.predictions[0], classes=2, metric=MACRO_F1)
    assert study.interval(0).high == pytest.approx(one.high)


@pytest.mark.parametrize(
    "cell",
    mostly_thorough([Cell(2, 3), Cell(6, 3, seed_points=1.0)], keep=lambda cell: cell.strategies == 2),
    ids=lambda cell: cell.name,
)
def test_the_short_form_keeps_its_promises(cell: Cell) -> None:
    found = {name: one["share"] for name, one in run_cell(cell, studies=150, n=400).items()}
    assert all(found[f"{name} covered"] >= 0.90 for name in ("score", "difference", "best score"))
    assert found["one pair different"] <= 0.09 and found["any pair different"] <= 0.09
    assert found["recommendation different"] <= 0.09
    assert max(found["conclusive and wrong, by score"], found["conclusive and wrong, by cost"]) <= 0.03


def test_what_the_file_has_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, told = (Cell(2, 1), Cell(2, 2)), []
    monkeypatch.setattr(coverage, "READINGS", dict(list(READINGS.items())[:2]))
    first = run_coverage(tmp_path / "c.json", part=0.002, grid=grid[:1], n=100, tell=told.append)
    monkeypatch.setattr(coverage, "RULES", {})
    both = run_coverage(tmp_path / "c.json", part=0.002, grid=grid, n=100, tell=told.append)
    assert len(told) == 2 + len(RULES) + 2 and set(both["cells"]) == {cell.name for cell in grid}
    assert both["cells"][grid[0].name] == first["cells"][grid[0].name]
    assert read_json(tmp_path / "c.json") == both
    other = run_coverage(tmp_path / "c.json", part=0.003, grid=grid[:1], n=100)
    assert set(other["cells"]) == {grid[0].name} and not other["rules"]


def test_peeking_costs_and_a_choice_on_validation_is_warned_of() -> None:
    looks = {name: read_often(READINGS[name], 3_000)["different at any look"] for name in ONCE_AND_OFTEN}
    assert looks[ONCE_AND_OFTEN[0]] < 0.06 < looks[ONCE_AND_OFTEN[1]]
    assert RULES["six equal strategies, looks after 5 and 10 seeds, seeds 1 points"](40)
    tuned = RULES["two equal strategies, each tuned once"](2_000)
    assert tuned["called different, and no warning"] < 0.06 < tuned["called different"]
    own = RULES["two equal strategies of which each seed chooses the rate, 3 seeds"](2_000)
    assert own["called different"] < 0.06
    choice = RULES["choice of a rate, one seed"](2_000)
    assert choice["warned where another rate is better"] > 0.9 and 0 < choice["regret in points"] < 1


def test_the_committed_page_is_made_of_the_committed_counts() -> None:
    counts = read_json(RESULTS / "coverage.json")
    page = coverage_page(counts, behind=coverage.BEHIND, cells=len(coverage.GRID))
    assert page == (RESULTS / "coverage.md").read_text()


def test_what_the_docs_say_of_one_strategy_that_varies_more_is_what_was_counted() -> None:
    cells = read_json(RESULTS / "coverage.json")["cells"]
    noisy = [counts for name, counts in cells.items() if "seeds of one" in name]
    assert len(noisy) == 4
    single, covered = (
        [100 * counts[name]["share"] for counts in noisy for name in names]
        for names in (["one pair different"], ["score covered", "difference covered"])
    )
    assert (round(min(single)), round(max(single))) == (6, 9)
    assert (round(min(covered)), round(max(covered))) == (91, 96)
    for name in ("any pair different", "recommendation different"):
        assert all(counts[name]["share"] < 0.06 for counts in noisy)


def test_what_the_docs_say_of_a_rate_that_two_seeds_choose_is_what_was_counted() -> None:
    rules = read_json(RESULTS / "coverage.json")["rules"]
    once, twice = (
        rules[f"two equal strategies, each tuned {how}"]["called different"]
        for how in ("once", "with two seeds on validation texts of their own")
    )
    assert (round(100 * once), round(100 * twice)) == (10, 8)
    each = [
        rules[f"two equal strategies of which each seed chooses the rate, {seeds} seeds"]["called different"]
        for seeds in (3, 5)
    ]
    assert [round(100 * share) for share in each] == [3, 4]
