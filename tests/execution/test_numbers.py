"""A study of numbers to predict, from the data to what is served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from execution.task_studies import MEAN, NUMBERS, run_of
from thorough import mostly_thorough
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import recommend
from tunebench.api import write_report
from tunebench.cli import app
from tunebench.errors import ConfigError
from tunebench.execution.plan import make_plan
from tunebench.inference.export import export_run
from tunebench.inference.predictor import load
from tunebench.machine.settings import Execution
from tunebench.models.loading import inspect_base
from tunebench.report.figures import figures_of
from tunebench.report.tables import make_tables
from tunebench.store.study_folder import StudyStore
from tunebench.web.serving.answers import answers_of

TEXTS = ["lovely lovely film in paris", "awful awful film in paris"]


@pytest.fixture
def study(trained: Callable[..., Path]) -> Path:
    return trained(NUMBERS)


def test_records_hold_numbers_and_scores_in_the_unit_of_the_data(study: Path) -> None:
    for cell in StudyStore.open(study).cells():
        record = cell.record
        assert record is not None and record.scores is not None and record.selected is not None
        assert (record.spec.task, record.spec.metric) == ("regression", "spearman")
        assert record.examples is not None and cell.predictions is not None
        stored = cell.predictions()
        labels, predicted = stored["labels"], stored["logits"][:, 0].astype(float)
        assert labels.dtype == np.float64 and stored["logits"].shape == (40, 1)
        assert record.scores["spearman"] == pytest.approx(stats.spearmanr(labels, predicted).statistic)
        assert record.scores["mae"] == pytest.approx(np.abs(labels - predicted).mean())
        # A model that answered in another unit would be off by thousands.
        assert record.scores["mae"] < 20 and abs(predicted.mean() - MEAN) < 20
        assert record.scores.per_class == [] and record.scores.confusion == [] == record.examples.test_per_class
        assert record.examples.numbers["test"]["mean"] == pytest.approx(labels.mean())
        StudyStore.open(study).run_folder(record.run_id).check_results(record)
        # Losses of training are on a scale of variance 1, and so are those that stand beside them.
        losses = [e[key] for e in record.log_history for key in ("loss", "eval_loss") if key in e]
        assert all(loss < 5 for loss in losses) and bool(losses) == (record.spec.kind in ("full", "lora"))
    scores = {c.spec.kind: c.score("spearman") for c in StudyStore.open(study).cells()}
    assert scores["tfidf"] is not None and scores["tfidf"] > 0.5


def test_an_error_is_not_divided_by_parameters(study: Path) -> None:
    tables = [
        make_tables(analyse(load_comparison(study, metric=name)), ["score_per_million"])[0]
        for name in ("r2", "mae")
    ]
    ratio, plain = tables
    has = [any(column.key == "score_per_million" for column in table.columns) for table in tables]
    assert has == [True, False] and "per million" in ratio.title
    assert plain.title.startswith("Trainable parameters") and "a smaller value is better" in plain.notes[0]


def test_tables_figures_and_report_show_numbers_and_no_classes(study: Path) -> None:
    analysis = analyse(load_comparison(study))
    tables = {table.name: table for table in make_tables(analysis)}
    assert not {"per_class", "calibration", "agreement"} & set(tables) and tables["pairs"].rows
    headings = [column.header for column in tables["scores"].columns][3:6]
    assert headings == ["Spearman correlation", "Mean absolute error", "Root mean squared error"]
    assert {row["split"]: row["samples"] for row in tables["data"].rows}["train (whole)"] == 100
    assert all(abs(row["mean"] - MEAN) < 10 for row in tables["data"].rows)
    mae = {row["strategy"]: row["mae"].estimate for row in tables["intervals"].rows}
    for row in tables["errors"].rows:
        assert row["median"] <= row["p95"] <= row["largest"] and row["median"] < 2 * mae[row["strategy"]]
    with pytest.raises(ConfigError, match="no such table of one number a text"):
        make_tables(analysis, ["per_class"])
    figures = figures_of(analysis)
    assert {"predicted_against_true", "residuals"} <= set(figures) and "reliability" not in figures
    assert recommend(analysis).metric == "spearman"
    page = write_report(study, run_figures=False).read_text(encoding="utf-8")
    assert "Largest errors" in page and "true year" in page
    for words in ("Confusion", "Calibration", "classes:", "probabilit", "accuracy", "Macro F1", "nats"):
        assert words not in page.partition("<script")[2].partition("<body>")[2].partition("<script")[0], words


@pytest.mark.parametrize(
    ("kind", "format_"),
    mostly_thorough(
        [("lora", "merged"), ("full", "onnx"), ("tfidf", "linear"), ("embeddings", "linear"), ("static", "linear")],
        keep=lambda case: case[1] != "onnx",
    ),
)
def test_exports_predict_the_numbers_of_their_run(study: Path, tmp_path: Path, kind: str, format_: str) -> None:
    if format_ == "onnx":
        pytest.importorskip("onnxruntime")
    run = run_of(study, kind)
    export_run(study, out=tmp_path / "out", format=format_, run_id=run.name)
    original, exported = load(run), load(tmp_path / "out")
    assert exported.artifact.task.name == "regression" and exported.label_names == ("year",)
    found = exported.predict(TEXTS)
    assert found.dtype == np.float64 and found == pytest.approx(original.predict(TEXTS), abs=0.01)
    assert abs(found.mean() - MEAN) < 40
    with pytest.raises(ConfigError, match="no probabilities"):
        exported.predict_proba(TEXTS)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for words in ("softmax", "classes", "macro F1", "recall", "label of"):
        assert words not in card, words
    assert "predicts a number" in card and "Spearman correlation on these texts" in card
    if format_ == "onnx":
        return
    if format_ == "merged":
        # Trained for numbers, it may be the base of another training.
        assert inspect_base(tmp_path / "out").use_of_head(keep=False, label_names=("a", "b")) == "fresh"
    code = card.partition("```python\n")[2].partition("```")[0].replace("PATH", str(tmp_path / "out"))
    space: dict[str, Any] = {}
    exec(code.replace("predict([", "found = predict([").replace("a text", TEXTS[0]), space)
    (value,) = space["found"]
    assert (value["score"] if format_ == "merged" else value) == pytest.approx(found[0], abs=0.1)


def test_predict_and_serve_answer_with_the_number(study: Path) -> None:
    run = run_of(study, "tfidf")
    found = CliRunner().invoke(app, ["predict", str(run), *TEXTS])
    assert found.exit_code == 0, found.output
    first, second = (json.loads(line) for line in found.stdout.splitlines())
    assert set(first) == {"value"} and first["value"] > MEAN > second["value"]
    table = CliRunner().invoke(app, ["predict", str(run), TEXTS[0], "--format", "csv"]).stdout.splitlines()
    assert table[0] == "value" and float(table[1]) == first["value"]
    predictor = load(run)
    (answer,) = answers_of(predictor, predictor.predict_logits(TEXTS[:1]))
    assert answer.model_dump() == {"value": pytest.approx(first["value"])}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "auroc"}, "auroc is not defined for one number a text"),
        ({"label_smoothing": 0.1}, "Labels are not smoothed"),
        ({"thresholds": "tuned"}, "thresholds: tuned needs several labels"),
        (
            {"strategies": ["setfit"], "subset_seed": "per_seed"},
            "cannot learn one number a text: it trains on pairs",
        ),
        ({"keep_head": True}, "so it is always a new one"),
    ],
)
def test_what_does_not_go_with_numbers_is_refused_first(
    tiny_model: Callable[[str], Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    NUMBERS.check_refused(tiny_model("distilbert"), tmp_path, message, changes)


def test_a_study_that_names_a_metric_keeps_it(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    said: list[str] = []
    options: dict[str, Any] = {"execution": Execution(device="cpu"), "measure": False, "on_progress": said.append}
    data = NUMBERS.write_data(tmp_path)
    for metric, noted in (({"metric": "rmse"}, 0), ({}, 1)):
        said.clear()
        plan = make_plan(NUMBERS.config(tiny_model("distilbert"), data, strategies=["tfidf"], **metric), **options)
        assert plan.study.metric == plan.runs[0].spec.metric == metric.get("metric", "spearman")
        assert sum("the metric is spearman, the default for one number a text" in line for line in said) == noted
