"""What every task promises."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pydantic import ValidationError

from factories import make_spec
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.registry import TASKS, metric_label, metric_names


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_names_metrics_that_it_has(task: Task) -> None:
    named = {task.default_metric, task.loss, *task.always_shown, *task.built_in, *task.quick}
    assert named <= set(task.metrics)
    assert {task.metrics[name].outputs for name in task.built_in} == {task.outputs}
    assert task.metrics[task.loss].per_example is not None and task.metrics[task.loss].direction == "min"


def test_metrics_of_one_name_have_one_label_in_all_tasks() -> None:
    for name in metric_names():
        assert {task.metrics[name].label for task in TASKS.values() if name in task.metrics} == {metric_label(name)}


def test_one_label_a_text_gives_classes_and_probabilities_that_sum_to_1() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 7, 4)).astype(np.float32)
    outputs = CLASSIFICATION.outputs
    assert outputs.predicted(logits).tolist() == [[row.tolist().index(row.max()) for row in run] for run in logits]
    shares = outputs.probabilities(logits)
    assert shares.dtype == np.float32 and np.allclose(shares.sum(-1), 1, atol=1e-6)
    labels = outputs.predicted(logits)[0]
    assert outputs.right(labels, outputs.predicted(logits)).shape == (3, 7)


def test_a_run_has_a_task_that_there_is() -> None:
    spec = make_spec()
    assert spec.task == CLASSIFICATION.name and "task" not in spec.identity
    with pytest.raises(
        ValidationError, match="there is no task 'other'; allowed: single_label, multi_label, regression"
    ):
        type(spec).model_validate(spec.model_dump() | {"task": "other"})


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_the_same_one_in_another_process(name: str) -> None:
    assert pickle.loads(pickle.dumps(TASKS[name])) is TASKS[name]
