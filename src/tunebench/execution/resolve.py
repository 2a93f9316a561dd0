"""A study's model and data, loaded, checked, and fitted to each other: what a plan is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.data import TextDataset
from tunebench.data.reference import DataRef, SplitRef
from tunebench.data.rules import split_ref
from tunebench.errors import TunebenchError, raise_all
from tunebench.execution.begun import begun_copies, begun_data, begun_params, begun_runs, begun_validation
from tunebench.execution.checks import available, check_sizes, check_strategies, check_task
from tunebench.execution.part_remarks import part_remarks
from tunebench.machine.settings import Execution
from tunebench.models.loading import inspect_base, load_architecture, load_tokenizer, model_folder, resolve_model
from tunebench.models.reference import BaseHead, ModelRef
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.models.architectures import Architecture
    from tunebench.models.weights import Base
    from tunebench.tasks.base import Task


def silent(line: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """How a study is to be planned.

    Attributes:
        execution: Device and threads.
        folder: Where it is or will be written; None where nothing will be.
        budget_seconds: What does not fit is left out, whole comparisons at a time.
        measure: Take a few steps of each way of training, for the estimates.
        tell: Told what is being done.
        profiles: What was measured of ways of training so far; a later plan measures only what is not there.
    """

    execution: Execution
    folder: Path | None = None
    budget_seconds: float | None = None
    measure: bool = True
    tell: Callable[[str], None] = silent
    profiles: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolved:
    """A study whose model and data are there, and go together.

    Attributes:
        study: What was asked for; what it leaves open is as the runs of its folder have it.
        model: The pinned model.
        architecture: Its family.
        base_head: What is done with its classification head; None where it has none.
        dataset: The loaded data.
        splits: How the data's own parts, groups and times are used; None where there is nothing to say.
        begun: The runs that its folder holds already.
    """

    study: StudyConfig
    model: ModelRef
    architecture: Architecture
    base_head: BaseHead | None
    dataset: TextDataset
    splits: SplitRef | None
    begun: tuple[RunSpec, ...] = ()

    @property
    def data(self) -> DataRef:
        """The pinned data set."""
        return DataRef(
            source=self.study.data.source,
            revision=self.dataset.revision,
            fingerprint=self.dataset.fingerprint,
            label_names=self.dataset.label_names,
            inputs=self.dataset.inputs,
        )


def resolve(study: StudyConfig, request: Request) -> Resolved:
    """Load and check model and data.

    Raises:
        TunebenchError: Everything that is wrong with model, data and sizes, together.
    """
    tell, begun = request.tell, begun_runs(request.folder)
    study = begun_params(begun_copies(study, begun, tell), begun, tell)
    errors: list[TunebenchError] = []
    model = architecture = base = dataset = base_head = splits = None
    try:
        model, architecture, base = _load_model(study)
    except TunebenchError as error:
        errors.append(error)
    try:
        study, dataset = _read_data(study, begun, tell)
    except TunebenchError as error:
        errors.append(error)
    if dataset is not None:
        study = _with_metric(study, dataset.task, tell)
        splits = split_ref(dataset, validates=study.held_out_fraction > 0)
        most, scored = available(study, dataset, splits)
        for line in part_remarks(study, dataset, splits, most=most, test_size=scored):
            tell(line)
        errors += check_task(study, dataset.task)
        errors += check_sizes(study, dataset, splits)
    if architecture is not None:
        errors += check_strategies(study, architecture)
    if base is not None and dataset is not None:
        try:
            base_head = base.use_of_head(
                keep=study.keep_head, label_names=dataset.label_names, problem_type=dataset.task.problem_type
            )
        except TunebenchError as error:
            errors.append(error)
    raise_all(errors)
    assert model is not None and architecture is not None and base is not None and dataset is not None
    for line in base.remarks(base_head):
        tell(line)
    return Resolved(study, model, architecture, base_head, dataset, splits, begun)


def _with_metric(study: StudyConfig, task: Task, tell: Callable[[str], None]) -> StudyConfig:
    """Return a study that names no metric with that of its task."""
    if "metric" in study.model_fields_set or study.metric == task.default_metric:
        return study
    tell(
        f"note: the metric is {task.default_metric}, the default for {task.label}; metric: NAME sets another "
        f"({', '.join(task.metrics)})."
    )
    return study.model_copy(update={"metric": task.default_metric})


def _load_model(study: StudyConfig) -> tuple[ModelRef, Architecture, Base]:
    model = resolve_model(study.model, study.model_revision)
    folder = model_folder(study.model, study.model_revision)
    architecture, base = load_architecture(folder), inspect_base(folder)
    load_tokenizer(folder)
    return model, architecture, base


def _read_data(
    study: StudyConfig, begun: Sequence[RunSpec], tell: Callable[[str], None]
) -> tuple[StudyConfig, TextDataset]:
    """Read the data and say how it was read; of a folder's study, with the validation part that its runs have."""
    tell("reading the data")
    study, dataset = begun_validation(study, begun_data(study, begun), begun, tell)
    for line in dataset.reading.lines():
        tell(line)
    return study, dataset
