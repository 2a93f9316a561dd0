"""What will run, in which order, and what it will take; everything is checked before the first step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunebench.data import TextDataset, load_dataset
from tunebench.data.reference import DataRef
from tunebench.data.rules import split_ref
from tunebench.errors import TunebenchError, raise_all
from tunebench.execution.begun import begun_copies, begun_params, begun_validation
from tunebench.execution.budget import choose, equal_compute, order, stage
from tunebench.execution.checks import (
    available,
    check_disk,
    check_processes,
    check_runs,
    check_sizes,
    check_strategies,
    disk_need,
)
from tunebench.execution.estimates import estimate_plan
from tunebench.execution.part_remarks import part_remarks
from tunebench.machine.settings import Execution
from tunebench.models.loading import inspect_base, load_architecture, load_tokenizer, model_folder, resolve_model
from tunebench.recipe import Engine, Precision
from tunebench.store.imported import is_imported
from tunebench.store.study_folder import PlannedRun, StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.spec import expand

if TYPE_CHECKING:
    from tunebench.training.estimate import Estimate


@dataclass(frozen=True)
class Plan:
    """A checked plan.

    Attributes:
        study: What it comes from; what it leaves open is as the runs of its folder have it.
        dataset: The loaded data.
        runs: Cells in the order they will run, those left out marked.
        estimates: By run id.
    """

    study: StudyConfig
    dataset: TextDataset
    runs: tuple[PlannedRun, ...]
    estimates: Mapping[str, Estimate]

    @property
    def seconds(self) -> float:
        """Estimated time of the runs that are not left out."""
        return sum(self.estimates[r.spec.run_id].seconds for r in self.runs if r.left_out is None)


def make_plan(
    study: StudyConfig,
    *,
    execution: Execution,
    folder: Path | None = None,
    budget_seconds: float | None = None,
    spent_seconds: float = 0.0,
    measure: bool = True,
    chosen: Mapping[tuple[str, int], float] | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Plan:
    """Load and check everything, estimate every cell, and order the cells.

    Args:
        study: The study.
        execution: Device and threads.
        folder: Where it will be written, for the check of free space.
        budget_seconds: What does not fit is left out, whole comparisons at a time.
        spent_seconds: What is gone of the budget already, on runs that are complete by now.
        measure: Take a few steps of each way of training, for the estimates.
        chosen: Learning rates that a search has found so far, by strategy and size.
        on_progress: Told what is being done.

    Raises:
        TunebenchError: Everything that is wrong with model, data and sizes, together.
        StoreError: The folder holds something else, or another study.
        PlanError: The disk is too small.
    """
    from tunebench.machine import devices

    tell = on_progress or (lambda line: None)
    study = begun_params(begun_copies(study, folder, tell), folder, tell)
    errors: list[TunebenchError] = []
    model = architecture = dataset = base = splits = None
    try:
        model = resolve_model(study.model, study.model_revision)
        folder_of_model = model_folder(study.model, study.model_revision)
        architecture = load_architecture(folder_of_model)
        base = inspect_base(folder_of_model)
        load_tokenizer(folder_of_model)
    except TunebenchError as error:
        errors.append(error)
    try:
        study, dataset = _read_data(study, folder, tell)
    except TunebenchError as error:
        errors.append(error)
    if dataset is not None:
        splits = split_ref(dataset, validates=study.held_out_fraction > 0)
        most, scored = available(study, dataset, splits)
        for line in part_remarks(study, dataset, splits, most=most, test_size=scored):
            tell(line)
        errors += check_sizes(study, dataset, splits)
    if architecture is not None:
        errors += check_strategies(study, architecture)
    base_head = None
    if base is not None and dataset is not None:
        try:
            base_head = base.use_of_head(keep=study.keep_head, label_names=dataset.label_names)
        except TunebenchError as error:
            errors.append(error)
    raise_all(errors)
    assert model is not None and architecture is not None and base is not None and dataset is not None
    for line in base.remarks(base_head):
        tell(line)

    device = devices.resolve_device(execution.device)
    train_examples, test_examples = available(study, dataset, splits)
    data = DataRef(
        source=study.data.source,
        revision=dataset.revision,
        fingerprint=dataset.fingerprint,
        label_names=dataset.label_names,
    )
    specs = list(
        expand(
            study,
            model=model,
            data=data,
            train_examples=train_examples,
            test_examples=test_examples,
            precision=_auto_precision(study, device, folder, tell),
            base_head=base_head,
            splits=splits,
        )
    )
    raise_all(check_runs(specs, architecture))
    specs = stage(study, specs, chosen or {})
    check_processes(specs, execution.processes, device)
    done: set[str] = set()
    if folder is not None:
        # Before anything is measured: a folder that cannot be used is no reason to wait.
        store = StudyStore.check(folder, specs)
        done = {spec.run_id for spec in specs if store.run_folder(spec.run_id).complete}
    estimates = estimate_plan(specs, dataset, execution, measure, on_progress)
    runs = choose(order(specs), estimates, budget_seconds, done=done, spent=spent_seconds)
    if study.search.budget == "compute":
        runs = equal_compute(runs, estimates)
    if folder is not None:
        to_do = [r.spec for r in runs if r.left_out is None and r.spec.run_id not in done]
        check_disk(folder, disk_need(to_do, estimates))
    return Plan(study, dataset, tuple(runs), estimates)


def _read_data(
    study: StudyConfig, folder: Path | None, tell: Callable[[str], None]
) -> tuple[StudyConfig, TextDataset]:
    """Read the data and say how it was read; of a folder's study, with the validation part that its runs have."""
    tell("reading the data")
    study, dataset = begun_validation(study, load_dataset(study.data), folder, tell)
    for line in dataset.reading.lines():
        tell(line)
    return study, dataset


def _auto_precision(
    study: StudyConfig, device: str, folder: Path | None, tell: Callable[[str], None]
) -> dict[Engine, Precision]:
    """Return what ``precision: auto`` stands for, by engine: what gains here, or what the folder's runs have.

    So that a study begun on one kind of machine goes on on another, and is not taken for another study.
    """
    from tunebench.machine import devices

    engines: tuple[Engine, ...] = ("fast", "reference")
    here: dict[Engine, Precision] = {engine: devices.default_precision(device, engine) for engine in engines}
    found = dict(here)
    for spec in [] if folder is None else StudyStore(folder).begun():
        strategy = study.strategies.get(spec.label)
        if strategy and study.recipe_of(strategy).precision == "auto" and not is_imported(spec):
            found[spec.engine] = spec.precision
    if found != here:
        tell(f"the study was begun in {found['fast']} and goes on in it; new, it would be in {here['fast']} here")
    return found
