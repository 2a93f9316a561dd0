"""A scikit-learn classifier of texts, trained by the project's own engine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_random_state

from tunebench.data.text import Pair, Text, as_text, by_side, together
from tunebench.errors import TunebenchError
from tunebench.tasks.classification import CLASSIFICATION

if TYPE_CHECKING:
    from tunebench.data import TextDataset
    from tunebench.inference.predictor import Predictor
    from tunebench.study.spec import RunSpec


class TextClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fine-tune a pretrained encoder on texts, with scikit-learn's conventions.

    ``X`` is a sequence of strings (list, array or Series), so there are no features to count:
    ``n_features_in_`` is not set. For pairs of texts it is a list of pairs of strings, or an array or a data frame
    with two columns. It trains as a run of a study does. It keeps the last weights, or the best
    ones on a validation part if ``validation_fraction`` is set.

    Args:
        strategy: A kind of strategy: ``full``, ``lora``, ``embeddings``, ``tfidf``, ...
        strategy_params: Parameters of the strategy, by its names; None for its defaults.
        model: Packaged name, Hub name or folder of the encoder.
        learning_rate: None for the strategy's default.
        epochs: Passes over the training texts.
        batch_size: Texts per step.
        max_length: Longest text in tokens; the rest is cut off.
        validation_fraction: Share of the training texts that chooses among the checkpoints instead of being
            trained on; 0 trains on all of them and takes the last.
        precision: ``auto``, ``fp32`` or ``bf16``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: Compute threads; None for all physical cores.
        random_state: Seed of head, adapter, order and dropout: an integer, a ``RandomState``, or None for a
            new one at each fit.

    Attributes:
        classes_: The labels of ``y``, sorted.
        predictor_: The trained :class:`~tunebench.inference.predictor.Predictor`.
        record_: The :class:`~tunebench.store.record.RunRecord` of the training; its test scores mean nothing.
    """

    def __init__(
        self,
        strategy: str = "lora",
        strategy_params: Mapping[str, Any] | None = None,
        model: str = "minilm",
        learning_rate: float | None = None,
        epochs: int = 3,
        batch_size: int = 32,
        max_length: int = 256,
        validation_fraction: float = 0.0,
        precision: Literal["auto", "fp32", "bf16"] = "auto",
        device: str = "auto",
        threads: int | None = None,
        random_state: Any = 0,
    ) -> None:
        self.strategy = strategy
        self.strategy_params = strategy_params
        self.model = model
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.max_length = max_length
        self.validation_fraction = validation_fraction
        self.precision = precision
        self.device = device
        self.threads = threads
        self.random_state = random_state

    def fit(self, X: Sequence[Text], y: Sequence[Any]) -> TextClassifier:
        """Train.

        Args:
            X: Texts, or pairs of texts, none of them blank.
            y: One label per text; two classes or more.

        Returns:
            The estimator itself.

        Raises:
            ValueError: Texts, labels or parameters are not usable.
            TunebenchError: The encoder cannot be found or adapted.
        """
        texts = _texts(X)
        labels, classes = _labels(y, len(texts))
        _refuse_unloadable(self.strategy, pairs=not isinstance(texts[0], str))
        dataset = _dataset(texts, labels, classes)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        spec = self._spec(dataset, seed)
        with tempfile.TemporaryDirectory(prefix="tunebench-") as place:
            self.record_, self.predictor_ = self._train(spec, dataset, Path(place))
        self.classes_ = classes
        return self

    def predict(self, X: Sequence[Text]) -> np.ndarray:
        """Return the most likely class of each text, of shape ``(texts,)`` and the type of ``y``.

        Raises:
            NotFittedError: :meth:`fit` has not been called.
            ValueError: A text is not a string, or not valid Unicode; or it is a pair, or none, unlike in training.
        """
        best = CLASSIFICATION.outputs.predicted(self._logits(X))
        found: np.ndarray = self.classes_[best]
        return found

    def predict_proba(self, X: Sequence[Text]) -> np.ndarray:
        """Return probabilities, float32 ``(texts, classes)``, in the order of ``classes_``; see :meth:`predict`."""
        return CLASSIFICATION.outputs.probabilities(self._logits(X))

    def _logits(self, X: Sequence[Text]) -> np.ndarray:
        check_is_fitted(self)
        texts = _values(X)
        try:
            return self.predictor_.predict_logits(texts)
        except TunebenchError as error:
            raise ValueError(str(error)) from None

    def _spec(self, dataset: TextDataset, seed: int) -> RunSpec:
        """Resolve the parameters as a study of one run would be."""
        from pydantic import ValidationError

        from tunebench.data.reference import DataRef
        from tunebench.machine import devices
        from tunebench.models.loading import inspect_base, model_folder, resolve_model
        from tunebench.study.config import StudyConfig
        from tunebench.study.spec import expand

        rate = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        try:
            study = StudyConfig.model_validate(
                {
                    "name": "text-classifier",
                    "model": self.model,
                    "data": "memory",
                    "strategies": {self.strategy: {"params": dict(self.strategy_params or {}), **rate}},
                    "train_sizes": ["all"],
                    "seeds": [seed],
                    "selection": "validation" if self.validation_fraction else "last",
                    "validation_fraction": self.validation_fraction,
                    "epochs": self.epochs,
                    "batch_size": self.batch_size,
                    "max_length": self.max_length,
                    "precision": self.precision,
                }
            )
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise ValueError("; ".join(problems)) from None
        native: Any = devices.default_precision(devices.resolve_device(self.device), "fast")
        assert dataset.test is not None
        model = resolve_model(self.model)
        base = inspect_base(model_folder(self.model))
        (spec,) = expand(
            study,
            model=model,
            data=DataRef(
                source="memory",
                fingerprint=dataset.fingerprint,
                label_names=dataset.label_names,
                inputs=dataset.inputs,
            ),
            train_examples=len(dataset.train),
            test_examples=len(dataset.test),
            precision={"fast": native, "reference": "fp32"},
            base_head=base.use_of_head(keep=False, label_names=dataset.label_names),
        )
        return spec

    def _train(self, spec: RunSpec, dataset: TextDataset, place: Path) -> tuple[Any, Predictor]:
        from tunebench.inference.predictor import load
        from tunebench.machine.settings import Execution
        from tunebench.store.run_folder import RunFolder
        from tunebench.strategies import STRATEGIES
        from tunebench.training.attempt import Attempt
        from tunebench.training.registry import run_one

        folder = RunFolder(place / spec.run_id)
        folder.begin(spec)
        record = run_one(Attempt(spec, dataset, folder, Execution(device=self.device, threads=self.threads)))
        folder.commit(record)
        # Linear classifiers compute in fp32, whatever the spec says.
        precision = spec.precision if STRATEGIES[spec.kind].adapts_classifier else "auto"
        return record, load(folder.path, device=self.device, precision=precision)

    def __sklearn_tags__(self) -> Any:
        """Say that X holds texts, one per row."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def __getstate__(self) -> Any:
        """Refuse to be pickled once fitted: weights belong in safetensors."""
        if hasattr(self, "predictor_"):
            raise TypeError(
                "A fitted TextClassifier cannot be pickled or deep-copied. "
                "Use sklearn.base.clone() for an unfitted copy."
            )
        return super().__getstate__()


def _refuse_unloadable(name: str, *, pairs: bool) -> None:
    """Refuse, before anything is trained, a strategy whose models cannot be loaded, or cannot read these texts."""
    from tunebench.strategies import STRATEGIES

    strategy = STRATEGIES.get(name)
    if strategy is not None and not strategy.exportable:
        able = ", ".join(sorted(name for name, known in STRATEGIES.items() if known.exportable))
        raise ValueError(f"strategy={name!r} cannot be loaded for predictions; allowed: {able}")
    if strategy is not None and pairs and not strategy.reads_pairs:
        raise ValueError(
            f"strategy={name!r} reads single texts, and X holds pairs; put the two texts into one string"
        )


def _values(X: Any) -> list[Text]:
    """Return X as texts, all strings or all pairs of strings."""
    if isinstance(X, (str, bytes)):
        raise ValueError("X is a single text; a sequence of texts is needed")
    if not isinstance(X, Iterable) or isinstance(X, (Mapping, Set)):
        raise ValueError(f"X is of type {type(X).__name__}; a sequence of texts is needed")
    shape: tuple[int, ...] = getattr(X, "shape", None) or (0,)
    if len(shape) == 2 and shape[1] == 2:
        X = np.asarray(X, dtype=object).tolist()
    elif len(shape) != 1:
        raise ValueError(f"Expected a 1D sequence of texts, or two columns of pairs; got the shape {shape}")
    texts: list[Text] = []
    for position, value in enumerate(X):
        text = as_text(value)
        if text is None:
            kind = "neither a string nor a pair of strings" if isinstance(value, (list, tuple)) else "not a string"
            raise ValueError(f"X[{position}] is {kind}: {value!r}")
        if texts and isinstance(text, str) != isinstance(texts[0], str):
            raise ValueError(f"X[{position}] is {'a string' if isinstance(text, str) else 'a pair'}, unlike X[0]")
        texts.append(text)
    return texts


def _texts(X: Any) -> list[Text]:
    from tunebench.data.columns import check_texts

    texts = _values(X)
    if not texts:
        raise ValueError("Found 0 sample(s) while a minimum of 2 is required: X is empty")
    try:
        return together([check_texts(side, where="X") for side in by_side(texts)])
    except TunebenchError as error:
        raise ValueError(str(error)) from None


def _labels(y: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as indices, and the sorted classes."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    _check_missing(y)
    check_classification_targets(y)
    values = np.asarray(y)
    if values.ndim != 1:
        raise ValueError(f"y should be a 1d array, got an array of shape {values.shape}")
    if len(values) != count:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {count} and {len(values)}")
    classes, labels = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y holds a single class ({classes.tolist()[0]!r}); two or more classes are needed")
    return labels.astype(np.int64), classes


def _check_missing(y: Any) -> None:
    """Refuse labels that are None, NaN or another value that pandas takes for a missing one."""
    import pandas as pd

    if np.ndim(y) != 1:
        return
    missing = np.flatnonzero(pd.isna(np.asarray(y, dtype=object)))
    if len(missing):
        raise ValueError(
            f"y[{missing[0]}] is missing (None or NaN), and {len(missing)} of {len(y)} labels are; "
            "remove these texts and labels"
        )


def _dataset(texts: list[Text], labels: np.ndarray, classes: np.ndarray) -> TextDataset:
    """Return the texts as a data set; its test part is there because a run must score one.

    It holds the first text of each class, so that nothing is taken away from training; its score is never
    shown.
    """
    from tunebench.data import Split, TextDataset
    from tunebench.data.inputs import Inputs

    firsts = np.array([int(np.argmax(labels == i)) for i in range(len(classes))])
    return TextDataset(
        source="memory",
        revision=None,
        label_names=tuple(str(value) for value in classes),
        train=Split(texts, labels),
        test=Split([texts[i] for i in firsts], labels[firsts]),
        inputs=None if isinstance(texts[0], str) else Inputs(columns=Pair._fields),
    )
