"""Choosing learning rates with fewer steps: successive halving, decided by Optuna.

A trial is a run of the plan, and only its record lasts. Optuna's study is made from the records each time, so a
search resumes as a grid does. Rates are tried from the middle of their range outward.
At the evaluation that ``first_look`` names, at three times that, and so on, a run continues only if it is in the
best part of those that have come so far (asynchronous successive halving: Li et al. 2020, arXiv:1810.05934).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from tunebench.analysis.configuration import configurations_of
from tunebench.analysis.selecting import select_configuration
from tunebench.execution.budget import Trial
from tunebench.execution.display import Display
from tunebench.execution.runner import Job, Summary, run_plan
from tunebench.execution.signals import stop_on_signals
from tunebench.store.record import RunRecord
from tunebench.store.study_folder import StudyStore
from tunebench.study.parts import Search
from tunebench.study.spec import RunSpec, Setting
from tunebench.tasks.metric import Metric
from tunebench.tasks.registry import TASKS


class Trials:
    """The trials of one strategy at one size.

    Optuna always maximises: it is told of a metric of which less is better as its negative.

    Args:
        metric: The study's metric.
        first_look: The evaluation at which trials are first compared, from 1.
        reduction: One in this many continues.
    """

    def __init__(self, metric: Metric, *, first_look: int, reduction: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=first_look, reduction_factor=reduction)
        self._study = optuna.create_study(direction="maximize", pruner=pruner)
        self._trial = self._study.ask()
        self._told, self._metric = 0, metric

    def prune(self, scores: list[float]) -> bool:
        """Take the score of every evaluation of the current trial so far, and say whether to give it up."""
        for number in range(self._told + 1, len(scores) + 1):
            self._trial.report(self._metric.merit(scores[number - 1]), number)
            self._told = number
            if self._trial.should_prune():
                return True
        return False

    def end(self, record: RunRecord | None) -> None:
        """Close the current trial with the run's record (None: it failed), and open the next one."""
        from optuna.trial import TrialState

        best = record.selected.score if record is not None and record.selected is not None else None
        if record is None or best is None:
            self._study.tell(self._trial, state=TrialState.FAIL)
        elif record.status == "pruned":
            self._study.tell(self._trial, state=TrialState.PRUNED)
        else:
            self._study.tell(self._trial, self._metric.merit(best))
        self._trial, self._told = self._study.ask(), 0


def compared_together(specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Return the trials of each size and strategy: they are compared with each other and with no other one."""

    def key(spec: RunSpec) -> tuple[int, str]:
        return spec.train_size, spec.label

    return [list(group) for _, group in groupby(sorted(specs, key=key), key=key)]


def run_search(
    specs: Sequence[RunSpec], job: Job, *, search: Search, failures: Mapping[str, int | None] | None = None
) -> Summary:
    """Run every learning rate of every strategy and size, stopping those that fall behind.

    Args:
        specs: One seed of each rate, in the order of the plan; see :func:`tunebench.execution.budget.stage`.
        job: What they share.
        search: Settings.
        failures: When each run failed before this began; see :func:`tunebench.execution.runner.run_plan`.
    """
    whole, display = Summary(), job.display
    open_ = [spec.run_id for spec in specs if not job.store.run_folder(spec.run_id).complete]
    display.start({run_id: job.estimates.get(run_id, 0.0) for run_id in open_})
    part_display = _Part(display)
    try:
        # One for all trials: a stop that is asked for at the end of one is not forgotten with it.
        with stop_on_signals(display) as stop:
            for members in compared_together(specs):
                metric = TASKS[members[0].task].metrics[members[0].metric]
                trials = Trials(metric, first_look=first_look(search, members), reduction=search.reduction)
                for spec in members:
                    own = replace(job, display=part_display, prune=trials.prune)
                    part = run_plan([spec], own, failures=failures, stop=stop)
                    whole.add(part)
                    if part.stopped:
                        return whole
                    record = None if part.failed else job.store.run_folder(spec.run_id).read()
                    if record is not None and part.skipped:
                        # What another session has run is told to Optuna as if it ran now.
                        key = f"eval_{metric.name}"
                        trials.prune([entry[key] for entry in record.log_history if key in entry])
                    trials.end(record)
            whole.interrupted = stop()
    except KeyboardInterrupt:
        whole.interrupted = True
    finally:
        display.stop()
    return whole


def first_look(search: Search, specs: Sequence[RunSpec]) -> int:
    """Return the evaluation at which trials are first compared, from 1.

    A share is one of the evaluations of the shortest trial. Texts that a validation part takes for whole groups or
    rare classes are not counted, so it may be one evaluation off.
    """
    if search.first_look >= 1:
        return int(search.first_look)
    return max(1, round(search.first_look * min(_evaluations(spec) for spec in specs)))


def _evaluations(spec: RunSpec) -> int:
    """Return about how many evaluations a run plans."""
    from tunebench.training.encoder.prepare import evaluation_interval

    kept = 1.0 if spec.own_validation else 1 - spec.validation_fraction
    if spec.fold:
        kept = 1 - 1 / spec.folds
    steps_per_epoch = max(1, math.ceil(spec.train_size * kept / spec.texts_per_step))
    return math.ceil(spec.steps_at(steps_per_epoch) / evaluation_interval(spec, steps_per_epoch))


class _Part:
    """One display for runs that are started one by one."""

    def __init__(self, display: Display) -> None:
        self.update, self.finish, self.message = display.update, display.finish, display.message

    def start(self, estimates: Mapping[str, float], at_a_time: int = 1) -> None:
        """The search has begun already."""

    def stop(self) -> None:
        """The search ends the display."""


def survivors(store: StudyStore) -> set[Trial]:
    """Return what halving did not stop: strategy, size and setting of the first folds that went to their end."""
    return {
        (cell.spec.label, cell.spec.train_size, cell.spec.setting)
        for cell in store.cells()
        if cell.spec.fold == 1 and cell.trained
    }


def chosen_settings(store: StudyStore) -> dict[tuple[str, int], Setting]:
    """Return the setting that validation chose, by strategy and size."""
    found: dict[tuple[str, int], Setting] = {}
    cells = store.cells()
    for key in dict.fromkeys((cell.spec.label, cell.spec.train_size) for cell in cells):
        mine = [cell for cell in cells if (cell.spec.label, cell.spec.train_size) == key]
        best = select_configuration(configurations_of(mine))
        if best is not None and best.selection_scores():
            found[key] = best.cells[0].spec.setting
    return found
