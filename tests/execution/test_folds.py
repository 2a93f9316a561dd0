"""Cross-validation from the plan to the report: folds choose, one run a seed on all texts is scored."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

import fakes
from conftest import leave_report_out
from execution.test_plan_parts import plan, write
from execution.test_plan_parts import quick as quick
from factories import make_record, make_spec
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.api import run_study
from tunebench.errors import TunebenchError
from tunebench.execution.budget import order, reserved, stage
from tunebench.execution.display import PlainDisplay
from tunebench.execution.study import StudyResult
from tunebench.inference.export.source import best_run
from tunebench.machine.settings import Execution
from tunebench.report.reproduce import study_of
from tunebench.report.tables import make_tables
from tunebench.store.folds import FoldChoice, fold_choice
from tunebench.store.record import RunRecord, Selected
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.parts import Search
from tunebench.study.yaml_file import check_study
from tunebench.training.attempt import Attempt
from tunebench.training.parts import run_parts

FOLDS = {"validation": {"folds": 3}, "selection": "validation"}


def config(model: Path, data: Path) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "folds",
            "model": str(model),
            "data": str(data),
            "strategies": {"full": {"learning_rate": [1e-3, 5e-3]}, "tfidf": {"c": [1.0]}},
            "train_sizes": [48],
            "seeds": [1],
            "max_length": 16,
            "epochs": 2,
            "batch_size": 8,
            "precision": "fp32",
            "validation": {"folds": 3},
        }
    )


def run(study: StudyConfig, folder: Path) -> StudyResult:
    with pytest.MonkeyPatch.context() as patched:
        leave_report_out(patched)
        return run_study(study, folder=folder, measure=False, execution=Execution(device="cpu", threads=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path], reviews: Path) -> Path:
    found = tmp_path_factory.mktemp("folds") / "study"
    run(config(tiny_model("distilbert"), reviews), found)
    return found


def test_folds_choose_and_the_run_on_all_texts_is_scored(folder: Path) -> None:
    comparison = load_comparison(folder)
    group = comparison.group("full", 48)
    assert group is not None and group.selected is not None
    assert all(len([c for c in config.cells if c.is_fold]) == 3 for config in group.configs)
    # The best mean over folds is chosen, trained once on all texts, and alone scored.
    means = {
        config.learning_rate: fold_choice([c.record for c in config.cells if c.is_fold and c.record]).score
        for config in group.configs
    }
    assert None not in means.values()
    assert {score for config in group.configs for score in config.selection_scores().values()} == {*means.values()}
    assert group.selected.learning_rate == max(means, key=lambda rate: means[rate] or 0.0)
    (scored,) = [cell for cell in group.cells if cell.scored]
    record = scored.record
    assert scored.spec.fold == 0 and record is not None and record.selected is not None
    assert not any(cell.opened for cell in group.cells if cell.is_fold)
    assert record.examples is not None and (record.examples.train, record.examples.validation) == (48, 0)
    folds = [cell.record for cell in group.selected.cells if cell.is_fold and cell.record is not None]
    choice = fold_choice(folds)
    assert choice.share is not None
    assert record.selected.by == "folds" and record.selected.score == choice.score
    assert record.selected.step == max(1, round(choice.share * 2 * 6))
    (tfidf,) = comparison.group("tfidf", 48).cells  # type: ignore[union-attr]
    assert tfidf.scored and tfidf.record is not None and tfidf.record.examples is not None
    assert tfidf.record.examples.train == 48 and tfidf.row["selection_score"] is not None


def test_the_parts_of_the_runs_are_the_folds(folder: Path) -> None:
    from tunebench.data import load_dataset

    store = StudyStore(folder)
    dataset = load_dataset(store.study().data)  # type: ignore[union-attr]
    parts = {spec.fold: run_parts(spec, dataset) for spec in store.trainable() if spec.label == "full"}
    assert sorted(np.concatenate([parts[fold].validation for fold in (1, 2, 3)])) == sorted(parts[0].train)
    assert {part.test.tobytes() for part in parts.values()} == {parts[0].test.tobytes()}


def test_a_study_with_folds_resumes_and_trains_nothing_again(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")}
    found = run(StudyStore(folder).study(), folder)  # type: ignore[arg-type]
    assert not found.summary.complete and not found.summary.failed
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")} == before


def test_tables_statistics_and_export_speak_of_the_run_on_all_texts(folder: Path) -> None:
    comparison = load_comparison(folder)
    analysis = analyse(comparison)
    assert [len(entry.seeds) for entry in analysis.entries] == [1, 1]
    assert any("3-fold cross-validation" in line for line in analysis.warnings)
    assert any("6 runs of folds have no test score" in line for line in analysis.warnings) == (
        len(comparison.cells) == 8
    )
    rows = next(table.rows for table in make_tables(analysis) if table.name == "scores")
    assert [(row["strategy"], row["n"], row["status"]) for row in rows] == [
        ("full", 1, "complete"),
        ("tfidf", 1, "complete"),
    ]
    assert best_run(comparison) in {cell.spec.run_id for cell in comparison.scored}
    again = study_of(comparison)
    assert again is not None and again.folds == 3 and again.validation_fraction is None


def record_with(scores: list[float | None], *, steps: int, fold: int) -> RunRecord:
    """Return the record of a fold that was evaluated twice an epoch of so many steps."""
    spec = make_spec("full", selection="validation", folds=2, fold=fold, epochs=2, batch_size=10)
    history = [
        {"eval_macro_f1": score, "step": steps * (i + 1) // 2, "epoch": (i + 1) / 2}
        for i, score in enumerate(scores)
    ]
    return make_record(spec).model_copy(update={"log_history": history})


def test_the_mean_curve_chooses_the_share_of_steps() -> None:
    first = record_with([0.5, 0.9, 0.6, 0.7], steps=10, fold=1)
    second = record_with([0.4, 0.5, 0.9, 0.7], steps=12, fold=2)
    # 0.45, 0.70, 0.75, 0.70: the third of four evaluations, though no single fold has its best there twice.
    choice = fold_choice([first, second])
    assert (choice.share, choice.score) == (pytest.approx(0.75), pytest.approx(0.75))
    # One that stopped early is compared as far as it came; what is not defined is passed over.
    stopped = record_with([0.4, 0.5], steps=12, fold=2)
    assert fold_choice([first, stopped]).share == pytest.approx(0.5)
    undefined = record_with([0.4, float("nan"), None, 0.4], steps=12, fold=2)
    assert fold_choice([first, undefined]).score == pytest.approx(0.55)
    assert fold_choice([replace_history(first), replace_history(second)]).share is None


def replace_history(record: RunRecord) -> RunRecord:
    return record.model_copy(update={"log_history": []})


def test_a_grid_runs_all_folds_and_halving_the_first_of_each_rate() -> None:
    rates = [1e-5, 2e-5, 5e-5]
    strategies = {"full": {"learning_rate": rates}, "lora": {"learning_rate": 1e-4}, "tfidf": None}
    grid = fakes.make_study(strategies=strategies, train_sizes=[10], seeds=[1, 2], **FOLDS)
    specs = fakes.make_specs(grid)
    assert len({spec.run_id for spec in specs}) == len(specs) == 2 * (3 * 4 + 4 + 1)
    staged = stage(grid, specs, {})
    # All folds of all rates; on all texts where there is one rate.
    assert [(s.label, s.fold) for s in staged if not s.fold] == 2 * [("lora", 0), ("tfidf", 0)]
    assert sum(s.fold > 0 for s in staged) == 2 * (9 + 3)
    assert [s.fold for s in reserved(grid, specs, staged)] == [0]
    settings = {s.learning_rate: s.setting for s in specs if s.label == "full"}
    chosen = stage(grid, specs, {("full", 10): settings[2e-5]})
    assert {s.learning_rate for s in chosen if s.label == "full" and not s.fold} == {2e-5}
    halving = fakes.make_study(
        strategies=strategies, train_sizes=[10], seeds=[1, 2], search={"method": "halving"}, **FOLDS
    )
    first = [s for s in stage(halving, specs, {}) if s.label == "full"]
    assert [(s.seed, s.fold, s.learning_rate) for s in first] == [(1, 1, rate) for rate in rates]
    assert sorted(s.fold for s in reserved(halving, specs, stage(halving, specs, {}))) == [0, 2, 3]
    assert reserved(grid, specs, chosen) == []
    second = [s for s in stage(halving, specs, {}, {("full", 10, settings[5e-5])}) if s.label == "full"]
    assert {(s.fold, s.learning_rate) for s in second} - {(1, r) for r in rates} == {(2, 5e-5), (3, 5e-5)}
    # In a plan the run on all texts stands behind the folds that choose for it.
    ordered = order(chosen)
    for spec in ordered:
        for one in spec.fold_runs:
            assert ordered.index(one) < ordered.index(spec)


def test_ids_of_studies_without_folds_stay() -> None:
    spec = make_spec("full")
    assert "folds" not in spec.identity and "fold" not in spec.identity
    one, other = (make_spec("full", folds=3, fold=fold) for fold in (0, 1))
    assert len({spec.run_id, one.run_id, other.run_id}) == 3 and "-f1-" in other.run_id


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"selection": "last"}, "selection: last"),
        ({"validation_fraction": 0.2}, "two validation parts"),
        ({"thresholds": "tuned"}, "thresholds: tuned"),
        ({"calibration": "temperature"}, "calibration: temperature"),
        ({"strategies": {"tfidf": {"choose_by": "selection"}}}, "choose_by: selection"),
        ({"validation": {"folds": 1}}, "greater than or equal to 2"),
        ({"validation": {"fold": 3}}, "folds"),
    ],
)
def test_settings_that_contradict_folds_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        fakes.make_study(**(FOLDS | changes))


def test_a_key_that_is_none_is_answered_with_those_there_are() -> None:
    with pytest.raises(TunebenchError) as raised:
        check_study(fakes.make_study().model_dump(mode="json") | {"validation": {"fold": 3}})
    assert "did you mean 'folds'?" in str(raised.value)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "data, study, words",
    [
        ({}, {"data_": {"train": 40, "validation": 20, "test": 10}}, "validation part of its own"),
        ({"group_column": "who"}, {"data_": {"train": 12, "test": 10}, "train_sizes": [12]}, "fewer groups"),
        ({}, {"data_": {"train": 40, "test": 10}, "train_sizes": [4]}, "Not every fold can hold"),
    ],
)
def test_data_that_no_folds_can_be_cut_from_is_refused_before_training(
    tmp_path: Path, tiny_model: Callable[[str], Path], data: dict[str, Any], study: dict[str, Any], words: str
) -> None:
    source = write(tmp_path / "data", **study.pop("data_"))
    options: dict[str, Any] = {"train_sizes": [40], "validation": {"folds": 5}} | study
    with pytest.raises(TunebenchError, match=words):
        plan(str(tiny_model("distilbert")), {"source": source, **data}, **options)


@pytest.mark.usefixtures("quick")
def test_a_plan_says_what_is_trained_and_keeps_room_for_the_runs_on_all_texts(
    tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    source = write(tmp_path / "data", train=40, test=10)
    strategies = {"full": {"learning_rate": [1e-4, 2e-4]}, "tfidf": None}
    made, told = plan(
        str(tiny_model("distilbert")), source, train_sizes=[40], strategies=strategies, validation={"folds": 4}
    )
    assert [(r.spec.label, r.spec.fold) for r in made.runs if r.spec.learning_rate == 1e-4] == [
        ("full", fold) for fold in (1, 2, 3, 4)
    ]
    assert "4-fold cross-validation" in told and "1 of these runs are not in the plan yet" in told
    assert "tfidf: trained once" in told
    json.dumps([replace(run).spec.model_dump(mode="json") for run in made.runs])


@pytest.mark.usefixtures("quick", "no_report")
def test_halving_stops_rates_in_the_first_fold_and_trains_on_all_texts_at_the_chosen_one(
    tmp_path: Path, tiny_model: Callable[[str], Path], reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    best, trained, choices = 5e-3, list[str](), dict[str, FoldChoice | None]()

    def train(attempt: Attempt) -> RunRecord:
        spec = attempt.spec
        trained.append(spec.run_id)
        choices[spec.run_id] = attempt.folds
        assert attempt.scores_test is (spec.label == "lora" and not spec.fold), "locked until a rate is chosen"
        assert (attempt.prune is not None) == (spec.fold == 1 and spec.seed == 1 and spec.label == "full")
        history, status = list[dict[str, float]](), "complete"
        for number in range(1, 5):
            score = 0.9 - abs(spec.learning_rate - best) - 0.1 / number
            history.append({"eval_macro_f1": score, "step": 2 * number, "epoch": number / 2})
            if attempt.prune is not None and attempt.prune([e["eval_macro_f1"] for e in history]) and number < 4:
                status = "pruned"
                break
        selected = Selected(by="validation", step=8, epoch=2.0, score=score)
        return fakes.make_record(spec, attempt.folder, status=status, log_history=history, selected=selected)

    monkeypatch.setattr("tunebench.training.registry.run_one", train)
    monkeypatch.setattr("tunebench.execution.test_part.score_selected", lambda *_, **__: [])
    study = config(tiny_model("distilbert"), reviews).model_copy(
        update={
            "strategies": fakes.make_study(
                strategies={"full": {"learning_rate": [5e-3, 1e-4, 1e-3]}, "lora": {"learning_rate": 1e-3}}
            ).strategies,
            "seeds": (1, 2),
            "search": Search(method="halving"),
        }
    )
    execution = Execution(device="cpu", threads=1)
    stream = io.StringIO()
    display = PlainDisplay(stream, interval=0.0)
    result = run_study(study, folder=tmp_path / "out", measure=False, execution=execution, display=display)
    # What a fold gave is its score on validation; its test part is never opened.
    assert "s1-f2: validation macro F1 0.8750" in stream.getvalue()
    found = {(c.spec.label, c.spec.learning_rate, c.spec.seed, c.spec.fold): c for c in result.comparison.cells}
    assert {key[1:]: cell.status for key, cell in found.items() if key[0] == "full"} == {
        # In the first fold of the first seed one of three goes on; what is stopped runs in no other fold.
        (1e-4, 1, 1): "pruned",
        (1e-3, 1, 1): "complete",
        **{(1e-3, 1, fold): "complete" for fold in (2, 3)},
        **{(best, seed, fold): "complete" for seed in (1, 2) for fold in (1, 2, 3, 0)},
    }
    assert {key[2:] for key in found if key[0] == "lora"} == {(seed, fold) for seed in (1, 2) for fold in range(4)}
    assert len(trained) == len(set(trained)) == len(found), "each run once"
    for (*_, fold), cell in found.items():
        choice = choices[cell.spec.run_id]
        assert (choice is None) == (fold > 0)
        if choice is not None:
            assert choice.share == 1.0 and trained.index(cell.spec.run_id) > max(
                trained.index(one.run_id)
                for one in cell.spec.fold_runs  # type: ignore[union-attr]
            )
    assert run_study(study, folder=tmp_path / "out", measure=False, execution=execution).summary.complete == []
