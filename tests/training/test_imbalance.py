"""Labels of unequal size: weights, repeated texts, and that both reach what is trained."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from fakes import make_study
from tunebench.errors import TunebenchError
from tunebench.execution.plan import make_plan
from tunebench.execution.recipe_checks import recipe_remarks
from tunebench.machine.settings import Execution
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.study.config import StudyConfig
from tunebench.study.yaml_file import load_study
from tunebench.training.attempt import Attempt
from tunebench.training.imbalance import label_weights, oversampled, weighted_log_loss
from tunebench.training.linear.fit import fit_path
from tunebench.training.registry import run_one


def config(model: Path, place: Path, **changes: Any) -> StudyConfig:
    raw = {
        "name": "uneven",
        "model": str(model),
        "data": str(place),
        "strategies": {"full": {"learning_rate": 1e-3}},
        "train_sizes": [100],
        "seeds": [1],
        "max_length": 16,
        "epochs": 1,
        "batch_size": 16,
        "precision": "fp32",
        "evaluations_per_epoch": 1,
    }
    return StudyConfig.model_validate(raw | changes)


def trained(study: StudyConfig, place: Path) -> tuple[RunRecord, np.ndarray]:
    """Train the one run of a study; return its record and the classes that it predicts of the test part."""
    plan = make_plan(study, execution=Execution(device="cpu", threads=1), measure=False)
    (run,) = plan.runs
    folder = RunFolder(place / run.spec.run_id)
    folder.begin(run.spec)
    record = run_one(Attempt(run.spec, plan.dataset, folder, Execution(device="cpu", threads=1)))
    return record, folder.read_predictions()["logits"].argmax(1)


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.array([0] * 12 + [1] * 3 + [2])
    found = label_weights("balanced", labels, ("a", "b", "c"))
    assert found is not None
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(found, expected)
    assert found[labels].mean() == pytest.approx(1)
    rows = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]])
    # Three texts without the first label for one with it; nothing to weigh for the others.
    assert label_weights("balanced", rows, ("a", "b", "c")) == pytest.approx([3, 1, 1])
    assert label_weights({"c": 5}, labels, ("a", "b", "c")) == pytest.approx([1, 1, 5])
    assert label_weights(None, labels, ("a", "b", "c")) is None


def test_repeated_texts_make_all_classes_as_large_as_the_largest() -> None:
    labels = np.array([0] * 10 + [1] * 3 + [2])
    rows = oversampled(labels, 1)
    assert Counter(labels[rows].tolist()) == {0: 10, 1: 10, 2: 10}
    times = Counter(rows.tolist())
    assert set(times) == set(range(14)) and {times[row] for row in (10, 11, 12)} == {3, 4}
    assert (rows == oversampled(labels, 1)).all()
    assert any((rows != oversampled(labels, seed)).any() for seed in range(2, 9))


@pytest.mark.parametrize("several", [False, True])
def test_a_weight_is_as_good_as_repeating_the_texts(several: bool) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([[1, 0], [0, 1], [0, 0], [1, 1], [0, 1], [1, 0]]) if several else np.array([0, 1, 1, 0, 1, 1])
    features = rng.normal(size=(len(labels), 3))
    weights = np.array([1.0, 3.0])
    if several:
        # Both labels have weights of their own, so that a text is repeated for one of them only.
        (found,) = fit_path(features, labels, (1.0,), weights)
        times = np.where(labels[:, 1] == 1, 3, 1)
        (again,) = fit_path(np.repeat(features, times, 0), np.repeat(labels[:, 1], times), (1.0,))
        np.testing.assert_allclose(found.coefficients[1], again.coefficients[0], atol=1e-3)
        (plain,) = fit_path(features, labels, (1.0,))
        np.testing.assert_array_equal(found.coefficients[0], plain.coefficients[0])
    else:
        (found,) = fit_path(features, labels, (1.0,), weights)
        times = weights[labels].astype(int)
        (again,) = fit_path(np.repeat(features, times, 0), np.repeat(labels, times), (1.0,))
        np.testing.assert_allclose(found.coefficients, again.coefficients, atol=1e-3)
        logits = rng.normal(size=(6, 2))
        repeated = weighted_log_loss(np.repeat(labels, times), np.repeat(logits, times, 0), np.ones(2))
        assert weighted_log_loss(labels, logits, weights) == pytest.approx(repeated)


@pytest.mark.parametrize("kind", ["tfidf", "embeddings", "full", "lora"])
def test_weights_reach_what_is_trained(
    kind: str, tiny_model: Callable[[str], Path], uneven: Path, tmp_path: Path
) -> None:
    linear = kind in ("tfidf", "embeddings")
    strategy: dict[str, Any] = {kind: {"c": [0.01]} if linear else {"learning_rate": 1e-2}}
    base = {"strategies": strategy, "selection": "last", "validation_fraction": 0}
    given: dict[str, Any] = {"class_weights": {"rare": 50.0}}
    plain, before = trained(config(tiny_model("distilbert"), uneven, **base), tmp_path)
    record, after = trained(config(tiny_model("distilbert"), uneven, **base, **given), tmp_path)
    assert record.run_id != plain.run_id
    assert record.environment.machine["class_weights"] == {"rare": 50.0, "usual": 1.0}
    assert "class_weights" not in plain.environment.machine
    # Few texts are of the rare class, and nearly all are given it where that one counts fifty times.
    assert (before == 0).mean() < 0.5 < 0.9 < (after == 0).mean()


def test_the_loss_is_the_same_in_both_engines(
    tiny_model: Callable[[str], Path], uneven: Path, tmp_path: Path
) -> None:
    """The fast layers stand in for the encoder, and the loss is computed after them."""
    given: dict[str, Any] = {"class_weights": "balanced", "focal_gamma": 2.0, "attention_dropout": 0.0}
    first = {}
    for engine in ("fast", "reference"):
        study = config(tiny_model("distilbert"), uneven, engine=engine, batch_size=90, **given)
        record, _ = trained(study, tmp_path)
        first[engine] = record.log_history[0]["loss"]
    # One batch of all texts. Dropout differs, so the losses do a little.
    assert first["fast"] == pytest.approx(first["reference"], rel=0.05)
    assert first["fast"] < 0.3, "a focal loss of equal shares is a quarter of log 2"


def test_repeated_texts_are_trained_on_and_planned(
    tiny_model: Callable[[str], Path], uneven: Path, tmp_path: Path
) -> None:
    study = config(tiny_model("distilbert"), uneven, oversampling=True)
    plan = make_plan(study, execution=Execution(device="cpu", threads=1), measure=False)
    record, _ = trained(study, tmp_path)
    assert record.timing is not None and record.examples is not None
    counts = record.examples.train_per_class
    steps = -(-2 * max(counts) // 16)
    assert len(record.timing.step_seconds) == steps > -(-sum(counts) // 16)
    assert plan.estimates[record.run_id].steps == pytest.approx(steps, abs=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_weights": {"rare": 2, "raer": 3}}, "class_weights.raer: the data has no such label(?s:.)*'rare'"),
        ({"strategies": {"adalora": {}}, "class_weights": "balanced"}, "class_weights would replace"),
        ({"strategies": {"adalora": {}}, "focal_gamma": 2}, "focal_gamma: 2 would replace"),
    ],
)
def test_what_cannot_be_done_is_refused_first(
    tiny_model: Callable[[str], Path], uneven: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TunebenchError, match=message):
        make_plan(config(tiny_model("distilbert"), uneven, **changes), execution=Execution(), measure=False)


def test_a_task_without_classes_is_refused_what_is_for_classes(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = [{"text": f"a lovely film {i}", "labels": ["joy", "love"][: 1 + i % 2], "n": i / 7} for i in range(40)]
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for column, changes, message in (
        ("labels", {"oversampling": True}, "repeats it for the others too"),
        ("n", {"oversampling": True}, "oversampling is for labels, and the data has one number"),
        ("n", {"class_weights": "balanced", "focal_gamma": 2}, "class_weights is(?s:.)*focal_gamma is for labels"),
    ):
        changes |= {"data": {"source": str(tmp_path), "label_column": column}, "train_sizes": [20]}
        study = config(tiny_model("distilbert"), tmp_path, **changes)
        with pytest.raises(TunebenchError, match=message):
            make_plan(study, execution=Execution(), measure=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("class_weights=even",), "class_weights: this is not one of the choices"),
        (("class_weights.pos=0",), r"class_weights.pos: this is out of range(?s:.)*above 0"),
        (("class_weights=balanced", "oversampling=true"), "oversampling and class_weights"),
        (("focal_gamma=2", "label_smoothing=0.1"), "the focal loss is defined for whole labels"),
        (("focal_gamma=-1",), "focal_gamma: this is out of range"),
        (("strategies.tfidf.focal_gamma=2",), "no effect on tfidf"),
    ],
)
def test_settings_that_make_no_sense_have_a_message(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(TunebenchError, match=message):
        load_study("quickstart", overrides=settings)


def test_labels_of_weights_may_be_numbers_in_yaml() -> None:
    study = load_study("quickstart", overrides=("class_weights={0: 1, 1: 2.5}",))
    assert study.class_weights == {"0": 1.0, "1": 2.5}


def test_a_setting_of_the_study_says_what_it_does_not_reach() -> None:
    study = make_study(strategies={"full": {}, "tfidf": {}}, class_weights="balanced", focal_gamma=2.0)
    assert recipe_remarks(study) == ["note: focal_gamma has no effect on tfidf."]
    (line,) = recipe_remarks(make_study(strategies={"tfidf": {}}, oversampling=True))
    assert line.startswith("note: oversampling has no effect on tfidf; it is for") and "full" in line
