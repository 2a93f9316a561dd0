"""Working through a plan: skip what is complete, resume what is not, record what fails."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial

from tunebench.data import TextDataset
from tunebench.errors import StoreError
from tunebench.execution.display import Display
from tunebench.execution.signals import stop_on_signals
from tunebench.execution.tracking.in_run import run_callbacks
from tunebench.formatting import counted, duration
from tunebench.machine.settings import Execution
from tunebench.store.folds import FoldChoice, fold_choice
from tunebench.store.live import LiveFile, Progress
from tunebench.store.record import Environment, Failure, RunRecord, Status, now
from tunebench.store.study_folder import StudyStore
from tunebench.study.spec import RunSpec
from tunebench.tasks.registry import TASKS
from tunebench.training.attempt import Attempt, Interrupted, TrainFunction


@dataclass(frozen=True)
class Job:
    """What all runs that are done together share.

    Attributes:
        store: Where they are written.
        dataset: Their texts.
        execution: Device and threads.
        display: Receives the progress.
        train: Trains one run.
        estimates: Seconds by run id, for the time left.
        prune: Decides at every evaluation whether a run is stopped early; see
            :class:`~tunebench.training.attempt.Attempt`.
        locked: Ids of the runs whose test part stays locked until a learning rate is chosen.
        deadline: When runs are stopped (``time.monotonic()``), if one is complete by then; None for never.
        shows_scores: Whether the test score of a run is shown when it ends. A study with declared looks shows none
            between them.
    """

    store: StudyStore
    dataset: TextDataset
    execution: Execution
    display: Display
    train: TrainFunction
    estimates: Mapping[str, float] = field(default_factory=dict)
    prune: Callable[[list[float]], bool] | None = None
    locked: frozenset[str] = frozenset()
    deadline: float | None = None
    shows_scores: bool = True

    def out_of_time(self) -> bool:
        """Tell whether the deadline is over. Before any run is complete there is nothing to stop for."""
        if self.deadline is None or time.monotonic() < self.deadline:
            return False
        return any(self.store.run_folder(spec.run_id).complete for spec in self.store.trainable())

    def attempt(self, spec: RunSpec, *, report: Callable[[Progress], None], stop: Callable[[], bool]) -> Attempt:
        """Return an attempt at one of the runs."""
        return Attempt(
            spec,
            self.dataset,
            self.store.run_folder(spec.run_id),
            self.execution,
            report=report,
            stop=stop,
            prune=self.prune,
            callbacks=partial(run_callbacks, self.execution.trackers),
            scores_test=spec.run_id not in self.locked,
            folds=self._fold_choice(spec),
        )

    def _fold_choice(self, spec: RunSpec) -> FoldChoice | None:
        """Return what the folds chose for a run on all texts; None for any other run."""
        found = [self.store.run_folder(one.run_id).read() for one in spec.fold_runs]
        records = [record for record in found if record is not None]
        return fold_choice(records) if records else None


@dataclass
class Summary:
    """How the runs ended, by id; and whether they were stopped, by a signal or by the deadline."""

    complete: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    interrupted: bool = False
    out_of_time: bool = False

    @property
    def stopped(self) -> bool:
        """Whether runs that were to follow must not begin."""
        return self.interrupted or self.out_of_time

    def add(self, part: Summary) -> None:
        """Add the results of more runs."""
        self.complete += part.complete
        self.skipped += part.skipped
        self.failed += part.failed
        self.interrupted |= part.interrupted
        self.out_of_time |= part.out_of_time


def run_plan(
    specs: Sequence[RunSpec],
    job: Job,
    *,
    failures: Mapping[str, int | None] | None = None,
    poll_seconds: float = 2.0,
    stop: Callable[[], bool] | None = None,
    waits: Callable[[str], None] | None = None,
) -> Summary:
    """Run the cells one after the other in this process; other processes may work on the same study.

    A run that another process holds is left to it, and waited for at the end: should that process
    die, its run is resumed here.

    Args:
        specs: What to run, in order.
        job: What they share.
        failures: When each run failed before this began (see :func:`failed_at`); a failure since then is
            another process's, and not tried again. Looked up here by default.
        poll_seconds: How often a run held elsewhere is looked at.
        stop: Asked instead of listening for signals, where the caller does that.
        waits: Told, instead of the display, that only runs which others hold are left.

    Returns:
        What became of them. Failures are records in the store; nothing is raised for them.
    """
    summary, store, display = Summary(), job.store, job.display
    if failures is None:
        failures = {spec.run_id: failed_at(spec, store) for spec in specs}
    waiting, told = list(specs), False
    open_ = {spec.run_id for spec in specs if not store.run_folder(spec.run_id).complete}
    display.start({run_id: job.estimates.get(run_id, 0.0) for run_id in open_})
    try:
        with stop_on_signals(display) if stop is None else nullcontext(stop) as asked:
            while waiting and not summary.stopped:
                held = []
                for spec in waiting:
                    if _must_stop(job, asked, summary):
                        break
                    with store.locked(spec.run_id) as mine:
                        if not mine:
                            held.append(spec)
                        # Looked at under the lock: only its holder may set a damaged run aside.
                        elif _settled(spec, store, display, summary):
                            if spec.run_id in open_:
                                display.finish(spec.run_id, f"{spec.run_id}: done by another process")
                        elif failed_at(spec, store) != failures[spec.run_id]:
                            summary.failed.append(spec.run_id)
                            display.finish(spec.run_id, f"{spec.run_id}: failed in another process")
                        else:
                            _run(spec, job, asked, summary)
                    if summary.stopped:
                        break
                if held == waiting and not summary.stopped:
                    if not told:
                        told = True
                        left = counted(len(held), "run")
                        (waits or display.message)(f"waiting for {left} that another process trains")
                    time.sleep(poll_seconds)
                waiting = held
            # Also where the last run was past its last look: what follows the runs must not begin either.
            summary.interrupted |= asked()
    except KeyboardInterrupt:
        summary.interrupted = True
    finally:
        display.stop()
    return summary


def _must_stop(job: Job, asked: Callable[[], bool], summary: Summary) -> bool:
    """Tell whether no run may begin, and note why."""
    summary.interrupted |= asked()
    summary.out_of_time |= not summary.interrupted and job.out_of_time()
    return summary.stopped


def failed_at(spec: RunSpec, store: StudyStore) -> int | None:
    """Return when a run's failure was written, in ns: one written since the start is not tried again."""
    try:
        return store.run_folder(spec.run_id).failure.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _settled(spec: RunSpec, store: StudyStore, display: Display, summary: Summary) -> bool:
    """Tell whether a run is complete and sound; a damaged one is set aside, to be run again."""
    folder = store.run_folder(spec.run_id)
    if not folder.complete:
        return False
    try:
        record = folder.read()
        assert record is not None
        folder.verify(record)
        folder.check_results(record)
    except StoreError as error:
        target = folder.quarantine()
        display.message(f"{error}\n  set aside as {target.name}; the run is trained again")
        return False
    folder.tidy()
    summary.skipped.append(spec.run_id)
    return True


def _run(spec: RunSpec, job: Job, asked: Callable[[], bool], summary: Summary) -> None:
    display, folder = job.display, job.store.run_folder(spec.run_id)
    live = LiveFile(folder.live, passed_on=display.update, metric=spec.metric, note=folder.note)
    started = now()
    try:
        folder.begin(spec)
        folder.note("resumed" if folder.checkpoint.exists() else "started")
        record = job.train(job.attempt(spec, report=live.update, stop=lambda: asked() or job.out_of_time()))
        folder.commit(record)
    except (Interrupted, KeyboardInterrupt) as reason:
        if isinstance(reason, KeyboardInterrupt) or not _must_stop(job, asked, summary):
            summary.interrupted = True
        why = f"the budget is spent, {reason}" if summary.out_of_time else str(reason) or "aborted"
        live.write()
        folder.note(f"interrupted: {why}")
        display.message(f"{spec.run_id}: {why}; run the same command again to resume")
    except Exception as error:
        live.write()
        status: Status = "out_of_memory" if _is_out_of_memory(error) else "failed"
        failure = Failure(
            type=type(error).__name__,
            message=str(error) or type(error).__name__,
            traceback="".join(traceback.format_exception(error))[-20_000:],
        )
        record = RunRecord(
            run_id=spec.run_id,
            status=status,
            spec=spec,
            started=started,
            finished=now(),
            environment=getattr(error, "environment", None) or environment(job.execution),
            error=failure,
        )
        try:
            folder.fail(record, resumable=isinstance(error, OSError))
            folder.note(f"{status}: {failure.type}: {failure.message}")
        except OSError as second:
            display.message(f"{spec.run_id}: the failure could not be written: {second}")
        summary.failed.append(spec.run_id)
        first = failure.message.splitlines()[0]
        display.finish(spec.run_id, f"{spec.run_id}: {status.replace('_', ' ')}: {first}")
    else:
        folder.note("complete")
        summary.complete.append(spec.run_id)
        display.finish(spec.run_id, _line(record, shows_score=job.shows_scores))


def environment(execution: Execution) -> Environment:
    """Describe where a run failed; the device is the one asked for, since it may be what failed."""
    from tunebench.machine import devices
    from tunebench.machine.environment import describe, versions

    return Environment(
        versions=versions(),
        machine=describe(),
        device=execution.device,
        threads=devices.threads_of(execution),
    )


def _line(record: RunRecord, *, shows_score: bool) -> str:
    scores, timing = record.scores, record.timing
    metric = TASKS[record.spec.task].metrics[record.spec.selects_by]
    found = "trained, test part locked"
    if scores is not None and not shows_score:
        found = "scored, shown at the next look"
    elif scores is not None:
        value = scores[metric.name]
        found = f"{metric.label} {'not defined' if value is None else f'{value:.4f}'}"
    best = record.selected.score if record.selected else None
    if record.spec.fold and best is not None:
        found = f"validation {metric.label} {best:.4f}"
    if record.status == "pruned":
        found = "stopped early" if best is None else f"stopped early, validation {metric.label} {best:.4f}"
    took = f", {duration(timing.wall_seconds)}" if timing and timing.wall_seconds is not None else ""
    return f"{record.run_id.rsplit('-', 1)[0]}: {found}{took}"


def _is_out_of_memory(error: BaseException) -> bool:
    """Recognise memory errors of Python and of torch, without importing torch."""
    names = {cls.__name__ for cls in type(error).__mro__}
    text = str(error).lower()
    phrases = ("not enough memory", "can't allocate memory", "out of memory")
    told = isinstance(error, RuntimeError) and any(phrase in text for phrase in phrases)
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or told
