"""A suite: planned for all data sets before the first step, then run as ordinary studies, one after the other."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import tunebench.api as api
from tunebench.errors import TunebenchError
from tunebench.execution.plan import plan_runs
from tunebench.execution.resolve import Request, resolve
from tunebench.execution.runner import Summary
from tunebench.execution.study import StudyResult
from tunebench.execution.suite import run_planned, shares
from tunebench.execution.suite_plan import plan_suite
from tunebench.machine.settings import Execution
from tunebench.store.study_folder import StudyStore
from tunebench.store.suite_folder import SuiteStore, suite_status
from tunebench.study.suite import Suite, check_suite

HERE = Execution(device="cpu", threads=1)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three data sets of different lengths, as CSV files."""
    root = tmp_path_factory.mktemp("data")
    os.environ.setdefault("TUNEBENCH_CACHE", str(root / "cache"))
    found = {}
    for name, texts in (("short", 60), ("middle", 90), ("long", 160)):
        rows = [
            f"{name} text {i} is {'fine' if i % 2 else 'dull'} {i % 7},{'pos' if i % 2 else 'neg'}"
            for i in range(texts)
        ]
        path = root / f"{name}.csv"
        path.write_text("text,label\n" + "\n".join(rows) + "\n")
        found[name] = str(path)
    return found


SETTINGS: dict[str, Any] = {
    "name": "tried",
    "strategies": {"tfidf": {}, "tfidf-again": {"kind": "tfidf", "ngrams": 1}},
    "train_sizes": [20, 60],
    "seeds": [1, 2],
    "test_size": 20,
    "validation_fraction": 0.3,
}


@pytest.fixture(scope="module", autouse=True)
def _model(tiny_model: Callable[[str], Path]) -> Iterator[None]:
    """Every suite has a tiny model, which is loaded once for each data set of each plan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETTINGS, "model", str(tiny_model("bert")))
        yield


def make_suite(data: dict[str, str], **changes: Any) -> Suite:
    return check_suite({**SETTINGS, "data": list(data.values()), **changes})


def ask(**changes: Any) -> Request:
    return Request(execution=HERE, **{"measure": False, **changes})


def test_sizes_that_a_data_set_lacks_are_said_and_left_out(three: dict[str, str], tmp_path: Path) -> None:
    said: list[str] = []
    planned = plan_suite(make_suite(three), tmp_path / "out", ask(tell=said.append))
    sizes = {one.name: (one.study.train_sizes, one.member.sizes, list(one.member.left_out)) for one in planned}
    assert sizes["short"] == ((20,), {"20": 20}, ["60"])
    assert sizes["long"] == ((20, 60), {"20": 20, "60": 60}, [])
    assert "short: the training size 60 is left out: the data has 40 texts to train on" in said
    assert not (tmp_path / "out").exists()


def test_a_strategy_for_few_labels_runs_on_the_data_sets_and_at_the_sizes_that_it_is_for(
    three: dict[str, str], tmp_path: Path
) -> None:
    said: list[str] = []
    strategies = {"tfidf": {}, "few": {"kind": "tfidf", "ngrams": 1, "train_sizes": [60]}}
    planned = plan_suite(make_suite(three, strategies=strategies), tmp_path / "out", ask(tell=said.append))
    ran = {(one.name, run.spec.label, run.spec.train_size) for one in planned for run in one.runs}
    assert {(name, size) for name, label, size in ran if label == "few"} == {("middle", 60), ("long", 60)}
    assert "short: few left out: for training sizes that this data set does not have" in said


def test_all_is_what_each_data_set_has(three: dict[str, str], tmp_path: Path) -> None:
    planned = plan_suite(make_suite(three, train_sizes=[40, "all"]), tmp_path, ask())
    assert [one.member.sizes for one in planned] == [{"all": 40}, {"40": 40, "all": 70}, {"40": 40, "all": 140}]
    assert planned[0].member.left_out == {"40": "it is the same as all"}


def test_what_is_wrong_with_any_data_set_is_said_before_anything_runs(
    three: dict[str, str], tmp_path: Path
) -> None:
    wrong = three | {"gone": str(tmp_path / "gone.csv")}
    with pytest.raises(TunebenchError) as caught:
        plan_suite(make_suite(wrong, train_sizes=[50]), tmp_path / "out", ask())
    text = str(caught.value)
    assert "gone: " in text
    assert "short: The data has 40 texts to train on, fewer than every training size of the suite." in text
    assert "long: " not in text
    with pytest.raises(TunebenchError, match="hold the same texts and labels"):
        twice = Path(three["short"]).read_text()
        (tmp_path / "twin.csv").write_text(twice)
        plan_suite(make_suite(three | {"twin": str(tmp_path / "twin.csv")}), tmp_path / "out", ask())


def test_nothing_is_measured_before_all_data_sets_are_right(
    three: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def plan(resolved: Any, request: Request) -> Any:
        if request.measure:
            assert request.folder is not None
            measured.append(request.folder.name)
        return plan_runs(resolved, request)

    monkeypatch.setattr("tunebench.execution.suite_plan.plan_runs", plan)
    with pytest.raises(TunebenchError, match="gone: "):
        plan_suite(make_suite(three | {"gone": "gone.csv"}), tmp_path / "out", ask(measure=True))
    assert measured == []
    plan_suite(make_suite(three), tmp_path / "out", ask(measure=True))
    assert measured == list(three)


def test_a_budget_takes_whole_blocks_over_all_data_sets(three: dict[str, str], tmp_path: Path) -> None:
    free = plan_suite(make_suite(three), tmp_path, ask())
    seconds = {run.spec.run_id: one.estimates[run.spec.run_id].seconds for one in free for run in one.runs}
    first = sum(
        seconds[run.spec.run_id]
        for one in free
        for run in one.runs
        if (run.spec.seed, run.spec.train_size) == (1, 20)
    )
    planned = plan_suite(make_suite(three), tmp_path, ask(budget_seconds=first * 1.001))
    kept = {
        (one.name, run.spec.seed, run.spec.train_size)
        for one in planned
        for run in one.runs
        if run.left_out is None
    }
    assert kept == {(name, 1, 20) for name in three}
    parts = shares(planned, first * 1.001)
    assert sum(part or 0.0 for part in parts.values()) <= first * 1.001
    # Each study, planned by itself within its share, chooses the same runs.
    for one in planned:
        again = replace(one.request, budget_seconds=parts[one.name])
        alone = plan_runs(resolve(one.study, again), again)
        assert [run.left_out is None for run in alone.runs] == [run.left_out is None for run in one.runs]


@pytest.mark.parametrize(
    "changes",
    [
        {"search": {"seeds": 1}},
        {"search": {"method": "halving"}},
        {"search": {"method": "halving"}, "validation": {"folds": 2}, "seeds": [1]},
        {"validation": {"folds": 2}},
    ],
)
def test_what_is_left_of_a_budget_goes_to_studies_that_plan_more_runs_later(
    three: dict[str, str], tmp_path: Path, changes: dict[str, Any]
) -> None:
    strategies = {"full": {"learning_rate": [1e-4, 1e-3]}}
    settings = {"strategies": strategies, "selection": "validation", "train_sizes": [20], "max_length": 16}
    fraction = {} if "validation" not in changes else {"validation_fraction": None}
    suite = make_suite(three, **settings | changes | fraction)
    planned = plan_suite(suite, tmp_path, ask(budget_seconds=10_000.0))
    parts = shares(planned, 10_000.0)
    assert sum(part or 0.0 for part in parts.values()) == pytest.approx(10_000.0)
    # So it is where all of them were stopped when the first plan was complete.
    done = [replace(one, done=frozenset(run.spec.run_id for run in one.runs)) for one in planned]
    assert all(part is not None and part > 100 for part in shares(done, 10_000.0).values())


@pytest.fixture
def store(three: dict[str, str], tmp_path: Path) -> SuiteStore:
    return SuiteStore(tmp_path / "out")


def test_a_data_set_that_fails_is_a_record_and_the_rest_goes_on(three: dict[str, str], store: SuiteStore) -> None:
    suite = make_suite(three)
    planned = plan_suite(suite, store.folder, ask())
    store.create(suite, [one.member for one in planned])
    ran: list[str] = []

    def run(study: Any, folder: Any, **options: Any) -> StudyResult:
        ran.append(Path(folder).name)
        if ran[-1] == "middle":
            raise RuntimeError("the disk is on fire\nand more")
        return StudyResult(None, Path(folder), Summary())  # type: ignore[arg-type]

    result = run_planned(planned, store, run, budget_seconds=None, measure=False, tell=lambda line: None)
    assert ran == ["short", "middle", "long"]
    assert result.failed == {"middle": "the disk is on fire"}
    failure = store.failure("middle")
    assert failure is not None and failure.type == "RuntimeError" and "Traceback" in failure.traceback
    rows = {row["data_set"]: (row["status"], row["error"]) for row in suite_status(store)}
    assert rows["middle"] == ("failed", "RuntimeError: the disk is on fire\nand more")
    assert rows["short"] == ("not begun", None)
    ran.clear()
    fine = lambda study, folder, **options: StudyResult(None, Path(folder), Summary())  # type: ignore[arg-type] # noqa: E731
    run_planned(planned, store, fine, budget_seconds=None, measure=False, tell=lambda line: None)
    assert store.failure("middle") is None


def test_a_stop_ends_the_whole_suite(three: dict[str, str], store: SuiteStore) -> None:
    suite = make_suite(three)
    planned = plan_suite(suite, store.folder, ask())
    store.create(suite, [one.member for one in planned])
    ran: list[str] = []

    def run(study: Any, folder: Any, **options: Any) -> StudyResult:
        ran.append(Path(folder).name)
        return StudyResult(None, Path(folder), Summary(interrupted=True))  # type: ignore[arg-type]

    result = run_planned(planned, store, run, budget_seconds=None, measure=False, tell=lambda line: None)
    assert result.interrupted and ran == ["short"]


@pytest.mark.usefixtures("no_report")
def test_a_suite_runs_and_resumes_as_ordinary_studies(
    three: dict[str, str], store: SuiteStore, tmp_path: Path
) -> None:
    two = {name: three[name] for name in ("short", "middle")}
    suite = make_suite(two, train_sizes=[20], seeds=[1])
    # As a file, which is what the command has.
    file = tmp_path / "asked.yaml"
    file.write_text(yaml.safe_dump(dict(suite.raw)))
    result = api.run_suite(file, store.folder, execution=HERE, measure=False)
    assert list(result.studies) == ["short", "middle"] and not result.failed
    assert {row["status"] for row in suite_status(store)} == {"complete"}
    assert StudyStore.open(store.study_folder("short")).study() == suite.studies["short"]
    before = {path: path.stat().st_mtime_ns for path in store.folder.glob("studies/*/runs/*/record.json")}
    assert len(before) == 4
    # A data set more, and one that is no longer named: it stays.
    said: list[str] = []
    more = make_suite({"long": three["long"], "short": three["short"]}, train_sizes=[20], seeds=[1])
    api.run_suite(more, store.folder, execution=HERE, measure=False, tell=said.append)
    assert [member.name for member in store.index().data_sets] == ["long", "short", "middle"]
    assert any("also holds middle" in line for line in said)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {row["status"] for row in suite_status(store)} == {"complete"}


def test_a_folder_that_holds_something_else_is_refused(three: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(TunebenchError, match="holds something else"):
        plan_suite(make_suite(three), tmp_path, ask())


def test_a_command_that_wants_a_study_names_those_of_the_suite(tmp_path: Path) -> None:
    (tmp_path / "studies" / "trec").mkdir(parents=True)
    (tmp_path / "studies" / "trec" / "plan.json").write_text("{}")
    with pytest.raises(TunebenchError, match=r"name one below it: .*trec"):
        StudyStore.open(tmp_path)


@pytest.mark.parametrize("name", ["../up", "a/b", "", "."])
def test_names_read_back_stay_inside_the_folder(store: SuiteStore, name: str) -> None:
    store.folder.mkdir()
    index = {"schema_version": 1, "name": "x", "data_sets": [{"name": name, "sizes": {}}]}
    store.index_file.write_text(json.dumps(index))
    with pytest.raises(TunebenchError, match="index of the suite is damaged"):
        store.index()
