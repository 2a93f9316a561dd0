"""The baseline without an encoder: against scikit-learn's own pipeline, through whole runs and a study."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.special import expit, softmax
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC, LinearSVR
from typer.testing import CliRunner

from tunebench import load
from tunebench.cli import app
from tunebench.data import Split, TextDataset, load_dataset
from tunebench.data.reference import DataConfig, DataRef
from tunebench.data.rules import split_ref
from tunebench.data.splits import draw_parts
from tunebench.errors import ConfigError, DataError, StoreError
from tunebench.execution.estimates import estimate_each
from tunebench.execution.plan import make_plan
from tunebench.machine.settings import Execution
from tunebench.models.reference import ModelRef
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.store.study_folder import StudyStore
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand
from tunebench.study.spec import RunSpec
from tunebench.study.yaml_file import load_study
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.metrics import METRICS
from tunebench.tasks.regression import REGRESSION
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.linear.choose import choose_by_cross_validation
from tunebench.training.linear.fit import fit_path
from tunebench.training.linear.folds import stratified_folds
from tunebench.training.linear.heads import stored_head
from tunebench.training.linear.model import LinearText, TfidfLearner, fit_linear_text
from tunebench.training.linear.terms import Terms
from tunebench.training.parts import run_parts
from tunebench.training.registry import run_one

CLASSES = ["neg", "pos", "mixed"]
SEEN = {"neg": "awful boring bad dull weak", "pos": "great lovely superb moving fine", "mixed": "uneven odd long"}


def write_reviews(folder: Path, classes: int) -> Path:
    """Write train.csv and test.csv whose classes show in words, though not in all texts."""
    generator = np.random.default_rng(0)
    filler = "the film was a story of two men in paris who met again after many years".split()
    folder.mkdir(parents=True)
    for name, count in (("train", 150), ("test", 60)):
        lines = ["text,label"]
        for i in range(count):
            label = CLASSES[i % classes]
            words = list(generator.choice(filler, size=generator.integers(4, 12)))
            shown = label if generator.random() < 0.8 else CLASSES[generator.integers(classes)]
            words.insert(2, str(generator.choice(SEEN[shown].split())))
            lines.append(f"{' '.join(words)} {i},{label}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    root = tmp_path_factory.mktemp("reviews")

    def get(classes: int) -> Path:
        folder = root / str(classes)
        return folder if folder.exists() else write_reviews(folder, classes)

    return get


def make_spec(data: Path, strategy: dict[str, Any] | None = None, **changes: Any) -> tuple[RunSpec, TextDataset]:
    settings = {
        "name": "t",
        "model": "minilm",
        "data": str(data),
        "strategies": {"tfidf": strategy or {}},
        "train_sizes": [120],
    }
    dataset = load_dataset(DataConfig(source=str(data)))
    (spec,) = expand(
        StudyConfig.model_validate(settings | changes),
        model=ModelRef(source="minilm", fingerprint="m"),
        data=DataRef(source=str(data), fingerprint=dataset.fingerprint, label_names=dataset.label_names),
        train_examples=len(dataset.train),
        test_examples=60,
        precision={"fast": "bf16", "reference": "fp32"},
    )
    return spec, dataset


def train(
    spec: RunSpec, dataset: TextDataset, place: Path, stop: Callable[[], bool] = lambda: False
) -> tuple[RunRecord, RunFolder]:
    folder = RunFolder(place / spec.run_id)
    folder.begin(spec)
    execution = Execution(device="cpu", threads=1)
    record = run_one(Attempt(spec, dataset, folder, execution, stop=stop))
    return record, folder


def best_by(
    compare_by: str, losses: dict[float, float], answers: dict[float, tuple[np.ndarray, np.ndarray]]
) -> float:
    """Return the value of C with the best macro F1, of equals that with the least loss; or by the loss alone."""
    merits = {c: f1_score(*pair, average="macro") if compare_by == "metric" else 0.0 for c, pair in answers.items()}
    return max(losses, key=lambda c: (merits[c], -losses[c]))


def pipeline(dataset: TextDataset, train_rows: np.ndarray, c: float) -> Callable[[list[str]], np.ndarray]:
    """Return scikit-learn's own probabilities, in double precision."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    matrix = vectorizer.fit_transform([dataset.train.texts[i] for i in train_rows])
    model = LogisticRegression(C=c, max_iter=5000).fit(matrix, dataset.train.labels[train_rows])
    return lambda texts: np.asarray(model.predict_proba(vectorizer.transform(texts)))


def test_a_cross_validated_run_trains_on_its_labels_alone_and_is_judged_by_the_own_validation_part(
    reviews: Callable[[int], Path], tmp_path: Path
) -> None:
    spec, plain = make_spec(reviews(2))
    # Rows whose positions in the split are no positions of the training subset.
    own = Split([f"own {text}" for text in plain.train.texts[::-1]], plain.train.labels[::-1].copy())
    dataset = TextDataset("own", None, plain.label_names, plain.train, plain.test, validation=own)
    splits = split_ref(dataset, validates=True)
    spec = spec.model_copy(update={"splits": splits, "validation_fraction": 0.0})
    record, folder = train(spec, dataset, tmp_path)
    assert record.examples is not None and record.selected is not None
    assert (record.examples.train, record.examples.validation) == (120, len(own))
    model = LinearText.load(folder.path, terms=Terms(spec.params["ngrams"]))
    logits = model.logits(model.features(own.texts))
    expected = f1_score(own.labels, logits.argmax(1), average="macro")
    assert record.selected.by == "cross_validation" and record.selected.score == pytest.approx(expected)
    # The validation part changes nothing of what is trained.
    alone = spec.model_copy(update={"splits": None, "selection": "last"})
    other, place = train(alone, plain, tmp_path)
    assert other.selected is not None and other.selected.score is None
    assert np.array_equal(folder.read_predictions()["logits"], place.read_predictions()["logits"])


@pytest.mark.parametrize(
    ("classes", "selection"), [(2, "validation"), (3, "validation"), (2, "test"), (3, "last"), (2, "last")]
)
def test_a_run_is_what_scikit_learn_gives_with_the_c_that_scores_best(
    reviews: Callable[[int], Path], tmp_path: Path, classes: int, selection: str
) -> None:
    spec, dataset = make_spec(reviews(classes), {"choose_by": "selection"}, selection=selection)
    record, folder = train(spec, dataset, tmp_path)
    assert dataset.test is not None
    parts = draw_parts(
        train_labels=dataset.train.labels,
        test_labels=dataset.test.labels,
        subset_seed=42,
        validation_fraction=spec.validation_fraction,
        test_size=60,
    ).cut(120)
    grid = STRATEGIES["tfidf"].params().c  # type: ignore[attr-defined]
    test_texts = [dataset.test.texts[i] for i in parts.test]
    if selection == "last":
        best, score = 1.0, None
    else:
        rows, split = (parts.validation, dataset.train) if selection == "validation" else (parts.test, dataset.test)
        texts, truth = [split.texts[i] for i in rows], split.labels[rows]
        scores = [
            f1_score(truth, pipeline(dataset, parts.train, c)(texts).argmax(1), average="macro", zero_division=0)
            for c in grid
        ]
        score, best = max(scores), grid[int(np.argmax(scores))]
    assert record.selected and record.scores and record.parameters and record.cost and record.timing
    assert record.selected.by == selection
    assert record.selected.score == (None if score is None else pytest.approx(score, abs=1e-9))
    stored = folder.read_predictions()
    theirs = pipeline(dataset, parts.train, best)(test_texts)
    assert np.abs(softmax(stored["logits"], axis=1) - theirs).max() < 5e-3
    assert np.array_equal(stored["indices"], parts.test)
    assert record.scores["accuracy"] == pytest.approx((stored["logits"].argmax(1) == stored["labels"]).mean())
    assert [entry["c"] for entry in record.log_history] == ([1.0] if selection == "last" else list(grid))
    assert all(entry["converged"] for entry in record.log_history)


@pytest.mark.parametrize(
    ("classes", "selection", "compare_by"),
    [(2, "validation", "loss"), (3, "validation", "metric"), (2, "test", "metric"), (3, "last", "loss")],
)
def test_c_is_the_best_in_cross_validation_and_is_fitted_on_all_labels(
    reviews: Callable[[int], Path], tmp_path: Path, classes: int, selection: str, compare_by: str
) -> None:
    """Against scikit-learn's own pipeline in its own folds, over the whole grid."""
    spec, dataset = make_spec(reviews(classes), {"compare_by": compare_by}, selection=selection)
    record, folder = train(spec, dataset, tmp_path)
    parts = run_parts(spec, dataset)
    rows = np.concatenate([parts.train, parts.validation])
    texts, labels = [dataset.train.texts[i] for i in rows], dataset.train.labels[rows]
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    losses, predicted = {}, {}
    for c in spec.strategy_params.c:
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2), LogisticRegression(C=c, max_iter=5000)
        )
        predicted[c] = cross_val_predict(model, texts, labels, cv=folds, method="predict_proba")
        losses[c] = log_loss(labels, predicted[c])
    best = best_by(compare_by, losses, {c: (labels, found.argmax(1)) for c, found in predicted.items()})
    assert [entry["c"] for entry in record.log_history] == list(losses)
    for entry in record.log_history:
        assert entry["cv_loss"] == pytest.approx(losses[entry["c"]], rel=1e-2)
    assert dataset.test is not None
    stored = folder.read_predictions()
    theirs = pipeline(dataset, rows, best)([dataset.test.texts[i] for i in parts.test])
    assert np.abs(softmax(stored["logits"], axis=1) - theirs).max() < 5e-3
    assert record.selected is not None and record.examples is not None
    assert record.selected.by == "cross_validation"
    assert (record.examples.train, record.examples.validation) == (120, 0)
    score = None
    if selection == "validation":
        judged = slice(len(parts.train), None)
        score = f1_score(labels[judged], predicted[best][judged].argmax(1), average="macro", zero_division=0)
    assert record.selected.score == (None if score is None else pytest.approx(score, abs=1e-9))


@pytest.mark.parametrize("kind", ["tfidf", "embeddings"])
def test_a_validation_part_of_the_datas_own_judges_and_is_not_trained_on(
    reviews: Callable[[int], Path],
    tiny_model: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))
    data = shutil.copytree(reviews(2), tmp_path / "data")
    header, *lines = (data / "train.csv").read_text().splitlines()
    (data / "train.csv").write_text("\n".join([header, *lines[:110]]))
    (data / "validation.csv").write_text("\n".join([header, *lines[110:]]))
    study = StudyConfig.model_validate(
        {
            "name": "t",
            "model": str(tiny_model("bert")),
            "data": str(data),
            "strategies": [kind],
            "train_sizes": [80],
            "max_length": 16,
        }
    )
    plan = make_plan(study, execution=Execution(device="cpu", threads=1), measure=False)
    record, folder = train(plan.runs[0].spec, plan.dataset, tmp_path)
    folder.commit(record)
    assert record.examples is not None and record.selected is not None
    assert (record.examples.train, record.examples.validation) == (80, 40)
    assert plan.dataset.validation is not None
    answers = load(folder.path).predict_logits(plan.dataset.validation.texts)
    assert record.selected.score == pytest.approx(METRICS["macro_f1"](plan.dataset.validation.labels, answers))


def test_copies_stay_in_one_fold_and_a_class_of_one_text_is_borne() -> None:
    generator = np.random.default_rng(0)
    groups = generator.integers(0, 40, 90)
    labels = groups % 3
    labels[groups == 0] = 3
    folds = stratified_folds(labels, groups)
    assert np.array_equal(np.sort(np.concatenate(folds)), np.arange(90))
    for fold in folds:
        assert not set(groups[fold]) & set(np.delete(groups, fold))
    assert stratified_folds(np.arange(4)) == []
    assert len(stratified_folds(np.array([0, 0, 0, 1]))) == 3


def test_few_texts_of_a_class_still_give_a_choice() -> None:
    """A class that a fold does not train says nothing about C; a fold that trains one class is left out."""
    words = {0: "good fine lovely", 1: "bad dull awful", 2: "odd"}
    labels = np.array([0] * 12 + [1] * 12 + [2])
    texts = [f"{words[label]} film {i % 3}" for i, label in enumerate(labels)]
    learner = TfidfLearner(texts, labels, classes=3, terms=Terms(1), min_documents=1)
    none = np.empty(0, dtype=np.int64)
    choose = partial(
        choose_by_cross_validation,
        groups=None,
        judged=none,
        task=CLASSIFICATION,
        metric=METRICS["macro_f1"],
        compare_by="metric",
        tick=lambda: None,
    )
    found = choose(learner, (0.1, 1.0, 10.0))
    assert found.model.head.coefficients.shape[0] == 3
    assert all(np.isfinite(entry["cv_loss"]) for entry in found.history)
    lonely = TfidfLearner(texts[-2:], labels[-2:] - 1, classes=2, terms=Terms(1), min_documents=1)
    alone = choose(lonely, (0.1, 1.0, 10.0))
    assert alone.model.head.setting == 1.0 and len(alone.history) == 1


def test_the_study_s_metric_compares_and_a_record_without_the_comparison_means_the_loss(
    reviews: Callable[[int], Path],
) -> None:
    new, _ = make_spec(reviews(2))
    loss, _ = make_spec(reviews(2), {"compare_by": "loss"})
    old = loss.model_copy(update={"params": {k: v for k, v in loss.params.items() if k != "compare_by"}})
    assert new.strategy_params.compare_by == "metric"
    assert old.run_id == loss.run_id != new.run_id
    assert old.strategy_params.compare_by == "loss"
    # Where the selection chooses there is nothing to compare.
    apart = [make_spec(reviews(2), {"choose_by": "selection", "compare_by": by})[0] for by in ("metric", "loss")]
    assert apart[0].run_id == apart[1].run_id


def test_records_without_the_choice_mean_what_was_done_before_it(reviews: Callable[[int], Path]) -> None:
    spec, _ = make_spec(reviews(2), {"choose_by": "selection"})
    old = spec.model_copy(update={"params": {k: v for k, v in spec.params.items() if k != "choose_by"}})
    new, _ = make_spec(reviews(2))
    assert new.strategy_params.choose_by == "cross_validation"
    assert old.run_id == spec.run_id != new.run_id
    assert old.strategy_params.choose_by == "selection"


def test_a_folder_of_earlier_runs_keeps_how_they_chose(
    reviews: Callable[[int], Path], tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    def begun(study: StudyConfig) -> tuple[list[RunSpec], list[str]]:
        said: list[str] = []
        plan = make_plan(
            study,
            execution=Execution(device="cpu", threads=1),
            folder=tmp_path / "out",
            measure=False,
            on_progress=said.append,
        )
        StudyStore.create(tmp_path / "out", plan.study, list(plan.runs))
        return [run.spec for run in plan.runs], [line for line in said if "choose_by" in line]

    settings = {"name": "t", "model": str(tiny_model("bert")), "data": str(reviews(2)), "train_sizes": [60]}
    old = StudyConfig.model_validate(settings | {"strategies": {"tfidf": {"choose_by": "selection"}}})
    (before,), said = begun(old)
    assert not said
    # As an older version left it.
    study_file = tmp_path / "out" / "study.yaml"
    study_file.write_text(study_file.read_text().replace("      choose_by: selection\n", ""))
    stored = StudyStore.open(tmp_path / "out").study()
    assert isinstance(stored, StudyConfig) and stored.strategies["tfidf"].params["choose_by"] == "selection"
    (after,), said = begun(StudyConfig.model_validate(settings | {"strategies": {"tfidf": {}}}))
    assert after.run_id == before.run_id
    assert len(said) == 1 and "choose_by: selection, so the study keeps that" in said[0]


def test_the_record_adds_up_and_the_stored_files_are_the_model(
    reviews: Callable[[int], Path], tmp_path: Path
) -> None:
    spec, dataset = make_spec(reviews(3))
    record, folder = train(spec, dataset, tmp_path)
    assert RunRecord.model_validate(json.loads(record.model_dump_json())) == record
    folder.commit(record)
    folder.verify(record)
    assert folder.read() == record
    assert set(record.files) == {"weights.safetensors", "vocabulary.json", "predictions.npz"}
    names = {path.name for path in folder.path.iterdir()}
    assert not [name for name in names if name.endswith((".pkl", ".joblib", ".pickle"))]
    loaded = LinearText.load(folder.path, terms=Terms(spec.params["ngrams"]))
    assert dataset.test is not None
    stored = folder.read_predictions()
    texts = [dataset.test.texts[i] for i in stored["indices"]]
    assert np.array_equal(loaded.logits(loaded.features(texts)), stored["logits"])
    assert np.array_equal(loaded.logits_of(loaded.encode(texts), batch_tokens=1), stored["logits"])
    assert (
        len(loaded.encode([""])[0]) == 0
        and np.isfinite(loaded.logits_of(loaded.encode([""]), batch_tokens=1)).all()
    )
    parameters, cost, timing = record.parameters, record.cost, record.timing
    assert parameters and cost and timing
    assert parameters.trainable == parameters.head == parameters.total == loaded.head.parameters
    assert parameters.adapter == 0
    assert cost.trainer_total_flos is None and cost.train_flops > 0
    assert cost.artifact_bytes == sum(
        (folder.path / name).stat().st_size for name in ("weights.safetensors", "vocabulary.json")
    )
    assert timing.train_seconds > 0 and timing.step_seconds == [] and timing.seconds_per_step is None


def test_a_damaged_vocabulary_is_found(reviews: Callable[[int], Path], tmp_path: Path) -> None:
    spec, dataset = make_spec(reviews(2))
    _, folder = train(spec, dataset, tmp_path)
    words = json.loads((folder.path / "vocabulary.json").read_text())
    (folder.path / "vocabulary.json").write_text(json.dumps(words[:-1]))
    with pytest.raises(StoreError, match="do not belong together"):
        LinearText.load(folder.path, terms=Terms(2))


def test_an_interrupted_run_begins_again_and_ends_the_same(reviews: Callable[[int], Path], tmp_path: Path) -> None:
    spec, dataset = make_spec(reviews(2))
    with pytest.raises(Interrupted):
        train(spec, dataset, tmp_path / "cut", lambda: True)
    cut, cut_folder = train(spec, dataset, tmp_path / "cut")
    whole, whole_folder = train(spec, dataset, tmp_path / "whole")
    assert cut.scores == whole.scores and cut.selected == whole.selected
    assert {n: f for n, f in cut.files.items() if n != "predictions.npz"} == {
        n: f for n, f in whole.files.items() if n != "predictions.npz"
    }
    first, second = cut_folder.read_predictions(), whole_folder.read_predictions()
    assert np.array_equal(first["logits"], second["logits"])


def test_a_run_is_estimated_where_no_smaller_sample_holds_all_classes(
    reviews: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunebench.training.linear.run._SAMPLE", 3)
    spec, dataset = make_spec(reviews(3), {"min_documents": 1})
    execution = Execution(device="cpu", threads=1)
    found = estimate_each([spec], dataset=dataset, execution=execution, measure=False)[0]
    assert found.trainable_params > 3 and found.seconds > 0


def test_texts_without_features_and_missing_classes_are_user_errors() -> None:
    labels = np.array([0, 1])
    options = {"classes": 2, "terms": Terms(2), "min_documents": 2, "grid": (1.0,)}
    with pytest.raises(DataError, match="the most frequent one is in 1") as caught:
        fit_linear_text(["one thing", "another"], labels, **options)  # type: ignore[arg-type]
    assert "set min_documents: 1" in str(caught.value)
    for least in (1, 2):
        with pytest.raises(DataError, match="No training text holds a word \\(") as caught:
            fit_linear_text(["\U0001f600 !", "a b ?"], labels, **(options | {"min_documents": least}))  # type: ignore[arg-type]
        assert "min_documents" not in str(caught.value)
    with pytest.raises(DataError, match="lacks a class"):
        fit_linear_text(["same words", "same words"], labels, **(options | {"classes": 3}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strategy", "complaint"),
    [
        ({"learning_rate": 1e-4}, "has no learning rate"),
        ({"learning_rate": [1.0, 2.0]}, "has no learning rate"),
        ({"epochs": 6}, "no effect on tfidf (only class_weights does); remove them: epochs"),
        ({"truncation": "tail", "max_length": 9}, "remove them: max_length, truncation"),
        ({"c": [1.0, 0.1]}, "c must ascend"),
        ({"c": []}, "strategies.tfidf.c"),
        ({"nope": 1}, "unknown key"),
    ],
)
def test_what_has_no_effect_is_refused(strategy: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    study = {"model": "minilm", "data": "d", "train_sizes": [120], "strategies": {"tfidf": strategy}}
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(study))
    with pytest.raises(ConfigError) as found:
        load_study(str(path))
    assert complaint in str(found.value)


def test_the_spec_shows_no_learning_rate_and_the_study_survives_the_disk(reviews: Callable[[int], Path]) -> None:
    spec, _ = make_spec(reviews(2))
    assert spec.shown_learning_rate is None
    assert spec.run_id.startswith("tfidf-n120-s42-")
    study = StudyConfig.model_validate(
        {"name": "s", "model": "m", "data": "d", "train_sizes": [20], "strategies": {"tfidf": {}, "full": {}}}
    )
    assert StudyConfig.model_validate(study.model_dump(mode="json")) == study


def test_a_study_shows_it_beside_an_encoder(
    reviews: Callable[[int], Path],
    tiny_model: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The real command line, from the plan to the report."""
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    study = tmp_path / "study.yaml"
    settings = {
        "model": str(tiny_model("bert")),
        "data": str(reviews(2)),
        "strategies": {"tfidf": {}, "full": {"learning_rate": 1e-3}},
        "train_sizes": [60, 120],
        "max_length": 16,
        "epochs": 1,
    }
    study.write_text(json.dumps(settings))
    base = ["run", str(study), "--out", str(tmp_path / "out"), "--no-measure", "--threads", "1", "--json"]
    shown = CliRunner().invoke(app, [*base[:-1], "--dry-run"])
    assert shown.exit_code == 0 and "tfidf\t60\t-\t" in shown.output, shown.output
    planned = CliRunner().invoke(app, [*base, "--dry-run"])
    rows = [row for row in json.loads(planned.stdout) if row["strategy"] == "tfidf"]
    assert [row["learning_rate"] for row in rows] == [None, None]
    assert all(row["trainable_params"] > 0 and row["seconds"] > 0 for row in rows)
    ran = CliRunner().invoke(app, base)
    assert ran.exit_code == 0, ran.output
    done = {(row["strategy"], row["train_size"]): row for row in json.loads(ran.stdout)}
    assert {row["status"] for row in done.values()} == {"complete"}
    assert done["tfidf", 120]["learning_rate"] is None and done["full", 120]["learning_rate"] == 1e-3
    guess, truth = rows[1]["trainable_params"], done["tfidf", 120]["trainable_params"]
    assert truth / 2 < guess < truth * 2
    report = (tmp_path / "out" / "report.md").read_text()
    assert "No encoder in tfidf: all coefficients count as head." in report
    assert "One learning rate per strategy" in report
    lines = [line for line in report.splitlines() if line.startswith("| tfidf ")]
    assert lines and all("1.0 |" not in line.split("|")[3] for line in lines)
    again = CliRunner().invoke(app, base)
    assert again.exit_code == 0, "what is complete is not accepted as such"


def test_subsets_drawn_with_different_seeds_are_scored_on_one_test_part(
    reviews: Callable[[int], Path], tmp_path: Path
) -> None:
    """As those of every other strategy are, or they could not be compared."""
    spec, dataset = make_spec(reviews(2))
    drawn = [spec.model_copy(update={"subset_seed": n, "test_seed": 42, "test_size": 20}) for n in (42, 7)]
    first, second = (train(one, dataset, tmp_path)[1].read_predictions()["indices"] for one in drawn)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("sparse", [True, False])
def test_numbers_get_the_ridge_regression_of_scikit_learn(sparse: bool) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 8)).astype(np.float32) * (rng.random((60, 8)) < 0.5)
    numbers = 2000 + 10 * features[:, 0] + rng.normal(size=60)
    for head in fit_path(csr_matrix(features) if sparse else features, numbers, (0.1, 10.0)):
        assert head.setting is not None and head.converged
        expected = Ridge(alpha=1 / head.setting).fit(features.astype(np.float64), numbers).predict(features)
        found = head.logits(features)
        assert found.shape == (60, 1) and found[:, 0] == pytest.approx(expected, abs=0.01)
        again = stored_head(head.arrays, REGRESSION)
        assert (again.logits(features) == found).all() and head.parameters == 9


@pytest.mark.parametrize("classes", [2, 3])
def test_an_svm_on_characters_answers_as_scikit_learns_and_its_probabilities_fit_held_out_texts(
    reviews: Callable[[int], Path], tmp_path: Path, classes: int
) -> None:
    """Against scikit-learn's own pipeline, and a temperature that is found by trying many."""
    strategy = {"head": "svm", "analyzer": "char_wb", "char_ngrams": 3, "c": [0.1, 1.0], "compare_by": "loss"}
    spec, dataset = make_spec(reviews(classes), strategy)
    record, folder = train(spec, dataset, tmp_path)
    parts = run_parts(spec, dataset)
    rows = np.concatenate([parts.train, parts.validation])
    texts, labels = [dataset.train.texts[i] for i in rows], dataset.train.labels[rows]
    folds, losses, models = StratifiedKFold(5, shuffle=True, random_state=0), {}, {}
    for c in (0.1, 1.0):
        models[c] = make_pipeline(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3), sublinear_tf=True, min_df=2),
            LinearSVC(C=c, dual=False),
        )
        held = cross_val_predict(models[c], texts, labels, cv=folds, method="decision_function")
        tried = np.exp(np.linspace(-3, 1, 81))
        losses[c] = min((log_loss(labels, of_decisions(held / t)), float(t)) for t in tried)
    best = min(losses, key=lambda c: losses[c][0])
    for entry in record.log_history:
        loss, temperature = losses[entry["c"]]
        assert entry["cv_loss"] == pytest.approx(loss, rel=3e-3)
        assert entry["temperature"] == pytest.approx(temperature, rel=0.05)
    assert dataset.test is not None
    decisions = models[best].fit(texts, labels).decision_function([dataset.test.texts[i] for i in parts.test])
    logits = folder.read_predictions()["logits"]
    assert np.array_equal(logits.argmax(1), of_decisions(decisions).argmax(1))
    assert np.abs(softmax(logits, axis=1) - of_decisions(decisions / losses[best][1])).max() < 0.01


def of_decisions(decisions: np.ndarray) -> np.ndarray:
    """Return the probabilities of decision values that are log odds."""
    if decisions.ndim == 2:
        return np.asarray(softmax(decisions, axis=1))
    return np.stack([expit(-decisions), expit(decisions)], axis=1)


def test_an_svm_without_texts_to_choose_on_keeps_its_decision_values(
    reviews: Callable[[int], Path], tmp_path: Path
) -> None:
    strategy = {"head": "svm", "choose_by": "selection"}
    spec, dataset = make_spec(reviews(2), strategy, selection="last", validation_fraction=0.0)
    record, folder = train(spec, dataset, tmp_path)
    (entry,) = record.log_history
    assert "temperature" not in entry
    parts = run_parts(spec, dataset)
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2), LinearSVC(C=entry["c"], dual=False)
    ).fit([dataset.train.texts[i] for i in parts.train], dataset.train.labels[parts.train])
    assert dataset.test is not None
    expected = model.decision_function([dataset.test.texts[i] for i in parts.test])
    logits = folder.read_predictions()["logits"]
    assert logits[:, 1] - logits[:, 0] == pytest.approx(expected, abs=1e-3)


def test_numbers_get_the_support_vector_regression_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 8)).astype(np.float32)
    numbers = 3 * features[:, 0] + rng.normal(size=60)
    size, shift = numbers.std(), numbers.mean()
    for head in fit_path(features, numbers, (0.1, 10.0), head="svm"):
        assert head.setting is not None and head.converged
        options = {"epsilon": 0.1, "loss": "squared_epsilon_insensitive", "dual": False}
        model = LinearSVR(C=head.setting, **options).fit(features, (numbers - shift) / size)
        expected = model.predict(features) * size + shift
        assert head.logits(features)[:, 0] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("text", ["A Fine film, a fine cast", "", "\U0001f600 ok", "caf\u00e9 42"])
def test_terms_are_those_of_scikit_learn(text: str) -> None:
    words = CountVectorizer(ngram_range=(1, 2)).build_analyzer()(text)
    characters = CountVectorizer(analyzer="char_wb", ngram_range=(2, 4)).build_analyzer()(text)
    assert Terms(2)(text) == words
    assert Terms(2, "char_wb", 4)(text) == characters
    both = Terms(2, "both", 4)
    assert sorted(both(text)) == sorted([*words, *(f"#{run}" for run in characters)])
    assert Terms.stored(json.loads(json.dumps(both.settings))) == both
    assert Terms.stored({"ngrams": 3}) == Terms(3)


def test_what_cannot_reach_a_run_is_in_no_id(reviews: Callable[[int], Path]) -> None:
    def run_id(**strategy: Any) -> str:
        return make_spec(reviews(2), strategy)[0].run_id

    plain = run_id()
    assert run_id(head="logistic", analyzer="word") == plain == run_id(char_ngrams=3)
    characters = run_id(analyzer="char_wb")
    assert len({plain, characters, run_id(head="svm"), run_id(analyzer="both")}) == 4
    assert run_id(analyzer="char_wb", ngrams=1) == characters != run_id(analyzer="char_wb", char_ngrams=3)
    assert run_id(ngrams=1) != plain and run_id(analyzer="both", ngrams=1) != run_id(analyzer="both")
