"""A study of several labels a text, from the data to what is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from typer.testing import CliRunner

from execution.task_studies import SEVERAL, WORDS, run_of
from thorough import mostly_thorough
from tunebench.analysis.analysis import Analysis, analyse
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import recommend
from tunebench.api import write_report
from tunebench.cli import app
from tunebench.execution.plan import make_plan
from tunebench.inference.export import export_run
from tunebench.inference.predictor import load
from tunebench.machine.settings import Execution
from tunebench.report.figures import figures_of
from tunebench.report.sections import PARTS
from tunebench.report.source import Source
from tunebench.report.tables import ReportTable, make_tables
from tunebench.store.study_folder import StudyStore
from tunebench.web.serving.answers import answers_of

NAMES = tuple(WORDS)


@pytest.fixture
def study(trained: Callable[..., Path]) -> Path:
    return trained(SEVERAL)


def test_records_hold_the_scores_of_their_predictions(study: Path) -> None:
    for cell in StudyStore.open(study).cells():
        record = cell.record
        assert record is not None and record.scores is not None and record.spec.task == "multi_label"
        assert cell.predictions is not None and record.examples is not None
        stored = cell.predictions()
        assert stored["labels"].shape == stored["logits"].shape == (60, 3) and stored["labels"].max() == 1
        assert record.examples.test_per_class == stored["labels"].sum(0).tolist()
        right = ((stored["logits"] > 0) == stored["labels"]).all(1).mean()
        assert record.scores["subset_accuracy"] == pytest.approx(right)
        assert [one.label for one in record.scores.per_class] == list(NAMES) and record.scores.confusion == []
        # A cross-validation trains on the validation part too.
        parts = (60, 0) if cell.spec.kind in ("tfidf", "static") else (49, 11)
        assert (record.examples.train, record.examples.validation) == parts
    # The words say it all.
    scores = {c.spec.kind: c.score("macro_f1") for c in StudyStore.open(study).cells()}
    assert scores["tfidf"] is not None and scores["tfidf"] > 0.9


def check_errors_by_label(analysis: Analysis, tables: dict[str, ReportTable]) -> None:
    """Compare the tables of labels with counts text by text."""
    for entry in analysis.entries:
        mine = {"strategy": entry.label}
        of_label = {row["label"]: row for row in tables["label_errors"].rows if mine.items() <= row.items()}
        of_pair = {(r["first"], r["second"]): r for r in tables["label_pairs"].rows if mine.items() <= r.items()}
        texts = [
            (set(np.flatnonzero(true)), set(np.flatnonzero(given)))
            for run in entry.predictions
            for true, given in zip(entry.labels, run, strict=True)
        ]
        for number, name in enumerate(NAMES):
            row, runs = of_label[name], len(entry.seeds)
            missed = [given - true for true, given in texts if number in true - given]
            assert row["found"] + row["missed"] == row["texts"] and row["missed"] == len(missed) / runs
            assert row["wrong"] == sum(number in given - true for true, given in texts) / runs
            most = max(sum(other in wrong for wrong in missed) for other in range(len(NAMES))) / runs
            assert row["instead_texts"] == (most or None)
        for (first, second), row in of_pair.items():
            both = {NAMES.index(first), NAMES.index(second)}
            assert row["have"] == sum(both <= true for true, _ in texts) / len(entry.seeds)
            assert row["given"] == pytest.approx(sum(both <= given for _, given in texts) / len(entry.seeds))


def check_calibration(analysis: Analysis, table: ReportTable) -> None:
    """Compare the table with the metrics of the runs, which take all decisions together too."""
    for entry, row in zip(analysis.entries, table.rows, strict=True):
        scores = [cell.record.scores for cell in entry.cells if cell.record and cell.record.scores]
        for column, metric in (("ece_width", "ece"), ("brier", "brier"), ("log_loss", "log_loss")):
            assert row[column] == pytest.approx(np.mean([one[metric] for one in scores]), rel=1e-5)
    assert any("all labels are pooled" in note for note in table.notes)


def test_tables_figures_and_report_are_made(study: Path) -> None:
    analysis = analyse(load_comparison(study))
    tables = {table.name: table for table in make_tables(analysis)}
    assert [column.header for column in tables["scores"].columns][3:5] == ["Macro F1", "Micro F1"]
    assert {row["label"] for row in tables["per_class"].rows} == set(NAMES)
    check_calibration(analysis, tables["calibration"])
    assert len(tables["pairs"].rows) == 6 and tables["agreement"].rows
    check_errors_by_label(analysis, tables)
    samples = {row["split"]: row["samples"] for row in tables["data"].rows}
    assert samples == {"train (whole)": 120, "test (whole)": 60, "train": 49, "validation": 11, "test": 60}
    for name, maker in figures_of(analysis).items():
        assert maker(analysis) is not None, name
    assert recommend(analysis).metric == "macro_f1"
    assert "reliability" in figures_of(analysis)
    page = write_report(study, run_figures=False).read_text(encoding="utf-8")
    assert "no label is taken for another" in page and "Micro F1" in page and "Share that has the label" in page


def test_the_report_lists_the_texts_with_the_largest_errors(study: Path) -> None:
    source = Source(analyse(load_comparison(study)), study)
    found = PARTS["label_texts"].build(source)
    assert found is not None and found["without_texts"] is None and PARTS["texts"].build(source) is None
    entries = source.analysis.entries
    labels = entries[0].labels
    # More than half of two seeds are both.
    right = [(entry.predictions.all(0) == labels).all(1) for entry in entries]
    assert found["wrong"] == int((~np.all(right, axis=0)).sum()) and len(found["rows"]) == min(found["wrong"], 50)
    rows = (study.parent / "data" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    for row in found["rows"]:
        text = json.loads(rows[row["row"] - 1])
        assert (row["text"], row["true"]) == (text["text"], sorted(text["labels"]))
        for entry, (label, known, decisions) in zip(entries, row["said"], strict=True):
            assert label == entry.label and known and len({name for _, name, _ in decisions}) == len(decisions)
            of = {kind: {name for k, name, _ in decisions if k == kind} for kind in ("found", "wrong", "missed")}
            assert of["found"] | of["missed"] == set(text["labels"]) and not of["wrong"] & set(text["labels"])


@pytest.mark.parametrize(
    ("kind", "format_"),
    mostly_thorough(
        [("lora", "merged"), ("full", "onnx"), ("tfidf", "linear"), ("lora", "adapter")],
        keep=lambda case: case[1] != "onnx",
    ),
)
def test_exports_give_each_label_a_probability(study: Path, tmp_path: Path, kind: str, format_: str) -> None:
    if format_ == "onnx":
        pytest.importorskip("onnxruntime")
    run = run_of(study, kind)
    export_run(study, out=tmp_path / "out", format=format_, run_id=run.name)
    texts = ["the film was lovely and dear", "two men in paris"]
    original, exported = load(run), load(tmp_path / "out")
    assert exported.artifact.task.name == "multi_label"
    shares = exported.predict_proba(texts)
    np.testing.assert_allclose(shares, expit(original.predict_logits(texts)), atol=1e-3)
    for said, row in zip(exported.predict(texts), shares, strict=True):
        assert said == tuple(name for name, share in zip(NAMES, row, strict=True) if share > 0.5)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "softmax" not in card and "sigmoid" in card and "argmax" not in card and "belong to none" not in card


def test_results_have_a_column_that_the_task_has(study: Path) -> None:
    found = CliRunner().invoke(app, ["results", str(study)])
    assert found.exit_code == 0, found.output
    assert "micro_f1" in found.stdout and "accuracy" not in found.stdout


def test_predict_and_serve_answer_with_all_labels(study: Path) -> None:
    run = run_of(study, "tfidf")
    text = "the film was lovely superb and dear sweet"
    found = CliRunner().invoke(app, ["predict", str(run), text, "in paris"])
    assert found.exit_code == 0, found.output
    first, second = map(json.loads, found.stdout.splitlines())
    assert set(first["labels"]) == {"joy", "love"} and len(first["probabilities"]) == 2
    assert first["probabilities"] == sorted(first["probabilities"], reverse=True)
    assert len(second["labels"]) == len(second["probabilities"])
    table = CliRunner().invoke(app, ["predict", str(run), text, "--format", "csv"]).stdout.splitlines()
    assert table[0] == "labels,probabilities" and "joy" in table[1]
    predictor = load(run)
    (answer,) = answers_of(predictor, predictor.predict_logits([text]))
    dumped = answer.model_dump()
    assert set(dumped["labels"]) == {"joy", "love"} and set(dumped["probabilities"]) == set(NAMES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "mcc"}, "mcc is not defined for several labels a text"),
        ({"label_smoothing": 0.1}, "Labels are not smoothed"),
        ({"strategies": ["setfit"], "subset_seed": "per_seed"}, "'setfit' cannot learn several labels a text"),
    ],
)
def test_what_does_not_go_with_several_labels_is_refused_first(
    tiny_model: Callable[[str], Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    SEVERAL.check_refused(tiny_model("distilbert"), tmp_path, message, changes)


def test_the_plan_names_labels_that_a_part_lacks(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    SEVERAL.write_data(tmp_path)
    train = tmp_path / "train.jsonl"
    rare = "".join(json.dumps({"text": f"a rare thing {i}", "labels": ["pride"]}) + "\n" for i in range(2))
    train.write_text(train.read_text(encoding="utf-8") + rare, encoding="utf-8")
    said: list[str] = []
    make_plan(
        SEVERAL.config(tiny_model("distilbert"), tmp_path, strategies=["tfidf"]),
        execution=Execution(device="cpu"),
        measure=False,
        on_progress=said.append,
    )
    assert any("the test part has no text with pride" in line for line in said)


@pytest.fixture
def tuned(trained: Callable[..., Path]) -> Path:
    strategies = {"full": {"learning_rate": 1e-3}, "tfidf": {"c": [0.01]}}
    return trained(SEVERAL, strategies=strategies, seeds=[1], thresholds="tuned")


def test_tuned_thresholds_are_kept_scored_and_exported(tuned: Path, tmp_path: Path) -> None:
    analysis = analyse(load_comparison(tuned))
    assert any(
        "above its own threshold, chosen on validation" in line and "at 0.5" not in line
        for line in analysis.warnings
    )
    for entry in analysis.entries:
        (cell,) = entry.cells
        record, stored = cell.record, cell.predictions() if cell.predictions else {}
        assert record is not None and record.scores is not None and record.thresholds is not None
        given = expit(stored["logits"].astype(np.float64)) > record.thresholds
        assert (entry.predictions[0] == given).all()
        assert record.scores["subset_accuracy"] == pytest.approx((given == stored["labels"]).all(1).mean())
        StudyStore.open(tuned).run_folder(cell.spec.run_id).check_results(record)
        if cell.spec.kind == "tfidf":
            # So strongly regularised that no label is ever above 0.5: checkpoints would all score 0 there.
            assert (stored["logits"] < 0).all() and record.selected is not None
            assert record.selected.score is not None and record.selected.score > 0
        export_run(tuned, out=tmp_path / cell.spec.kind, run_id=cell.spec.run_id)
        card = (tmp_path / cell.spec.kind / "README.md").read_text(encoding="utf-8")
        assert "above its own threshold" in card and "above 0.5" not in card
        for place in (run_of(tuned, cell.spec.kind), tmp_path / cell.spec.kind):
            predictor = load(place)
            texts = ["the film was lovely and dear", "two awful men in paris"]
            shares = predictor.predict_proba(texts)
            for said, row in zip(predictor.predict(texts), shares, strict=True):
                assert said == tuple(n for n, p, t in zip(NAMES, row, record.thresholds, strict=True) if p > t)


def test_the_code_of_a_linear_card_knows_tuned_thresholds(tuned: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(tuned, out=out, run_id=run_of(tuned, "tfidf").name)
    card = (out / "README.md").read_text(encoding="utf-8")
    code = card.partition("```python\n")[2].partition("```")[0].replace("PATH", str(out))
    space: dict[str, Any] = {}
    exec(code.replace("a text", "the film was lovely and dear"), space)
    assert space["found"] == [list(load(out).predict(["the film was lovely and dear"])[0])]


def test_thresholds_need_a_validation_part(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    changes = {"thresholds": "tuned", "selection": "last", "validation_fraction": 0}
    SEVERAL.check_refused(tiny_model("distilbert"), tmp_path, "tuned needs a validation part", changes)
