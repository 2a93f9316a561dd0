"""A study's model and data, loaded, checked, and fitted to each other: what a plan is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tunebench.data import TextDataset
from tunebench.data.reference import DataRef, SplitRef
from tunebench.data.rules import split_ref
from tunebench.errors import TunebenchError, raise_all
from tunebench.execution.begun import begun_copies, begun_data, begun_params, begun_runs, begun_validation
from tunebench.execution.checks import available, check_folds, check_sizes, check_strategies, check_task
from tunebench.execution.known import Known
from tunebench.execution.part_remarks import part_remarks
from tunebench.execution.recipe_checks import check_recipes, recipe_remarks
from tunebench.execution.validation_share import with_validation_share
from tunebench.machine.load import load_remark
from tunebench.machine.settings import Execution
from tunebench.models.loading import inspect_base, load_architecture
from tunebench.models.reference import ModelRef, UsedModel
from tunebench.models.sources import model_folder, resolve_model
from tunebench.models.tokenizer import load_tokenizer
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.models.architectures import Architecture
    from tunebench.models.base import Base
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
        deadline: When a run that has begun is stopped (``time.monotonic()``), and what is open is left out, too;
            None for never. It is later than the end of the budget, as estimates may be too low.
        measure: Take a few steps of each way of training, for the estimates.
        derive_short: Derive the times of a short study from the arithmetic: measuring would take a good part of it.
        tell: Told what there is to say of data, models and plan.
        doing: Told what is being done.
        known: What was read and measured so far; a later plan reads and measures only what is not there.
        fit: Changes the study once the number of its training examples is known.
    """

    execution: Execution
    folder: Path | None = None
    budget_seconds: float | None = None
    deadline: float | None = None
    measure: bool = True
    derive_short: bool = False
    tell: Callable[[str], None] = silent
    doing: Callable[[str], None] = silent
    known: Known = field(default_factory=Known)
    fit: Callable[[StudyConfig, int], StudyConfig] = lambda study, most: study


class ResolvedModel(NamedTuple):
    """A model that is there and goes with the data.

    Attributes:
        used: The pinned model, and what is done with its classification head.
        architecture: Its family.
    """

    used: UsedModel
    architecture: Architecture


@dataclass(frozen=True)
class Resolved:
    """A study whose models and data are there, and go together.

    Attributes:
        study: What was asked for; what it leaves open is as the runs of its folder have it.
        model: The study's model.
        own_models: By label, the models of strategies that do not train the study's.
        dataset: The loaded data.
        splits: How the data's own parts, groups and times are used; None where there is nothing to say.
        begun: The runs that its folder holds already.
    """

    study: StudyConfig
    model: ResolvedModel
    own_models: Mapping[str, ResolvedModel]
    dataset: TextDataset
    splits: SplitRef | None
    begun: tuple[RunSpec, ...] = ()

    @property
    def architectures(self) -> dict[str, Architecture]:
        """The family of each strategy's model, by label."""
        return {label: self.own_models.get(label, self.model).architecture for label in self.study.strategies}

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
    """Load and check models and data.

    Raises:
        TunebenchError: Everything that is wrong with models, data and sizes, together.
    """
    tell, begun = request.tell, begun_runs(request.folder)
    if request.measure and request.known.first and (remark := load_remark(request.execution)):
        tell(remark)
    request.known.first = False
    study = begun_params(begun_copies(study, begun, tell), begun, tell)
    errors: list[TunebenchError] = []
    dataset = splits = None
    loaded = _load_models(study, errors)
    try:
        study, dataset = _read_data(study, begun, request)
    except TunebenchError as error:
        errors.append(error)
    if dataset is not None:
        study = _with_metric(study, dataset.task, tell)
        splits = split_ref(dataset, validates=study.validates)
        most, scored = available(study, dataset, splits)
        study = request.fit(study, most)
        study = with_validation_share(study, dataset, splits, begun=begun, tell=tell)
        for line in part_remarks(study, dataset, splits, most=most, test_size=scored):
            tell(line)
        for line in recipe_remarks(study):
            tell(line)
        errors += check_folds(study, dataset)
        errors += check_task(study, dataset.task, len(dataset.label_names))
        errors += check_recipes(study, dataset)
        errors += check_sizes(study, dataset, splits)
    names = {label: _name(study, label) for label in study.strategies}
    errors += check_strategies(
        study, {label: loaded[name].architecture for label, name in names.items() if name in loaded}
    )
    models = {} if dataset is None else _with_heads(loaded, study, dataset, errors)
    raise_all(errors)
    assert dataset is not None
    for name, model in loaded.items():
        for line in model.base.remarks(models[name].used.head):
            tell(line if len(loaded) == 1 else f"{name[0]}: {line}")
    own = {label: models[names[label]] for label, config in study.strategies.items() if config.model}
    return Resolved(study, models[_name(study)], own, dataset, splits, begun)


#: A model's source and revision.
_Name = tuple[str, str | None]


class _Loaded(NamedTuple):
    ref: ModelRef
    architecture: Architecture
    base: Base


def _name(study: StudyConfig, label: str | None = None) -> _Name:
    """Return the model of a strategy, or of the study."""
    own = None if label is None else study.strategies[label]
    if own is None or own.model is None:
        return study.model, study.model_revision
    return own.model, own.model_revision


def _load_models(study: StudyConfig, errors: list[TunebenchError]) -> dict[_Name, _Loaded]:
    """Load what is read of each model before training; what is wrong with one is added to the errors."""
    found = {}
    for name in study.models:
        try:
            ref, folder = resolve_model(*name), model_folder(*name)
            load_tokenizer(folder)
            found[name] = _Loaded(ref, load_architecture(folder), inspect_base(folder))
        except TunebenchError as error:
            errors.append(error)
    return found


def _with_heads(
    loaded: Mapping[_Name, _Loaded], study: StudyConfig, dataset: TextDataset, errors: list[TunebenchError]
) -> dict[_Name, ResolvedModel]:
    """Decide what is done with the classification head of each model."""
    found = {}
    for name, model in loaded.items():
        try:
            head = model.base.use_of_head(
                keep=study.keep_head, label_names=dataset.label_names, problem_type=dataset.task.problem_type
            )
        except TunebenchError as error:
            errors.append(error)
        else:
            found[name] = ResolvedModel(UsedModel(model.ref, head), model.architecture)
    return found


def _with_metric(study: StudyConfig, task: Task, tell: Callable[[str], None]) -> StudyConfig:
    """Return a study that names no metric with that of its task."""
    if "metric" in study.model_fields_set or study.metric == task.default_metric:
        return study
    tell(
        f"note: the metric is {task.default_metric}, the default for {task.label}; metric: NAME sets another "
        f"({', '.join(task.metrics)})."
    )
    return study.model_copy(update={"metric": task.default_metric})


def _read_data(study: StudyConfig, begun: Sequence[RunSpec], request: Request) -> tuple[StudyConfig, TextDataset]:
    """Read the data and say how it was read; of a folder's study, with the validation part that its runs have."""
    request.doing("reading the data")
    dataset = begun_data(study, begun, request.known)
    study, dataset = begun_validation(study, dataset, begun, known=request.known, tell=request.tell)
    for line in dataset.reading.lines():
        request.tell(line)
    return study, dataset
