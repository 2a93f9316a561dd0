"""The tasks by name. To add one, subclass :class:`~tunebench.tasks.base.Task` and name it here."""

from __future__ import annotations

from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.regression import REGRESSION

#: By :attr:`~tunebench.tasks.base.Task.name`, which is also what a run's specification holds.
TASKS: dict[str, Task] = {task.name: task for task in (CLASSIFICATION, MULTI_LABEL, REGRESSION)}


def task_of(problem_type: str | None) -> Task:
    """Return the task of what Transformers calls a problem; one label a text where a model does not say."""
    return next((task for task in TASKS.values() if task.problem_type == problem_type), CLASSIFICATION)


def metric_names() -> tuple[str, ...]:
    """Return the names of all metrics of all tasks."""
    return tuple(dict.fromkeys(name for task in TASKS.values() for name in task.metrics))


def metric_label(name: str) -> str:
    """Return what a metric is called in a sentence, whatever the task: those of one name have one label."""
    return next(task.metrics[name].label for task in TASKS.values() if name in task.metrics)
