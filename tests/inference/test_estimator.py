"""The scikit-learn estimator: its conventions, as far as they make sense for texts."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MultiLabelBinarizer
from sklearn.utils import estimator_checks
from transformers import AutoModelForSequenceClassification

import tunebench
from tunebench import TextClassifier, TextRegressor
from tunebench.errors import StoreError
from tunebench.strategies import STRATEGIES

Make = Callable[..., TextClassifier]

#: scikit-learn's own checks that ask nothing of X. All others fit on a numeric matrix, or slice, scale,
#: sparsify or count its columns; what they are after is stated below for texts where it has a meaning.
CHECKS = (
    "check_parameters_default_constructible",
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_get_params_invariance",
    "check_set_params",
    "check_mixin_order",
    "check_estimators_unfitted",
)

GOOD, BAD = "a superb and lovely film", "an awful and dull film"
X = [f"{GOOD if i % 2 else BAD} {i}" for i in range(24)]
Y = ["good" if i % 2 else "bad" for i in range(24)]


@pytest.fixture(scope="module")
def make(lively_model: Callable[[str], Path]) -> Make:
    """Return a function that makes an unfitted classifier over a tiny model."""

    def build(**options: Any) -> TextClassifier:
        settings: dict[str, Any] = {
            "strategy": "full",
            "learning_rate": 3e-3,
            "epochs": 2,
            "batch_size": 8,
            "max_length": 16,
        }
        settings |= {"model": str(lively_model("bert")), "device": "cpu", "threads": 1}
        return TextClassifier(**settings | options)

    return build


@pytest.fixture(scope="module")
def fitted(make: Make) -> TextClassifier:
    return make(epochs=8).fit(X, Y)


@pytest.mark.parametrize("kind", [TextClassifier, TextRegressor])
@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learns_own_checks(name: str, kind: type[Any]) -> None:
    getattr(estimator_checks, name)(kind.__name__, kind())


def test_it_learns_and_its_answers_agree_with_each_other(fitted: TextClassifier) -> None:
    assert fitted.classes_.tolist() == ["bad", "good"]
    assert fitted.score(X, Y) > 0.9
    shares = fitted.predict_proba(X)
    assert shares.shape == (24, 2)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert (fitted.classes_[shares.argmax(axis=1)] == fitted.predict(X)).all()
    assert not hasattr(fitted, "n_features_in_")


def test_predicting_changes_nothing_and_keeps_the_order(fitted: TextClassifier) -> None:
    before = dict(vars(fitted))
    order = np.random.default_rng(0).permutation(len(X))
    whole = fitted.predict_proba(X)
    np.testing.assert_allclose(fitted.predict_proba([X[i] for i in order]), whole[order], atol=1e-2)
    np.testing.assert_allclose(fitted.predict_proba(np.array(X)), whole, atol=1e-6)
    assert vars(fitted) == before


def test_fitting_twice_gives_the_same_and_leaves_parameters_alone(make: Make) -> None:
    model = make(strategy="lora", strategy_params={"rank": 2}, random_state=5)
    before = model.get_params()
    assert model.fit(X, Y) is model
    assert model.get_params() == before
    first = model.predict_proba(X)
    assert np.array_equal(first, model.fit(X, Y).predict_proba(X))
    assert np.array_equal(first, clone(model).fit(X, Y).predict_proba(X))
    assert not np.array_equal(first, clone(model).set_params(random_state=6).fit(X, Y).predict_proba(X))


@pytest.mark.parametrize("classes", [(False, True), (-3, 10), (2.0, 1.0), ("10", "9")], ids=str)
def test_classes_keep_their_type_and_order(make: Make, classes: tuple[Any, Any]) -> None:
    y = np.array([classes[i % 2] for i in range(24)])
    model = make(epochs=8).fit(X, y)
    assert np.array_equal(model.classes_, np.unique(y))
    assert model.classes_.dtype == model.predict(X).dtype == y.dtype
    assert model.score(X, y) > 0.9


@pytest.mark.parametrize("strategy", ["full", "tfidf"])
def test_fitting_leaves_the_callers_random_generators_alone(make: Make, strategy: str) -> None:
    """Where fitting seeds them, a caller's bootstrap draws one resample over and over."""

    def draw() -> list[float]:
        return [random.random(), np.random.random(), torch.rand(1).item()]  # noqa: NPY002

    model = make(strategy=strategy, learning_rate=3e-3 if strategy == "full" else None)
    random.seed(7), np.random.seed(7), torch.manual_seed(7)  # noqa: NPY002
    expected = draw(), draw()
    random.seed(7), np.random.seed(7), torch.manual_seed(7)  # noqa: NPY002
    before = draw()
    model.fit(X, Y).predict(X)
    assert (before, draw()) == expected


@pytest.mark.parametrize("strategy", ["full", "tfidf"])
def test_fitting_leaves_the_callers_threads_alone(make: Make, strategy: str) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # the conftest gives every run one thread
    try:
        make(strategy=strategy, learning_rate=3e-3 if strategy == "full" else None).fit(X, Y).predict(X)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_it_works_inside_a_pipeline_and_a_grid_search(make: Make) -> None:
    pandas = pytest.importorskip("pandas")
    lower = FunctionTransformer(lambda texts: [text.lower() for text in texts])
    search = GridSearchCV(
        make_pipeline(lower, make()), {"textclassifier__epochs": [1, 2]}, cv=StratifiedKFold(2), error_score="raise"
    )
    search.fit(pandas.Series(X, index=range(100, 124)), pandas.Series(Y))
    assert search.best_params_["textclassifier__epochs"] in (1, 2)
    assert search.predict(X[:3]).shape == (3,)


def test_a_validation_part_chooses_the_checkpoint(make: Make) -> None:
    model = make(validation_fraction=0.25).fit(X, Y)
    assert model.record_.selected.by == "validation"
    assert (model.record_.examples.train, model.record_.examples.validation) == (18, 6)
    assert make().fit(X, Y).record_.examples.train == 24


def test_a_class_too_small_for_the_validation_part_is_refused_in_the_estimators_own_terms(make: Make) -> None:
    with pytest.raises(ValueError, match="at least 4 examples of each class") as caught:
        make(validation_fraction=0.25).fit([*X, "a text by itself"], [*Y, "other"])
    assert "set validation_fraction=0" in str(caught.value) and "selection" not in str(caught.value)


def test_unfitted_and_pickled(make: Make, fitted: TextClassifier) -> None:
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(make(), method)(X)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(fitted)
    assert pickle.loads(pickle.dumps(make())).get_params() == make().get_params()


def test_what_was_fitted_is_saved_and_read_again(make: Make, fitted: TextClassifier, tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        make().save(tmp_path / "unfitted")
    assert fitted.save(tmp_path / "model") == tmp_path / "model"
    loaded = tunebench.load(tmp_path / "model", device="cpu")
    assert loaded.predict(X).tolist() == fitted.predict(X).tolist()
    assert loaded.predict_proba(X) == pytest.approx(fitted.predict_proba(X), abs=0.02)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert again.config.id2label == {0: "bad", 1: "good"}
    with pytest.raises(StoreError, match="not empty"):
        fitted.save(tmp_path / "model")
    assert loaded.predict(X).tolist() == fitted.predict(X).tolist()
    card = (tmp_path / "model" / "README.md").read_text()
    assert "24 texts that an estimator was given" in card and "Score it before you rely on it" in card
    # Its test part are texts that it was trained on, so none of their scores may stand there.
    assert (
        "interval" not in card
        and "model-index" not in card
        and "metrics:" not in card
        and "precision |" not in card.split("## Results")[1]
    )


def test_the_folder_of_a_fitted_estimator_goes_with_it(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = make(strategy="tfidf", learning_rate=None).fit(X, Y)
    assert len(list(tmp_path.iterdir())) == 1
    model.fit(X, Y)
    assert len(list(tmp_path.iterdir())) == 1
    del model
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_folder_of_a_fitted_estimator_outlives_a_forked_process(make: Make, tmp_path: Path) -> None:
    held = [make(strategy="tfidf", learning_rate=None).fit(X, Y)]

    def forget() -> None:
        held.clear()
        gc.collect()

    child = multiprocessing.get_context("fork").Process(target=forget)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert tunebench.load(held[0].save(tmp_path / "model")).predict(X).tolist() == held[0].predict(X).tolist()


def test_an_estimator_whose_folder_was_removed_predicts_and_says_why_it_cannot_be_saved(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = make(strategy="tfidf", learning_rate=None).fit(X, Y)
    before = model.predict(X)
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder)
    assert (model.predict(X) == before).all()
    with pytest.raises(StoreError, match=r"temporary folder was removed(.|\n)*call fit again"):
        model.save(tmp_path / "model")


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X, None, "y is None"),
        (X, Y[:-1], "inconsistent numbers of samples"),
        (X, ["same"] * 24, "single class"),
        (X, np.linspace(0, 1, 24), "Unknown label type"),
        (X, np.array([Y, Y]).T, "multiclass-multioutput|should be a 1d array"),
        ("a text", ["a"], "single text"),
        (np.zeros((24, 3)), Y, "Expected a 1D sequence"),
        (np.array(X)[:, None], Y, "Expected a 1D sequence"),
        ([*X[:-1], 3], Y, "is not a string"),
        ([*X[:-1], " "], Y, "empty"),
        ([*X[:-1], "\ud83c"], Y, "Unicode"),
        ([], [], "Found 0 sample"),
        (None, Y, "X is of type NoneType; a sequence of texts is needed"),
        (7, Y, "X is of type int"),
        ({text: 1 for text in X}, Y, "X is of type dict"),
        ([*X[:-1], None], Y, r"X\[23\] is not a string: None"),
        (X, [None, *Y[1:]], r"y\[0\] is missing \(None or NaN\), and 1 of 24 labels are"),
        (X, [None] * 24, "24 of 24 labels are"),
        (X, [*map(str, Y[:-1]), float("nan")], r"y\[23\] is missing"),
        (X, np.array([0.0, np.nan] * 12), r"y\[1\] is missing .*12 of 24"),
        (X, np.array([1, "1"] * 12, dtype=object), r"labels of several types \(int, str\)"),
        (X, pd.Series(["no", True] * 12), r"labels of several types \(bool, str\)"),
        (X, ["b\ud83c", "a"] * 12, "the label 'b.*', which is not valid Unicode"),
        (X, pd.DataFrame(np.eye(24, 2, dtype=int), columns=["a", "a"]), "several columns called 'a'"),
        (X, pd.DataFrame(np.eye(24, 2, dtype=int), columns=[1, "1"]), "several columns called '1'"),
    ],
)
def test_input_that_cannot_be_learned_from_is_a_value_error(make: Make, x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make().fit(x, y)


def test_a_precision_that_the_device_does_not_have_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match=r"fp16.* is for CUDA GPUs, and this trains on cpu"):
        make(precision="fp16").fit(X, Y)


def test_a_strategy_that_cannot_be_loaded_is_refused_before_training(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(STRATEGIES["bitfit"]), "exportable", False)
    with pytest.raises(ValueError, match=r"'bitfit' cannot be loaded for predictions; allowed: .*tfidf"):
        make(strategy="bitfit").fit(X, Y)


@pytest.mark.parametrize("x", [None, 7, {"a text": 1}])
def test_what_holds_no_texts_is_not_predicted(fitted: TextClassifier, x: Any) -> None:
    with pytest.raises(ValueError, match="a sequence of texts is needed"):
        fitted.predict(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "nothing"}, "unknown kind of strategy"),
        ({"strategy": "tfidf"}, "has no learning rate"),
        ({"strategy": "lora", "strategy_params": {"rank": 0}}, "rank"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"threads": 0}, "^threads: .*, not 0$"),
        ({"strategy_params": [1]}, "strategy_params is of type list"),
        ({"strategy_params": {"ranks": 1}}, r"^strategy_params\.ranks: unknown key(.|\n)*allowed: "),
        # An estimator has no file to edit and no --set.
        ({"epochs": 0}, r"^epochs: this is out of range.\n  value:   0\n  allowed: an integer at least 1[^\n]*$"),
    ],
)
def test_parameters_are_checked_when_fitting(make: Make, options: dict[str, Any], message: str) -> None:
    model = make(**options)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)


def test_pairs_are_learned_from_lists_arrays_and_frames(tiny_model: Callable[[str], Path]) -> None:
    import pandas as pd

    pairs = [(f"the film {i}", f"it was {'fine' if i % 2 else 'dull'}") for i in range(12)]
    labels = [i % 2 for i in range(12)]
    made = TextClassifier("full", model=str(tiny_model("bert")), epochs=1, batch_size=6, max_length=16)
    expected = made.fit(pairs, labels).predict_proba(pairs)
    assert made.predictor_.inputs is not None and made.predictor_.inputs.pair
    for X in (np.array(pairs), pd.DataFrame(pairs, columns=["a", "b"]), [list(pair) for pair in pairs]):
        np.testing.assert_array_equal(made.predict_proba(X), expected)
    with pytest.raises(ValueError, match="single text, and this model reads pairs"):
        made.predict(["alone"])
    with pytest.raises(ValueError, match=r"X\[1\] is a string, unlike X\[0\]"):
        made.predict([pairs[0], "alone"])
    with pytest.raises(ValueError, match="reads single texts, and X holds pairs"):
        TextClassifier("setfit").fit(pairs, labels)


@pytest.mark.parametrize("options", [{}, {"strategy": "tfidf", "strategy_params": {"c": [1.0, 100.0]}}])
def test_numbers_are_learned_in_their_unit(
    lively_model: Callable[[str], Path], options: dict[str, Any], tmp_path: Path
) -> None:
    numbers = np.array([2010.0 if "superb" in text else 1990.0 for text in X]) + np.arange(24) / 24
    settings: dict[str, Any] = {"strategy": "full", "learning_rate": 3e-3, "epochs": 14, "batch_size": 8} | options
    if options:
        settings |= {"learning_rate": None}
    model = TextRegressor(model=str(lively_model("bert")), max_length=16, device="cpu", threads=1, **settings)
    found = clone(model).fit(X, numbers.tolist()).predict([GOOD, BAD])
    assert found.dtype == np.float64 and found == pytest.approx([2010, 1990], abs=6)
    fitted = model.fit(X, numbers)
    loaded = tunebench.load(fitted.save(tmp_path / "model"), device="cpu")
    assert loaded.predict(X) == pytest.approx(fitted.predict(X), abs=0.5)
    assert fitted.score(X, numbers) > 0.6 and fitted.predict([GOOD, BAD]) == pytest.approx(found, abs=1e-3)
    with pytest.raises(TypeError, match="A fitted TextRegressor cannot be pickled"):
        pickle.dumps(fitted)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y"),
        ([1.0, None], r"y\[1\] is missing"),
        ([1.0, np.nan], r"y\[1\] is missing"),
        ([1.0, np.inf], "infinite or too large"),
        (["1.5", "3,5"], r"y\[0\] is not a number: '1.5'"),
        ([[1.0], [2.0]], "1d array"),
        ([1.0], "inconsistent numbers of samples"),
    ],
)
def test_numbers_that_cannot_be_learned_are_a_value_error(y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextRegressor().fit(["a film", "another"], y)


@pytest.mark.parametrize("strategy", ["full", "tfidf"])
def test_several_labels_a_text_are_a_matrix(make: Make, strategy: str, tmp_path: Path) -> None:
    labels = [(("good",) if i % 2 else ("bad",)) + (("even",) if i % 4 < 2 else ()) for i in range(24)]
    texts = [f"{text} {'even' if i % 4 < 2 else 'odd'}" for i, text in enumerate(X)]
    y = MultiLabelBinarizer().fit_transform(labels)
    model = make(strategy=strategy, learning_rate=3e-3 if strategy == "full" else None, epochs=15).fit(texts, y)
    assert model.classes_.tolist() == [0, 1, 2]
    shares = model.predict_proba(texts)
    assert np.array_equal(model.predict(texts), shares > 0.5)
    assert model.score(texts, y) == np.mean((model.predict(texts) == y).all(1)) > 0.7
    loaded = tunebench.load(model.save(tmp_path / "model"), device="cpu")
    assert loaded.predict_proba(texts) == pytest.approx(shares, abs=0.05)
    named = make(strategy="tfidf", learning_rate=None).fit(texts, pd.DataFrame(y, columns=["bad", "even", "good"]))
    assert named.classes_.tolist() == ["bad", "even", "good"]


@pytest.mark.parametrize(
    ("kind", "y"),
    [(TextRegressor, np.linspace(0, 1, 24)), (TextClassifier, np.eye(24, 3, dtype=int))],
)
def test_a_strategy_that_cannot_learn_this_is_refused_before_training(kind: type[Any], y: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"strategy='setfit' cannot learn .*; allowed: .*tfidf"):
        kind(strategy="setfit").fit(X, y)
