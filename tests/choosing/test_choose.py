"""``choose`` from texts to an exported classifier, on a tiny model: answer, last training, and resumption."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import tunebench
from tunebench.choosing.candidates import CANDIDATES
from tunebench.choosing.chosen import Chosen
from tunebench.choosing.exports import forget_other_refit
from tunebench.choosing.job import choose, study_name
from tunebench.choosing.plan import Asked, Ready, prepare
from tunebench.choosing.texts import write_texts
from tunebench.choosing.words import data_lines, next_commands
from tunebench.cli.app import app
from tunebench.data import load_dataset
from tunebench.data.reference import DataConfig
from tunebench.errors import ConfigError, DataError, PlanError, StoreError, TunebenchError
from tunebench.execution.resolve import Request
from tunebench.execution.runner import Summary
from tunebench.machine.settings import Execution
from tunebench.store.study_folder import StudyStore
from tunebench.study.yaml_file import load_study
from tunebench.training.encoder import rates

#: A plan so small that it runs in seconds.
SMALL = (
    "strategies={tfidf: {c: [1, 10]}, full: {learning_rate: 3e-3}}",
    "train_sizes=[100]",
    "seeds=[1]",
    "min_steps=8",
    "epochs=1",
    "batch_size=16",
    "warmup_ratio=0",
    "max_length=24",
)


@pytest.fixture(autouse=True)
def _quick(no_report: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs are taken from the arithmetic; what is measured is another test's."""
    monkeypatch.setattr("tunebench.training.encoder.rates._products", lambda precision: 1e3)
    monkeypatch.setattr("tunebench.training.encoder.cost.measure_rates", rates.assume_rates)


def options(tiny_model: Callable[[str], Path], **changes: Any) -> dict[str, Any]:
    execution = Execution(device="cpu", threads=1)
    plain = {"model": str(tiny_model("distilbert")), "budget": "1h", "settings": SMALL}
    return plain | {"execution": execution} | changes


def texts_of(reviews: Path) -> tuple[list[str], list[str]]:
    rows = [line.rsplit(",", 1) for line in (reviews / "train.csv").read_text().splitlines()[1:]]
    return [text for text, _ in rows], [label for _, label in rows]


def test_texts_in_memory_become_a_classifier_trained_on_all_of_them_and_the_call_resumes(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, labels = texts_of(reviews)
    told: list[str] = []
    found = choose(texts, labels, out=tmp_path / "c", tell=told.append, **options(tiny_model))
    assert found.recommendation is not None and found.model is not None and not found.failed
    assert any(line.startswith("Task: one of 2 classes") for line in told)
    assert any("held out of the texts" in line for line in told)
    assert any(line.startswith("Plan: ") for line in told)
    # All labels, the held-out ones included, trained it; so its score is the measured one on fewer.
    facts = json.loads((found.model / "export.json").read_text())
    assert facts["train_size"] == len(texts) and facts["measured_on_fewer_labels"]
    assert "cannot be measured" in found.refit and f"all {len(texts)} labels" in found.refit
    card = (found.model / "README.md").read_text()
    assert f"# c-{found.recommendation.strategy}\n" in card, "called after the data and the method"
    assert f"trained on all {len(texts)} labelled texts" in card
    measured = next(
        cell
        for cell in StudyStore.open(found.folder).cells()
        if cell.spec.run_id == facts["measured_on_fewer_labels"]
    )
    assert f"{measured.row['macro_f1']:.4f}" in card
    assert set(found.predictor().predict(["a lovely film", "a dull film"])) <= set(labels)
    assert 8 <= len(found.lines) <= 13 and found.lines[0].startswith("Choose ")
    # Once more: nothing is trained, and the answer is the same.
    monkeypatch.setattr("tunebench.training.registry.run_one", None)
    monkeypatch.setattr("tunebench.choosing.refit.run_one", None)
    again = choose(texts, labels, out=tmp_path / "c", **options(tiny_model))
    assert again.recommendation == found.recommendation and again.refit == found.refit


def test_a_test_part_of_the_datas_own_is_not_learned_from_and_scores_the_last_training(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[Summary] = []

    def stopped(*args: Any, **kwargs: Any) -> Summary:
        ended.append(Summary(interrupted=True))
        return ended[-1]

    with monkeypatch.context() as patched:
        patched.setattr("tunebench.choosing.refit.run_plan", stopped)
        found = choose(str(reviews), out=tmp_path / "c", **options(tiny_model))
    assert ended and found.interrupted and found.model is None
    found = choose(str(reviews), out=tmp_path / "c", **options(tiny_model))
    assert found.model is not None
    (cell,) = StudyStore.open(tmp_path / "c" / "refit").cells()
    assert cell.record is not None and cell.record.examples is not None
    assert (cell.record.examples.train, cell.record.examples.validation, cell.record.examples.test) == (160, 0, 60)
    assert cell.record.examples.test_in_train == 0 and cell.record.scores is not None
    assert f"{cell.record.scores['macro_f1']:.4f} on the test part" in found.refit
    # A study that went on may ask for another last training, which then takes the place of this one.
    told: list[str] = []
    forget_other_refit(tmp_path / "c" / "refit", cell.spec.run_id, told.append)
    assert not told and (tmp_path / "c" / "refit").exists()
    forget_other_refit(tmp_path / "c" / "refit", "another", told.append)
    assert len(told) == 1 and not (tmp_path / "c" / "refit").exists()


def test_the_last_training_is_as_long_as_the_chosen_run_was_planned(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    """At such a rate the first evaluation is the best, and the run soon ends; the last training does not."""
    alone = ("strategies={full: {learning_rate: 0.5}}", "evaluations_per_epoch=8", "patience=1", *SMALL[1:])
    choose(str(reviews), out=tmp_path / "c", **options(tiny_model, settings=alone))
    (chosen,) = StudyStore.open(tmp_path / "c").cells()
    (last,) = StudyStore.open(tmp_path / "c" / "refit").cells()
    taken = [len(cell.record.timing.step_seconds) for cell in (chosen, last) if cell.record and cell.record.timing]
    assert chosen.record is not None and chosen.record.selected is not None
    assert chosen.record.selected.step <= taken[0] < 8 and taken[1] == 160 // 16 == last.spec.steps_at(10)


def test_without_a_last_training_the_best_run_is_exported(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    found = choose(str(reviews), out=tmp_path / "c", refit=False, **options(tiny_model))
    assert found.model is not None and found.recommendation is not None
    facts = json.loads((found.model / "export.json").read_text())
    assert facts["train_size"] == 100 and facts["measured_on_fewer_labels"] is None
    assert not (tmp_path / "c" / "refit").exists()
    # The export of another run, such as that of an earlier last training, is replaced.
    (found.model / "export.json").write_text(json.dumps(facts | {"run_id": "another"}))
    choose(str(reviews), out=tmp_path / "c", refit=False, **options(tiny_model))
    assert json.loads((found.model / "export.json").read_text())["run_id"] == facts["run_id"]


def test_a_candidate_that_takes_too_long_is_stopped_and_named(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        run = tunebench.run_study
        patched.setattr("tunebench.choosing.job.run_study", lambda *a, **k: run(*a, **{**k, "deadline": 0.0}))
        found = choose(str(reviews), out=tmp_path / "c", **options(tiny_model))
    assert not found.interrupted and found.recommendation is not None
    assert found.recommendation.strategy == "tfidf" and found.unfinished == ("full",)
    assert "Stopped at the end of the budget: full. The same command resumes." in found.lines
    again = choose(str(reviews), out=tmp_path / "c", **options(tiny_model))
    assert not again.unfinished


def test_another_question_in_the_same_folder_is_refused(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def done(asked: Any, settings: Any) -> Chosen:
        raise AssertionError("nothing may be trained")

    cheap = ("strategies={tfidf: {c: [1]}}", *SMALL[1:3])
    choose(str(reviews), out=tmp_path / "c", refit=False, **options(tiny_model, settings=cheap))
    monkeypatch.setattr("tunebench.choosing.job.run_study", done)
    with pytest.raises(StoreError, match="metric: macro_f1 -> accuracy"):
        choose(str(reviews), out=tmp_path / "c", metric="accuracy", **options(tiny_model))


def test_data_that_is_read_from_another_column_is_refused_in_the_same_folder(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "films.csv"
    rows = [f"a {('great', 'dull')[i % 2]} film number {i},{i % 2},{i // 80}" for i in range(160)]
    path.write_text("\n".join(["text,label,half", *rows]) + "\n")
    cheap = ("strategies={tfidf: {c: [1]}}", *SMALL[1:3])
    choose(str(path), out=tmp_path / "c", refit=False, **options(tiny_model, settings=cheap))
    with pytest.raises(StoreError, match="texts and labels as they are read"):
        other = (*cheap, "data.label_column=half")
        choose(str(path), out=tmp_path / "c", refit=False, **options(tiny_model, settings=other))


def test_the_plan_is_a_study_that_run_takes(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    model = str(tiny_model("distilbert"))
    arguments = ["choose", str(reviews), "--model", model, "--budget", "1h", "--out", str(tmp_path / "c"), "--plan"]
    ended = CliRunner().invoke(app, [*arguments, "--set", "epochs=4"])
    assert ended.exit_code == 0, ended.output
    path = tmp_path / "study.yaml"
    path.write_text(ended.stdout, encoding="utf-8")
    study = load_study(str(path))
    assert list(study.strategies) == ["tfidf", "embeddings", "lora", "full"] and study.epochs == 4
    assert study.strategies["lora"].params["placement"] == "all_linear"
    assert ended.stdout.startswith("# Plan: ") and yaml.safe_load(ended.stdout)["min_steps"] == 300
    assert not (tmp_path / "c").exists()


def test_several_models_are_planned_and_the_lengths_are_those_of_each(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    models = [shutil.copytree(tiny_model(family), tmp_path / f"own-{family}") for family in ("distilbert", "bert")]
    named = [word for model in models for word in ("--model", str(model))]
    place = ["--budget", "3h", "--out", str(tmp_path / "c"), "--plan"]
    ended = CliRunner().invoke(app, ["choose", str(reviews), *named, *place])
    assert ended.exit_code == 0, ended.output
    path = tmp_path / "study.yaml"
    path.write_text(ended.stdout, encoding="utf-8")
    study = load_study(str(path))
    labels = {
        f"{kind}@own-{family}" for kind in ("embeddings", "lora", "full") for family in ("distilbert", "bert")
    }
    assert set(study.strategies) == {"tfidf", *labels}
    assert study.model == str(models[0]) and study.strategies["full@own-bert"].model == str(models[1])
    assert {model for model, _ in study.models} == {str(model) for model in models}
    assert all(f"lengths (own-{family})" in ended.stderr for family in ("distilbert", "bert"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--budget", "31s"], "too small for anything"),
        (["--budget", "soon"], "not a duration"),
        (["--metric", "f3"], "no such metric"),
        (["--set", "epoch=3"], "unknown key"),
        (["--text-column", "review"], "review"),
    ],
)
def test_bad_input_is_one_message(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    model = str(tiny_model("distilbert"))
    place = ["--out", str(tmp_path / "c")]
    ended = CliRunner().invoke(app, ["choose", str(reviews), "--model", model, *place, *arguments])
    assert isinstance(ended.exception, TunebenchError) and ended.exception.exit_code == 2
    assert complaint in str(ended.exception) and not (tmp_path / "c").exists()


def test_a_precision_that_the_device_lacks_is_refused_before_anything_is_measured(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunebench.choosing.plan.estimate_each", pytest.fail)
    asked = options(tiny_model, settings=("precision=fp16",), out=tmp_path / "c")
    with pytest.raises(PlanError, match="CUDA"):
        choose(reviews, **asked)


def test_seeds_that_choose_for_themselves_leave_no_setting_for_the_last_training(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    asked = options(tiny_model, settings=("search.method=grid", "search.seeds=each"), out=tmp_path / "c")
    with pytest.raises(ConfigError, match="needs one setting"):
        choose(reviews, **asked)


def test_texts_and_labels_are_equally_many() -> None:
    with pytest.raises(DataError, match="Each text needs one label"):
        choose(["a", "b"], ["x"])
    with pytest.raises(DataError, match="Texts need labels"):
        choose(["a", "b"])


@pytest.mark.parametrize(
    "labels", [["x", None], ["x", float("nan")], ["x", ["x", "y"]], [["x"], "y"], [["x"], [1]]], ids=str
)
def test_a_label_is_never_made_up(labels: list[Any]) -> None:
    with pytest.raises(DataError, match="Label 2 is no label"):
        choose(["a", "b"], labels)


def test_texts_of_another_study_are_refused_before_its_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError):
        choose(["a", "b"], ["x", "y"], out=tmp_path / "other")
    assert not (tmp_path / "other-data").exists()
    write_texts(["a", "b"], ["x", "y"], tmp_path / "c")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "plan.json").write_text("{}")
    path = tmp_path / "c-data" / "train.jsonl"
    before = path.read_text()
    with pytest.raises(StoreError, match="other texts or labels"):
        choose(["a", "b"], ["x", "x"], out=tmp_path / "c")
    assert path.read_text() == before
    assert write_texts(["a", "b"], ["x", "y"], tmp_path / "c") == str(path)


def test_a_number_beside_its_spelling_is_said_to_be_the_same_label(tmp_path: Path) -> None:
    path = write_texts([f"text {i}" for i in range(6)], [1, "1", 2, np.int64(2), True, "True"], tmp_path / "c")
    with pytest.raises(DataError, match="mix strings and integers"):
        load_dataset(DataConfig(source=path))
    path = write_texts([f"text {i}" for i in range(6)], [1, "1", 2, np.int64(2), 1.0, 2], tmp_path / "c")
    data = load_dataset(DataConfig(source=path))
    assert data.label_names == ("1", "2")
    assert any('are the same labels: 1 and "1".' in note for note in data.reading.notes)
    path = write_texts([f"text {i}" for i in range(4)], [True, "True", "False", np.bool_(False)], tmp_path / "c")
    assert any(
        "are the same labels: False, True." in n for n in load_dataset(DataConfig(source=path)).reading.notes
    )


@pytest.mark.parametrize("task", ["multi_label", "regression"])
def test_several_labels_or_a_number_a_text_are_chosen_for_as_classes_are(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, task: str
) -> None:
    texts, classes = texts_of(reviews)
    several = task == "multi_label"
    labels: list[Any] = [
        [name, "long"] if len(text) > 60 else [name] for text, name in zip(texts, classes, strict=True)
    ]
    numbers = [(name == "pos") + len(text) / 1000 for text, name in zip(texts, classes, strict=True)]
    settings = ("strategies={tfidf: {}}", *SMALL[1:], f"data.task={task}")
    told: list[str] = []
    found = choose(
        texts,
        labels if several else numbers,
        out=tmp_path / "c",
        tell=told.append,
        **options(tiny_model, settings=settings),
    )
    assert found.recommendation is not None and found.model is not None and not found.failed
    assert found.recommendation.metric == ("macro_f1" if several else "spearman")
    said = "any of 3 labels for each text" if several else "one number a text"
    assert any(line.startswith(f"Task: {said}") and "decided by" in line for line in told)
    (answer,) = found.predictor().predict(["a lovely film"])
    assert answer == ("pos",) if several else 0.5 < float(answer) < 1.5
    assert f"all {len(texts)} labels" in found.refit


def test_a_metric_of_another_task_is_refused(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    with pytest.raises(TunebenchError, match="There is no such metric for one label") as refused:
        choose(str(reviews), metric="spearman", out=tmp_path / "c", **options(tiny_model))
    assert "--metric macro_f1" in str(refused.value)


def test_settings_of_one_call_do_not_reach_the_next() -> None:
    before = deepcopy(CANDIDATES)
    asked = Asked({"source": "x.csv"}, ("minilm",), "macro_f1", "x", settings=("strategies.lora.rank=4",))
    study = asked.everything()
    assert study.strategies["lora"].params["rank"] == 4 and before == CANDIDATES


def test_the_next_command_gives_a_model_of_pairs_two_texts() -> None:
    single, pair = (Chosen(Path("c"), Path("r"), None, None, pairs=pairs) for pairs in (False, True))
    assert single.lines == pair.lines, "without a model there is none to call"
    assert next_commands(Path("c"), Path("m"), pairs=True)[0].endswith('"a text of yours" "its second text"')


def test_it_is_public_and_its_folder_has_a_plain_name() -> None:
    assert tunebench.choose is choose
    assert study_name("data/Meine Daten (2).csv") == "Meine-Daten-2" and study_name("..") == "texts"


def rare_data(place: Path, rare: int) -> str:
    rows = [f"a {word} film number {i},{word}" for word in ("great", "dull") for i in range(60)]
    rows += [f"a strange film number {i},strange" for i in range(rare)]
    (place / "films.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return str(place / "films.csv")


def test_a_rare_class_enlarges_the_validation_part_and_one_that_is_too_rare_is_named(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    def ready(rare: int) -> Ready:
        request = Request(execution=Execution(device="cpu", threads=1), measure=False)
        data = {"source": rare_data(tmp_path, rare)}
        return prepare(Asked(data, (str(tiny_model("distilbert")),), "macro_f1", "films"), request)

    assert "validation_fraction" not in ready(40).common
    few = ready(8)
    assert few.common["validation_fraction"] == next(f for f in (0.15, 0.2, 0.3, 0.4) if 6 * f >= 1)
    assert few.common["max_length"] == 32 == few.max_length, "the texts are short"
    assert not any("are cut" in line for line in data_lines(few))
    asked = replace(few.asked, settings=("max_length=4",))
    assert any("longer than 4 and are cut (--set" in line for line in data_lines(replace(few, asked=asked)))
    with pytest.raises(DataError, match="class strange"):
        ready(1)


def test_commands_are_quoted_for_a_shell_wherever_they_are_printed() -> None:
    lines = next_commands(Path("my films"), Path("my films/model"))
    assert [shlex.split(line)[2] for line in lines] == ["my films/model", "my films/model", "my films"]
    source = Path(tunebench.__file__).parent
    typed = re.compile(r"f[\"'].*\btunebench [a-z][a-z-]*(?= )[^\"'`]*\{")
    wrong = [
        f"{path.name}: {line.strip()}"
        for path in source.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if typed.search(line)
    ]
    assert not wrong, "formatting.command quotes what is put into a command"
