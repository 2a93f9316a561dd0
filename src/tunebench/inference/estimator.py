"""scikit-learn estimators of texts, trained by the project's own engine."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, check_random_state

from tunebench.data.text import Pair, Text
from tunebench.errors import TunebenchError
from tunebench.inference.estimator_inputs import (
    check_missing,
    checked_texts,
    class_labels,
    label_matrix,
    refuse_unloadable,
    target_numbers,
    texts_of,
)
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.regression import REGRESSION

if TYPE_CHECKING:
    from tunebench.data import TextDataset
    from tunebench.inference.predictor import Predictor
    from tunebench.study.spec import RunSpec


class _TextEstimator(BaseEstimator):  # type: ignore[misc]
    """What the estimators of texts share: parameters, and how they are trained.

    Attributes:
        predictor_: The trained :class:`~tunebench.inference.predictor.Predictor`.
        record_: The :class:`~tunebench.store.record.RunRecord` of the training.
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
        precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
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

    def _fit(self, dataset: TextDataset, metric: str) -> None:
        """Train on a data set of these texts; the metric selects a checkpoint where there is a validation part."""
        refuse_unloadable(self.strategy, dataset.task, pairs=dataset.inputs is not None)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        spec = self._spec(dataset, seed, metric)
        with tempfile.TemporaryDirectory(prefix="tunebench-") as place:
            self.record_, self.predictor_ = self._train(spec, dataset, Path(place))

    def _logits(self, X: Sequence[Text]) -> np.ndarray:
        check_is_fitted(self)
        texts = texts_of(X)
        try:
            return self.predictor_.predict_logits(texts)
        except TunebenchError as error:
            raise ValueError(str(error)) from None

    def _spec(self, dataset: TextDataset, seed: int, metric: str) -> RunSpec:
        """Resolve the parameters as a study of one run would be."""
        from pydantic import ValidationError

        from tunebench.data.reference import DataRef
        from tunebench.engine.native.loading import kernels_here
        from tunebench.machine import devices
        from tunebench.models.loading import inspect_base
        from tunebench.models.sources import model_folder, resolve_model
        from tunebench.study.config import StudyConfig
        from tunebench.study.expand import expand, uses_kernels

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
                    "metric": metric,
                    "epochs": self.epochs,
                    "batch_size": self.batch_size,
                    "max_length": self.max_length,
                    "precision": self.precision,
                }
            )
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise ValueError("; ".join(problems)) from None
        device = devices.resolve_device(self.device)
        if self.precision == "fp16" and device != "cuda":
            raise ValueError(f"precision='fp16' is for CUDA GPUs, and this trains on {device}; use 'auto'")
        fast = devices.default_precision(device, "fast")
        precision: dict[Any, Any] = {"fast": fast, "reference": "fp32"}
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
            precision=precision,
            kernels=kernels_here(device) if uses_kernels(study, precision) else "torch",
            base_head=base.use_of_head(keep=False, label_names=dataset.label_names),
            task=dataset.task.name,
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
        # What has no encoder refuses to be asked for another precision than fp32. Nothing predicts in fp16.
        asked = STRATEGIES[spec.kind].adapts_classifier or spec.precision == "fp32"
        precision = spec.precision if asked and spec.precision != "fp16" else "auto"
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
                f"A fitted {type(self).__name__} cannot be pickled or deep-copied. "
                "Use sklearn.base.clone() for an unfitted copy."
            )
        return super().__getstate__()


class TextClassifier(ClassifierMixin, _TextEstimator):  # type: ignore[misc]
    """Fine-tune a pretrained encoder on texts and their labels, with scikit-learn's conventions.

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
        precision: ``auto``, ``fp32``, ``bf16``, or, on a GPU, ``fp16``.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: Compute threads; None for all physical cores.
        random_state: Seed of head, adapter, order and dropout: an integer, a ``RandomState``, or None for a
            new one at each fit.

    Attributes:
        classes_: The labels of ``y``, sorted; of a matrix, the numbers or names of its columns.
        task_: What was learned: one label a text, or several.
        predictor_: The trained :class:`~tunebench.inference.predictor.Predictor`.
        record_: The :class:`~tunebench.store.record.RunRecord` of the training; its test scores mean nothing.
    """

    def __sklearn_tags__(self) -> Any:
        """Say that several labels a text can be learned."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: Sequence[Text], y: Sequence[Any]) -> TextClassifier:
        """Train.

        Args:
            X: Texts, or pairs of texts, none of them blank.
            y: One label per text, of two classes or more. For several labels a text, a 0/1 matrix
                ``(texts, labels)``, as scikit-learn's ``MultiLabelBinarizer`` makes it.

        Returns:
            The estimator itself.

        Raises:
            ValueError: Texts, labels or parameters are not usable.
            TunebenchError: The encoder cannot be found or adapted.
        """
        texts = checked_texts(X)
        check_missing(y)
        if type_of_target(y) == "multilabel-indicator":
            task: Task = MULTI_LABEL
            labels, classes = label_matrix(y, len(texts))
            tested = np.arange(min(2, len(texts)))
        else:
            task = CLASSIFICATION
            labels, classes = class_labels(y, len(texts))
            # The first text of each class.
            tested = np.array([int(np.argmax(labels == i)) for i in range(len(classes))])
        self._fit(_dataset(texts, labels, tuple(map(str, classes)), tested, task), task.default_metric)
        self.task_, self.classes_ = task, classes
        return self

    def predict(self, X: Sequence[Text]) -> np.ndarray:
        """Return the most likely class of each text, of shape ``(texts,)`` and the type of ``y``.

        Where the classifier was fitted on several labels a text, return a 0/1 matrix ``(texts, labels)``: a label
        is given where its probability is above 0.5.

        Raises:
            NotFittedError: :meth:`fit` has not been called.
            ValueError: A text is not a string, or not valid Unicode; or it is a pair, or none, unlike in training.
        """
        logits = self._logits(X)
        predicted = self.task_.outputs.predicted(logits)
        found: np.ndarray = self.classes_[predicted] if self.task_.exclusive else predicted.astype(np.int64)
        return found

    def predict_proba(self, X: Sequence[Text]) -> np.ndarray:
        """Return probabilities, float32 ``(texts, classes)``, in the order of ``classes_``; see :meth:`predict`."""
        logits = self._logits(X)
        return self.task_.outputs.probabilities(logits)


class TextRegressor(RegressorMixin, _TextEstimator):  # type: ignore[misc]
    """Fine-tune a pretrained encoder on texts and their numbers, with scikit-learn's conventions.

    ``X`` and the parameters are those of :class:`TextClassifier`. Where ``validation_fraction`` is set, the mean
    squared error chooses among the checkpoints. ``score`` is R².

    Attributes:
        predictor_: The trained :class:`~tunebench.inference.predictor.Predictor`.
        record_: The :class:`~tunebench.store.record.RunRecord` of the training; its test scores mean nothing.
    """

    def fit(self, X: Sequence[Text], y: Sequence[float]) -> TextRegressor:
        """Train.

        Args:
            X: Texts, or pairs of texts, none of them blank.
            y: One number per text.

        Returns:
            The estimator itself.

        Raises:
            ValueError: Texts, numbers or parameters are not usable.
            TunebenchError: The encoder cannot be found or adapted.
        """
        texts = checked_texts(X)
        numbers = target_numbers(y, len(texts))
        self._fit(_dataset(texts, numbers, ("y",), np.arange(min(2, len(texts))), REGRESSION), REGRESSION.loss)
        return self

    def predict(self, X: Sequence[Text]) -> np.ndarray:
        """Return the number of each text, doubles of shape ``(texts,)``; see :meth:`TextClassifier.predict`."""
        return REGRESSION.outputs.predicted(self._logits(X))


def _dataset(
    texts: list[Text], labels: np.ndarray, names: tuple[str, ...], tested: np.ndarray, task: Task
) -> TextDataset:
    """Return the texts as a data set; its test part is there because a run must score one.

    It holds training texts, so that nothing is taken away from training; its score is never shown.
    """
    from tunebench.data import Split, TextDataset
    from tunebench.data.inputs import Inputs

    return TextDataset(
        source="memory",
        revision=None,
        label_names=names,
        train=Split(texts, labels),
        test=Split([texts[i] for i in tested], labels[tested]),
        inputs=None if isinstance(texts[0], str) else Inputs(columns=Pair._fields),
        task=task,
    )
