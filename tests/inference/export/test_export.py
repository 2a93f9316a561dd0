"""Every format makes the round trip, by tunebench and without it; one that strays is refused."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from sklearn.metrics import log_loss

import tunebench
from inference.conftest import run_of, run_tiny
from thorough import mostly_thorough
from tunebench.analysis.analysis import analyse
from tunebench.analysis.answer import answer_of
from tunebench.analysis.evidence import collect
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import recommend
from tunebench.data import load_dataset
from tunebench.errors import ConfigError, DataError, ExportError, HubError, ModelError, StoreError
from tunebench.files import remove_abandoned_folders, temporary_beside
from tunebench.formatting import escape_markdown
from tunebench.inference.export import EXPORTERS, Exported, export_run
from tunebench.inference.export.card import code_span, hub_name, results
from tunebench.inference.export.check import agreement, chosen_texts
from tunebench.inference.export.push import push
from tunebench.inference.export.source import best_run, recommended_run
from tunebench.inference.export.write import check_place
from tunebench.models.reference import ModelRef
from tunebench.store.study_folder import StudyStore
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL

Study = Callable[[str], Path]
Make = Callable[[str, str, str], Exported]


@pytest.fixture(scope="session")
def made(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Return a function that exports a strategy's run of a family in a format, once a session."""
    root, done = tmp_path_factory.mktemp("exports"), dict[tuple[str, str, str], Exported]()

    def make(model_type: str, label: str, format_: str) -> Exported:
        key = (model_type, label, format_)
        if key not in done:
            folder = study(model_type)
            out = root / "-".join(key)
            done[key] = export_run(folder, out=out, format=format_, run_id=run_of(folder, label))
        return done[key]

    return make


def stored(study: Path, label: str) -> tuple[list[str], np.ndarray]:
    """Return the texts of the test part, and the logits the run stored for them."""
    store = StudyStore.open(study)
    predictions = store.run_folder(run_of(study, label)).read_predictions()
    texts = load_dataset(store.study().data).train.texts
    return [texts[i] for i in predictions["indices"]], predictions["logits"]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


#: Of Transformers models; linear ones have test_linear_export.py.
FORMATS = set(EXPORTERS) - {"linear"}
#: Tracing a graph takes seconds, so each family and each strategy goes through ONNX once or twice.
CASES = [
    *(
        (model_type, label, format_)
        for model_type in ("bert", "distilbert")
        for label in ("full", "lora-qv", "lora-all")
        for format_ in ("adapter", "merged")
        if (label, format_) != ("full", "adapter")
    ),
    ("bert", "lora-all", "onnx"),
    ("distilbert", "full", "onnx"),
    ("bert", "full", "onnx-int8"),
    ("distilbert", "lora-qv", "onnx-int8"),
]


def test_every_format_makes_the_round_trip_with_every_family_and_some_adapter() -> None:
    assert {(model_type, format_) for model_type, _, format_ in CASES} == {
        (model_type, format_) for model_type in ("bert", "distilbert") for format_ in FORMATS
    }
    assert {format_ for _, label, format_ in CASES if label != "full"} == FORMATS


@pytest.mark.parametrize(
    ("model_type", "label", "format_"),
    mostly_thorough(
        CASES,
        # The graphs are those that the card's code loads below.
        keep=lambda case: case[0] == "distilbert" and case[1] != "lora-all",
    ),
)
def test_a_round_trip_gives_what_the_run_predicted(
    study: Study, made: Make, model_type: str, label: str, format_: str
) -> None:
    """The reference is what training stored, made by other code than the export's own check."""
    exported = made(model_type, label, format_)
    texts, logits = stored(study(model_type), label)
    assert len(set(logits.argmax(1))) == 2, "a model that says one thing only proves nothing"
    assert logits.std(axis=0).min() > 0.1
    predictor = tunebench.load(exported.folder, precision="auto" if "onnx" in format_ else "fp32")
    assert (predictor.format, predictor.label_names, predictor.max_length) == (
        format_,
        ("negative", "positive"),
        24,
    )
    found = predictor.predict_logits(texts)
    # The run may have been scored in bf16, and int8 rounds on top.
    assert np.abs(found - logits).max() < (0.5 if format_ == "onnx-int8" else 0.1)
    assert (found.argmax(1) == logits.argmax(1)).mean() >= 0.95
    check = exported.facts["check"]
    assert check["texts"] == 60
    assert check["largest_logit_difference"] < (0.5 if format_ == "onnx-int8" else 1e-4)
    notes = ("export.json", "README.md")
    assert check["bytes"] == sum(p.stat().st_size for p in exported.folder.iterdir() if p.name not in notes)
    assert json.loads((exported.folder / "export.json").read_text()) == exported.facts
    assert {"README.md", "config.json", "tokenizer.json", "tokenizer_config.json"} <= files(exported.folder)
    # It is passed on: of this machine's folders it names none, except an adapter's base, which is loaded with it.
    spec = StudyStore.open(study(model_type)).run_folder(exported.facts["run_id"]).read().spec
    local = [spec.data.source] + ([] if format_ == "adapter" else [spec.model.source])
    assert all(Path(source).is_absolute() for source in local)
    written = [p.read_text() for p in exported.folder.iterdir() if p.suffix in (".json", ".md")]
    assert not [source for source in local for text in written if str(Path(source).parent) in text]


def test_the_cards_code_loads_each_export_without_tunebench_in_a_fresh_process(
    study: Study, made: Make, lively_model: Callable[[str], Path]
) -> None:
    base = str(lively_model("distilbert"))
    texts = [*stored(study("distilbert"), "full")[0][:6], "a dull film " * 50]
    labels = {"adapter": "lora-all", "merged": "lora-all", "onnx": "full", "onnx-int8": "lora-qv"}
    folders = {format_: made("distilbert", labels[format_], format_).folder for format_ in FORMATS}
    script = f"import json\ntexts = json.loads({json.dumps(texts)!r})\nfound = {{}}\n"
    for format_, folder in folders.items():
        (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
        code = code.replace("PATH", str(folder)).replace("path/to/distilbert", base)
        script += code.replace('["a text"]', "texts") + {
            "merged": "logits = [[a['score'] for a in sorted(row, key=lambda a: a['label'])] "
            "for row in classify(texts, truncation=True, top_k=None)]\n",
        }.get(format_, "")
        script += f"found[{format_!r}] = [[float(x) for x in row] for row in logits]\n"
    script += "print(json.dumps(found))"
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "ignore", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    for format_, found in json.loads(run.stdout.splitlines()[-1]).items():
        predictor = tunebench.load(folders[format_], precision="auto" if "onnx" in format_ else "fp32")
        expected = predictor.predict_proba(texts) if format_ == "merged" else predictor.predict_logits(texts)
        # int8 scales activations by the largest of a batch, so there the batch's make-up matters a little.
        np.testing.assert_allclose(found, expected, atol=0.3 if format_ == "onnx-int8" else 1e-4)


def test_full_runs_have_no_adapter_and_leave_nothing(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "place" / "export"
    with pytest.raises(ExportError, match="full trains weights of the model itself"):
        export_run(study("bert"), out=out, format="adapter", run_id=run_of(study("bert"), "full"))
    assert not out.parent.exists()


@pytest.mark.parametrize("part", ["head", "adapter", "labels"])
def test_an_export_that_answers_otherwise_is_refused_and_leaves_nothing(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    exporter = EXPORTERS["adapter"]
    write = type(exporter).write

    def damaged(self: Any, model: Any, folder: Path, artifact: Any) -> None:
        write(self, model, folder, artifact)
        if part == "labels":
            config = json.loads((folder / "config.json").read_text())
            config["id2label"] = {"0": "positive", "1": "negative"}
            (folder / "config.json").write_text(json.dumps(config))
            return
        tensors = load_file(folder / "adapter_model.safetensors")
        for name, tensor in tensors.items():
            if ("lora_B" in name) == (part == "adapter"):
                tensors[name] = torch.zeros_like(tensor)
        save_file(tensors, folder / "adapter_model.safetensors")

    monkeypatch.setattr(type(exporter), "write", damaged)
    message = "other labels" if part == "labels" else "does not predict the same as the run"
    with pytest.raises(ExportError, match=message):
        export_run(study("bert"), out=tmp_path / "out", format="adapter", run_id=run_of(study("bert"), "lora-all"))
    assert files(tmp_path) == set()


def test_a_run_that_cannot_be_rebuilt_is_not_exported(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ExportSource and export would agree with each other, and with nothing that was scored."""
    monkeypatch.setattr("tunebench.engine.checkpoint.load_weights", lambda path, model: None)
    with pytest.raises(ExportError, match="does not repeat the run's predictions"):
        export_run(study("bert"), out=tmp_path / "out", run_id=run_of(study("bert"), "full"))
    assert files(tmp_path) == set()


def test_what_is_there_is_never_overwritten(study: Study, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(StoreError, match="already a file here"):
            export_run(study("bert"), out=place)
    assert files(tmp_path) == {"mine.txt"}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"format": "gguf"}, ConfigError, "no such export format"),
        ({"run_id": "x", "recommended": True}, ConfigError, "Either"),
        ({"run_id": "full-n1-lr1-s1-0123456789abcdef"}, StoreError, "no such run"),
        ({"run_id": "../x"}, StoreError, "no run id"),
    ],
)
def test_wrong_requests(study: Study, tmp_path: Path, options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        export_run(study("bert"), out=tmp_path / "out", **options)
    assert files(tmp_path) == set()


def test_changed_data_is_noticed(study: Study, tmp_path: Path) -> None:
    data = Path(StudyStore.open(study("bert")).study().data.source)
    before = data.read_text()
    try:
        data.write_text(before.replace("superb", "superber", 1))
        with pytest.raises(DataError, match="data has changed since"):
            export_run(study("bert"), out=tmp_path / "out")
    finally:
        data.write_text(before)


def test_the_best_run_is_chosen_on_validation_alone() -> None:
    import factories

    position = np.arange(400)
    cells = [
        factories.make_cell("full", f1=0.7, seed=1, **factories.HONEST),
        factories.make_cell("lora", f1=0.9, seed=1, **factories.HONEST),
        factories.make_cell("lora", f1=0.8, seed=2, **factories.HONEST),
    ]
    # Of the two runs with LoRA the test part prefers the other one.
    wrong = (position % 3 == 0, position % 8 == 0, position % 16 == 0)
    cells = [factories.with_predictions(cell, mask) for cell, mask in zip(cells, wrong, strict=True)]
    comparison = factories.compare(cells)
    best = max(cells, key=lambda cell: cell.row["selection_score"])
    assert best is cells[1]
    assert max(cells, key=lambda cell: cell.row["macro_f1"]) is cells[2]
    assert best_run(comparison) == best.spec.run_id
    run, among, said = recommended_run(comparison)
    assert (run, sorted(among)) == (best.spec.run_id, ["full", "lora"])
    assert said[0].startswith("Choose ") and said[1].startswith(("Conclusive", "Not conclusive"))


def test_a_study_selected_on_test_does_not_choose_its_best_run() -> None:
    import factories

    cells = factories.make_grid(sizes=(5_000,), seeds=(1, 2), selection="test")
    cells = [factories.with_predictions(cell, np.arange(400) % 9 == i) for i, cell in enumerate(cells)]
    with pytest.raises(ExportError, match="must not choose"):
        best_run(factories.compare(cells))
    with pytest.raises(ExportError, match="must not choose"):
        recommended_run(factories.compare(cells))
    assert best_run(factories.compare(cells[:1])) == cells[0].spec.run_id


def test_the_card_is_valid_on_the_hub_and_has_the_runs_scores(study: Study, made: Make) -> None:
    exported = made("bert", "lora-all", "merged")
    card = ModelCard.load(exported.folder / "README.md")
    run = StudyStore.open(study("bert")).run_folder(exported.facts["run_id"]).read()
    assert run is not None and run.scores is not None
    scores = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert scores == {
        "f1": pytest.approx(run.scores["macro_f1"], abs=1e-6),
        "accuracy": pytest.approx(run.scores["accuracy"], abs=1e-6),
    }
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-classification")
    for heading in ("Intended use", "How to load", "Data", "Training", "Results", "Limits"):
        assert f"## {heading}" in card.text
    low, high = map(float, re.findall(r"macro F1 \| [\d.]+ \| ([\d.]+) to ([\d.]+)", card.text)[0])
    assert low <= run.scores["macro_f1"] <= high
    (entry,) = [entry for entry in collect(load_comparison(study("bert"))) if entry.label == "lora-all"]
    table = entry.interval()
    assert table.n_seeds == 1 and (low, high) == (round(table.low, 4), round(table.high, 4))


def test_the_card_says_that_the_test_part_chose_the_strategy(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "chosen among 3 by its score on these same texts, so the score flatters it a little"
    done = export_run(study("bert"), out=tmp_path / "several", recommended=True)
    assert sorted(done.facts["recommended_among"]) == ["full", "lora-all", "lora-qv"]
    card = " ".join((done.folder / "README.md").read_text().split())
    assert said in card
    analysis = analyse(load_comparison(study("bert")))
    answer = answer_of(analysis, recommend(analysis))
    assert escape_markdown(answer.verdict) in card and escape_markdown(answer.trust) in card
    run = done.facts["run_id"]
    # Named, or the only one there was: nothing was chosen by that score.
    monkeypatch.setattr(
        "tunebench.inference.export.source.recommended_run", lambda comparison: (run, ("only",), ())
    )
    for options in ({"recommended": True}, {"run_id": run}):
        out = tmp_path / next(iter(options))
        assert "flatters" not in (export_run(study("bert"), out=out, **options).folder / "README.md").read_text()


def test_names_of_columns_stand_in_the_card_as_they_are() -> None:
    assert [code_span(name) for name in ("sentence_1", "a`b", "`x")] == ["`sentence_1`", "``a`b``", "`` `x ``"]


def test_agreement_is_what_its_words_say() -> None:
    labels = np.array([0, 1, 1, 0])
    before = np.array([[1.0, 0], [0, 1], [0, 1], [0, 1]])
    after = before.copy()
    after[1] = [1, 0.75]
    found = agreement(labels, before, after)
    assert (found.largest_logit_difference, found.equal_predictions) == (1.0, 0.75)
    assert found.mean_logit_difference == (1.0 + 0.25) / 8
    assert len(found.violations(EXPORTERS["merged"].tolerance)) == 3
    assert not agreement(labels, before, before).violations(EXPORTERS["merged"].tolerance)
    # Better on the labels, but not the run's answers: still refused.
    after = before.copy()
    after[3] = [1, 0]
    assert agreement(labels, before, after).violations(EXPORTERS["onnx-int8"].tolerance)
    with pytest.raises(ValueError, match="not finite"):
        agreement(labels, before, before * np.nan)


@pytest.mark.parametrize(("available", "wanted"), [(1, 256), (60, 256), (1000, 256), (257, 256)])
def test_checked_texts_span_the_test_part(available: int, wanted: int) -> None:
    found = chosen_texts(available, wanted)
    assert len(found) == min(available, wanted)
    assert found[0] == 0 and found[-1] == available - 1
    assert (np.diff(found) > 0).all()


def test_three_classes_in_every_format(lively_model: Callable[[str], Path], tmp_path: Path) -> None:
    """The base has a head for two: it must be replaced, saved, and found again."""
    lora = {"lora": {"rank": 2, "learning_rate": 1e-2}}
    study = run_tiny(lively_model("bert"), tmp_path, classes=3, strategies=lora)
    for format_ in ("adapter", "merged"):
        exported = export_run(study, out=tmp_path / format_, format=format_)
        predictor = tunebench.load(exported.folder)
        assert predictor.label_names == ("negative", "neutral", "positive")
        assert predictor.predict_proba(["a film"]).shape == (1, 3)


def test_an_upload_out_of_reach_is_a_clear_error(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    folder = made("bert", "lora-all", "adapter").folder
    with pytest.raises(HubError, match="The upload failed"):
        push(folder, "someone/something")
    with pytest.raises(HubError, match="not a repository"):
        push(folder, "not a name")


def test_an_upload_sends_the_folder_to_a_private_repository(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Any]] = []

    class Api:
        def create_repo(self, repository: str, **options: Any) -> None:
            calls.append((repository, options))

        def upload_folder(self, **options: Any) -> Any:
            calls.append((options["repo_id"], options["folder_path"]))
            # What an export of another format left there would be read in its place.
            left = ("model.onnx", "model.safetensors", "linear.json", "README.md")
            gone = [name for name in left if any(fnmatch(name, one) for one in options["delete_patterns"])]
            assert gone == ["model.onnx", "model.safetensors", "linear.json"]
            return type("Commit", (), {"repo_url": "https://hub.example/someone/something"})

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    folder = made("bert", "lora-all", "adapter").folder
    assert push(folder, "someone/something") == "https://hub.example/someone/something"
    assert calls == [
        ("someone/something", {"private": True, "exist_ok": True}),
        ("someone/something", folder),
    ]


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="files have no largest size here")
@pytest.mark.parametrize("most", [0, 10_000])
def test_a_full_disk_is_one_message_and_leaves_nothing(study: Study, tmp_path: Path, most: int) -> None:
    import resource

    folder, out = study("distilbert"), tmp_path / "out"
    run = run_of(folder, "full")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        # What is larger than that cannot be written, be it by Python or by the library for weights.
        with pytest.raises(StoreError, match="cannot be written"):
            export_run(folder, out=out, format="merged", run_id=run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


def test_a_card_scores_a_metric_of_probabilities_too() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 3, 40), rng.normal(size=(40, 3))
    record = SimpleNamespace(task=CLASSIFICATION, spec=SimpleNamespace(selects_by="log_loss"))
    source: Any = SimpleNamespace(record=record, labels=labels, logits=logits)
    found = results(source)
    assert [one.metric for one in found] == ["log_loss", "macro_f1", "accuracy"]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert found[0].value == pytest.approx(log_loss(labels, shares))
    assert all(one.low <= one.value <= one.high for one in found)


@pytest.mark.parametrize("link", [False, True])
def test_a_place_that_cannot_be_replaced_is_refused(
    made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: bool
) -> None:
    place = tmp_path / "empty"
    place.mkdir()
    monkeypatch.chdir(place)
    if link:
        (tmp_path / "link").symlink_to(place)
    with pytest.raises(StoreError, match="cannot be this one"):
        check_place(tmp_path / "link" if link else Path("."))


def test_only_what_has_a_revision_is_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may be called like a repository, and the export may run elsewhere."""
    monkeypatch.chdir(tmp_path)
    local = ModelRef(source="data/reviews", revision=None, fingerprint="f")
    hub = ModelRef(source="distilbert-base-uncased", revision="abc", fingerprint="f")
    layers = ModelRef(source="someone/model:3", revision="abc", fingerprint="f")
    packaged = ModelRef(source="minilm:3", revision=None, fingerprint="f")
    assert [hub_name(one) for one in (local, hub, layers, packaged)] == [
        None,
        "distilbert-base-uncased",
        "someone/model",
        "sentence-transformers/all-MiniLM-L6-v2",
    ]


def test_decisions_are_counted_and_not_texts_with_many_labels() -> None:
    """One decision in a hundred differs: of most texts with a hundred labels some decision does."""
    rng = np.random.default_rng(0)
    before = rng.normal(0, 3, (200, 100)).astype(np.float32)
    after = np.where(rng.random(before.shape) < 0.01, -before, before)
    labels = (before > 0).astype(np.int64)
    found = agreement(labels, before, after, MULTI_LABEL)
    assert found.equal_predictions == pytest.approx(0.99, abs=0.003)


def test_the_base_of_an_adapter_may_be_moved(
    lively_model: Callable[[str], Path], made: Make, tmp_path: Path
) -> None:
    folder = shutil.copytree(made("bert", "lora-all", "adapter").folder, tmp_path / "adapter")
    before = tunebench.load(folder).predict_proba(["a film"])
    config, stated = folder / "adapter_config.json", json.loads((folder / "export.json").read_text())
    moved = shutil.copytree(stated["base"]["source"], tmp_path / "moved")
    # As on another machine: the folder that was named is not there.
    stated["base"]["source"] = missing = str(tmp_path / "gone")
    (folder / "export.json").write_text(json.dumps(stated))
    own = json.loads(config.read_text())
    config.write_text(json.dumps(own | {"base_model_name_or_path": missing}))
    with pytest.raises(ModelError) as refused:
        tunebench.load(folder)
    assert str(config) in str(refused.value) and "base_model_name_or_path" in str(refused.value)
    config.write_text(json.dumps(own | {"base_model_name_or_path": str(moved)}))
    assert np.array_equal(tunebench.load(folder).predict_proba(["a film"]), before)
    weights = load_file(moved / "model.safetensors")
    name = next(iter(weights))
    save_file(weights | {name: weights[name] + 1}, moved / "model.safetensors")
    with pytest.raises(ModelError, match="its files differ"):
        tunebench.load(folder)


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = temporary_beside(tmp_path / "model")
    left = mine.with_name(mine.name.replace(f".{os.getpid()}.", f".{ended.pid}."))
    other = left.with_name(left.name.replace(".model.", ".models."))
    for folder in (mine, left, other):
        folder.mkdir()
    remove_abandoned_folders(tmp_path / "model")
    assert not left.exists() and mine.exists() and other.exists()
