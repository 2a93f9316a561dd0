"""Choosing learning rates: halving against the grid, the locked test part, and going on after a stop."""

from __future__ import annotations

import io
import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import fakes
from factories import HONEST, compare, make_cell
from tunebench.analysis.analysis import analyse
from tunebench.analysis.recommend import recommend
from tunebench.api import run_study
from tunebench.errors import PlanError
from tunebench.execution.budget import equal_compute, order
from tunebench.execution.display import PlainDisplay
from tunebench.execution.ongoing import OngoingStudy
from tunebench.execution.runner import Job
from tunebench.execution.search import Trials, chosen_settings, first_look, run_search
from tunebench.execution.study import StudyResult
from tunebench.machine.settings import Execution
from tunebench.store.plan_file import PlannedRun
from tunebench.store.record import RunRecord, Selected
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.parts import Search
from tunebench.study.spec import RunSpec
from tunebench.tasks.metrics import METRICS
from tunebench.training.attempt import Attempt, Interrupted, TrainFunction
from tunebench.training.estimate import Estimate

pytestmark = pytest.mark.usefixtures("no_report")

RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4)
EVALUATIONS = 9


def curve(spec: RunSpec, best: float) -> list[float]:
    """Return the macro F1 of every evaluation: the nearer to the best rate, the higher at every point."""
    distance = abs(np.log(spec.learning_rate / best))
    return [0.9 - 0.05 * float(distance) - 0.3 / number for number in range(1, EVALUATIONS + 1)]


def fake_train(best: float, spent: list[str], limit: int = 10**9) -> TrainFunction:
    """Return a function that follows :func:`curve`, asks whether to go on, and counts evaluations."""

    def train(attempt: Attempt) -> RunRecord:
        spec, prune = attempt.spec, attempt.prune
        assert prune is not None
        scores: list[float] = []
        status = "complete"
        for number, value in enumerate(curve(spec, best), start=1):
            if len(spent) >= limit:
                raise Interrupted("enough")
            spent.append(spec.run_id)
            scores.append(value)
            if number < EVALUATIONS and prune(scores):
                status = "pruned"
                break
        return fakes.make_record(
            spec,
            attempt.folder,
            status=status,
            selected=Selected(by="validation", step=len(scores), epoch=1.0, score=max(scores)),
            log_history=[{"eval_macro_f1": value, "step": i} for i, value in enumerate(scores)],
        )

    return train


def search(folder: Path, best: float, *, limit: int = 10**9) -> tuple[StudyStore, list[str]]:
    study = fakes.make_study(
        strategies={"full": {"learning_rate": list(RATES)}}, train_sizes=[10], search={"method": "halving"}
    )
    specs = order(fakes.make_specs(study))
    store = StudyStore.create(folder, study, [PlannedRun(spec) for spec in specs])
    spent: list[str] = []
    display = PlainDisplay(io.StringIO(), interval=0.0)
    job = Job(store, fakes.DATASET, Execution(), display, fake_train(best, spent, limit))
    run_search(specs, job, search=study.search)
    return store, spent


@pytest.mark.parametrize("best", RATES)
def test_halving_finds_the_grids_best_rate_for_fewer_steps(tmp_path: Path, best: float) -> None:
    store, spent = search(tmp_path, best)
    assert {key: setting[0] for key, setting in chosen_settings(store).items()} == {("full", 10): best}
    assert len(spent) < 0.75 * EVALUATIONS * len(RATES)
    assert {cell.status for cell in store.cells()} <= {"complete", "pruned"}


@pytest.mark.parametrize("limit", [1, 8, 12, 17])
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path, limit: int) -> None:
    whole, _ = search(tmp_path / "whole", 2e-4)
    search(tmp_path / "cut", 2e-4, limit=limit)
    again, spent = search(tmp_path / "cut", 2e-4)
    assert {c.spec.run_id: c.status for c in again.cells()} == {c.spec.run_id: c.status for c in whole.cells()}
    # A second look changes nothing and runs nothing.
    assert search(tmp_path / "cut", 2e-4)[1] == []
    assert len(spent) > 0


@pytest.mark.parametrize("trial", [1, len(RATES)])
def test_a_ctrl_c_after_the_last_evaluation_of_a_trial_stops_the_search(tmp_path: Path, trial: int) -> None:
    config = fakes.make_study(strategies={"full": {"learning_rate": list(RATES)}}, train_sizes=[10])
    store, specs = fakes.make_store(tmp_path, config)
    trained: list[str] = []

    def train(attempt: Attempt) -> RunRecord:
        record = fakes.train(attempt)
        trained.append(attempt.spec.run_id)
        if len(trained) == trial:
            signal.raise_signal(signal.SIGINT)
        return record

    stream = io.StringIO()
    job = Job(store, fakes.DATASET, Execution(), PlainDisplay(stream, interval=0.0), train)
    summary = run_search(specs, job, search=Search(method="halving"))
    assert "stopping" in stream.getvalue()
    assert summary.interrupted and summary.complete == trained and len(trained) == trial


def test_the_leader_at_every_point_is_never_given_up() -> None:
    ranks = [0.5, 0.6, 0.7, 0.8]
    for permutation in itertools.permutations(ranks):
        trials, whole = Trials(METRICS["macro_f1"], first_look=1, reduction=2), []
        for value in permutation:
            scores = [value + 0.01 * i for i in range(8)]
            if not any(trials.prune(scores[:n]) for n in range(1, 9)):
                whole.append(value)
            trials.end(None)
        assert max(ranks) in whole


def test_nothing_is_given_up_before_the_first_look() -> None:
    for number in (1, 2, 4):
        trials = Trials(METRICS["macro_f1"], first_look=number, reduction=3)
        assert not any(trials.prune([0.9] * n) for n in range(1, 9))
        trials.end(None)
        given_up = [n for n in range(1, 9) if trials.prune([0.1] * n)]
        assert given_up[0] == number


@pytest.mark.parametrize("train_size", [100, 1000])
def test_a_share_looks_equally_late_in_short_and_long_epochs(train_size: int) -> None:
    study = fakes.make_study(
        strategies={"full": {"learning_rate": [1e-5, 1e-4]}},
        train_sizes=[train_size],
        validation_fraction=0.2,
        batch_size=16,
        min_steps=300,
        epochs=2,
        evaluations_per_epoch=2,
    )
    specs = fakes.make_specs(study)
    # 80 texts are 5 steps, evaluated every 3 of 300; 800 are 50 steps, evaluated every 25.
    evaluations = {100: 100, 1000: 12}[train_size]
    assert first_look(Search(first_look=0.25), specs) == evaluations // 4
    assert first_look(Search(first_look=2), specs) == 2


@pytest.mark.parametrize("value", [0, -1, 1.5, 101])
def test_a_first_look_is_an_evaluation_or_a_share(value: float) -> None:
    with pytest.raises(ValidationError, match="first_look"):
        Search(first_look=value)


def study(model: Path, data: Path, **changes: Any) -> StudyConfig:
    settings: dict[str, Any] = {
        "name": "s",
        "model": str(model),
        "data": str(data),
        "strategies": {"full": {"learning_rate": [1e-6, 3e-3]}},
        "train_sizes": [120],
        "seeds": [1, 2],
        "max_length": 24,
        "epochs": 6,
        "batch_size": 8,
        "evaluations_per_epoch": 1,
        "search": {"method": "halving"},
    }
    return StudyConfig.model_validate(settings | changes)


def run(config: StudyConfig, folder: Path, **options: Any) -> StudyResult:
    return run_study(
        config,
        folder=folder,
        execution=Execution(device="cpu", threads=1),
        display=PlainDisplay(io.StringIO(), interval=0.0),
        **({"measure": False} | options),
    )


def test_the_test_part_is_opened_once_and_only_for_what_validation_chose(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    model, short = tiny_model("distilbert"), {"seeds": [1], "train_sizes": [60], "epochs": 2}
    config = study(model, reviews, search={"method": "grid"}, **short)
    result = run(config, tmp_path / "a")
    cells = {cell.spec.learning_rate: cell for cell in result.comparison.cells}
    chosen, other = cells[3e-3], cells[1e-6]
    assert chosen.scored and chosen.record
    assert [access.why for access in chosen.record.test_access] == ["chosen on validation"]
    assert other.trained and other.record and other.record.scores is None and not other.record.test_access
    assert other.predictions is None
    # What the lock gave is what scoring at the end of training gives.
    alone = run(study(model, reviews, strategies={"full": {"learning_rate": 3e-3}}, **short), tmp_path / "b")
    (single,) = alone.comparison.cells
    assert single.spec.run_id == chosen.spec.run_id and single.predictions and chosen.predictions
    assert np.array_equal(single.predictions()["logits"], chosen.predictions()["logits"])
    # Nothing is opened again.
    before = chosen.record.test_access
    again = run(config, tmp_path / "a")
    records = {cell.spec.learning_rate: cell.record for cell in again.comparison.cells}
    assert records[3e-3] is not None and records[3e-3].test_access == before
    # To score a better rate that comes later would be a second look, so the first choice stands.
    strategies = {"full": {"learning_rate": [1e-6]}}
    more = study(model, reviews, search={"method": "grid"}, strategies=strategies, **short)
    first = run(more, tmp_path / "c")
    assert first.comparison.cells[0].scored
    later = run(config, tmp_path / "c").comparison
    assert {cell.spec.learning_rate: cell.scored for cell in later.cells} == {1e-6: True, 3e-3: False}
    (group,) = later.groups()
    assert group.selected is not None and group.selected.learning_rate == 1e-6
    doubts = recommend(analyse(later)).doubts
    assert any("full at 60: its learning rate was chosen before other runs came" in line for line in doubts)
    assert any("Validation would choose 3e-3 now" in line for line in analyse(later).warnings)
    opened = run(config, tmp_path / "c", unlock_test=True)
    assert all(cell.scored for cell in opened.comparison.cells)
    assert any("scored more than once for: full at 60" in line for line in analyse(opened.comparison).warnings)


def test_halving_runs_the_other_seeds_at_the_chosen_rate_only(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    # The middle one is tried first and learns; the smallest does not, and is given up.
    rates = [1e-6, 3e-3, 5e-3]
    changes = {"strategies": {"full": {"learning_rate": rates}}, "train_sizes": [60]}
    config = study(tiny_model("distilbert"), reviews, **changes)
    result = run(config, tmp_path)
    found = {(c.spec.learning_rate, c.spec.seed): c.status for c in result.comparison.cells}
    (chosen,) = (rate for rate, seed in found if seed == 2)
    assert set(found) == {(rate, 1) for rate in rates} | {(chosen, 2)}
    assert found[chosen, 1] == found[chosen, 2] == "complete"
    assert found[1e-6, 1] == "pruned"
    scored = {(c.spec.learning_rate, c.spec.seed) for c in result.comparison.scored}
    assert scored == {(chosen, 1), (chosen, 2)}
    for cell in result.comparison.cells:
        if cell.status == "pruned":
            assert cell.record and cell.record.timing and not cell.record.files
            assert len(cell.record.timing.step_seconds) < 42
    assert len(set(result.summary.complete)) == len(result.summary.complete) == 4 and not result.summary.skipped
    again = run(config, tmp_path).summary
    assert again.complete == [] and sorted(again.skipped) == sorted(result.summary.complete)


@pytest.mark.parametrize("changes", [{"search": {"seeds": 2}}, {"search": {"method": "grid"}, "looks": [3, 4]}])
def test_seeds_behind_those_that_choose_run_at_the_chosen_rate_only(
    tiny_model: Callable[[str], Path],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
) -> None:
    monkeypatch.setattr("tunebench.execution.study.decided_at", lambda *args, **more: False)  # all looks are made
    model = tiny_model("distilbert")
    strategies = {"full": {"learning_rate": [1e-6, 3e-3]}, "tfidf": {"c": [1, 10]}}
    common = {"strategies": strategies, "train_sizes": [60], "epochs": 2, "seeds": [1, 2, 3, 4]}
    config = study(model, reviews, **common | changes)
    choosing = [seed for _, seed in config.choosing_draws]
    assert choosing == [1, 2, 3][: config.search.seeds]
    result = run(config, tmp_path / "a")
    cells = {(c.spec.learning_rate, c.spec.seed): c for c in result.comparison.cells if c.spec.label == "full"}
    assert set(cells) == {(rate, seed) for rate in (1e-6, 3e-3) for seed in choosing} | {
        (3e-3, seed) for seed in config.seeds
    }
    assert {key for key, cell in cells.items() if cell.scored} == {(3e-3, seed) for seed in config.seeds}
    assert all(len(c.record.test_access) == 1 for c in cells.values() if c.scored and c.record)
    # What chooses ran first, of the strategy with one setting as well: a budget is not spent on later seeds.
    first = {cell.spec.run_id for cell in result.comparison.cells if cell.spec.seed in choosing}
    assert set(result.summary.complete[: len(first)]) == first
    again = run(config, tmp_path / "a").summary
    assert not again.complete and sorted(again.skipped) == sorted(result.summary.complete)
    # What the seeds behind add is what a study of the chosen rate alone has.
    alone = run(study(model, reviews, **common | {"strategies": {"full": {"learning_rate": 3e-3}}}), tmp_path / "b")
    scores = {c.spec.run_id: c.record.scores for c in alone.comparison.cells if c.record}
    assert scores == {c.spec.run_id: c.record.scores for c in cells.values() if c.scored and c.record}


@pytest.mark.parametrize("looks", [None, [3, 4]])
def test_each_seed_chooses_its_own_rate_and_opens_the_test_part_for_it_alone(
    tiny_model: Callable[[str], Path],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    looks: list[int] | None,
) -> None:
    monkeypatch.setattr("tunebench.execution.study.decided_at", lambda *args, **more: False)  # all looks are made
    seeds = [1, 2, 3, 4]
    config = study(
        tiny_model("distilbert"),
        reviews,
        strategies={"full": {"learning_rate": [1e-3, 3e-3]}, "tfidf": {"c": [1, 10]}},
        train_sizes=[60],
        epochs=2,
        seeds=seeds,
        subset_seed="per_seed",
        search={"seeds": "each"},
        looks=looks,
    )
    result = run(config, tmp_path)
    cells = [cell for cell in result.comparison.cells if cell.spec.label == "full"]
    assert len(cells) == 8 and all(cell.trained for cell in cells)
    best = {}
    for seed in seeds:
        own = sorted((c for c in cells if c.spec.seed == seed), key=lambda cell: cell.spec.learning_rate or 0)
        best[seed] = max(own, key=lambda cell: cell.row["selection_score"]).spec.learning_rate
    assert {c.spec.seed: c.spec.learning_rate for c in cells if c.scored} == best
    assert all(len(c.record.test_access) == 1 for c in cells if c.scored and c.record)
    assert not any("scored more than once" in line for line in analyse(result.comparison).warnings)
    again = run(config, tmp_path).summary
    assert not again.complete and sorted(again.skipped) == sorted(result.summary.complete)
    # Choosing one rate for all would open the test part again.
    if len(set(best.values())) > 1:
        together = config.model_copy(update={"search": Search()})
        with pytest.raises(PlanError, match="already scored for another"):
            run(together, tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"search": {"seeds": "each", "method": "halving"}}, "halving chooses with the first seed"),
        ({"search": {"seeds": "each"}, "validation": {"folds": 3}}, "each chooses on a validation part"),
        ({"search": {"seeds": 3}}, "search.seeds is 3, but the study has 2 seeds"),
        ({"search": {"seeds": 5}, "seeds": [*range(1, 9)], "design": "anytime"}, "after 4 seeds"),
        ({"search": {"seeds": 4}, "seeds": [*range(1, 9)], "looks": [3, 8]}, "after 3 seeds"),
        ({"search": {"seeds": 1, "method": "halving"}}, "halving chooses with the first seed"),
        ({"search": {"seeds": 1}, "selection": "last"}, "needs selection: validation"),
        ({"looks": []}, "at least two of them"),
    ],
)
def test_seeds_that_cannot_choose_are_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        study(tmp_path, tmp_path, **changes)


def test_seeds_of_a_rate_that_is_no_longer_chosen_do_not_hold_up_the_test_part(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, short = tiny_model("distilbert"), {"train_sizes": [60], "epochs": 2}
    before = study(model, reviews, strategies={"full": {"learning_rate": [1e-6, 2e-6]}}, **short)
    with monkeypatch.context() as patched:
        patched.setattr(OngoingStudy, "train", lambda *args, **more: None)  # stopped before the second seed
        first = run(before, tmp_path)
    (old,) = (c.spec.learning_rate for c in first.comparison.cells if c.spec.seed == 2 and c.status == "pending")
    after = study(model, reviews, strategies={"full": {"learning_rate": [1e-6, 2e-6, 3e-3]}}, **short)
    cells = run(after, tmp_path).comparison.cells
    assert {(c.spec.learning_rate, c.spec.seed) for c in cells if c.scored} == {(3e-3, 1), (3e-3, 2)}
    (left,) = (c for c in cells if (c.spec.learning_rate, c.spec.seed) == (old, 2))
    assert (left.status, left.note) == ("left_out", "left out: another setting was chosen")


def test_a_deadline_stops_what_has_begun_and_leaves_something_to_compare(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    strategies = {"full": {"learning_rate": [1e-6, 3e-3]}, "tfidf": {"c": [1, 10]}}
    config = study(tiny_model("distilbert"), reviews, strategies=strategies, train_sizes=[60], epochs=2)
    # It is over before the first run begins: that one is completed all the same, and it is the cheap one.
    result = run(config, tmp_path / "a", deadline=0.0)
    assert result.summary.out_of_time and not result.summary.interrupted
    found = {(c.spec.label, c.spec.seed): (c.status, c.scored, c.note) for c in result.comparison.cells}
    left_out = "left out: the budget was spent before it was complete"
    assert found == {
        ("tfidf", 1): ("complete", True, None),
        ("tfidf", 2): ("left_out", False, left_out),
        # What may still change the choice of a rate stays open, and nothing of it is scored.
        ("full", 1): ("pending", False, None),
    }
    # Without a deadline the same study is completed, as if it had not been stopped.
    resumed, alone = run(config, tmp_path / "a"), run(config, tmp_path / "b")
    assert not resumed.summary.out_of_time
    scores = [
        {c.spec.run_id: c.record.scores for c in one.comparison.cells if c.record} for one in (resumed, alone)
    ]
    assert scores[0] == scores[1] and len(scores[0]) == 5
    # Of a complete study a deadline leaves nothing out, and so it is not mentioned.
    said = io.StringIO()
    here, display = Execution(device="cpu", threads=1), PlainDisplay(said, interval=0.0)
    run_study(config, folder=tmp_path / "a", execution=here, display=display, measure=False, deadline=0.0)
    assert "The budget is spent" not in said.getvalue()


def test_what_the_search_took_is_gone_from_the_budget(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[bool] = []

    def estimate_each(specs: list[RunSpec], *, measure: bool, **_: Any) -> list[Estimate]:
        measured.append(measure)
        return [Estimate(1, 1, 1, 1.0, 1e-3, measure, 1, 1) for _ in specs]

    monkeypatch.setattr("tunebench.execution.estimates.estimate_each", estimate_each)
    config = study(tiny_model("distilbert"), reviews, train_sizes=[40], epochs=1)
    # Both trials fit, and take far longer than that in truth.
    result = run(config, tmp_path, measure=True, budget_seconds=0.01)
    assert measured == [True, True]
    found = {(cell.spec.seed, cell.status) for cell in result.comparison.cells}
    assert found == {(1, "complete"), (2, "left_out")}
    (left,) = (cell.note for cell in result.comparison.cells if cell.status == "left_out")
    assert left is not None and "left out by the budget" in left
    # Another start has a budget of its own, and what is complete costs it nothing.
    again = run(config, tmp_path, measure=True, budget_seconds=10.0)
    assert {cell.status for cell in again.comparison.cells} == {"complete"}


def test_equal_compute_gives_no_strategy_more_than_the_cheapest_takes_for_all_its_rates() -> None:
    class Fake:
        def __init__(self, flops: float) -> None:
            self.train_flops = flops

    config = fakes.make_study(
        strategies={"full": {"learning_rate": list(RATES)}, "lora": {"learning_rate": list(RATES)}},
        train_sizes=[10],
        search={"budget": "compute"},
    )
    specs = order(fakes.make_specs(config))
    estimates = {spec.run_id: Fake(3.0 if spec.label == "full" else 2.0) for spec in specs}
    runs = equal_compute([PlannedRun(spec) for spec in specs], estimates)  # type: ignore[arg-type]
    kept = {label: sum(r.left_out is None for r in runs if r.spec.label == label) for label in ("full", "lora")}
    assert kept == {"full": 4, "lora": 6}
    left = {r.spec.learning_rate for r in runs if r.left_out}
    assert left == {RATES[0], RATES[-1]}
    # A baseline without an encoder takes next to nothing, and is no measure for the others.
    config = fakes.make_study(
        strategies={"full": {"learning_rate": list(RATES)}, "tfidf": {}},
        train_sizes=[10],
        search={"budget": "compute"},
    )
    specs = order(fakes.make_specs(config))
    estimates = {spec.run_id: Fake(3.0 if spec.label == "full" else 1e-6) for spec in specs}
    runs = equal_compute([PlannedRun(spec) for spec in specs], estimates)  # type: ignore[arg-type]
    assert not any(run.left_out for run in runs)


def test_a_promise_of_equal_trials_is_held_to() -> None:
    strategies = {"full": {"learning_rate": [1e-5, 5e-5]}, "lora": {"learning_rate": [1e-4]}}
    with pytest.raises(ValueError, match="full 2, lora 1"):
        fakes.make_study(strategies=strategies, search={"budget": "trials"})
    # A baseline without an encoder has no learning rate to try.
    strategies = {"full": {"learning_rate": [1e-5, 5e-5]}, "tfidf": {}}
    assert fakes.make_study(strategies=strategies, search={"budget": "trials"}).search.budget == "trials"


def test_runs_at_rates_that_were_not_chosen_are_no_gap() -> None:
    chosen, other = make_cell("full", **HONEST), make_cell("full", learning_rate=1e-5, **HONEST)
    assert other.record is not None and other.record.selected is not None
    low = other.record.selected.model_copy(update={"score": 0.1})
    locked = other.record.model_copy(update={"scores": None, "selected": low})
    from dataclasses import replace

    comparison = compare([chosen, replace(other, record=locked)])
    assert not any("have no score" in line for line in analyse(comparison).warnings)
    assert any("not chosen have no test score" in line for line in analyse(comparison).warnings)
