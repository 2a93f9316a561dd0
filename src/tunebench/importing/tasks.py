"""Which task a run is of, and what scripts call the metrics of each task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunebench.importing.family import head_of
from tunebench.importing.folder import Contents
from tunebench.importing.values import Values
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.registry import TASKS
from tunebench.tasks.regression import REGRESSION

_MACRO_F1 = ("macro_f1", "f1_macro", "macro-f1", "f1-macro")


@dataclass(frozen=True)
class Vocabulary:
    """What scripts call the metrics of a task.

    Attributes:
        names: By tunebench's name, those of scripts, without the set's prefix; the first that is there counts.
        told_by: Metrics that beside the loss tell one evaluation from another.
        plain_f1: What a metric called just ``f1`` may be.
        unclear: Names that mean different things in different scripts, and are not read.
    """

    names: Mapping[str, tuple[str, ...]]
    told_by: tuple[str, ...]
    plain_f1: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()

    @property
    def all_names(self) -> tuple[str, ...]:
        """All of them, a plain ``f1`` included."""
        plain = ("f1",) if self.plain_f1 else ()
        return (*(name for names in self.names.values() for name in names), *plain)

    def values(
        self, logged: Mapping[str, Any], *, plain_f1: str | None = None, prefix: str = ""
    ) -> dict[str, float | None]:
        """Return metrics by tunebench's names; None for one that is not there.

        Args:
            logged: Metrics by a script's names.
            plain_f1: The metric that is called just ``f1``; None if that is not known.
            prefix: What the script's names begin with.
        """
        found: dict[str, float | None] = {}
        for metric, names in self.names.items():
            names = (*names, "f1") if metric == plain_f1 else names
            found[metric] = next((logged[prefix + n] for n in names if logged.get(prefix + n) is not None), None)
        return found


#: By the task's name.
VOCABULARIES = {
    CLASSIFICATION.name: Vocabulary(
        {"macro_f1": _MACRO_F1, "accuracy": ("accuracy",), "log_loss": ("loss",)},
        told_by=("accuracy",),
        plain_f1=("macro_f1",),
    ),
    MULTI_LABEL.name: Vocabulary(
        {
            "macro_f1": _MACRO_F1,
            "micro_f1": ("micro_f1", "f1_micro", "micro-f1", "f1-micro"),
            "samples_f1": ("samples_f1", "f1_samples"),
            "subset_accuracy": ("subset_accuracy", "exact_match", "exact_match_ratio"),
            "mean_average_precision": ("mean_average_precision", "average_precision_macro"),
            "auroc": ("auroc_macro", "roc_auc_macro", "macro_roc_auc"),
            "log_loss": ("loss",),
        },
        told_by=("macro_f1", "micro_f1", "samples_f1", "subset_accuracy"),
        plain_f1=("macro_f1", "micro_f1"),
        unclear=("accuracy", "roc_auc", "precision", "recall"),
    ),
    REGRESSION.name: Vocabulary(
        {
            "spearman": ("spearmanr", "spearman", "spearman_correlation"),
            "pearson": ("pearson", "pearsonr", "pearson_correlation"),
            "mae": ("mae", "mean_absolute_error"),
            "rmse": ("rmse", "root_mean_squared_error"),
            # The loss that Transformers' models for numbers are trained with.
            "mse": ("mse", "mean_squared_error", "loss"),
            "r2": ("r2", "r2_score"),
        },
        told_by=("spearman", "pearson", "mae", "r2"),
    ),
}


def settle_task(contents: Contents, values: Values) -> Task:
    """Return the task: what the model's configuration, predictions or metrics tell, else what is stated.

    One label a text where nothing tells.

    Raises:
        StoreError: Two files contradict each other.
        ConfigError: A statement contradicts the folder.
    """
    told = [*_configured(contents), *_predicted(contents)]
    if not told and "task" not in values.stated:
        told = list(_logged(contents))
    name = values.settle("task", *told)
    return CLASSIFICATION if name is None else TASKS[name]


def _configured(contents: Contents) -> Iterator[tuple[str, str]]:
    """Yield the task of the model's configuration; Transformers takes one label without a name for a number."""
    where = contents.config_path.name
    problem = contents.config.get("problem_type")
    known = [task.name for task in TASKS.values() if task.problem_type == problem]
    labels = contents.config.get("id2label")
    if known:
        yield known[0], f"{where}: problem_type"
    elif isinstance(labels, dict) and len(labels) == 1:
        yield REGRESSION.name, f"{where}: a single output"
    elif (head := head_of(contents)) is not None and head[0] == 1:
        yield REGRESSION.name, head[1]


def _predicted(contents: Contents) -> Iterator[tuple[str, str]]:
    """Yield the task that only the shapes of the arrays can be of; nothing where they may be of several."""
    if not contents.has_predictions:
        return
    labels, where = contents.arrays["labels"]
    where = where.removeprefix(f"{contents.path}/")
    others = [values for kind, (values, _) in contents.arrays.items() if kind != "labels"]
    columns = {1 if values.ndim == 1 else values.shape[-1] for values in others}
    if labels.ndim == 2 and labels.shape[1] > 1 and np.isin(labels, (0, 1)).all():
        # Rows with a single 1 each may be the classes of one label a text.
        if (labels.sum(1) != 1).any():
            yield MULTI_LABEL.name, f"{where}: rows of 0 and 1"
    elif np.issubdtype(labels.dtype, np.floating) and columns == {1} and (labels != np.round(labels)).any():
        yield REGRESSION.name, f"{where}: numbers with fractions"


def _logged(contents: Contents) -> Iterator[tuple[str, str]]:
    """Yield numbers where metrics of numbers were logged, and none of labels."""
    entries: list[tuple[Iterable[str], str]] = [(contents.metrics, "the metrics")]
    if contents.log is not None:
        entries += [(entry, contents.log_from) for entry in (*contents.log.evaluations, *contents.log.after)]
    of_labels = {*VOCABULARIES[CLASSIFICATION.name].all_names, *VOCABULARIES[MULTI_LABEL.name].all_names}
    numbers = set(VOCABULARIES[REGRESSION.name].all_names) - {"loss"}
    found: dict[str, str] = {}
    for keys, where in entries:
        for key in keys:
            bare = key.removeprefix("eval_").removeprefix("test_").removeprefix("predict_")
            if bare in of_labels - {"loss"}:
                return
            if bare in numbers:
                found.setdefault(key, where)
    if found:
        key, where = next(iter(found.items()))
        yield REGRESSION.name, f"{where}: {key}"
