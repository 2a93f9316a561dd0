"""Import of real Trainer output, of parts of it, and of everything that can be wrong with it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from typer.testing import CliRunner

from factories import compare, make_cell
from tunebench import cli
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.load import load_comparison
from tunebench.api import import_runs, write_report
from tunebench.errors import StoreError, TunebenchError
from tunebench.importing.files import read_arrays
from tunebench.report.figures import FIGURES
from tunebench.report.tables import make_tables, tables_of
from tunebench.report.tables.render import to_csv
from tunebench.store.imported import ImportedRun
from tunebench.store.study_folder import StudyStore

TRAIN, TEST, BATCH, EPOCHS = 52, 40, 8, 2


#: Tables of a study of one label a text.
OF_LABELS = tables_of(analyse(compare([make_cell()])))


def _texts(count: int, offset: int) -> tuple[list[str], list[int]]:
    labels = [i * 7 // 3 % 2 for i in range(count)]
    return [f"{'great' if y else 'dull'} film number {i + offset}" for i, y in enumerate(labels)], labels


def _train(root: Path, model_folder: Path, *, lora: bool) -> Path:
    """Fine-tune with the plain Trainer as people do: evaluated on test, the best checkpoint scored there."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    if lora:
        config = LoraConfig(
            task_type="SEQ_CLS",
            r=2,
            lora_alpha=4,
            target_modules=["query", "value"],
            modules_to_save=["classifier"],
        )
        model = get_peft_model(model, config)

    def dataset(count: int, offset: int) -> list[dict[str, Any]]:
        texts, labels = _texts(count, offset)
        encoded = tokenizer(texts, padding="max_length", max_length=12, truncation=True)
        return [{k: v[i] for k, v in encoded.items()} | {"labels": y} for i, y in enumerate(labels)]

    def metrics(found: Any) -> dict[str, float]:
        said = found.predictions.argmax(1)
        f1 = f1_score(found.label_ids, said, average="macro")
        return {"accuracy": accuracy_score(found.label_ids, said), "f1": f1}

    folder = root / ("lora" if lora else "full")
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            learning_rate=5e-3 if lora else 1e-3,
            eval_strategy="steps",
            eval_steps=4,
            save_strategy="steps",
            save_steps=4,
            logging_steps=2,
            load_best_model_at_end=True,
            metric_for_best_model="f1",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=dataset(TRAIN, 0),
        eval_dataset=dataset(TEST, 1000),
        compute_metrics=metrics,
    )
    trainer.train()
    predicted = trainer.predict(dataset(TEST, 1000), metric_key_prefix="eval")
    trainer.save_model()
    trainer.save_metrics("all", predicted.metrics)
    np.savez(folder / "predictions.npz", predictions=predicted.predictions, label_ids=predicted.label_ids)
    if lora:
        (folder / "log_history.json").write_text(json.dumps(trainer.state.log_history))
    else:
        trainer.save_state()
    return folder


@pytest.fixture(scope="module")
def trained(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the plain Trainer leaves: ``full`` and ``lora``."""
    root = tmp_path_factory.mktemp("theirs")
    for lora in (False, True):
        _train(root, tiny_model("bert"), lora=lora)
    return root


@pytest.fixture
def theirs(trained: Path, tmp_path: Path) -> Path:
    """The same, to be changed; without the weights and optimizers, which nothing here needs."""
    skip = shutil.ignore_patterns(
        "optimizer.pt", "tokenizer*", "training_args.bin", "rng_state.pth", "scheduler.pt"
    )
    return Path(shutil.copytree(trained, tmp_path / "theirs", ignore=skip))


STATED = ["full:kind=full"]


def bring(root: Path, *settings: str, folders: tuple[str, ...] = ("full", "lora")) -> Comparison:
    return import_runs([root / name for name in folders], folder=root.parent / "out", settings=settings)


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(change(raw)))


def refused(root: Path, *settings: str, folders: tuple[str, ...] = ("full", "lora")) -> str:
    """Import by the command line, and return its message: exit code 2, and nothing written."""
    before = sorted(root.parent.rglob("*"))
    args = ["import", *(str(root / name) for name in folders), "--out", str(root.parent / "out")]
    for setting in settings:
        args += ["--set", setting]
    with pytest.raises(TunebenchError) as error:
        CliRunner().invoke(cli.app, args, catch_exceptions=False)
    assert error.value.exit_code == 2
    assert sorted(root.parent.rglob("*")) == before
    return str(error.value)


def test_records_hold_what_the_trainer_left(theirs: Path) -> None:
    comparison = bring(theirs, *STATED)
    full, lora = comparison.cells
    for cell, name in ((full, "full"), (lora, "lora")):
        record, spec = cell.record, cell.spec
        assert record is not None and record.scores is not None and record.timing is not None
        with np.load(theirs / name / "predictions.npz") as stored:
            labels, logits = stored["label_ids"], stored["predictions"]
        assert record.scores["accuracy"] == accuracy_score(labels, logits.argmax(1))
        assert record.scores["macro_f1"] == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
        assert (spec.label, spec.train_size, spec.test_size, spec.epochs) == (name, TRAIN, TEST, EPOCHS)
        rate = 5e-3 if name == "lora" else 1e-3
        assert (spec.seed, spec.learning_rate, spec.schedule) == (None, pytest.approx(rate), "linear")
        assert any("were derived: all" in remark for remark in record.imported.remarks)
        log = json.loads(
            (theirs / name / ("log_history.json" if name == "lora" else "trainer_state.json")).read_text()
        )
        log = log if isinstance(log, list) else log["log_history"]
        total = next(entry["train_runtime"] for entry in log if "train_runtime" in entry)
        evaluations = [entry["eval_runtime"] for entry in log if "eval_runtime" in entry]
        assert len(evaluations) >= 3
        assert record.timing.wall_seconds == total
        assert record.timing.eval_seconds == pytest.approx(sum(evaluations))
        assert record.timing.train_seconds == pytest.approx(total - sum(evaluations))
        assert len(record.log_history) == len(log)
    assert (lora.spec.kind, lora.spec.params["placement"], lora.spec.params["rank"]) == ("lora", "query_value", 2)
    assert lora.record is not None and full.record is not None
    assert lora.record.parameters is not None and full.record.parameters is not None
    # Two layers, query and value, rank 2, hidden size 32; the head is 32 x 2 + 2.
    assert (lora.record.parameters.adapter, lora.record.parameters.head) == (2 * 2 * 2 * (32 + 32), 66)
    assert full.record.parameters.trainable == full.record.parameters.total


def test_counts_are_those_of_the_models(theirs: Path, tiny_model: Callable[[str], Path]) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_model("bert"))
    full = bring(theirs, *STATED).cells[0].record
    assert full is not None and full.parameters is not None
    assert full.parameters.trainable == sum(p.numel() for p in model.parameters())


def test_without_a_statement_nothing_is_said_to_be_full_fine_tuning(theirs: Path) -> None:
    record = bring(theirs).cells[0].record
    assert record is not None and record.spec.kind is None and record.parameters is None


def test_everything_renders(theirs: Path) -> None:
    bring(theirs, *STATED)
    comparison = load_comparison(theirs.parent / "out")
    for table in make_tables(analyse(comparison)):
        list(csv.reader(io.StringIO(to_csv(table))))
    for maker in FIGURES.values():
        maker(analyse(comparison))
    page = write_report(theirs.parent / "out")
    assert "Other scripts trained these runs" in page.read_text()
    report = page.with_name("report.md").read_text()
    for target in [line.split("](")[1].split(")")[0] for line in report.split("[")[1:] if "](" in line]:
        assert (theirs.parent / "out" / target).exists(), target
    assert "None" not in report
    assert "imported" in report


@pytest.mark.parametrize("name", OF_LABELS)
def test_a_run_without_log_or_predictions_renders_too(theirs: Path, name: str) -> None:
    for path in [*(theirs / "full").rglob("*")]:
        if path.is_file() and path.name != "all_results.json":
            path.unlink()
    comparison = bring(theirs, "full:train_size=52", "full:plain_f1=macro")
    make_tables(analyse(comparison), [name])
    row = comparison.cells[0].row
    assert (row["train_seconds"], row["trainable_params"], row["seed"]) == (None, None, None)
    metrics = json.loads((theirs / "full" / "all_results.json").read_text())
    assert (row["macro_f1"], row["accuracy"]) == (metrics["eval_f1"], metrics["eval_accuracy"])


def test_commands_work_on_the_folder_and_run_is_refused(theirs: Path) -> None:
    out = theirs.parent / "out"
    runner = CliRunner()
    result = runner.invoke(
        cli.app, ["import", str(theirs / "full"), str(theirs / "lora"), "--out", str(out), "--json"]
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(result.output)
    assert [row["origin"] for row in rows] == ["imported", "imported"]
    for command in (["results", str(out), "--csv"], ["tables", str(out)], ["report", str(out)]):
        assert runner.invoke(cli.app, command).exit_code == 0, command
    status = json.loads(runner.invoke(cli.app, ["status", str(out), "--json"]).output)
    assert [row["status"] for row in status] == ["complete", "complete"]
    with pytest.raises(TunebenchError, match="imported runs; nothing can be trained"):
        StudyStore.check(out, [])
    for cell in StudyStore.open(out).cells():
        assert cell.record is not None
        StudyStore.open(out).run_folder(cell.spec.run_id).verify(cell.record)


def test_selection_on_the_scored_split_shows_itself(theirs: Path) -> None:
    """The scores equal those of an evaluation that was not the last step: it chose the checkpoint."""
    comparison = bring(theirs)
    for cell in comparison.cells:
        assert cell.record is not None and cell.record.selected is not None
        last = cell.record.log_history[-1]["step"]
        expected = "test" if cell.record.selected.step < last else None
        assert cell.spec.selection == expected
    message = refused_selection(theirs)
    assert "The stated selection is not that of the folder" in message


def refused_selection(root: Path) -> str:
    shutil.rmtree(root.parent / "out")
    return refused(root, "selection=validation")


def test_selection_is_not_known_where_nothing_shows_it(theirs: Path) -> None:
    for name in ("full", "lora"):
        rewrite(theirs / name / "all_results.json", lambda raw: {})
        for path in (theirs / name).rglob("trainer_state.json"):
            rewrite(path, lambda raw: raw | {"log_history": [e for e in raw["log_history"] if "loss" in e]})
        if name == "lora":
            rewrite(theirs / name / "log_history.json", lambda raw: [e for e in raw if "loss" in e])
    comparison = bring(theirs, "train_size=52")
    assert comparison.selection == "not known"
    assert any("How checkpoints were chosen is not known" in line for line in analyse(comparison).warnings)
    assert all(cell.row["train_seconds"] is None for cell in comparison.cells)


def test_the_sidecar_states_and_is_marked(theirs: Path) -> None:
    said = {"strategy": "lora-r2", "seed": 7, "learning_rate": 5e-3, "data": "films"}
    (theirs / "lora" / "tunebench.yaml").write_text(yaml.safe_dump(said))
    lora = bring(theirs, "lora:seed=9").cells[1]
    assert (lora.spec.label, lora.spec.seed, lora.spec.learning_rate) == ("lora-r2", 9, 5e-3)
    assert lora.record is not None and lora.record.imported is not None
    assert set(lora.record.imported.stated) == set(said)


def test_stated_values_are_said_in_the_warnings(theirs: Path) -> None:
    lines = " ".join(analyse(bring(theirs, "seed=1", "full:learning_rate=1e-3")).warnings)
    assert "Stated by whoever imported the runs, and not found in their folders: seed, learning rate" in lines
    assert "train_runtime includes the evaluations" in lines


def test_training_arguments_are_used(theirs: Path) -> None:
    arguments = {"learning_rate": 5e-3, "seed": 3, "weight_decay": 0.01, "lr_scheduler_type": "linear"}
    (theirs / "lora" / "training_args.json").write_text(json.dumps(arguments))
    spec = bring(theirs).cells[1].spec
    assert (spec.learning_rate, spec.seed, spec.weight_decay, spec.schedule) == (5e-3, 3, 0.01, "linear")


def test_pickled_arguments_are_never_opened(theirs: Path) -> None:
    (theirs / "full" / "training_args.bin").write_bytes(b"\x80\x04not to be opened")
    (theirs / "full" / "training_args.bin").chmod(0)
    bring(theirs)


# What does not belong together --------------------------------------------------------------------


def twin(root: Path, name: str = "lora-b") -> None:
    """Copy the LoRA run as if it were another seed."""
    shutil.copytree(root / "lora", root / name)
    rewrite(root / name / "log_history.json", lambda raw: [*raw[:-1], raw[-1] | {"train_loss": 0.123}])


PAIR = ("lora", "lora-b")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["strategy=lora", "learning_rate=5e-3"], "the seed is not known"),
        (["strategy=lora", "learning_rate=5e-3", "lora:seed=1"], "the seed is not known"),
        (["strategy=lora", "learning_rate=5e-3", "seed=1"], "count as two seeds"),
        (
            ["strategy=lora", "learning_rate=5e-3", "lora:seed=1", "lora-b:seed=2", "lora:weight_decay=0.1"],
            "differ in weight_decay",
        ),
        (["lora:data=imdb", "lora-b:data=yelp"], "they differ in data"),
        (["lora:model=a", "lora-b:model=b"], "The stated model is not that of the folder"),
        (["lora:label_names=[a, b]", "lora-b:label_names=[b, a]"], "they differ in class names"),
    ],
)
def test_nothing_is_averaged_that_does_not_belong_together(theirs: Path, settings: list[str], message: str) -> None:
    twin(theirs)
    assert message in refused(theirs, *settings, folders=PAIR)


@pytest.mark.parametrize("stated", [[], ["lora:learning_rate=5e-3"]])
def test_nothing_is_averaged_whose_learning_rate_is_unknown(theirs: Path, stated: list[str]) -> None:
    twin(theirs)
    for name in PAIR:
        path = theirs / name / "log_history.json"
        rewrite(path, lambda log: [{k: v for k, v in entry.items() if k != "learning_rate"} for entry in log])
    settings = ("strategy=lora", "lora:seed=1", "lora-b:seed=2", *stated)
    assert "the learning rate is not known" in refused(theirs, *settings, folders=PAIR)


def test_known_seeds_are_averaged(theirs: Path) -> None:
    twin(theirs)
    settings = ("strategy=lora", "learning_rate=5e-3", "lora:seed=1", "lora-b:seed=2")
    (group,) = bring(theirs, *settings, folders=PAIR).groups()
    assert [cell.spec.seed for cell in group.configs[0].cells] == [1, 2]


def test_runs_of_unknown_seeds_stand_apart_under_their_own_labels(theirs: Path) -> None:
    twin(theirs)
    groups = list(bring(theirs, folders=PAIR).groups())
    assert [group.label for group in groups] == ["lora", "lora-b"]


def test_other_test_examples_are_refused(theirs: Path) -> None:
    twin(theirs)
    path = theirs / "lora-b" / "predictions.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, predictions=arrays["predictions"], label_ids=1 - arrays["label_ids"])
    assert "they differ in labels of the test examples" in refused(theirs, folders=PAIR)
    np.savez(path, predictions=arrays["predictions"][:-1], label_ids=arrays["label_ids"][:-1])
    rewrite(theirs / "lora-b" / "all_results.json", lambda raw: {})
    assert "they differ in labels of the test examples" in refused(theirs, folders=PAIR)


def test_other_numbers_of_classes_are_refused(theirs: Path) -> None:
    twin(theirs)
    path = theirs / "lora-b" / "predictions.npz"
    with np.load(path) as stored:
        np.savez(path, predictions=np.pad(stored["predictions"], ((0, 0), (0, 1))), label_ids=stored["label_ids"])
    assert "is not one of the classes" in refused(theirs, folders=PAIR), "by the head in the weights"
    for weights in (theirs / "lora-b").rglob("adapter_model.safetensors"):
        weights.unlink()
    assert "they differ in number of classes" in refused(theirs, folders=PAIR)


# What is damaged ------------------------------------------------------------------------------------


def arrays_with(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "predictions.npz"
        with np.load(path) as stored:
            arrays = dict(stored)
        np.savez(path, **{k: (v(arrays) if callable(v) else v) for k, v in (arrays | changes).items()})

    return damage


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def entry(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder / "log_history.json", lambda raw: [raw[0] | changes, *raw[1:]])


DAMAGE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "truncated": (text("log_history.json", '[{"loss": 0.3, "st'), "not valid JSON (line 1", "log_history.json"),
    "empty": (text("log_history.json", ""), "not valid JSON", "log_history.json"),
    "deep": (text("log_history.json", "[" * 100_000), "not valid JSON", "log_history.json"),
    "no list": (text("log_history.json", '{"loss": 1}'), "A log must be a list", "log_history.json"),
    "no entries": (text("log_history.json", "[1, 2]"), "is not an object", "log_history.json (entry 1)"),
    "text for a number": (entry(loss="low"), "loss is not a number", "log_history.json"),
    "boolean": (entry(step=True), "step is not a whole number", "log_history.json"),
    "half a step": (entry(step=1.5), "step is not a whole number", "log_history.json"),
    "no step": (entry(step=None), "lacks its step", "log_history.json"),
    "negative time": (entry(eval_runtime=-1.0), "eval_runtime is negative", "log_history.json"),
    "two truths": (text("metrics.json", '{"eval_loss": 9}'), "contradict each other", "metrics.json"),
    "no archive": (text("predictions.npz", "PK"), "not an .npz file", "predictions.npz"),
    "objects": (
        arrays_with(label_ids=np.array(["a", 1], dtype=object)),
        "Python objects, which are never unpickled",
        "predictions.npz",
    ),
    "length": (arrays_with(label_ids=lambda a: a["label_ids"][1:]), "differ in length", "predictions.npz"),
    "class": (arrays_with(label_ids=lambda a: a["label_ids"] + 1), "not one of the classes", "predictions.npz"),
    "negative class": (arrays_with(label_ids=lambda a: a["label_ids"] - 1), "out of range", "predictions.npz"),
    "float labels": (arrays_with(label_ids=lambda a: a["label_ids"] + 0.5), "whole numbers", "predictions.npz"),
    "other classes": (
        arrays_with(logits=lambda a: a["predictions"], predictions=lambda a: 1 - a["predictions"].argmax(1)),
        "differ from those of the logits",
        "predictions.npz",
    ),
    "twice": (arrays_with(labels=lambda a: a["label_ids"]), "Two arrays could be the labels", "predictions.npz"),
    "dangling": (
        lambda f: ((f / "log_history.json").unlink(), (f / "log_history.json").symlink_to(f / "gone"), None)[-1],
        "points to nothing",
        "log_history.json",
    ),
    "a folder": (
        lambda f: ((f / "log_history.json").unlink(), (f / "log_history.json").mkdir(), None)[-1],
        "is not a file",
        "log_history.json",
    ),
    "sidecar key": (text("tunebench.yaml", "sed: 1"), "there is no key 'sed'", "tunebench.yaml"),
    "sidecar value": (text("tunebench.yaml", "seed: -1\nepochs: many"), "seed", "tunebench.yaml"),
    "sidecar yaml": (text("tunebench.yaml", "a: [1"), "not valid YAML", "tunebench.yaml"),
    "contradiction": (text("tunebench.yaml", "train_size: 99"), "not that of the folder", "log_history.json"),
    "rate": (text("tunebench.yaml", "learning_rate: 1e-9"), "below one that was logged", "log_history.json"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_and_nothing_is_written(theirs: Path, what: str) -> None:
    damage, message, file = DAMAGE[what]
    damage(theirs / "lora")
    said = refused(theirs)
    assert message in said
    assert file in said


def test_a_gradient_norm_that_is_not_finite_is_not_known(theirs: Path) -> None:
    entry(grad_norm=float("inf"))(theirs / "lora")
    record = bring(theirs).cells[1].record
    assert record is not None and record.log_history[0]["grad_norm"] is None


def test_large_files_are_refused(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunebench.importing.files.MAX_JSON_BYTES", 100)
    assert "too large" in refused(theirs)
    monkeypatch.setattr("tunebench.importing.files.MAX_JSON_BYTES", 10**9)
    monkeypatch.setattr("tunebench.importing.files.MAX_ARRAY_BYTES", 100)
    assert "too large" in refused(theirs)


def test_arrays_that_are_too_large_unpacked_are_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "arrays.npz", labels=np.zeros(10**6, dtype=np.int8))
    monkeypatch.setattr("tunebench.importing.files.MAX_ARRAY_BYTES", 10**5)
    with pytest.raises(StoreError) as caught:
        read_arrays(tmp_path / "arrays.npz")
    assert caught.value.what == "The arrays are too large: 1 MiB unpacked."


def test_folders_that_cannot_be_imported(theirs: Path, tmp_path: Path) -> None:
    assert "A folder is given twice" in refused(theirs, folders=("full", "full"))
    (theirs / "link").symlink_to(theirs / "full")
    assert "A folder is given twice" in refused(theirs, folders=("full", "link"))
    shutil.copytree(theirs / "full", theirs / "copy")
    assert "hold the same run" in refused(theirs, folders=("full", "copy"))
    assert "no such folder" in refused(theirs, folders=("full", "gone"))
    (theirs / "empty").mkdir()
    assert "no files of a Trainer script" in refused(theirs, folders=("empty",))
    assert "names a folder that is not imported" in refused(theirs, "gone:seed=1")
    assert "--set takes KEY=VALUE" in refused(theirs, "seed")
    for out in (theirs / "full" / "out", theirs, theirs / "full"):
        with pytest.raises(TunebenchError, match="must not lie inside each other"):
            import_runs([theirs / "full"], folder=out)
    with pytest.raises(TunebenchError, match="not empty"):
        import_runs([theirs / "full"], folder=theirs / "lora")


def test_all_errors_are_said_at_once(theirs: Path) -> None:
    (theirs / "full" / "trainer_state.json").write_text("{")
    (theirs / "lora" / "log_history.json").write_text("{")
    said = refused(theirs)
    assert "full/trainer_state.json" in said and "lora/log_history.json" in said


# Parts of a log -------------------------------------------------------------------------------------


def test_the_last_checkpoint_stands_in_for_a_run_that_did_not_end(theirs: Path) -> None:
    (theirs / "full" / "trainer_state.json").unlink()
    record = bring(theirs, "full:train_size=52").cells[0].record
    steps = [int(path.name.split("-")[1]) for path in (theirs / "full").glob("checkpoint-*")]
    assert record is not None and record.log_history[-1]["step"] == max(steps)
    assert record.timing is None or record.timing.train_seconds is None


def test_times_are_not_told_apart_where_an_evaluation_has_none(theirs: Path) -> None:
    def forget(raw: Any) -> Any:
        first = next(i for i, e in enumerate(raw) if "eval_runtime" in e)
        return [{k: v for k, v in e.items() if i != first or k != "eval_runtime"} for i, e in enumerate(raw)]

    rewrite(theirs / "lora" / "log_history.json", forget)
    record = bring(theirs).cells[1].record
    assert record is not None and record.timing is not None
    assert record.timing.wall_seconds is not None
    assert (record.timing.train_seconds, record.timing.eval_seconds) == (None, None)


def test_a_resumed_run_has_no_times(theirs: Path) -> None:
    """Its train_runtime counts the last session, and the log holds the evaluations of all."""
    rewrite(
        theirs / "lora" / "log_history.json",
        lambda raw: [e | ({"train_runtime": 1e-3} if "train_runtime" in e else {}) for e in raw],
    )
    record = bring(theirs, "lora:train_size=52").cells[1].record
    assert record is not None and record.imported is not None
    assert record.timing is None or record.timing.wall_seconds is None
    assert any("resumed" in line for line in record.imported.remarks)


def test_probabilities_under_the_name_of_logits_give_no_log_loss(theirs: Path) -> None:
    from scipy.special import softmax

    arrays_with(predictions=lambda a: softmax(a["predictions"], axis=1))(theirs / "full")
    full = bring(theirs).cells[0].record
    assert full is not None and full.scores is not None
    assert full.scores["log_loss"] is None and full.scores["macro_f1"] is not None
    assert not full.files


def test_classes_that_nothing_names_must_be_stated(theirs: Path) -> None:
    arrays_with(predictions=lambda a: a["predictions"].argmax(1))(theirs / "lora")
    for path in [*(theirs / "lora").rglob("config.json"), *(theirs / "lora").rglob("*.safetensors")]:
        path.unlink()
    assert "The number of classes is not known" in refused(theirs)
    assert bring(theirs, "lora:label_names=[dull, great]").cells[1].row["macro_f1"] is not None


@given(
    n=st.integers(1, 60_000),
    epochs=st.integers(1, 10),
    batch=st.integers(1, 64),
    seconds=st.floats(0.5, 5000),
)
def test_a_derived_training_size_is_the_true_one(n: int, epochs: int, batch: int, seconds: float) -> None:
    """By the definition of the Trainer's own speed metrics, epochs or steps given; never a wrong number."""
    from tunebench.importing.log import Log, train_size

    steps = -(-n // batch) * epochs
    for samples in (n * epochs, steps * batch):
        seconds = round(seconds, 4)
        summary = {
            "train_runtime": seconds,
            "train_samples_per_second": round(samples / seconds, 3),
            "epoch": float(epochs),
            "step": steps,
        }
        assert train_size(Log((summary,), 0), epochs) in (n, None)


@given(data=st.data())
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_part_of_a_folder_imports_or_is_refused(
    trained: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is missing is null or an error of ours; what is there is not changed by what is not."""
    root = tmp_path_factory.mktemp("part")
    files = ["all_results.json", "predictions.npz", "config.json", "log_history.json", "adapter_config.json"]
    files += ["trainer_state.json", "adapter_model.safetensors", "model.safetensors"]
    for name in ("full", "lora"):
        (root / name).mkdir()
        kept = data.draw(st.sets(st.sampled_from([f for f in files if (trained / name / f).exists()])))
        for file in sorted(kept):
            os.link(trained / name / file, root / name / file)
    drop = data.draw(st.sets(st.sampled_from(["eval_runtime", "eval_f1", "train_runtime", "loss", "eval_loss"])))
    for name in ("full/trainer_state.json", "lora/log_history.json"):
        if (root / name).exists():
            raw = json.loads((root / name).read_text())
            log = raw["log_history"] if isinstance(raw, dict) else raw
            log = [{k: v for k, v in e.items() if k not in drop} for e in log]
            (root / name).unlink()
            (root / name).write_text(json.dumps(raw | {"log_history": log} if isinstance(raw, dict) else log))
    sizes = data.draw(st.sampled_from([[], ["train_size=52"]]))
    try:
        comparison = import_runs([root / "full", root / "lora"], folder=root / "out", settings=sizes)
    except TunebenchError:
        assert not (root / "out").exists()
        return
    make_tables(analyse(load_comparison(root / "out")))
    for cell in comparison.cells:
        assert isinstance(cell.spec, ImportedRun)
        assert cell.spec.train_size == TRAIN
        if not (root / cell.spec.label / "predictions.npz").exists():
            assert cell.record is not None and not cell.record.files


def _model_folder(folder: Path, *, config: dict[str, Any], shape: tuple[int, int] | None, labels: int) -> Path:
    """A run with the configuration of a model, the shapes of its weights, and predicted classes."""
    from safetensors.numpy import save_file

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if shape is not None:
        body = {"bert.encoder.layer.0.output.dense.weight": np.zeros((4, 4), np.float32)}
        save_file(body | {"classifier.weight": np.zeros(shape, np.float32)}, folder / "model.safetensors")
    truth = np.arange(12) % labels
    np.savez(folder / "predictions.npz", labels=truth, preds=truth)
    (folder / "metrics.json").write_text(json.dumps({"train_samples": 100}))
    return folder


BERT = {"model_type": "bert", "architectures": ["BertModel"], "num_hidden_layers": 6, "hidden_size": 384}


def test_family_head_and_number_of_classes_are_told_from_files(tmp_path: Path) -> None:
    folder = _model_folder(tmp_path / "a", config=BERT, shape=(3, 384), labels=3)
    comparison = import_runs([folder], folder=tmp_path / "out", settings=["kind=full"])
    (cell,) = comparison.cells
    assert cell.spec.data.label_names == ("0", "1", "2"), "by the shape of the head alone"
    assert cell.record is not None and cell.record.imported is not None
    (said,) = [remark for remark in cell.record.imported.remarks if "family" in remark]
    assert said == (
        "a: the model is of the family bert, 6 layers of width 384 (config.json: BertModel); "
        "its head has 3 outputs (model.safetensors: classifier.weight is 3 x 384)."
    )
    assert (cell.row["head_params"], cell.row["adapter_params"]) == (3 * 384, 16)


def test_only_predictions_give_intervals_and_paired_tests(tmp_path: Path) -> None:
    folders = [_model_folder(tmp_path / name, config=BERT, shape=(2, 384), labels=2) for name in "ab"]
    truth, other = np.arange(12) % 2, np.arange(12) // 3 % 2
    np.savez(folders[1] / "predictions.npz", labels=truth, preds=other)
    comparison = import_runs(folders, folder=tmp_path / "out")
    analysis = analyse(load_comparison(tmp_path / "out"))
    (pair,) = analysis.pairs
    assert pair.same_examples is not None and pair.same_examples.only_first == (truth != other).sum()
    assert all(cell.score("log_loss") is None for cell in comparison.cells)


def test_a_head_of_another_shape_contradicts_the_configuration(tmp_path: Path) -> None:
    config = BERT | {"id2label": {"0": "a", "1": "b"}}
    folder = _model_folder(tmp_path / "a", config=config, shape=(3, 384), labels=2)
    with pytest.raises(StoreError, match="contradict each other about the number of labels"):
        import_runs([folder], folder=tmp_path / "out")


def test_a_single_output_is_a_number(tmp_path: Path) -> None:
    folder = _model_folder(tmp_path / "a", config=BERT, shape=(1, 384), labels=2)
    truth = np.array([0.5, 1.0, 2.5])
    np.savez(folder / "predictions.npz", labels=truth, preds=truth)
    (cell,) = import_runs([folder], folder=tmp_path / "out").cells
    assert cell.spec.task == "regression" and cell.row["spearman"] == pytest.approx(1)
