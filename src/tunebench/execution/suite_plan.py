"""The plan of a suite: the studies of all data sets, checked and estimated before the first of them trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunebench.errors import ConfigError, ErrorGroup, PlanError, TunebenchError, raise_all
from tunebench.execution.budget import choose, divided_by, order, wall_seconds
from tunebench.execution.checks import check_disk, disk_need
from tunebench.execution.known import Known
from tunebench.execution.plan import plan_runs
from tunebench.execution.resolve import Request, resolve, silent
from tunebench.store.plan_file import PlannedRun
from tunebench.store.suite_folder import Member, SuiteStore
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec
from tunebench.study.suite import Suite, of_data_sets
from tunebench.training.estimate import Estimate


@dataclass(frozen=True)
class PlannedStudy:
    """The study of a data set, ready to run.

    Attributes:
        name: The data set.
        study: Its study, without the training sizes that the data does not have.
        member: What the suite's index says of it.
        runs: Its runs in their order, those that the budget leaves out marked.
        estimates: By run id.
        reserved: As of the plan.
        done: Ids of runs that are complete.
        request: How it was planned; holds what was measured.
        told: What was said while it was planned; grows until all is measured.
    """

    name: str
    study: StudyConfig
    member: Member
    runs: tuple[PlannedRun, ...]
    estimates: Mapping[str, Estimate]
    reserved: float
    done: frozenset[str]
    request: Request
    told: set[str]

    @property
    def to_do(self) -> list[RunSpec]:
        """The runs that are neither complete nor left out."""
        return [r.spec for r in self.runs if r.left_out is None and r.spec.run_id not in self.done]

    @property
    def seconds(self) -> float:
        """Estimated time of what is to do, with what is reserved."""
        return self._taking(self.to_do) + self.reserved

    @property
    def whole(self) -> float:
        """Estimated time of all planned runs, the complete ones included."""
        return self._taking([run.spec for run in self.runs if run.left_out is None]) + self.reserved

    @property
    def at_a_time(self) -> int:
        """By how many runs at a time its time is divided."""
        return divided_by(self.study, self.request.execution)

    def _taking(self, specs: Sequence[RunSpec]) -> float:
        return wall_seconds([(self.name, self.estimates[spec.run_id].seconds) for spec in specs], self.at_a_time)


def plan_suite(suite: Suite, folder: Path, request: Request) -> list[PlannedStudy]:
    """Resolve, check and estimate the studies of all data sets.

    All are checked before the first step is measured, which may take minutes.

    Args:
        suite: The suite.
        folder: Where it is or will be written.
        request: How to plan, with the budget for all data sets together; its folder is not used.

    Raises:
        StoreError: The folder holds something else.
        PlanError: The disk is too small for all of them.
        TunebenchError: Everything that is wrong with any data set, together.
    """
    store = SuiteStore(folder)
    store.check()
    planned: list[PlannedStudy] = []
    errors: dict[str, list[TunebenchError]] = {}
    for name, study in suite.studies.items():
        try:
            planned.append(_check_one(name, study, store, request))
        except TunebenchError as error:
            errors[name] = error.errors if isinstance(error, ErrorGroup) else [error]
    raise_all(of_data_sets(errors, len(suite.studies)))
    _tell_left_out(planned, request)
    _check_metrics(planned)
    _check_different(planned)
    planned = [_estimate_one(one, suite.studies[one.name]) if one.to_do else one for one in planned]
    if request.budget_seconds is not None:
        planned = _within(planned, request.budget_seconds)
    check_disk(folder, sum(disk_need(one.to_do, one.estimates) for one in planned if one.to_do))
    return planned


def _tell_left_out(planned: Sequence[PlannedStudy], request: Request) -> None:
    """Say which strategies have no run on a data set, because they are for other training sizes."""
    every = dict.fromkeys(label for one in planned for label in one.study.strategies)
    for one in planned:
        if missing := [label for label in every if label not in one.study.strategies]:
            request.tell(
                f"{one.name}: {', '.join(missing)} left out: for training sizes that this data set does not have"
            )


def _check_one(name: str, study: StudyConfig, store: SuiteStore, request: Request) -> PlannedStudy:
    """Plan the study of one data set, without the sizes that it does not have; nothing is measured."""
    left_out: dict[str, str] = {}
    stated: dict[str, int] = {}
    told: set[str] = set()

    def tell(line: str) -> None:
        told.add(line)
        request.tell(f"{name}: {line}")

    def fit(asked: StudyConfig, most: int) -> StudyConfig:
        left_out.update(_not_there(asked, most))
        sizes = tuple(size for size in asked.train_sizes if str(size) not in left_out)
        stated.update({str(size): most if size == "all" else size for size in sizes})
        if not sizes:
            raise ConfigError(
                f"The data has {most:,} texts to train on, fewer than every training size of the suite.",
                value=list(asked.train_sizes),
                fix="give it train_sizes of its own in the list of data, or remove it there",
            )
        return asked.with_train_sizes(sizes)

    own = replace(request, folder=store.study_folder(name), budget_seconds=None, tell=tell, known=Known(), fit=fit)
    resolved = resolve(study, own)
    for size, reason in left_out.items():
        tell(f"the training size {size} is left out: {reason}")
    plan = plan_runs(resolved, replace(own, measure=False, tell=silent))
    member = Member(name=name, sizes=stated, left_out=left_out)
    # What was read is let go: a suite may be larger than memory.
    kept = replace(own, known=Known())
    return PlannedStudy(name, plan.study, member, plan.runs, plan.estimates, plan.reserved, plan.done, kept, told)


def _estimate_one(one: PlannedStudy, study: StudyConfig) -> PlannedStudy:
    """Estimate again, from measured steps. The data is read again, which takes less than measuring does."""
    known = Known()
    own = replace(one.request, known=known)
    plan = plan_runs(resolve(study, replace(own, tell=silent)), own)
    measured = replace(own, known=Known(known.profiles))
    return replace(one, runs=plan.runs, estimates=plan.estimates, reserved=plan.reserved, request=measured)


def _not_there(study: StudyConfig, most: int) -> dict[str, str]:
    """Return why training sizes of a study are left out, by the size as it is stated."""
    found = {}
    for size in study.train_sizes:
        if size == "all":
            continue
        if size > most:
            found[str(size)] = f"the data has {most:,} texts to train on"
        elif size == most and "all" in study.train_sizes:
            found[str(size)] = "it is the same as all"
    return found


def _check_metrics(planned: Sequence[PlannedStudy]) -> None:
    """Refuse data sets whose differences have no common unit.

    Raises:
        PlanError: They have different metrics, because the default of their tasks differs.
    """
    metrics = {one.name: one.study.metric for one in planned}
    if len(set(metrics.values())) > 1:
        raise PlanError(
            "The data sets have different metrics, so their differences cannot be put together.",
            value=", ".join(f"{name}: {metric}" for name, metric in metrics.items()),
            fix="set one metric that all their tasks have, or make a suite for each task",
        )


def _check_different(planned: Sequence[PlannedStudy]) -> None:
    """Refuse a data set that is there twice: it would count as two.

    Raises:
        PlanError: Two of them hold the same texts and labels.
    """
    seen: dict[str, str] = {}
    for one in planned:
        other = seen.setdefault(one.runs[0].spec.data.fingerprint, one.name)
        if other != one.name:
            raise PlanError(
                "Two data sets of the suite hold the same texts and labels, and would count as two.",
                value=f"{other}, {one.name}",
                fix="remove one of them from the list of data",
            )


def _within(planned: Sequence[PlannedStudy], budget: float) -> list[PlannedStudy]:
    """Mark what a budget over all data sets leaves out.

    Runs are taken in blocks of one seed and training size over all data sets, so that what was paid for can be
    compared everywhere.
    """
    estimates = {run_id: found for one in planned for run_id, found in one.estimates.items()}
    specs = order([run.spec for one in planned for run in one.runs])
    done = {run_id for one in planned for run_id in one.done}
    spent = sum(one.reserved for one in planned)
    runs = choose(specs, estimates, budget, done=done, spent=spent, at_a_time=at_a_time(planned))
    chosen = {run.spec.run_id: run for run in runs}
    return [
        replace(
            one,
            # What a study leaves out by itself, such as search.budget, stays left out.
            runs=tuple(chosen[run.spec.run_id] if run.left_out is None else run for run in one.runs),
        )
        for one in planned
    ]


def at_a_time(planned: Sequence[PlannedStudy]) -> int:
    """Return by how many runs at a time a budget divides the time of a suite."""
    return min(one.at_a_time for one in planned)
