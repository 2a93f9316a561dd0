"""A study under way: its runs are trained, what chooses comes first, and what follows is planned again."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tunebench.errors import StoreError
from tunebench.execution.runner import Summary
from tunebench.formatting import counted
from tunebench.store.plan_file import PlannedRun
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.execution.budget import Chosen, Trial
    from tunebench.execution.display import JobDisplay
    from tunebench.execution.display_parts import Outline
    from tunebench.execution.executors import Executor
    from tunebench.execution.plan import Plan
    from tunebench.execution.resolve import Request, Resolved
    from tunebench.execution.runner import Job


@dataclass
class OngoingStudy:
    """A study whose runs are being trained.

    Attributes:
        resolved: What its plans are made of.
        request: Where it is written, and how it is executed and planned.
        executor: What trains its runs.
        display: Shows the progress.
        plan: Its plan so far.
        job: What the runs share.
        summary: What became of the runs so far.
        began: When training began, by the monotonic clock.
    """

    resolved: Resolved
    request: Request
    executor: Executor
    display: JobDisplay
    plan: Plan
    job: Job
    summary: Summary = field(default_factory=Summary)
    began: float = field(default_factory=time.monotonic)

    def choose(self, *, seeds: int) -> None:
        """Run what chooses settings first, and plan what follows, up to so many seeds.

        Nothing where the runs of the plan are chosen already.
        """
        study = self.resolved.study
        if study.search.method == "halving":
            self._halve(seeds=seeds)
        elif study.plans_twice and {seed for _, seed in study.choosing_draws} != set(study.seeds[:seeds]):
            self._run_grid(seeds=seeds)
        else:
            return
        self.show()

    def train(self, *, seeds: int) -> None:
        """Run what is planned up to so many seeds; what folds choose is trained behind them."""
        self._run([spec for spec in self.plan.to_run if not spec.fold_runs])
        if self.resolved.study.folds and not self.summary.stopped:
            self.plan_again(seeds=seeds)
            self.show()
            self._run([spec for spec in self.plan.to_run if spec.fold_runs])

    def plan_again(
        self,
        *,
        seeds: int,
        chosen: Chosen | None = None,
        going_on: Collection[Trial] = (),
        measure: bool | None = None,
    ) -> None:
        """Plan what follows the runs so far.

        Args:
            seeds: Up to how many.
            chosen: The chosen settings; by default those that the runs choose.
            going_on: What a search did not stop.
            measure: Whether to measure costs; by default as requested.
        """
        from tunebench.execution.plan import plan_runs
        from tunebench.execution.search import chosen_settings

        request, job, study = self.request, self.job, self.resolved.study
        assert request.folder is not None
        found = chosen_settings(job.store) if chosen is None else chosen
        plan = plan_runs(
            self.resolved,
            request if measure is None else replace(request, measure=measure),
            spent_seconds=time.monotonic() - self.began,
            chosen=found,
            survivors=going_on,
            seeds=seeds,
        )
        plan = replace(plan, runs=tuple(_unless_a_fold_lacks(run, job.store) for run in plan.runs))
        self.executor.prepare(plan.dataset, plan.to_run, plan.estimates)
        store = StudyStore.create(request.folder, study, [*plan.listed, *_overtaken(study, job.store, found)])
        request.known.timings.save(request.folder)
        self.plan = plan
        self.job = replace(job, store=store, estimates=plan.run_seconds, locked=locked_in(store))

    def leave_out_open(self) -> None:
        """Note in the plan what the deadline left open, so that the rest is compared.

        The next start plans it again. Runs that may still change a choice stay open, and what they choose for is
        not scored: the test part opens once.
        """
        why, study, store = "left out: the budget was spent before it was complete", self.plan.study, self.job.store
        searched = _searched(study)

        def ended(spec: RunSpec) -> bool:
            folder = store.run_folder(spec.run_id)
            return folder.complete or folder.failure.exists()

        def chooses(spec: RunSpec) -> bool:
            return spec.label in searched and spec.draw in study.choosing_draws

        open_ = [spec for spec in self.plan.to_run if not ended(spec)]
        left_out = {spec.run_id for spec in open_ if not chooses(spec)}
        runs = [replace(run, left_out=why) if run.spec.run_id in left_out else run for run in self.plan.listed]
        if open_:
            self.display.message(
                f"The budget is spent before {counted(len(open_), 'run')}; the same command resumes them."
            )
        self.job = replace(self.job, store=StudyStore.create(store.folder, study, runs))

    def show(self) -> None:
        """Show the plan as it is now."""
        self.display.outline(outline_of(self.plan, self.job.store))

    def _halve(self, *, seeds: int) -> None:
        """Run every rate with the first seed, and plan the other seeds at the chosen ones.

        What has one rate comes first, as it is often cheap: however early the study ends, there is something to
        compare with. Of a cross-validation the search stops rates in the first fold; those that it does not stop
        run in all folds.
        """
        from tunebench.execution.search import survivors

        study, job = self.resolved.study, self.job
        several = _searched(study)
        trials = [spec for spec in self.plan.to_run if spec.run_id in job.locked and spec.label in several]
        alone = [spec for spec in self.plan.to_run if spec.label not in several and spec.draw == study.draws[0]]
        first = [s for s in alone if not s.fold_runs and not job.store.run_folder(s.run_id).complete]
        if first:
            self._run(first)
        if self.summary.stopped:
            return
        self.summary.add(self.executor.search(trials, job, study.search))
        if self.summary.stopped:
            return
        # The budget goes by what was measured where runs follow: what is derived may be far off.
        measure = self.request.measure and (len(study.draws) > 1 or study.folds > 0)
        if study.folds:
            self.plan_again(seeds=seeds, chosen={}, going_on=survivors(job.store), measure=measure)
            self._run([spec for spec in self.plan.to_run if spec.fold and spec.draw == study.draws[0]])
            if self.summary.stopped:
                return
        self.plan_again(seeds=seeds, measure=measure)

    def _run_grid(self, *, seeds: int) -> None:
        """Run a grid with the seeds that choose, and plan the other seeds at the chosen settings."""
        tried, open_ = set[str](), self._choosing()
        while True:
            if open_:
                self._run(open_)
            if self.summary.stopped:
                return
            self.plan_again(seeds=seeds)
            # A budget may have room for more of the runs that choose when the first have ended.
            tried |= {spec.run_id for spec in open_}
            open_ = [spec for spec in self._choosing() if spec.run_id not in tried]
            if not open_:
                return

    def _choosing(self) -> list[RunSpec]:
        """Return the runs to do with the seeds that choose; what folds choose is trained behind them."""
        draws = self.plan.study.choosing_draws
        staged = [spec for spec in self.plan.to_run if spec.draw in draws and not spec.fold_runs]
        return [spec for spec in staged if not self.job.store.run_folder(spec.run_id).complete]

    def _run(self, specs: Sequence[RunSpec]) -> None:
        """Run what has not failed before, and add what became of it to the summary."""
        if self.summary.stopped:
            return
        rest = self.executor.run([spec for spec in specs if spec.run_id not in self.summary.failed], self.job)
        ended = {*self.summary.complete, *self.summary.skipped}
        rest.skipped = [run_id for run_id in rest.skipped if run_id not in ended]
        self.summary.add(rest)


def outline_of(plan: Plan, store: StudyStore) -> Outline:
    """Return the plan as a display shows it."""
    from tunebench.execution.display_parts import Outline

    metric = plan.dataset.task.metrics[plan.study.metric]

    def score_of(run_id: str) -> float | None:
        try:
            record = store.run_folder(run_id).read()
        except StoreError:  # damaged; whoever trains it says so
            return None
        return record.selected.score if record is not None and record.selected is not None else None

    done = [run.spec.run_id for run in plan.runs if store.run_folder(run.spec.run_id).complete]
    return Outline(plan.runs, done, score_of, lambda one, other: max(one, other, key=metric.merit))


def locked_in(store: StudyStore) -> frozenset[str]:
    """Return the runs whose test part is locked, of all the study may hold.

    A rate that is added today makes yesterday's choice one among several.
    """
    from tunebench.execution.test_part import locked_runs

    return locked_runs(store.trainable())


def _searched(study: StudyConfig) -> set[str]:
    """Return the strategies with several settings to choose from."""
    return {label for label, strategy in study.strategies.items() if len(study.settings_of(strategy)) > 1}


def _overtaken(study: StudyConfig, store: StudyStore, chosen: Chosen) -> list[PlannedRun]:
    """Return the further seeds that an earlier plan had at a setting which is no longer chosen, as left out.

    They will not run. As long as they were to come, nothing of their strategy would be scored.
    """
    if not study.plans_twice:
        return []
    return [
        PlannedRun(spec, "left out: another setting was chosen")
        for spec in store.trainable()
        if spec.draw not in study.choosing_draws
        and chosen.get((spec.label, spec.train_size), spec.setting) != spec.setting
        and not store.run_folder(spec.run_id).complete
    ]


def _unless_a_fold_lacks(run: PlannedRun, store: StudyStore) -> PlannedRun:
    """Leave a run on all texts out while the folds that choose for it are not all complete."""
    lacking = [one.run_id for one in run.spec.fold_runs if not store.run_folder(one.run_id).complete]
    if not lacking or run.left_out is not None:
        return run
    return replace(run, left_out=f"left out: all folds choose together, and {lacking[0]} is not complete")
