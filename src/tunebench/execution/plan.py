"""Which runs will train, in which order, and what they need; everything is checked before the first step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.data import TextDataset
from tunebench.errors import raise_all
from tunebench.execution.begun import begun_ids, begun_kernels, begun_precision
from tunebench.execution.budget import Chosen, Trial, choose, divided_by, equal_compute, order, reserved, stage
from tunebench.execution.checks import available, check_disk, check_processes, check_runs, disk_need
from tunebench.execution.engine_checks import check_precision, check_randomness
from tunebench.execution.estimates import estimate_plan
from tunebench.execution.looks import check_declared
from tunebench.execution.resolve import Request, Resolved, resolve, silent
from tunebench.execution.step_remarks import fold_remarks, step_remarks
from tunebench.machine import devices
from tunebench.machine.settings import Execution
from tunebench.store.plan_file import PlannedRun
from tunebench.store.study_folder import StudyStore
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.training.estimate import Estimate


#: A strategy is worth measuring if its runs take longer than this, in seconds. To measure it takes about ten.
_SHORT = 180.0


@dataclass(frozen=True)
class Plan:
    """A checked plan.

    Attributes:
        study: What it comes from; what it leaves open is as the runs of its folder have it.
        dataset: The loaded data.
        runs: Cells in the order they will run, those left out marked.
        estimates: By run id.
        done: Ids of the runs that are complete.
    """

    study: StudyConfig
    dataset: TextDataset
    runs: tuple[PlannedRun, ...]
    estimates: Mapping[str, Estimate]
    done: frozenset[str] = frozenset()

    @property
    def seconds(self) -> float:
        """Estimated time of the runs that are not left out."""
        return sum(self.estimates[spec.run_id].seconds for spec in self.to_run)

    @property
    def to_run(self) -> list[RunSpec]:
        """The runs that are not left out."""
        return [run.spec for run in self.runs if run.left_out is None]

    @property
    def run_seconds(self) -> dict[str, float]:
        """Estimated time by run id."""
        return {run_id: estimate.seconds for run_id, estimate in self.estimates.items()}

    @property
    def listed(self) -> list[PlannedRun]:
        """The runs with their estimated time, for whoever watches the folder."""
        seconds = self.run_seconds
        return [replace(run, seconds=seconds.get(run.spec.run_id)) for run in self.runs]

    @property
    def reserved(self) -> float:
        """Seconds that a budget keeps for runs which folds choose, as they are not planned yet."""
        planned = {run.spec.run_id for run in self.runs}
        return sum(found.seconds for run_id, found in self.estimates.items() if run_id not in planned)


def make_plan(
    study: StudyConfig,
    *,
    execution: Execution,
    folder: Path | None = None,
    budget_seconds: float | None = None,
    measure: bool = True,
    on_progress: Callable[[str], None] | None = None,
) -> Plan:
    """Resolve a study, and plan it; see :class:`~tunebench.execution.resolve.Request` for the arguments.

    Raises:
        TunebenchError: As :func:`~tunebench.execution.resolve.resolve` and :func:`plan_runs`.
    """
    request = Request(
        execution=execution,
        folder=folder,
        budget_seconds=budget_seconds,
        measure=measure,
        tell=on_progress or silent,
        doing=on_progress or silent,
    )
    return plan_runs(resolve(study, request), request)


def plan_runs(
    resolved: Resolved,
    request: Request,
    *,
    spent_seconds: float = 0.0,
    chosen: Chosen | None = None,
    survivors: Collection[Trial] = (),
    seeds: int | None = None,
) -> Plan:
    """Estimate every cell, order the cells, and leave out what the budget does not reach.

    Args:
        resolved: Model and data.
        request: How to plan.
        spent_seconds: What is gone of the budget already, on runs that are complete by now.
        chosen: Settings that are chosen so far; None before anything ran.
        survivors: What halving did not stop in the first fold of a cross-validation.
        seeds: Plan so many of the seeds, up to a look of the study; all of them by default.

    Raises:
        StoreError: The folder holds something else, another study, or one that declared other looks.
        PlanError: The disk is too small.
        TunebenchError: A run is refused.
    """
    study, dataset, folder = resolved.study, resolved.dataset, request.folder
    specs = [spec for spec in _specs(resolved, request) if spec.seed in study.seeds[:seeds]]
    device = devices.resolve_device(request.execution.device)
    raise_all(
        [*check_runs(specs, resolved.architectures), *check_randomness(specs, resolved.architectures, device)]
    )
    every, specs = specs, stage(study, specs, chosen or {}, survivors)
    later = reserved(study, every, specs)
    check_processes(specs, request.execution.processes, device)
    done: frozenset[str] = frozenset()
    if folder is not None:
        # Before anything is measured: a folder that cannot be used is no reason to wait.
        store = StudyStore.check(folder, specs)
        check_declared(study, folder)
        done = frozenset(spec.run_id for spec in specs if store.run_folder(spec.run_id).complete)
        request.known.timings.load(folder)
    raise_all(check_precision([spec for spec in specs if spec.run_id not in done], device))
    estimates = _estimates([*specs, *later], dataset, request)
    spent = spent_seconds + sum(estimates[spec.run_id].seconds for spec in later)
    at_a_time = divided_by(study, request.execution)
    runs = choose(order(specs), estimates, request.budget_seconds, done=done, spent=spent, at_a_time=at_a_time)
    if study.search.budget == "compute":
        runs = equal_compute(runs, estimates)
    if chosen is None:  # else it was said before the search
        for line in [*step_remarks(runs, estimates), *fold_remarks(study, runs)]:
            request.tell(line)
    if folder is not None:
        to_do = [r.spec for r in runs if r.left_out is None and r.spec.run_id not in done]
        check_disk(folder, disk_need(to_do, estimates))
    return Plan(study, dataset, tuple(runs), estimates, done)


def _estimates(specs: Sequence[RunSpec], dataset: TextDataset, request: Request) -> Mapping[str, Estimate]:
    """Estimate every run: from what is known, from the arithmetic where the study is short, or else measured."""
    known = request.known

    def estimate(measure: bool, profiles: dict[Any, Any]) -> Mapping[str, Estimate]:
        return estimate_plan(
            specs, dataset, request.execution, measure, request.doing, profiles=profiles, timings=known.timings
        )

    if request.measure and request.derive_short and not known.profiles and not known.timings:
        derived: dict[Any, Any] = {}
        found = estimate(False, derived)
        measured = {spec.label for spec in specs if STRATEGIES[spec.kind].uses_encoder}
        if sum(one.seconds for one in found.values()) < _SHORT * len(measured):
            known.profiles.update(derived)
            known.derived = True
            return found
    if known.derived and not request.derive_short:
        return estimate(request.measure, {})  # an earlier study of the job was short
    return estimate(request.measure and not known.derived, known.profiles)


def _specs(resolved: Resolved, request: Request) -> list[RunSpec]:
    """Return every cell of the grid, as the folder has it where it is there already."""
    study = resolved.study
    train_examples, test_examples = available(study, resolved.dataset, resolved.splits)
    device = devices.resolve_device(request.execution.device)
    precision = begun_precision(study, resolved.begun, device, request.tell)
    cells = expand(
        study,
        model=resolved.model.used.ref,
        data=resolved.data,
        train_examples=train_examples,
        test_examples=test_examples,
        precision=precision,
        kernels=begun_kernels(study, resolved.begun, precision, device, request.tell),
        base_head=resolved.model.used.head,
        own_models={label: model.used for label, model in resolved.own_models.items()},
        splits=resolved.splits,
        task=resolved.dataset.task.name,
    )
    return begun_ids(list(cells), resolved.begun)
