"""scikit-learn estimators of texts, trained by the project's own engine."""

from __future__ import annotations

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
    check_types,
    checked_texts,
    class_labels,
    class_names,
    label_matrix,
    refuse_unloadable,
    target_numbers,
    texts_of,
)
from tunebench.inference.fitting import Fitted, resolve_run
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.regression import REGRESSION

if TYPE_CHECKING:
    from tunebench.data import TextDataset


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
        spec = resolve_run(self, dataset, seed=seed, metric=metric)
        self._fitted = Fitted(spec, dataset, device=self.device, threads=self.threads)
        self.record_, self.predictor_ = self._fitted.record, self._fitted.predictor

    def save(self, folder: str | Path) -> Path:
        """Write the fitted model to a folder, as ``tunebench export`` does, and check it.

        :func:`tunebench.load`, ``tunebench predict`` and ``tunebench serve`` read the folder; so does Transformers
        where the strategy trains one of its models. They answer with the labels as strings.

        Args:
            folder: A new folder, or an empty one.

        Returns:
            The folder.

        Raises:
            NotFittedError: ``fit`` has not been called.
            TunebenchError: Something is in the folder, or it cannot be written.
        """
        check_is_fitted(self)
        return self._fitted.save(Path(folder))

    def _logits(self, X: Sequence[Text]) -> np.ndarray:
        check_is_fitted(self)
        texts = texts_of(X)
        try:
            return self.predictor_.predict_logits(texts)
        except TunebenchError as error:
            raise ValueError(str(error)) from None

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
                "Use save() to keep it, or sklearn.base.clone() for an unfitted copy."
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
        check_types(y)
        if hasattr(y, "columns"):
            # Before scikit-learn reads the columns: it ends at names that stand twice, in its own words.
            class_names(y.columns)
        if type_of_target(y) == "multilabel-indicator":
            task: Task = MULTI_LABEL
            labels, classes = label_matrix(y, len(texts))
            tested = np.arange(min(2, len(texts)))
        else:
            task = CLASSIFICATION
            labels, classes = class_labels(y, len(texts))
            # The first text of each class.
            tested = np.array([int(np.argmax(labels == i)) for i in range(len(classes))])
        self._fit(_dataset(texts, labels, class_names(classes), tested, task), task.default_metric)
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
