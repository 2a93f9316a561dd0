"""The user's own parts, groups and times in a plan: what runs it gives, what it says, and how a study goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes import make_study
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.api import run_study
from tunebench.errors import DataError, StoreError, TunebenchError
from tunebench.execution.display import PlainDisplay
from tunebench.execution.plan import Plan, make_plan
from tunebench.machine.settings import Execution
from tunebench.report.reproduce import study_of
from tunebench.report.tables import make_tables
from tunebench.store.plan_file import PlannedRun
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec
from tunebench.training.estimate import Estimate
from tunebench.training.parts import run_parts, scored_texts, trained_count, validation_count


@pytest.fixture
def model(tiny_model: Callable[[str], Path]) -> str:
    return str(tiny_model("distilbert"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimate without a model."""
    found = Estimate(1, 10, 100, 1.0, 1.0, False, 1, 1)
    monkeypatch.setattr("tunebench.execution.estimates.estimate_each", lambda specs, **_: [found for _ in specs])


def write(folder: Path, **parts: int) -> str:
    """Write parts of so many rows, four rows a group, an hour a row."""
    folder.mkdir(exist_ok=True)
    for part, count in parts.items():
        rows = [
            {"text": f"{part} {'good' if i % 2 else 'bad'} {i}", "label": i % 2, "who": f"{part}{i // 4}", "t": i}
            for i in range(count)
        ]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def plan(model: str, data: Any, folder: Path | None = None, **study: Any) -> tuple[Plan, str]:
    told = list[str]()
    made = make_plan(
        make_study(**({"model": model, "data": data, "selection": "validation"} | study)),
        execution=Execution(device="cpu"),
        folder=folder,
        measure=False,
        on_progress=told.append,
    )
    return made, "\n".join(told)


@pytest.mark.usefixtures("quick")
def test_the_data_s_own_validation_part_selects_and_takes_no_labels(model: str, tmp_path: Path) -> None:
    data = write(tmp_path / "d", train=60, validation=14, test=20)
    made, told = plan(model, data, validation_fraction=0.3, train_sizes=[30, "all"])
    assert "read: validation: validation.jsonl: 14 rows" in told
    assert (
        "validation is the data's own part (14 texts)" in told and "validation_fraction: 0.3 has no effect" in told
    )
    for run in made.runs:
        spec, parts = run.spec, run_parts(run.spec, made.dataset)
        assert spec.own_validation and spec.validation_fraction == 0 and spec.train_size in (30, 60)
        assert len(parts.train) == trained_count(spec) == spec.train_size
        assert validation_count(spec, made.dataset) == 14
        selection, _ = scored_texts(spec, made.dataset, parts)
        assert selection is not None and made.dataset.validation is not None
        assert selection[0] == made.dataset.validation.texts
    drawn, told = plan(model, {"source": data, "validation": "drawn"}, validation_fraction=0.3, train_sizes=[30])
    assert "passed over: validation.jsonl (data.validation: drawn" in told
    spec = drawn.runs[0].spec
    assert spec.validation_fraction == 0.3 and "splits" not in spec.identity
    # As if the part were not there.
    (tmp_path / "d" / "validation.jsonl").unlink()
    without, _ = plan(model, data, validation_fraction=0.3, train_sizes=[30])
    assert [run.spec.run_id for run in without.runs] == [run.spec.run_id for run in drawn.runs]
    assert not {run.spec.run_id for run in made.runs} & {run.spec.run_id for run in drawn.runs}


@pytest.mark.usefixtures("quick")
def test_an_own_part_that_nothing_selects_on_changes_no_run(model: str, tmp_path: Path) -> None:
    data = write(tmp_path / "d", train=60, validation=14, test=20)
    made, told = plan(model, data, selection="last")
    assert "is not used, as nothing selects on it (selection: last)" in told
    (tmp_path / "d" / "validation.jsonl").unlink()
    without, _ = plan(model, data, selection="last")
    assert [run.spec.run_id for run in made.runs] == [run.spec.run_id for run in without.runs]


@pytest.mark.usefixtures("quick")
def test_a_study_begun_when_own_parts_were_passed_over_goes_on(model: str, tmp_path: Path) -> None:
    data, folder = write(tmp_path / "d", train=60, validation=14, test=20), tmp_path / "out"
    study = {"validation_fraction": 0.3, "train_sizes": [30]}
    begun, _ = plan(model, {"source": data, "validation": "drawn"}, **study)
    stored = make_study(model=model, data=data, selection="validation", **study)
    StudyStore.create(folder, stored, [PlannedRun(run.spec) for run in begun.runs])
    again, told = plan(model, data, folder, **study)
    assert [run.spec for run in again.runs] == [run.spec for run in begun.runs]
    assert again.study.data.validation == "drawn" and again.dataset.validation is None
    assert "the study keeps that (data.validation: drawn" in told
    with pytest.raises(StoreError, match=r"data\.validation: None -> "):
        plan(model, {"source": data, "validation": "own"}, folder, **study)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("key", ["group_column", "time_column"])
def test_a_study_does_not_go_on_with_other_groups_or_times(model: str, tmp_path: Path, key: str) -> None:
    data, folder = write(tmp_path / "d", train=80), tmp_path / "out"
    column = {"group_column": "who", "time_column": "t"}[key]
    begun, _ = plan(model, {"source": data, key: column}, selection="last", train_sizes=[30], test_size=16)
    StudyStore.create(folder, begun.study, [PlannedRun(run.spec) for run in begun.runs])
    what = key.removesuffix("_column") + "s"
    with pytest.raises(StoreError, match=rf"data\.{what}: [0-9a-f]+ -> None"):
        plan(model, data, folder, selection="last", train_sizes=[30], test_size=16)


@pytest.mark.usefixtures("quick")
def test_groups_and_the_latest_texts_are_held_out_and_said(model: str, tmp_path: Path) -> None:
    data = write(tmp_path / "d", train=80)
    made, told = plan(model, {"source": data, "group_column": "who"}, train_sizes=["all", 40])
    assert "each group ('who') is in one part only" in told and "16 texts, of 4 of 20 groups" in told
    groups = made.dataset.train.groups
    assert groups is not None and {run.spec.train_size for run in made.runs} == {40, 64}
    for run in made.runs:
        parts = run_parts(run.spec, made.dataset)
        sides = [{groups[row] for row in rows} for rows in (parts.train, parts.validation, parts.test)]
        assert sum(map(len, sides)) == len(set().union(*sides)) and len(parts.test) == run.spec.test_size == 16
    made, told = plan(model, {"source": data, "time_column": "t"}, train_sizes=["all"])
    assert "Held out for testing: the latest 16 texts, from 64 on." in told
    assert run_parts(made.runs[0].spec, made.dataset).test.tolist() == list(range(64, 80))
    # Several draws leave out other copies beside their groups; all is what each of them has.
    rows = [json.loads(line) for line in Path(data, "train.jsonl").read_text().splitlines()]
    for i in range(0, 40, 3):
        rows[i + 40]["text"] = rows[i]["text"]
    Path(data, "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    grouped = {"source": data, "group_column": "who"}
    made, told = plan(model, grouped, train_sizes=["all"], subset_seed=[1, 2, 3])
    found = {len(run_parts(run.spec, made.dataset).left_out) for run in made.runs}
    assert len(found) > 1
    assert {run.spec.train_size for run in made.runs} == {80 - made.runs[0].spec.test_size - max(found)}
    assert f"Used nowhere: {max(found)} texts share a group or a text with another part." in told


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("test", "scored", "words"),
    [(20, 20, "all of the data's test part"), (50, 40, "as many as test_limit"), (None, 12, "held out of train")],
)
def test_a_limit_of_test_texts_stops_nobody(
    model: str, tmp_path: Path, test: int | None, scored: int, words: str
) -> None:
    data = write(tmp_path / "d", train=60, **({} if test is None else {"test": test}))
    made, told = plan(model, data, test_limit=40, selection="last")
    assert {run.spec.test_size for run in made.runs} == {scored} and f"note: {scored} test texts" in told
    assert words in told
    if test == 20:
        with pytest.raises(TunebenchError, match="larger than the test split"):
            plan(model, data, test_size=40, selection="last")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("copies", ["together", "anywhere"])
def test_a_rare_class_is_named_with_its_count_and_a_fraction_that_works(
    model: str, tmp_path: Path, copies: str
) -> None:
    data = write(tmp_path / "d", test=20)
    rows = [{"text": f"t {i}", "label": "seldom" if i % 50 == 7 else "ab"[i % 2]} for i in range(900)]
    Path(data, "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path(data, "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:60]))
    study: dict[str, Any] = {"train_sizes": [200], "copies": copies}
    with pytest.raises(DataError, match=r"validation would lack a class at validation_fraction: 0\.1") as caught:
        plan(model, data, validation_fraction=0.1, **study)
    error = caught.value
    count, fix = int(str(error.value).split()[2]), str(error.fix)
    assert str(error.value).endswith("of 200 labels (18 of 900 in all)") and "class seldom:" in str(error.value)
    offered = float(fix.partition("validation_fraction: ")[2].partition(",")[0])
    assert offered * count >= 1 and (offered - 0.05) * count < 1
    plan(model, data, validation_fraction=offered, **study)
    enough = int(str(error.allowed).removeprefix("at least "))
    plan(model, data, validation_fraction=0.1, **(study | {"train_sizes": [enough]}))
    assert "selection: last and validation_fraction: 0" in fix
    plan(model, data, selection="last", validation_fraction=0, **study)


@pytest.mark.usefixtures("no_report")
def test_runs_select_on_the_own_part_and_everything_says_so(model: str, tmp_path: Path) -> None:
    data, folder = write(tmp_path / "d", train=40, dev=10, test=12), tmp_path / "out"
    study = StudyConfig.model_validate(
        {
            "name": "own",
            "model": model,
            "data": data,
            "strategies": {"full": None, "tfidf": None, "embeddings": {"c": [1, 10]}},
            "train_sizes": [20],
            "epochs": 1,
            "batch_size": 8,
            "max_length": 16,
        }
    )
    with (tmp_path / "log").open("w") as log:
        result = run_study(
            study, folder=folder, execution=Execution(device="cpu"), display=PlainDisplay(log), measure=False
        )
    assert not result.summary.failed
    comparison = load_comparison(folder)
    specs: list[RunSpec] = [cell.spec for cell in comparison.cells]
    assert all(spec.own_validation for spec in specs)
    for cell in comparison.cells:
        assert cell.record is not None and cell.record.examples is not None and cell.record.selected is not None
        examples = cell.record.examples
        assert (examples.train, examples.validation, examples.test) == (20, 10, 12)
        assert examples.validation_per_class == [5, 5]
        by = "validation" if cell.spec.kind == "full" else "cross_validation"
        assert cell.record.selected.by == by
        assert cell.record.selected.score is not None
    audit = StudyStore.open(folder).audit()
    assert audit is not None and audit["splits"]["validation"]["examples"] == 10
    assert (audit["validation_in_train"], audit["test_in_validation"]) == (0, 0)
    tables = {table.name: "\n".join(table.notes) for table in make_tables(analyse(comparison), ["data", "scores"])}
    assert all("validation part that the data brings" in notes for notes in tables.values())
    again = study_of(comparison)
    assert again is not None and again.data.validation == "own" and again.validation_fraction is None


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("texts", [10, 14, 40])
def test_a_plan_says_when_macro_f1_rests_on_few_texts(tmp_path: Path, model: str, texts: int) -> None:
    source = write(tmp_path / "data", train=60, test=texts)
    _, told = plan(model, source, train_sizes=[40])
    count = texts // 2
    if count >= 10:
        assert "macro F1 counts every class alike" not in told
        return
    assert f"fewer than 10 texts of 0 ({count}), 1 ({count})" in told

    # As far as one more right text can move the F1 of a class, whatever is right and wrong already.
    def f1(right: int, wrong: int) -> float:
        return 2 * right / (right + wrong + count)

    most = max(f1(right + 1, wrong) - f1(right, wrong) for right in range(count) for wrong in range(5))
    assert f"move macro F1 by up to {100 * most / 2:.1f} points" in told
    assert "macro F1 counts" not in plan(model, source, train_sizes=[40], metric="accuracy")[1]


@pytest.mark.usefixtures("quick")
def test_a_margin_is_in_points_or_in_the_unit_of_the_metric(tmp_path: Path, model: str) -> None:
    folder = tmp_path / "numbers"
    folder.mkdir()
    for part, count in {"train": 120, "test": 20}.items():
        rows = [{"text": f"{part} {i}", "label": 1000.5 * i} for i in range(count)]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, told = plan(model, str(folder), train_sizes=[100], metric="mae", margin=500_000)
    assert "differ by less than 5000 target units (margin: 500000, in hundredths)" in told
    classes = write(tmp_path / "classes", train=60, test=20)
    for data, size, metric in ((str(folder), 100, "spearman"), (classes, 40, "macro_f1")):
        assert "differ by less than" not in plan(model, data, train_sizes=[size], metric=metric)[1]
        with pytest.raises(TunebenchError, match="The margin is out of range") as raised:
            plan(model, data, train_sizes=[size], metric=metric, margin=101)
        assert "above 0, up to 100" in str(raised.value)
