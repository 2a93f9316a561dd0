"""Import of runs that predict several labels or a number for each text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit
from sklearn.metrics import average_precision_score, f1_score, log_loss, mean_squared_error

from importing.test_foreign import make_state, only, write
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.load import load_comparison
from tunebench.api import import_runs, write_report
from tunebench.errors import TunebenchError
from tunebench.importing.tasks import VOCABULARIES
from tunebench.report.figures import figures_of
from tunebench.report.tables import make_tables
from tunebench.tasks.registry import TASKS

NUMBERS = {"problem_type": "regression", "id2label": {"0": "LABEL_0"}}
SEVERAL = {"problem_type": "multi_label_classification", "id2label": {"0": "anger", "1": "joy", "2": "love"}}


def state_of(*metrics: dict[str, float]) -> dict[str, Any]:
    """Return a state with these metrics in its evaluations, in place of those of one label a text."""
    state = make_state()
    evaluations = [entry for entry in state["log_history"] if "eval_loss" in entry]
    for entry, found in zip(evaluations, metrics, strict=True):
        del entry["eval_accuracy"], entry["eval_f1_macro"]
        entry |= {f"eval_{name}": value for name, value in found.items()}
    return state


def bring(*folders: Path, said: tuple[str, ...] = ()) -> Comparison:
    """Import folders, and return what was stored."""
    out = folders[0].parent / "out"
    import_runs(list(folders), folder=out, settings=["train_size=80", *said])
    return load_comparison(out)


def numbers() -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted numbers, as the Trainer's ``predict`` gives them."""
    rng = np.random.default_rng(0)
    labels = rng.uniform(1, 5, 20).round(1)
    return labels.astype(np.float32), (labels + rng.normal(0, 0.5, 20)).astype(np.float32)[:, None]


def labels_and_logits() -> tuple[np.ndarray, np.ndarray]:
    """Return labels as the loss wants them, and logits."""
    rng = np.random.default_rng(1)
    logits = rng.normal(-0.5, 2, (20, 3)).astype(np.float32)
    return (rng.random((20, 3)) < expit(logits)).astype(np.float32), logits


def test_every_name_is_of_one_metric_that_the_task_has() -> None:
    for name, vocabulary in VOCABULARIES.items():
        known = [one for metric in vocabulary.names for one in vocabulary.names[metric]]
        assert len(known) == len(set(known)) and set(vocabulary.names) <= set(TASKS[name].metrics)
        assert {*vocabulary.told_by, *vocabulary.plain_f1} <= set(vocabulary.names)
    assert set(VOCABULARIES) == set(TASKS)


def test_the_docs_list_the_names_that_are_read() -> None:
    page = (Path(__file__).parents[2] / "docs" / "importing.md").read_text(encoding="utf-8")
    tasks = {"several labels": "multi_label", "a number": "regression"}
    found: dict[str, dict[str, tuple[str, ...]]] = {name: {} for name in tasks.values()}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in tasks and len(cells) == 3:
            found[tasks[cells[0]]][cells[1].strip("`")] = tuple(name.strip("`") for name in cells[2].split(", "))
    assert found == {name: dict(VOCABULARIES[name].names) for name in found}


def test_numbers_are_scored_by_their_predictions(tmp_path: Path) -> None:
    labels, said = numbers()
    rho = float(stats.spearmanr(labels, said[:, 0]).statistic)
    mse = float(mean_squared_error(labels, said[:, 0]))
    r = float(stats.pearsonr(labels, said[:, 0]).statistic)
    state = state_of(*({"spearmanr": rho - 0.1 * (3 - i), "pearson": r - 0.1 * (3 - i)} for i in (1, 2, 3)))
    evaluations = [entry for entry in state["log_history"] if "eval_loss" in entry]
    evaluations[-1]["eval_loss"] = mse
    folder = write(tmp_path / "run", config=NUMBERS, trainer_state=state)
    np.savez(folder / "predictions.npz", predictions=said, label_ids=labels)
    comparison = bring(folder)
    spec, record, _ = only(comparison)
    assert record.scores is not None and record.examples is not None and record.selected is not None
    assert (spec.task, spec.data.label_names, spec.data.named, comparison.metric) == (
        "regression",
        ("number",),
        False,
        "spearman",
    )
    found = record.scores.values
    assert found["spearman"] == pytest.approx(rho) and found["pearson"] == pytest.approx(r)
    assert found["mse"] == pytest.approx(mse) and found["rmse"] == pytest.approx(mse**0.5)
    assert record.examples.numbers["test"]["mean"] == pytest.approx(labels.mean())
    # The last evaluation has the very scores, and curves carry tunebench's names.
    assert record.selected.step == 15 and record.selected.score == pytest.approx(rho)
    curve = [entry["eval_spearman"] for entry in record.log_history if "eval_spearman" in entry]
    assert curve == pytest.approx([rho - 0.2, rho - 0.1, rho])
    tables = {table.name: table for table in make_tables(analyse(comparison))}
    assert tables["intervals"].rows and tables["errors"].rows
    assert {"predicted_against_true", "residuals"} <= set(figures_of(analyse(comparison)))
    page = write_report(tmp_path / "out", run_figures=False).read_text(encoding="utf-8")
    assert "true number" in page and "Spearman correlation" in page


@pytest.mark.parametrize("saved", ["logits", "probabilities", "rows"])
def test_several_labels_are_scored_by_what_was_saved(tmp_path: Path, saved: str) -> None:
    labels, logits = labels_and_logits()
    folder = write(tmp_path / "run", config=SEVERAL, trainer_state=state_of({}, {}, {}))
    said = {"logits": logits, "probabilities": expit(logits), "rows": (logits > 0).astype(int)}[saved]
    np.savez(folder / "predictions.npz", predictions=said, label_ids=labels)
    comparison = bring(folder)
    spec, record, remarks = only(comparison)
    assert record.scores is not None and record.examples is not None and "predicted decisions" not in remarks
    assert (spec.task, spec.data.label_names, comparison.metric) == (
        "multi_label",
        ("anger", "joy", "love"),
        "macro_f1",
    )
    given, found = logits > 0, record.scores
    for name in ("macro", "micro"):
        assert found[f"{name}_f1"] == pytest.approx(f1_score(labels, given, average=name))
    assert found["subset_accuracy"] == (given == labels).all(1).mean()
    assert [one.support for one in found.per_class] == labels.sum(0).tolist() == record.examples.test_per_class
    if saved == "logits":
        average = average_precision_score(labels, logits, average="macro")
        assert found["mean_average_precision"] == pytest.approx(average)
        losses = [log_loss(labels[:, i], expit(logits.astype(float))[:, i]) for i in range(3)]
        assert found["log_loss"] == pytest.approx(np.mean(losses))
    else:
        assert found["log_loss"] is None and found["mean_average_precision"] is None
    tables = {table.name: table for table in make_tables(analyse(comparison))}
    assert bool(tables["calibration"].rows) == (saved == "logits") and tables["label_errors"].rows
    assert any("no probabilities are known" in note for note in tables["calibration"].notes) == (saved != "logits")


#: Metrics as the examples of Transformers log them, and the value of each metric that they give.
LOGGED: dict[str, tuple[dict[str, Any], dict[str, float], str, dict[str, float], tuple[str, ...]]] = {
    "STS-B of run_glue.py": (
        {},
        {"pearson": 0.8, "spearmanr": 0.7, "combined_score": 0.75},
        "spearman",
        {"pearson": 0.8, "spearman": 0.7, "mse": 0.4, "rmse": 0.4**0.5},
        (),
    ),
    "numbers of run_classification.py": (
        NUMBERS,
        {"mse": 0.36},
        "rmse",
        {"mse": 0.36, "rmse": 0.6},
        (),
    ),
    "AutoTrain": (
        NUMBERS,
        {"mse": 0.36, "mae": 0.5, "r2": -0.5, "rmse": 0.6, "explained_variance": 0.1},
        "mae",
        {"mse": 0.36, "mae": 0.5, "r2": -0.5, "rmse": 0.6},
        (),
    ),
    "a plain f1": (SEVERAL, {"f1": 0.6, "accuracy": 0.5}, "log_loss", {"log_loss": 0.4}, ()),
    "several labels of run_classification.py": (
        SEVERAL,
        {"f1": 0.6},
        "micro_f1",
        {"micro_f1": 0.6, "log_loss": 0.4},
        ("plain_f1=micro",),
    ),
    "names that say it": (
        SEVERAL,
        {"f1_micro": 0.6, "f1_macro": 0.5, "roc_auc": 0.9, "f1_samples": 0.55},
        "macro_f1",
        {"micro_f1": 0.6, "macro_f1": 0.5, "samples_f1": 0.55, "log_loss": 0.4},
        (),
    ),
    "a task that is stated": (
        {},
        {"f1_micro": 0.6},
        "micro_f1",
        {"micro_f1": 0.6, "log_loss": 0.4},
        ("task=multi_label",),
    ),
}


@pytest.mark.parametrize("example", LOGGED)
def test_metrics_that_examples_log_are_read(tmp_path: Path, example: str) -> None:
    config, logged, metric, expected, said = LOGGED[example]
    folder = write(tmp_path / "run", trainer_state=state_of(logged, logged, logged))
    if config:
        write(folder, config=config)
    comparison = bring(folder, said=said)
    _, record, remarks = only(comparison)
    assert record.scores is not None and comparison.metric == metric
    assert ("not read" in remarks) == (example in ("a plain f1", "names that say it"))
    assert {k: v for k, v in record.scores.values.items() if v is not None} == pytest.approx(expected)
    make_tables(analyse(comparison))


def test_predictions_tell_the_task_where_no_configuration_does(tmp_path: Path) -> None:
    for name, (labels, said) in {"several": labels_and_logits(), "numbers": numbers()}.items():
        folder = write(tmp_path / name / "run", trainer_state=state_of({}, {}, {}))
        np.savez(folder / "predictions.npz", predictions=said, label_ids=labels)
        spec, record, _ = only(bring(folder))
        assert record.imported is not None and "predictions.npz" in record.imported.found["task"]
        assert spec.task == {"several": "multi_label", "numbers": "regression"}[name]


def test_other_thresholds_of_a_script_are_said(tmp_path: Path) -> None:
    labels, logits = labels_and_logits()
    folder = write(tmp_path / "run", config=SEVERAL, trainer_state=state_of({}, {}, {}))
    np.savez(folder / "predictions.npz", logits=logits, predictions=(logits > -1).astype(int), label_ids=labels)
    _, record, remarks = only(bring(folder))
    differ = int(((logits > -1) != (logits > 0)).sum())
    assert f"{differ} of 60 predicted decisions are not those of a threshold of 0.5" in remarks
    assert record.scores is not None
    assert record.scores["micro_f1"] == pytest.approx(f1_score(labels, logits > 0, average="micro"))


def test_a_plain_f1_is_the_average_that_it_equals(tmp_path: Path) -> None:
    labels, logits = labels_and_logits()
    micro = float(f1_score(labels, logits > 0, average="micro"))
    folder = write(
        tmp_path / "run", config=SEVERAL, trainer_state=state_of({}, {}, {}), all_results={"eval_f1": micro}
    )
    np.savez(folder / "predictions.npz", predictions=logits, label_ids=labels)
    _, record, _ = only(bring(folder))
    assert record.imported is not None and "micro F1 of the predictions" in record.imported.found["plain_f1"]


def _damage(task: str, **changes: Any) -> dict[str, np.ndarray]:
    labels, said = numbers() if task == "numbers" else labels_and_logits()
    return {"predictions": said, "label_ids": labels} | changes


@pytest.mark.parametrize(
    ("task", "changes", "said", "message"),
    [
        ("numbers", {}, ("task=multi_label",), "The stated task is not that of the folder"),
        ("numbers", {}, ("label_names=[a, b]",), "label_names does not fit what is predicted"),
        ("several", {}, ("label_names=[a]",), "label_names does not fit what is predicted"),
        ("numbers", {"predictions": np.zeros((19, 1))}, (), "differ in length"),
        ("numbers", {"predictions": np.zeros((20, 2))}, (), "must be one per example"),
        ("numbers", {"label_ids": np.full(20, np.nan)}, (), "NaN or infinite"),
        ("numbers", {"logits": np.zeros((20, 1))}, (), "Two arrays of predicted numbers differ"),
        ("several", {"label_ids": np.full((20, 3), 2)}, (), "rows of 0 and 1"),
        ("several", {"predictions": np.zeros((20, 2)) - 1}, (), "differ in their number of labels"),
        ("several", {"label_ids": np.zeros(20, dtype=int)}, (), "rows of 0 and 1"),
    ],
)
def test_what_does_not_fit_the_task_is_refused(
    tmp_path: Path, task: str, changes: dict[str, Any], said: tuple[str, ...], message: str
) -> None:
    plain = {"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}}
    config = NUMBERS if task == "numbers" else SEVERAL | plain
    folder = write(tmp_path / "run", config=config, trainer_state=state_of({}, {}, {}))
    np.savez(folder / "predictions.npz", **_damage(task, **changes))
    with pytest.raises(TunebenchError, match=message):
        bring(folder, said=said)


def test_runs_of_two_tasks_are_not_compared(tmp_path: Path) -> None:
    folders = [
        write(tmp_path / name, config=config, trainer_state=state_of({}, {}, {}))
        for name, config in (("one", NUMBERS), ("two", SEVERAL))
    ]
    with pytest.raises(TunebenchError, match="task"):
        bring(*folders)
