from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import make_record, make_specs, make_study
from tunebench.errors import ConfigError, ErrorGroup, PlanError, StoreError, TunebenchError
from tunebench.execution.budget import choose, order, wall_seconds
from tunebench.execution.checks import disk_need
from tunebench.execution.dry_run import dry_run_rows
from tunebench.execution.plan import Plan, make_plan
from tunebench.formatting import parse_duration
from tunebench.machine import devices
from tunebench.machine.settings import Execution
from tunebench.store.plan_file import PlannedRun
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec
from tunebench.study.yaml_file import load_study, presets
from tunebench.training.estimate import Estimate
from tunebench.training.parts import describe_parts, run_parts


def estimate(seconds: float = 1.0, **changes: Any) -> Estimate:
    values = {
        "steps": 1,
        "trainable_params": 10,
        "total_params": 100,
        "train_flops": 1.0,
        "seconds": seconds,
        "measured": False,
        "memory_bytes": 1,
        "disk_bytes": 1,
    }
    return Estimate(**(values | changes))


@st.composite
def grids(draw: st.DrawFn) -> StudyConfig:
    rates = st.lists(st.sampled_from([1e-5, 3e-5, 1e-4, 3e-4, 1e-3]), min_size=1, max_size=5, unique=True)
    return make_study(
        strategies={
            "full": {"learning_rate": draw(rates)},
            "lora": {"learning_rate": draw(rates)},
            "lora16": {"kind": "lora", "rank": 16, "learning_rate": draw(rates)},
        },
        train_sizes=draw(st.lists(st.integers(2, 900), min_size=1, max_size=4, unique=True)),
        seeds=draw(st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True)),
    )


def block(spec: RunSpec) -> tuple[int, int]:
    return spec.seed, spec.train_size


@settings(max_examples=20, deadline=None)
@given(grids())
def test_a_stop_at_any_time_leaves_whole_comparisons_and_at_most_one_begun(study: StudyConfig) -> None:
    specs = make_specs(study)
    ordered = order(specs)
    assert sorted(s.run_id for s in ordered) == sorted(s.run_id for s in specs)
    for stop in range(1, len(ordered) + 1):
        done = ordered[:stop]
        begun = [b for b in {block(s) for s in done} if sum(block(s) == b for s in done) < len(of(specs, b))]
        assert len(begun) <= 1
    # The first seed first, in it the smallest size first, all strategies side by side.
    blocks = list(dict.fromkeys(block(s) for s in ordered))
    assert blocks == [(seed, size) for seed in study.seeds for size in sorted(study.train_sizes)]  # type: ignore[type-var]


def of(specs: list[RunSpec], wanted: tuple[int, int]) -> list[RunSpec]:
    return [s for s in specs if block(s) == wanted]


@settings(max_examples=20, deadline=None)
@given(grids())
def test_strategies_take_turns_and_rates_go_from_the_middle_outward(study: StudyConfig) -> None:
    specs = make_specs(study)
    first = of(order(specs), (study.seeds[0], min(study.train_sizes)))  # type: ignore[type-var]
    tried: dict[str, list[float]] = {label: [] for label in study.strategies}
    for spec in first:
        # No strategy gets a second rate while another one that has rates left got fewer.
        waiting = [k for k, s in study.strategies.items() if len(tried[k]) < len(s.learning_rate)]
        assert len(tried[spec.label]) == min(len(tried[k]) for k in waiting)
        tried[spec.label].append(spec.learning_rate)
    for label, rates in tried.items():
        values = sorted(study.strategies[label].learning_rate)
        distances = [abs(values.index(rate) - (len(values) - 1) / 2) for rate in rates]
        assert distances == sorted(distances)


@settings(max_examples=25, deadline=None)
@given(grids(), st.floats(0.1, 60), st.data())
def test_a_budget_takes_the_longest_run_of_whole_blocks_that_fits(
    study: StudyConfig, budget: float, data: st.DataObject
) -> None:
    ordered = order(make_specs(study))
    costs = st.floats(0.1, 5)
    estimates = {s.run_id: estimate(data.draw(costs)) for s in ordered}
    runs = choose(ordered, estimates, budget)
    assert [r.spec for r in runs] == ordered  # nothing is missing
    taken = [r.spec for r in runs if r.left_out is None]
    assert sum(estimates[s.run_id].seconds for s in taken) <= budget
    blocks = list(dict.fromkeys(block(s) for s in ordered))
    # By definition: add up whole blocks until one does not fit.
    spent, fitting = 0.0, []
    for b in blocks:
        spent += sum(estimates[s.run_id].seconds for s in of(ordered, b))
        if spent > budget:
            break
        fitting.append(b)
    if fitting:
        assert {block(s) for s in taken} == set(fitting)
        assert len(taken) == sum(len(of(ordered, b)) for b in fitting)
    else:
        assert {block(s) for s in taken} <= {blocks[0]}
        affordable = min(estimates[s.run_id].seconds for s in of(ordered, blocks[0]))
        assert bool(taken) == (affordable <= budget)
    assert all("budget" in r.left_out and "needs about" in r.left_out for r in runs if r.left_out)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=12), st.integers(1, 4))
def test_runs_at_a_time_end_within_the_time_that_they_are_given(seconds: list[float], at_a_time: int) -> None:
    allowed = wall_seconds([("reviews", one) for one in seconds], at_a_time)
    # By definition: each run begins where a place is free first.
    free = [0.0] * at_a_time
    for one in seconds:
        free[free.index(min(free))] += one
    assert max(free) <= allowed + 1e-9
    assert allowed <= sum(seconds) + 1e-9
    if at_a_time == 1:
        assert allowed == pytest.approx(sum(seconds))


def test_runs_at_a_time_share_a_budget() -> None:
    ordered = order(make_specs(make_study(train_sizes=[10, 20, 30])))
    estimates = {s.run_id: estimate(10.0) for s in ordered}
    for at_a_time, taken in ((1, 2), (2, 4), (4, 6)):
        runs = choose(ordered, estimates, 25.0, at_a_time=at_a_time)
        assert sum(run.left_out is None for run in runs) == taken


def test_time_is_divided_where_runs_do_not_wait_for_each_other(
    model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: one of each strategy trains for as many seconds as it has labels."""

    def taken(**changes: Any) -> int:
        places = {"model": model, "data": data, "selection": "last", "train_sizes": [10, 20, 30]}
        study = make_study(**places | changes)
        plan = make_plan(study, execution=Execution(device=device, workers=2, executor=executor), budget_seconds=45)
        return sum(run.left_out is None for run in plan.runs)

    device, executor = "cpu", None
    assert taken() == 4
    assert taken(search={"method": "halving"}, selection="validation") < 4
    executor = "ray"
    assert taken() < 4
    device, executor = "auto", None
    monkeypatch.setattr(devices, "resolve_device", lambda requested: "mps")
    assert taken() < 4


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"search": {"method": "halving"}, "selection": "validation"},
        {
            "selection": "validation",
            "validation": {"folds": 2},
            "strategies": {"full": {"learning_rate": [1e-4, 1e-3]}},
        },
    ],
)
def test_the_total_of_a_dry_run_is_the_budget_that_leaves_nothing_out(
    model: str, data: str, changes: dict[str, Any]
) -> None:
    study = make_study(model=model, data=data, train_sizes=[10, 20, 30], **{"selection": "last"} | changes)
    execution = Execution(device="cpu", workers=2, threads=1)
    found = dry_run_rows(study, execution=execution, folder=Path("none"), budget_seconds=None, measure=False)
    total = wall_seconds([("", row["seconds"]) for row in found.rows], found.at_a_time) + found.reserved
    for budget, all_fit in ((total + 0.01, True), (total * 0.95, False)):
        plan = make_plan(study, execution=execution, budget_seconds=budget, measure=False)
        assert all(run.left_out is None for run in plan.runs) == all_fit


def test_nothing_is_taken_behind_a_block_that_does_not_fit() -> None:
    ordered = order(make_specs(make_study(train_sizes=[10, 20, 30])))
    estimates = {s.run_id: estimate({10: 1.0, 20: 50.0, 30: 1.0}[s.train_size]) for s in ordered}
    taken = [r.spec.train_size for r in choose(ordered, estimates, 20.0) if r.left_out is None]
    assert taken == [10, 10]


def test_without_a_budget_nothing_is_left_out() -> None:
    specs = make_specs(make_study())
    runs = choose(specs, {s.run_id: estimate(1e9) for s in specs}, None)
    assert all(r.left_out is None for r in runs)


def test_what_is_complete_costs_nothing_of_a_budget() -> None:
    study = make_study(train_sizes=[10, 20, 30])
    ordered = order(make_specs(study))
    estimates = {s.run_id: estimate(10.0) for s in ordered}
    first, second = ordered[:2], ordered[2:4]
    assert [r.spec for r in choose(ordered, estimates, 25.0) if r.left_out is None] == first
    done = {s.run_id for s in first}
    assert [r.spec for r in choose(ordered, estimates, 25.0, done=done) if r.left_out is None] == first + second
    # Complete runs are never called left out, however small the budget.
    assert all(r.left_out is None for r in choose(ordered, estimates, 1.0, done=done) if r.spec.run_id in done)


def test_what_is_spent_of_a_budget_is_not_there_again() -> None:
    ordered = order(make_specs(make_study(train_sizes=[10, 20, 30])))
    estimates = {s.run_id: estimate(10.0) for s in ordered}
    done = {s.run_id for s in ordered[:2]}
    for spent, more in ((0.0, 2), (5.0, 2), (5.1, 0), (99.0, 0)):
        runs = choose(ordered, estimates, 25.0, done=done, spent=spent)
        assert [r.left_out is None for r in runs] == [True] * (2 + more) + [False] * (4 - more)


def test_disk_counts_what_stays_of_all_and_the_checkpoints_of_one() -> None:
    specs = make_specs(make_study(train_sizes=list(range(10, 60))))
    million = 10**6
    estimates = {s.run_id: estimate(trainable_params=million, disk_bytes=32 * million) for s in specs}
    need = disk_need(specs, estimates)
    assert 100 * 4 * million + 28 * million * 0.9 < need < 100 * 6 * million
    assert disk_need(specs[:1], estimates) >= 32 * million
    assert disk_need([], estimates) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3h", 10800), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("1.5H", 5400), (" 2m5s ", 125)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "3", "h", "0s", "-3h", "3d", "30m1h", "1h 30", "nan", "infh"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ConfigError, match="3h, 90m, 1h30m, 45s"):
        parse_duration(text)


# Whole plans ------------------------------------------------------------------------------------


@pytest.fixture
def model(tiny_model: Callable[[str], Path]) -> str:
    """The folder of a model: its names and shapes are looked at before it is loaded."""
    return str(tiny_model("distilbert"))


@pytest.fixture
def data(tmp_path: Path) -> str:
    folder = tmp_path / "data"
    folder.mkdir()
    for split, count in (("train", 60), ("test", 20)):
        rows = [json.dumps({"text": f"{split} text {i}", "label": i % 2}) for i in range(count)]
        (folder / f"{split}.jsonl").write_text("\n".join(rows))
    return str(folder)


@pytest.fixture(autouse=True)
def estimated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Estimate without a model; the list tells how often."""
    calls: list[int] = []

    def estimate_each(specs: list[RunSpec], **options: Any) -> list[Estimate]:
        calls.append(len(specs))
        return [estimate(float(spec.train_size)) for spec in specs]

    monkeypatch.setattr("tunebench.execution.estimates.estimate_each", estimate_each)
    return calls


def planned(
    model: str, data: str, folder: Path | None = None, budget: float | None = None, processes: int = 1, **study: Any
) -> Plan:
    return make_plan(
        make_study(**({"model": model, "data": data, "selection": "last"} | study)),
        execution=Execution(device="cpu", processes=processes),
        folder=folder,
        budget_seconds=budget,
    )


def test_every_process_of_a_run_needs_memory_of_its_own(model: str, data: str) -> None:
    one, two = (planned(model, data, processes=n, batch_size=8) for n in (1, 2))
    assert one.estimates.keys() == two.estimates.keys(), "the run is the same"
    assert all(two.estimates[name].memory_bytes == 2 * e.memory_bytes for name, e in one.estimates.items())
    with pytest.raises(TunebenchError, match="cannot be shared equally"):
        planned(model, data, processes=3, batch_size=8)


def test_a_plan_resolves_everything(model: str, data: str, tmp_path: Path) -> None:
    plan = planned(model, data, tmp_path / "out", train_sizes=["all", 20], precision="auto")
    specs = [run.spec for run in plan.runs]
    assert [(s.label, s.train_size) for s in specs] == [("full", 20), ("lora", 20), ("full", 60), ("lora", 60)]
    assert {s.test_size for s in specs} == {20}
    assert {s.precision for s in specs} <= {"fp32", "bf16"}
    assert specs[0].data.fingerprint == plan.dataset.fingerprint
    assert plan.seconds == 160
    assert not (tmp_path / "out").exists()  # planning writes nothing


def test_a_study_goes_on_in_the_precision_it_was_begun_in(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(model=model, data=data, selection="last", precision="auto")
    execution, folder, told = Execution(device="cpu"), tmp_path / "out", list[str]()

    def cells(gains: bool, folder: Path | None, **changes: Any) -> list[RunSpec]:
        monkeypatch.setattr(devices, "gains_from_bf16", lambda device: gains)
        changed = study.model_copy(update=changes)
        plan = make_plan(
            changed, execution=execution, folder=folder, budget_seconds=None, measure=False, on_progress=told.append
        )
        return [run.spec for run in plan.runs]

    begun = cells(True, folder)
    assert {spec.precision for spec in begun} == {"bf16"}
    StudyStore.create(folder, study, [PlannedRun(spec) for spec in begun])
    assert not any("begun in" in line for line in told)
    assert cells(False, folder) == begun
    assert "the study was begun in bf16 and resumes in it; a new study would use fp32 here" in told
    more = cells(False, folder, seeds=(1, 2, 3))
    assert len(more) > len(begun) and {spec.precision for spec in more} == {"bf16"}
    assert {spec.precision for spec in cells(False, tmp_path / "new")} == {"fp32"}
    with pytest.raises(StoreError, match="precision: bf16 -> fp32"):
        cells(False, folder, precision="fp32")


def _copied(folder: Path, *, test: bool) -> str:
    """Write 60 rows of which every text stands there twice, in the order of the labels."""
    folder.mkdir()
    rows = [{"text": f"text {i % 30}", "label": i % 2} for i in range(60)]
    for part in ("train", "test") if test else ("train",):
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_a_study_begun_before_there_was_a_choice_about_copies_goes_on(model: str, tmp_path: Path) -> None:
    raw = make_study(model=model, data=_copied(tmp_path / "d", test=False), selection="last", train_sizes=[20])
    stored = StudyConfig.model_validate(raw.model_dump(mode="json", exclude={"copies"}))
    folder, told = tmp_path / "out", list[str]()

    def plan(study: StudyConfig, folder: Path) -> Plan:
        return make_plan(
            study, execution=Execution(device="cpu"), folder=folder, measure=False, on_progress=told.append
        )

    new = plan(stored, folder)
    assert new.study.copies == "together" and {run.spec.copies for run in new.runs} == {"together"}
    begun = plan(stored.model_copy(update={"copies": "anywhere"}), folder)
    # As in records from before: the key is not in the id.
    assert all("copies" not in run.spec.identity for run in begun.runs)
    StudyStore.create(folder, stored, [PlannedRun(run.spec) for run in begun.runs])
    told.clear()
    again = plan(stored, folder)
    assert [run.spec for run in again.runs] == [run.spec for run in begun.runs]
    assert again.study.copies == "anywhere" and "copies" in again.study.model_fields_set
    assert (
        "the runs in this folder were made with copies: anywhere, so the study keeps that (a new one has together)"
        in told
    )
    with pytest.raises(StoreError, match="copies: anywhere -> together"):
        plan(stored.model_copy(update={"copies": "together"}), folder)


def test_a_study_with_copies_kept_together_refuses_to_let_them_go(model: str, tmp_path: Path) -> None:
    study = make_study(model=model, data=_copied(tmp_path / "d", test=False), selection="last", train_sizes=[20])
    options: dict[str, Any] = {"execution": Execution(device="cpu"), "folder": tmp_path / "out", "measure": False}
    begun = make_plan(study, **options)
    StudyStore.create(tmp_path / "out", begun.study, [PlannedRun(run.spec) for run in begun.runs])
    assert StudyStore(tmp_path / "out").study() == begun.study
    with pytest.raises(StoreError, match="copies: together -> anywhere"):
        make_plan(study.model_copy(update={"copies": "anywhere"}), **options)


@pytest.mark.parametrize(
    ("copies", "words"),
    [("together", "All copies of a text are kept in one part"), ("anywhere", "are also in train")],
)
def test_copies_of_held_out_texts_are_counted_and_all_is_what_is_left(
    model: str, tmp_path: Path, copies: str, words: str
) -> None:
    told = list[str]()
    study = make_study(
        model=model,
        data=_copied(tmp_path / "d", test=False),
        selection="last",
        train_sizes=["all"],
        test_size=15,
        copies=copies,
    )
    plan = make_plan(study, execution=Execution(device="cpu"), measure=False, on_progress=told.append)
    assert any(words in line for line in told)
    spec = plan.runs[0].spec
    parts = run_parts(spec, plan.dataset)
    texts = plan.dataset.train.texts
    both = {texts[row] for row in parts.test} & {texts[row] for row in parts.train}
    examples = describe_parts(plan.dataset, parts)
    assert examples.test_in_train == sum(texts[row] in both for row in parts.test)
    assert bool(both) == (copies == "anywhere")
    # 15 is odd and every text stands there twice: one copy has no room.
    assert examples.copies_left_out == (1 if copies == "together" else 0)
    assert spec.train_size + examples.copies_left_out + 15 == 60


def test_copies_between_the_files_of_a_source_are_the_audit_s(model: str, tmp_path: Path) -> None:
    told = list[str]()
    study = make_study(model=model, data=_copied(tmp_path / "d", test=True), selection="last", train_sizes=["all"])
    plan = make_plan(study, execution=Execution(device="cpu"), measure=False, on_progress=told.append)
    assert plan.runs[0].spec.train_size == 60 and not any("copies" in line for line in told)


def test_committed_studies_say_what_their_runs_do_with_copies() -> None:
    folders = sorted((Path(__file__).parents[2] / "docs" / "results").glob("*/study.yaml"))
    assert folders
    for file in folders:
        store = StudyStore.open(file.parent)
        study, cells = store.study(), store.planned()
        assert isinstance(study, StudyConfig) and "copies" in study.model_fields_set
        assert {cell.spec.copies for cell in cells} == {study.copies}
        ids = {cell.spec.run_id for cell in cells}
        assert {folder.name for folder in store.runs.iterdir() if (folder / "record.json").exists()} <= ids


def test_presets_keep_copies_together_but_for_those_that_reproduce_the_report() -> None:
    found = {name: load_study(name).copies for name in presets()}
    assert {name for name, copies in found.items() if copies == "anywhere"} == {"paper", "paper-minilm"}


def test_a_test_part_is_held_out_where_there_is_none(model: str, data: str) -> None:
    (Path(data) / "test.jsonl").unlink()
    plan = planned(model, data, train_sizes=["all"])
    assert {(r.spec.train_size, r.spec.test_size) for r in plan.runs} == {(48, 12)}


def test_everything_wrong_is_said_at_once_and_each_thing_once(data: str, estimated: list[int]) -> None:
    with pytest.raises(ErrorGroup) as caught:
        planned("./nowhere", data, train_sizes=[2, 100, 30], selection="validation")
    text = str(caught.value)
    assert "nowhere" in text
    assert text.count("larger than the data") == 1
    assert "stratif" in text
    assert len(caught.value.errors) == 3
    with pytest.raises(TunebenchError) as single:
        planned("./nowhere", "./neither", train_sizes=[10])
    assert "nowhere" in str(single.value)
    assert "neither" in str(single.value)
    assert estimated == []


def test_a_test_part_that_is_too_large_is_said_once_for_all_sizes(model: str, data: str) -> None:
    with pytest.raises(TunebenchError) as caught:
        planned(model, data, train_sizes=[20, 30, 40], test_size=500)
    assert str(caught.value).count("test size") == 1


def test_a_class_that_is_too_rare_is_said_by_its_name_and_once(model: str, data: str) -> None:
    (Path(data) / "test.jsonl").unlink()
    rows = [
        json.dumps({"text": f"text {i}", "label": ("seldom", "good", "bad")[min(i, 1 + i % 2)]}) for i in range(60)
    ]
    (Path(data) / "train.jsonl").write_text("\n".join(rows))
    with pytest.raises(TunebenchError) as caught:
        planned(model, data, train_sizes=[20, 30], selection="validation")
    assert not isinstance(caught.value, ErrorGroup)
    assert caught.value.value == "class seldom: 1 of 60 examples"


def test_one_size_given_twice_is_refused(model: str, data: str) -> None:
    with pytest.raises(ConfigError, match="same"):
        planned(model, data, train_sizes=[60, "all"])


def test_a_foreign_folder_is_refused_before_anything_is_measured(
    model: str, data: str, tmp_path: Path, estimated: list[int]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="something else"):
        planned(model, data, tmp_path / "out")
    assert estimated == []


def test_no_space_for_the_plan(model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    with pytest.raises(PlanError, match="disk space"):
        planned(model, data, tmp_path / "not" / "yet" / "there")


def test_a_second_start_with_the_same_budget_goes_further(model: str, data: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plan = planned(model, data, out, budget=45.0)
    assert [r.left_out is None for r in plan.runs] == [True, True, False, False]
    store = StudyStore.create(out, plan.study, list(plan.runs))
    for run in plan.runs[:2]:
        folder = store.run_folder(run.spec.run_id)
        folder.begin(run.spec)
        folder.commit(make_record(run.spec, folder))
    again = planned(model, data, out, budget=45.0)
    assert [r.left_out is None for r in again.runs] == [True] * 4


def test_a_dry_run_counts_the_seeds_that_are_planned_when_the_settings_are_chosen(model: str, data: str) -> None:
    strategies = {"full": {"learning_rate": [1e-4, 1e-3]}, "tfidf": {"c": [1.0]}}
    looks = {"seeds": [1, 2, 3, 4, 5, 6], "looks": [3, 6], "selection": "validation", "train_sizes": [10]}
    study = make_study(model=model, data=data, strategies=strategies, **looks)
    execution = Execution(device="cpu", threads=1)
    found = dry_run_rows(study, execution=execution, folder=Path("none"), budget_seconds=None, measure=False)
    rows = [row for row in found.rows if row["strategy"] == "full"]
    assert [row["seed"] for row in rows] == [1, 1, 2, 2, 3, 3]
    assert list(found.later) == [(2, max(row["seconds"] for row in rows))] * 3
