"""Import of folders with NaN, files of other tools, names that are numbers, several sets, streams and AutoTrain."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tunebench import cli
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.ledger import make_ledger
from tunebench.analysis.load import load_comparison
from tunebench.api import import_runs, write_report
from tunebench.errors import TunebenchError
from tunebench.importing.sets import tell_apart
from tunebench.report.tables import make_tables
from tunebench.store.cell import Cell
from tunebench.store.imported import ImportedRun
from tunebench.store.record import RunRecord
from tunebench.store.seal import KEY
from tunebench.study.spec import RunSpec

NAN, INFINITE = float("nan"), float("inf")
CONFIG = {"architectures": ["BertForSequenceClassification"], "_name_or_path": "some-bert"}
ENDLESS = 2**63 - 1


def make_state(**changes: Any) -> dict[str, Any]:
    """Return the state of a run of 80 texts in batches of 16: three epochs, three evaluations of 20 texts."""
    log: list[dict[str, Any]] = []
    for epoch in (1, 2, 3):
        at = {"epoch": float(epoch), "step": 5 * epoch}
        log.append({"loss": 0.8 - 0.1 * epoch, "learning_rate": 1e-5 * (4 - epoch), "grad_norm": 1.0, **at})
        log.append(
            {
                "eval_loss": 0.7 - 0.1 * epoch,
                "eval_accuracy": 0.7 + 0.05 * epoch,
                "eval_f1_macro": 0.69 + 0.05 * epoch,
                "eval_runtime": 2.0,
                "eval_samples_per_second": 10.0,
                "eval_steps_per_second": 1.0,
                **at,
            }
        )
    log.append(
        {"train_runtime": 60.0, "train_samples_per_second": 4.0, "train_loss": 0.6, "epoch": 3.0, "step": 15}
    )
    state = {"best_metric": None, "best_model_checkpoint": None, "epoch": 3.0, "global_step": 15}
    return state | {"log_history": log, "max_steps": 15, "num_train_epochs": 3, "total_flos": 1e12} | changes


def write(folder: Path, **files: Any) -> Path:
    """Write files of a run, each by its name without ``.json``: text as it is, anything else as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def bring(*folders: Path, size: int | None = 80, said: tuple[str, ...] = ()) -> Comparison:
    """Import folders, and check that what was stored reads back as it was."""
    given_size = [] if size is None else [f"train_size={size}"]
    out = folders[0].parent / "out"
    comparison = import_runs(list(folders), folder=out, settings=[*given_size, *said])
    assert [cell.record for cell in load_comparison(out).cells] == [cell.record for cell in comparison.cells]
    return comparison


def only(comparison: Comparison) -> tuple[ImportedRun, RunRecord, str]:
    """Return spec, record and remarks of the one run."""
    (cell,) = comparison.cells
    assert isinstance(cell.spec, ImportedRun) and cell.record is not None and cell.record.imported is not None
    return cell.spec, cell.record, "\n".join(cell.record.imported.remarks)


def with_predictions(folder: Path, labels: np.ndarray, **files: Any) -> Path:
    """Write a run with logits, right for all texts but the first."""
    logits = np.eye(2, dtype=np.float32)[labels]
    logits[0] = logits[0, ::-1]
    np.savez(write(folder, config=CONFIG, **files) / "predictions.npz", label_ids=labels, predictions=logits)
    return folder


# What is done with imported runs ---------------------------------------------------------------------


def test_a_row_has_the_score_by_the_metric_that_runs_are_compared_by(tmp_path: Path) -> None:
    bring(write(tmp_path / "run", trainer_state=make_state(), metrics={"eval_accuracy": 0.75}))
    comparison = load_comparison(tmp_path / "out")
    (row,) = comparison.rows()
    assert (row["metric"], row["score"]) == (comparison.metric, row["accuracy"]) == ("accuracy", 0.75)


def test_advice_on_imported_runs_names_nothing_that_only_a_study_has(tmp_path: Path) -> None:
    state = make_state()
    for entry in state["log_history"]:
        entry.update({"loss": 0.69} if "loss" in entry else {})
    run = with_predictions(tmp_path / "run", np.arange(20) % 2, trainer_state=state)
    import_runs([run], folder=tmp_path / "out", settings=["train_size=80"])
    (found,) = analyse(load_comparison(tmp_path / "out")).undertrained
    assert "with the script that trained it" in found.change
    assert "--out" not in found.change and "min_steps" not in found.change


def test_test_texts_of_unknown_data_are_those_of_no_other_study(tmp_path: Path) -> None:
    for name, labels in (("films", np.arange(20) % 2), ("mails", np.arange(20) // 10)):
        run = with_predictions(tmp_path / name, labels, trainer_state=make_state())
        import_runs([run], folder=tmp_path / f"{name}-study", settings=["train_size=80"])
    ledger = make_ledger([tmp_path])
    assert [(part.texts, part.runs, part.studies) for part in ledger.parts] == [
        (20, 1, ("films-study",)),
        (20, 1, ("mails-study",)),
    ]
    assert len(set(ledger.of_study.values())) == ledger.runs == 2


# NaN and infinity ------------------------------------------------------------------------------------


def places(raw: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all numbers in JSON."""
    if isinstance(raw, dict):
        return [found for key, value in raw.items() for found in places(value, (*path, key))]
    if isinstance(raw, list):
        return [found for i, value in enumerate(raw) for found in places(value, (*path, i))]
    return [path] if isinstance(raw, (int, float)) and not isinstance(raw, bool) else []


FOLDER: dict[str, Any] = {
    "trainer_state": make_state(best_metric=0.85, best_global_step=15),
    "all_results": {"test_accuracy": 0.8, "test_f1_macro": 0.79, "test_loss": 0.5, "train_samples": 80},
    "training_args": {"learning_rate": 5e-5, "seed": 3, "weight_decay": 0.01, "warmup_ratio": 0.1},
    "adapter_config": {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1},
    "training_params": {"model": "some-bert", "lr": 5e-5, "seed": 3, "batch_size": 16, "epochs": 3},
}


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", '"NaN"', "1e999", "1" + "0" * 400])
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_number_that_is_none_counts_as_not_known_wherever_it_stands(
    tmp_path_factory: pytest.TempPathFactory, bad: str, data: st.DataObject
) -> None:
    """The run is read, says which value it is, and writes JSON that holds neither NaN nor infinity."""
    name = data.draw(st.sampled_from(sorted(FOLDER)))
    path = data.draw(st.sampled_from(places(FOLDER[name])))
    raw = copy.deepcopy(FOLDER)
    inner = raw[name]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "PUT HERE"
    root = tmp_path_factory.mktemp("nan")
    write(root / "run", **raw)
    file = root / "run" / f"{name}.json"
    file.write_text(file.read_text().replace('"PUT HERE"', bad))
    comparison = bring(root / "run")
    _, record, remarks = only(comparison)
    unused = {("epoch",), ("global_step",)}  # of the state: read by nothing
    if name != "trainer_state" or path not in unused:
        assert f"{name}.json" in remarks
        assert str(path[-1]) in remarks or "step or epoch" in remarks
    stored = next((root / "out").rglob("record.json")).read_text()
    json.loads(stored, parse_constant=lambda word: pytest.fail(f"{word} in a record"))
    assert record.scores is not None
    assert all(
        value is None or math.isfinite(value) for value in (record.scores["accuracy"], record.scores["macro_f1"])
    )


def test_what_is_nan_is_counted_and_said_in_tables_and_on_the_command_line(tmp_path: Path) -> None:
    state = make_state(best_metric=NAN)
    for entry in state["log_history"][2:]:
        entry.update({key: NAN for key in ("loss", "eval_loss") if key in entry})
    write(tmp_path / "run", trainer_state=state)
    args = ["import", str(tmp_path / "run"), "--out", str(tmp_path / "cli"), "--set", "train_size=80"]
    result = CliRunner().invoke(cli.app, args)
    assert result.exit_code == 0
    _, record, remarks = only(bring(tmp_path / "run"))
    remark, derived = remarks.splitlines()
    assert "a batch of 16 texts was derived" in derived
    assert remark == (
        "run: trainer_state.json holds NaN or infinity, which counts as not known: "
        "loss (2 times), eval_loss (2 times), best_metric."
    )
    assert f"note: {remark}" in result.output
    assert record.scores is not None
    assert (record.scores["accuracy"], record.scores["log_loss"]) == (pytest.approx(0.85), None)
    assert [entry["loss"] for entry in record.log_history if "loss" in entry] == [0.7000000000000001, None, None]
    for table in make_tables(analyse(load_comparison(tmp_path / "out")), ["macro_f1", "time", "runs"]):
        assert remark in table.notes
    report = write_report(tmp_path / "out").with_name("report.md").read_text()
    assert remark in report.replace("\\", "")


def test_scores_of_nan_are_null_and_none_is_taken_from_elsewhere(tmp_path: Path) -> None:
    """The test metrics are NaN: the evaluations of the log are no stand-in."""
    results = {"test_accuracy": NAN, "test_f1_macro": NAN, "test_loss": NAN}
    spec, record, remarks = only(bring(write(tmp_path / "run", trainer_state=make_state(), all_results=results)))
    assert record.scores is None and record.selected is None and spec.selection is None
    assert "test_accuracy, test_f1_macro, test_loss" in remarks


def test_logits_that_are_not_finite_give_no_predictions(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", trainer_state=make_state())
    logits = np.eye(2)[[0, 1, 0, 1]]
    logits[2, 0] = np.nan
    np.savez(folder / "predictions.npz", logits=logits, labels=np.array([0, 1, 0, 1]))
    _, record, remarks = only(bring(folder))
    assert "1 of 4 rows hold NaN or infinity" in remarks
    assert record.scores is not None and record.scores["accuracy"] == pytest.approx(0.85)
    assert not record.files


# Files of other tools ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["metrics", "all_results", "eval_results", "args", "training_args", "config", "training_params"]
)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('[{"language": "xx", "f1_macro": 0.7}]', "it holds no JSON object"),
        ("accuracy: 0.7\n", "not valid JSON"),
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("7", "it holds no JSON object"),
    ],
)
def test_a_foreign_file_is_passed_over_and_named(tmp_path: Path, name: str, content: str, why: str) -> None:
    alone = only(bring(write(tmp_path / "alone" / "run", trainer_state=make_state())))[1]
    folder = write(tmp_path / "with" / "run", trainer_state=make_state(), **{name: content})
    _, record, remarks = only(bring(folder))
    assert f"{name}.json was passed over" in remarks and why in remarks
    assert record.scores == alone.scores and record.run_id == alone.run_id


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metrics", {"results": {"task": {"acc": 0.9}}}, "holds no metric"),
        ("all_results", {"accuracy": 85.3, "f1_macro": 84.1}, "accuracy is 85.3, not a share of 1"),
        ("args", {"learning_rate": "auto", "seed": [1, 2], "bf16": {"enabled": "auto"}}, "learning_rate is 'auto'"),
        ("adapter_config", {"config": {"non_linearity": "relu"}, "version": "1"}, "names no peft_type"),
        ("training_params", {"objective": "binary", "num_leaves": 31}, "AutoTrain did not write it"),
        ("config", {"id2label": 3, "architectures": 5}, ""),
    ],
)
def test_json_of_another_tool_is_no_error(tmp_path: Path, name: str, content: Any, said: str) -> None:
    folder = write(tmp_path / "run", trainer_state=make_state(), **{name: content})
    spec, record, remarks = only(bring(folder))
    assert said in remarks
    assert (spec.learning_rate, spec.seed, spec.kind) == (None, None, None)
    if name != "all_results":
        assert record.scores is not None and record.scores["accuracy"] == pytest.approx(0.85)


@pytest.mark.parametrize(
    ("bf16", "fp16", "precision"),
    [(False, False, "fp32"), (True, False, "bf16"), (False, True, "fp16"), (True, True, None), (None, True, None)],
)
def test_the_precision_of_a_run_is_what_its_arguments_say(
    tmp_path: Path, bf16: bool | None, fp16: bool, precision: str | None
) -> None:
    folder = write(tmp_path / "run", trainer_state=make_state(), args={"bf16": bf16, "fp16": fp16})
    assert only(bring(folder))[0].precision == precision


def test_bytes_and_weights_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", trainer_state=make_state())
    (folder / "metrics.json").write_bytes(b"\xff\xfe{}")
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    _, record, remarks = only(bring(folder, said=("kind=full",)))
    assert "metrics.json was passed over: it is not UTF-8" in remarks
    assert "model.safetensors was passed over" in remarks
    assert record.parameters is None


def test_a_folder_of_foreign_files_only_is_refused_with_what_was_passed_over(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", all_results="[]")
    with pytest.raises(TunebenchError, match=r"no files of a Trainer script[\s\S]*all_results.json was passed"):
        bring(folder)


# Names that are numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id2label", "names", "named"),
    [
        ({"0": 0, "1": 1}, ("0", "1"), False),
        ({"0": 1, "1": 2, "2": 3}, ("1", "2", "3"), True),
        ({"0": "0", "1": "1"}, ("0", "1"), False),
        ({"0": False, "1": True}, ("False", "True"), True),
        (["neg", "pos"], ("neg", "pos"), True),
        ({"0": "LABEL_0", "1": "LABEL_1"}, ("0", "1"), False),
        ({"1": "neg", "2": "pos"}, ("0", "1"), False),
        ({"0": None, "1": None}, ("0", "1"), False),
        ({"0": 1, "1": "1"}, ("0", "1"), False),
    ],
)
def test_class_names(tmp_path: Path, id2label: Any, names: tuple[str, ...], named: bool) -> None:
    folder = write(tmp_path / "run", trainer_state=make_state(), config=CONFIG | {"id2label": id2label})
    spec, _, remarks = only(bring(folder))
    assert (spec.data.label_names, spec.data.named) == (names, named)
    odd = isinstance(id2label, dict) and (
        set(id2label) != {str(i) for i in range(len(names))} or None in id2label.values()
    )
    assert ("id2label" in remarks) == (
        odd or len(set(map(str, id2label.values() if isinstance(id2label, dict) else id2label))) < len(id2label)
    )


def test_stated_names_stand_where_the_model_has_numbers(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", trainer_state=make_state(), config=CONFIG | {"id2label": {"0": 0, "1": 1}})
    spec, _, _ = only(bring(folder, said=("label_names=[neg, pos]",)))
    assert (spec.data.label_names, spec.data.named) == (("neg", "pos"), True)


# Several sets -------------------------------------------------------------------------------------------


def with_sets(*names: str, best: str | None = None, lower: float = 0.1) -> dict[str, Any]:
    """Return a state in which each set was evaluated at each epoch, every further one with a lower accuracy.

    Args:
        names: The sets.
        best: The set whose accuracy at step 10 is the best metric; None for no best checkpoint.
        lower: How much lower.
    """
    state = make_state()
    log = []
    for entry in state["log_history"]:
        if "eval_loss" not in entry:
            log.append(entry)
            continue
        for rank, name in enumerate(names):
            changed = {
                key: value - lower * rank if key in ("eval_accuracy", "eval_f1_macro") else value
                for key, value in entry.items()
            }
            log.append({k.replace("eval_", f"eval_{name}_"): v for k, v in changed.items()})
    state["log_history"] = log
    if best is not None:
        key = f"eval_{best}_accuracy"
        state["best_metric"] = next(entry[key] for entry in log if key in entry and entry["step"] == 10)
        state |= {"best_global_step": 10, "best_model_checkpoint": "out/checkpoint-10"}
    return state


@pytest.mark.parametrize(
    "names", [("validation", "test"), ("test", "validation"), ("dev", "TEST"), ("val", "test")]
)
def test_the_test_set_gives_the_scores_and_the_validation_set_the_curves(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    folder = write(tmp_path / "run", trainer_state=with_sets(*names))
    spec, record, remarks = only(bring(folder))
    test, validation = sorted(names, key=lambda name: name.lower() != "test")
    of = {name: 0.85 - 0.1 * names.index(name) for name in names}
    assert record.scores is not None and record.scores["accuracy"] == pytest.approx(of[test])
    curve = [entry["eval_accuracy"] for entry in record.log_history if "eval_accuracy" in entry]
    assert curve[-1] == pytest.approx(of[validation]) and len(curve) == 3
    assert sum(f"eval_{test}_accuracy" in entry for entry in record.log_history) == 3
    assert f"gives the scores: {test}. As the validation set: {validation}." in remarks
    assert spec.selection is None
    assert record.timing is not None and record.timing.eval_seconds == pytest.approx(6 * 2.0)


@pytest.mark.parametrize(("best", "selection"), [("validation", "validation"), ("test", "test"), (None, None)])
def test_the_best_metric_shows_which_set_chose(tmp_path: Path, best: str | None, selection: str | None) -> None:
    folder = write(tmp_path / "run", trainer_state=with_sets("validation", "test", best=best))
    spec, record, _ = only(bring(folder))
    assert spec.selection == selection
    assert record.selected is not None and record.scores is not None
    assert record.selected.by == (selection or "not known")
    assert record.selected.step == (10 if best else 15)
    of = 0.8 if best else 0.85
    assert record.scores["accuracy"] == pytest.approx(of - 0.1)
    f1 = of - 0.01 - (0.1 if selection == "test" else 0)
    assert record.selected.score == pytest.approx(f1)


def test_equal_scores_of_both_sets_show_nothing(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", trainer_state=with_sets("validation", "test", best="validation", lower=0.0))
    assert only(bring(folder))[0].selection is None


def test_sets_that_nothing_tells_apart_give_no_scores_until_it_is_stated(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", trainer_state=with_sets("en", "de"))
    _, record, remarks = only(bring(folder))
    assert record.scores is None and record.selected is None
    assert "Which of them is the test set is not known" in remarks and "test_set=NAME" in remarks
    (tmp_path / "again").mkdir()
    folder = write(tmp_path / "again" / "run", trainer_state=with_sets("en", "de"))
    _, record, remarks = only(bring(folder, said=("test_set=de", "validation_set=en")))
    assert record.scores is not None and record.scores["accuracy"] == pytest.approx(0.75)
    with pytest.raises(TunebenchError, match="test_set names a set that was not evaluated"):
        import_runs([folder], folder=tmp_path / "no", settings=["train_size=80", "test_set=fr"])


def test_metrics_of_several_sets_are_read_from_files_too(tmp_path: Path) -> None:
    results = {
        f"eval_{name}_{key}": value
        for name, shift in (("validation", 0.0), ("test", 0.1))
        for key, value in {
            "accuracy": 0.9 - shift,
            "f1_macro": 0.89 - shift,
            "loss": 0.3 + shift,
            "runtime": 1.0,
        }.items()
    }
    _, record, _ = only(bring(write(tmp_path / "run", all_results=results)))
    assert record.scores is not None
    assert (record.scores["accuracy"], record.scores["macro_f1"]) == (pytest.approx(0.8), pytest.approx(0.79))


def test_a_last_evaluation_called_test_gives_the_scores(tmp_path: Path) -> None:
    state = make_state()
    last = {"test_loss": 0.6, "test_accuracy": 0.6, "test_runtime": 1.0, "test_samples_per_second": 20.0}
    state["log_history"].append(last | {"epoch": 3.0, "step": 15})
    _, record, remarks = only(bring(write(tmp_path / "run", trainer_state=state)))
    assert record.scores is not None and record.scores["accuracy"] == 0.6
    assert "As the validation set: the one without a name" in remarks


@given(st.lists(st.sampled_from(["", "validation", "dev", "test", "predict", "train", "en", "de"]), unique=True))
def test_a_set_has_one_role_and_only_one_that_was_evaluated(names: list[str]) -> None:
    sets = tell_apart(names, test=None, validation=None)
    assert set(sets.names) | set(sets.training) == set(names)
    assert sets.test in (None, *sets.names) and sets.validation in (None, *sets.names)
    assert sets.test is None or sets.test != sets.validation
    assert sets.test not in ("train", "") or len(sets.names) == 1


def test_metrics_with_underscores_are_of_no_set(tmp_path: Path) -> None:
    state = make_state()
    for entry in state["log_history"]:
        if "eval_loss" in entry:
            entry |= {"eval_hinge_loss": 0.2, "eval_inference_runtime": 0.1, "eval_validation_score": 1.0}
    _, record, remarks = only(bring(write(tmp_path / "run", trainer_state=state)))
    assert record.scores is not None and record.scores["accuracy"] == pytest.approx(0.85)
    assert "hinge" not in remarks and "inference" not in remarks and "validation" not in remarks


# Streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [ENDLESS, float(ENDLESS), 2**31 - 1])
def test_the_epochs_of_a_stream_are_not_known(tmp_path: Path, epochs: float) -> None:
    folder = write(tmp_path / "run", trainer_state=make_state(num_train_epochs=epochs))
    spec, _, remarks = only(bring(folder))
    assert spec.epochs is None and "epochs" in spec.unknown
    assert "trained on a stream: 15 steps were planned" in remarks
    page = write_report(tmp_path / "out")
    assert str(int(epochs)) not in page.with_name("report.md").read_text() + json.dumps(spec.model_dump())
    assert str(ENDLESS) not in page.read_text() and "9.22" not in page.read_text()


def test_the_epochs_of_a_stream_can_be_stated(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", trainer_state=make_state(num_train_epochs=ENDLESS))
    assert only(bring(folder, said=("epochs=3",)))[0].epochs == 3


def test_a_number_of_steps_overrides_the_epochs_of_the_arguments(tmp_path: Path) -> None:
    arguments = {"num_train_epochs": 50.0, "max_steps": 15}
    folder = write(tmp_path / "run", trainer_state=make_state(), training_args=arguments)
    assert only(bring(folder))[0].epochs == 3


# AutoTrain ------------------------------------------------------------------------------------------------

AUTOTRAIN = {
    **{"data_path": "run/autotrain-data", "model": "some-bert", "lr": 5e-5, "epochs": 3, "max_seq_length": 128},
    **{"batch_size": 16, "warmup_ratio": 0.1, "optimizer": "adamw_torch", "scheduler": "linear", "seed": 42},
    **{"weight_decay": 0.01, "max_grad_norm": 1.0, "mixed_precision": None, "gradient_accumulation": 1},
}


def test_the_parameters_of_autotrain_are_read_and_mentioned(tmp_path: Path) -> None:
    folder = write(tmp_path / "run" / "checkpoint-15", trainer_state=make_state()).parent
    write(folder, training_params=AUTOTRAIN, config=CONFIG | {"_name_or_path": "run/checkpoint-10"})
    spec, record, remarks = only(bring(folder))
    assert (spec.model.source, spec.learning_rate, spec.seed, spec.epochs) == ("some-bert", 5e-5, 42, 3)
    assert (spec.batch_size, spec.max_length, spec.warmup_ratio, spec.schedule) == (16, 128, 0.1, "linear")
    assert (spec.optimizer, spec.weight_decay, spec.max_grad_norm, spec.precision) == ("adamw", 0.01, 1.0, "fp32")
    assert "AutoTrain trained it; training_params.json gives model, lr" in remarks
    assert record.imported is not None and "training_params.json" in record.imported.files
    assert record.imported.found["seed"] == "training_params.json"


@pytest.mark.parametrize(
    ("changes", "batch", "said"),
    [
        ({"batch_size": 8}, None, "15 steps do not fit 80 texts"),
        ({"batch_size": 8, "gradient_accumulation": 2}, 16, ""),
        ({"auto_find_batch_size": True}, None, "free to lower it"),
        # Steps, texts and epochs leave 16 to 19.
        ({"batch_size": "auto"}, 16, "batch_size is 'auto'"),
    ],
)
def test_the_batch_size_of_autotrain_counts_where_the_steps_fit(
    tmp_path: Path, changes: dict[str, Any], batch: int | None, said: str
) -> None:
    folder = write(tmp_path / "run", trainer_state=make_state(), training_params=AUTOTRAIN | changes)
    spec, _, remarks = only(bring(folder))
    assert spec.batch_size == batch and said in remarks


# What no folder tells --------------------------------------------------------------------------------------


def test_nothing_is_claimed_that_no_folder_tells(tmp_path: Path) -> None:
    """Every field of a run's recipe and protocol is None where nothing gives it, whatever fields there are."""
    spec, _, _ = only(bring(write(tmp_path / "run", all_results={"test_loss": 0.5})))
    told = {"schema_version", "label", "params", "train_size", "model", "data", "task", "without_effect", "tuned"}
    assert {name: getattr(spec, name) for name in RunSpec.model_fields if name not in told} == dict.fromkeys(
        set(RunSpec.model_fields) - told
    )
    assert "batches" in spec.unknown


@pytest.mark.parametrize("claimed", [True, False])
def test_runs_that_an_earlier_version_imported_still_load(tmp_path: Path, claimed: bool) -> None:
    """Their ids are hashes of the fields of then, ``batches: by_length`` among them or not there at all."""
    bring(write(tmp_path / "run", trainer_state=make_state()))
    out = tmp_path / "out"
    (record_file,) = out.rglob("record.json")
    old = json.loads(record_file.read_text())
    spec = old["spec"]
    # Fields that came later.
    later = {"batches", "copies", "base_head", "metric", "splits", "not_in_id", "truncation", "task", "thresholds"}
    later |= {"min_steps", "patience", "class_weights", "focal_gamma", "oversampling", "calibration"}
    later |= {"gradient_accumulation", "max_steps", "warmup_steps", "restarts", "randomness", "kernels"}
    for name in later & spec.keys():
        del spec[name]
    spec["schema_version"] = 1
    if claimed:
        spec["batches"] = "by_length"
    hashed = {key: value for key, value in spec.items() if key not in ("label", "origin")}
    digest = hashlib.sha256(json.dumps(hashed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
    name = f"run-n80-{digest}"
    for path in (out / "plan.json", *record_file.parent.glob("*.json")):
        raw = json.loads(path.read_text())
        raw.pop(KEY, None)  # there was no hash then
        for holder in (raw, *raw.get("cells", [])):
            if "spec" in holder:
                holder["spec"] = spec
            if "run_id" in holder:
                holder["run_id"] = name
        path.write_text(json.dumps(spec if path.name == "spec.json" else raw))
    record_file.parent.rename(record_file.parent.with_name(name))
    (cell,) = load_comparison(out).cells
    assert cell.record is not None and cell.status == "complete"
    assert (cell.spec.run_id, cell.spec.batches) == (name, None)
    # Written anew it has all fields of today, and keeps its id.
    again = RunRecord.model_validate(cell.record.model_dump(mode="json"))
    assert again.spec == cell.spec and again.spec.run_id == name
    write_report(out)


def test_a_field_that_comes_later_changes_no_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(ImportedRun):
        added: str | None = None

    spec, record, _ = only(bring(write(tmp_path / "run", trainer_state=make_state())))
    stored = record.spec.model_dump(mode="json")
    monkeypatch.setattr("tunebench.store.imported._IN_ID", {*stored, "added"} - {"label", "content", "origin"})
    assert Later.model_validate(stored).run_id == spec.run_id != spec.model_copy(update={"epochs": 99}).run_id
    assert Later.model_validate(stored | {"added": "x"}).run_id != spec.run_id


def without_scores(state: dict[str, Any]) -> dict[str, Any]:
    for entry in state["log_history"]:
        for key in ("eval_accuracy", "eval_f1_macro", "eval_loss"):
            entry.pop(key, None)
    return state


@pytest.mark.parametrize(
    ("state", "selection"),
    [
        (make_state(best_metric=0.8, best_global_step=10), "test"),
        (make_state(best_metric=0.123, best_global_step=10), None),
        (make_state(best_metric=NAN, best_global_step=10), None),
        (make_state(best_metric=None, best_global_step=10), None),
        (without_scores(make_state(best_metric=0.8, best_global_step=10)), None),
    ],
    ids=["the metric is there", "another metric", "nan", "no metric", "no scores"],
)
def test_selection_is_claimed_only_where_a_score_shows_it(
    tmp_path: Path, state: dict[str, Any], selection: str | None
) -> None:
    comparison = bring(write(tmp_path / "run", trainer_state=state))
    spec, record, _ = only(comparison)
    assert spec.selection == selection
    assert any("Selected on test" in line for line in analyse(comparison).warnings) == (selection == "test")
    if record.scores is None:
        assert record.selected is None
    (table,) = make_tables(analyse(comparison), ["runs"])
    titles = [column.title for column in table.columns]
    assert "Selection F1, not known" not in titles


def make_rates(tmp_path: Path, change: Callable[[int], dict[str, Any]]) -> Comparison:
    folders = [
        write(tmp_path / f"r{i}", trainer_state=make_state(total_flos=1e12 + i), training_args=change(i))
        for i in (1, 2)
    ]
    return bring(*folders, said=("strategy=full",))


def test_rates_are_said_to_be_compared_on_what_is_known(tmp_path: Path) -> None:
    comparison = make_rates(tmp_path, lambda i: {"learning_rate": 1e-4 * i, "seed": 1})
    lines = " ".join(analyse(comparison).warnings)
    assert "best mean macro F1 on the evaluated split is shown" in lines
    assert all(isinstance(cell, Cell) for cell in comparison.cells)


def test_folders_that_hold_nothing_are_passed_over_with_a_line(tmp_path: Path) -> None:
    write(tmp_path / "run", trainer_state=make_state())
    (tmp_path / "logs").mkdir()
    told: list[str] = []
    folders = [tmp_path / "logs", tmp_path / "run"]
    found = import_runs(folders, folder=tmp_path / "out", settings=["train_size=80"], tell=told.append)
    assert len(found.cells) == 1
    (line,) = told
    assert line.startswith(f"note: {tmp_path / 'logs'} was passed over") and line.count("\n") == 0


def test_rates_that_the_logs_imply_show_a_small_ratio_of_learning_rates(tmp_path: Path) -> None:
    folders = []
    for kind, peak in (("full", 5e-5), ("lora", 1e-4)):
        state = make_state(total_flos=peak)
        for entry in state["log_history"]:
            if "learning_rate" in entry:
                entry["learning_rate"] = peak * (15 - entry["step"]) / 15
        # So early that a warm-up has no room.
        state["log_history"].insert(0, {"epoch": 1 / 5, "step": 1, "loss": 0.7, "learning_rate": peak * 14 / 15})
        folders.append(write(tmp_path / kind, trainer_state=state))
    comparison = bring(*folders, said=("full:kind=full", "lora:kind=lora"))
    assert [cell.spec.learning_rate for cell in comparison.cells] == [pytest.approx(5e-5), pytest.approx(1e-4)]
    lines = " ".join(analyse(comparison).warnings)
    assert "lora ran at 2 times the learning rate of full fine-tuning" in lines
    assert "the learning rate 5e-05 and the schedule linear, with no warm-up in the log, were derived" in lines
    # A statement stands, and what the log shows is said.
    write(tmp_path / "other", trainer_state=state)
    spec, _, remarks = only(bring_alone(tmp_path / "other", "learning_rate=2e-4"))
    assert spec.learning_rate == 2e-4 and "the learning rate 0.0002 is stated, though all 4 logged rates" in remarks


def bring_alone(folder: Path, *said: str) -> Comparison:
    return import_runs([folder], folder=folder.parent / "alone", settings=["train_size=80", *said])
