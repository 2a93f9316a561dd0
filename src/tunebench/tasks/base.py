"""What a task is: what is learned of a text, and how it is scored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tunebench.registry import Registry
from tunebench.tasks.metric import Metric
from tunebench.tasks.outputs import Outputs
from tunebench.tasks.scale import AS_IT_IS, Scale
from tunebench.tasks.scores import ClassScore, Scores


@dataclass(frozen=True, eq=False)
class Task(ABC):
    """What is learned of a text, and how it is scored. How labels are read from data is in :mod:`tunebench.data`.

    Attributes:
        name: Key in :data:`~tunebench.tasks.registry.TASKS` and in study files.
        label: Name as it stands in a sentence.
        problem_type: What Transformers calls it; its models choose their loss by it.
        outputs: How logits are read.
        metrics: The metrics that are defined, by name, those of installed packages included.
        default_metric: The metric of a study that names none.
        always_shown: Metrics that stand beside the study's own in its tables.
        built_in: Metrics that every record holds. One of another package joins them where a study names it.
        quick: Of these, the ones that take little time to compute.
        loss: The metric that training lowers.
        loss_unit: Unit of the training loss.
        smooths_labels: Whether the Trainer can smooth the labels in that loss.
        exclusive: Whether a text has exactly one label, so that one is taken for another, and each prediction has
            a single confidence.
        labelled: Whether texts have labels, which are counted and scored one by one.
        thresholded: Whether a label is given where its probability is above a threshold.
        guess: What answer has the :meth:`guessing_loss`; None for equal probabilities of all classes.
        tunes_thresholds: Whether :meth:`selection_metrics` reads logits at thresholds tuned on the same texts, as a
            run's test part is read at those in the end.
    """

    name: str
    label: str
    problem_type: str
    outputs: Outputs
    metrics: Registry[Metric]
    default_metric: str
    always_shown: tuple[str, ...]
    built_in: tuple[str, ...]
    quick: tuple[str, ...]
    loss: str
    loss_unit: str
    smooths_labels: bool
    exclusive: bool
    labelled: bool
    thresholded: bool
    guess: str | None
    tunes_thresholds: bool = False

    # Labels ------------------------------------------------------------------------------------

    @abstractmethod
    def targets(self, labels: np.ndarray) -> np.ndarray:
        """Return labels in the type that the loss of a Transformers model wants."""

    def scale(self, labels: np.ndarray) -> Scale:
        """Return the scale on which a head is trained, from the labels of the training part."""
        return AS_IT_IS

    @abstractmethod
    def any_labels(self, texts: int, classes: int) -> np.ndarray:
        """Return labels of so many texts, whichever: for steps that are only measured."""

    @abstractmethod
    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return what splits are stratified by: the class of each text, ``(n,)``; or a row of 0 and 1 for each.

        Every part of a run needs each class. What a row says is spread over the parts as evenly as it can be.
        """

    @abstractmethod
    def counts(self, labels: np.ndarray, classes: int) -> list[int]:
        """Return how many texts have each label; nothing where there are no labels."""

    def summary(self, labels: np.ndarray) -> dict[str, float]:
        """Return mean, standard deviation (``sd``), ``minimum``, ``median`` and ``maximum`` of numbers.

        Nothing where labels are counted instead.
        """
        return {}

    @abstractmethod
    def linear_rows(self, classes: int) -> int:
        """Return how many rows of coefficients a linear model has."""

    @abstractmethod
    def taught(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the outputs that a linear model of these labels has; none where there is nothing to learn."""

    @abstractmethod
    def known(self, labels: np.ndarray, taught: np.ndarray) -> np.ndarray:
        """Mark the texts of which a model with the outputs ``taught`` can be judged, bool of shape ``(n,)``."""

    # Thresholds ----------------------------------------------------------------------------------

    def at(self, thresholds: Sequence[float] | None) -> Task:
        """Return the task with a run's own thresholds; the task as it is for None.

        Raises:
            ValueError: Predictions of this task rest on no thresholds.
        """
        return self if thresholds is None else replace(self, outputs=self.outputs.at(tuple(thresholds)))

    def metric(self, name: str) -> Metric:
        """Return a metric that reads logits as this task does, its thresholds included."""
        found = self.metrics[name]
        return found if found.outputs is self.outputs else replace(found, outputs=self.outputs)

    # Scores ------------------------------------------------------------------------------------

    @abstractmethod
    def confusion(self, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return the confusion matrix, row by true class; without rows where the task has none."""

    @abstractmethod
    def tallies(self, labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how often each label is found, is true, and is given; ``(outputs,)`` each."""

    def by_label(self, labels: np.ndarray, logits: np.ndarray) -> list[list[float]]:
        """Return precision, recall, F1 and support of each label; 0 where nothing divides."""
        hits, support, given = self.tallies(labels, logits)
        parts = (
            hits / np.maximum(given, 1),
            hits / np.maximum(support, 1),
            2 * hits / np.maximum(support + given, 1),
            support,
        )
        return [list(row) for row in zip(*(part.tolist() for part in parts), strict=True)]

    @abstractmethod
    def guessing_loss(self, labels: np.ndarray, classes: int) -> float:
        """Return the loss of an answer that is the same for every text."""

    @abstractmethod
    def __reduce__(self) -> str:
        """Return the name under which the module of its class holds it: pickle finds it there in every process."""

    def shown_metrics(self, metric: str) -> dict[str, Metric]:
        """Return a study's metric by name, and after it those of :attr:`always_shown`."""
        return {name: self.metric(name) for name in (metric, *self.always_shown)}

    def selection_metrics(
        self, labels: np.ndarray, logits: np.ndarray, metric: str, scale: Scale = AS_IT_IS
    ) -> dict[str, float]:
        """Return what is logged of every evaluation on the selection split.

        Args:
            labels: Of the split.
            logits: Shape ``(n, outputs)``, on the scale.
            metric: The metric that selects.
            scale: Of the logits. The loss is on it, as that of training is; the metrics are in the data's unit.

        Returns:
            ``loss``, the metrics of :attr:`always_shown`, and the metric that selects, by name.
        """
        names = dict.fromkeys((*self.always_shown, metric))
        loss = {"loss": self.metric(self.loss)(scale.onto(labels), logits)}
        logits = scale.back(logits)
        return loss | {name: self.metric(name)(labels, logits) for name in names}

    def score(
        self, labels: np.ndarray, logits: np.ndarray, label_names: Sequence[str], metric: str | None = None
    ) -> Scores:
        """Score predictions by all metrics of tunebench, by label, and as a confusion matrix.

        Args:
            labels: Of the texts.
            logits: Shape ``(n, outputs)``.
            label_names: One name an output.
            metric: The study's metric, which may be another package's; by default the task's own.

        Raises:
            ValueError: Labels, logits or names do not fit; see :meth:`Outputs.checked`.
        """
        labels, logits = self.outputs.checked(labels, logits)
        if len(label_names) != logits.shape[1]:
            raise ValueError(f"{len(label_names)} label names for {logits.shape[1]} classes")
        names = dict.fromkeys((*self.built_in, metric or self.default_metric))
        labelled = label_names if self.labelled else ()
        found = {name: self.metric(name)(labels, logits) for name in names}
        return Scores(
            values={name: value if np.isfinite(value) else None for name, value in found.items()},
            per_class=[
                ClassScore(label=name, precision=float(p), recall=float(r), f1=float(f), support=int(n))
                for name, (p, r, f, n) in zip(labelled, self.by_label(labels, logits), strict=True)
            ],
            confusion=self.confusion(labels, logits).tolist(),
        )

    def score_predicted(
        self, labels: np.ndarray, predicted: np.ndarray, label_names: Sequence[str], metric: str | None = None
    ) -> Scores:
        """Score predictions of which no probabilities are known: metrics that need those have no value.

        Args:
            labels: Of the texts.
            predicted: In the form of labels.
            label_names: One name an output.
            metric: As for :meth:`score`.

        Raises:
            ValueError: Labels, predictions or names do not fit.
        """
        found = self.score(labels, self.outputs.stand_ins(predicted, len(label_names)), label_names, metric)
        known = {name: value for name, value in found.values.items() if self.metrics[name].needs == "labels"}
        return found.model_copy(update={"values": dict.fromkeys(found.values) | known})
