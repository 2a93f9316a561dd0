"""A task a run on a Ray cluster; everything that lasts is written by this process.

Each run in flight has a thread here that does what the serial executor does (lock, folder, record,
failure), with a ``train`` that sends the run away and waits. So the driver may die at any time: Ray ends
its tasks, the locks are free, and the next driver resumes from the checkpoints that came back.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tunebench.data import TextDataset
from tunebench.execution.executors import ray_cluster
from tunebench.execution.executors.base import Executor
from tunebench.execution.executors.ray_files import (
    keep_checkpoint,
    shared_inputs,
    unfinished,
    write_outcome,
)
from tunebench.execution.executors.ray_task import Mailbox, run_task
from tunebench.execution.executors.remote import Orders
from tunebench.execution.executors.shared_display import SharedDisplay
from tunebench.execution.runner import Job, Summary, failed_at, run_plan
from tunebench.execution.signals import stop_on_signals
from tunebench.machine.settings import Execution
from tunebench.store.record import RunRecord
from tunebench.study.spec import RunSpec
from tunebench.training.attempt import Attempt, Interrupted, TrainFunction

if TYPE_CHECKING:
    from tunebench.training.estimate import Estimate

#: Times a run is tried again after its worker or node died.
RETRIES = 3
#: Seconds between looks at the mailbox, and at a run's task.
_POLL = 0.3
#: Runs in flight for each that fits, so that a freed node need not wait (and an autoscaler sees demand).
_AHEAD = 2
_AT_MOST = 256


@dataclass
class _Call:
    """One task on the cluster, for the thread that takes events from the mailbox."""

    attempt: Attempt
    started: bool = False


class RayExecutor(Executor):
    """Runs on a Ray cluster.

    Raises:
        MissingExtraError: On entering: Ray is not installed.
        ConfigError: On entering: nothing answers at the address.
    """

    def __init__(self, execution: Execution) -> None:
        super().__init__(execution)
        self._joined = self._forced = False
        self._mailbox: Any = None
        self._shared: Any = None
        self._sent: tuple[str, ...] | None = None
        self._memory: dict[str, int] = {}
        self._threads = 1
        self._calls: dict[str, _Call] = {}
        self._draining = threading.Lock()
        self._closed = threading.Event()
        #: What a task runs; the tests put something light in its place.
        self.remote_train: TrainFunction | None = None

    def __enter__(self) -> RayExecutor:
        """Join or start the cluster."""
        self._joined = ray_cluster.connect(self.execution.ray_address)
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        try:
            self._threads = ray_cluster.threads_of_a_run(self.execution.threads)
            here = ray.get_runtime_context().get_node_id()
            # Nowhere else: with another node, the mailbox of a living driver could die.
            beside = NodeAffinitySchedulingStrategy(node_id=here, soft=False)
            self._mailbox = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=beside).remote()
            ray.get(self._mailbox.stopping.remote())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        threading.Thread(target=self._relay, name="tunebench-ray", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster; one that was started for this ends."""
        import ray

        self._closed.set()
        with self._draining:
            if self._mailbox is not None:
                ray.kill(self._mailbox)
            self._mailbox = self._shared = None
            if self._joined:
                ray.shutdown()

    def prepare(self, dataset: TextDataset, specs: Sequence[RunSpec], estimates: Mapping[str, Estimate]) -> None:
        """Put texts, tokens and models into the object store, once, and check that every run fits a node.

        Raises:
            PlanError: A run fits no node.
        """
        import ray

        self._memory = {run_id: estimate.memory_bytes for run_id, estimate in estimates.items()}
        if specs:
            ray_cluster.check_fits(self._need(max(specs, key=lambda spec: self._memory.get(spec.run_id, 0))))
            models = list({spec.model.source: spec.model for spec in specs}.values())
            content = (dataset.fingerprint, *(model.fingerprint for model in models))
            if self._sent != content:
                self._shared, self._sent = ray.put(shared_inputs(dataset, models)), content

    @property
    def train(self) -> TrainFunction:
        """Train one run on the cluster, as if it were here."""
        return self._train

    def run(self, specs: Sequence[RunSpec], job: Job) -> Summary:
        """Run the cells; see :func:`tunebench.execution.runner.run_plan`."""
        store, display = job.store, job.display
        failures = {spec.run_id: failed_at(spec, store) for spec in specs}
        open_ = [spec for spec in specs if not store.run_folder(spec.run_id).complete]
        fit = max(1, ray_cluster.slots(self._need(open_[0]))) if open_ else 1
        display.start({spec.run_id: job.estimates.get(spec.run_id, 0.0) for spec in open_}, fit)
        shared = SharedDisplay(display)
        alone = replace(job, display=shared, estimates={})
        run_one = partial(run_plan, job=alone, failures=failures, waits=shared.waits)
        summary = Summary()
        flying: set[Future[Summary]] = set()
        size = min(_AT_MOST, _AHEAD * fit)

        def collect(most: int) -> None:
            nonlocal flying
            while len(flying) > most:
                done, flying = wait(flying, timeout=_POLL, return_when=FIRST_COMPLETED)
                for future in done:
                    summary.add(future.result())

        try:
            with ThreadPoolExecutor(size) as pool, stop_on_signals(display) as stop:
                try:
                    for spec in specs:
                        summary.interrupted |= stop()
                        if summary.stopped:
                            break
                        flying.add(pool.submit(run_one, [spec], stop=stop))
                        collect(size - 1)
                    collect(0)
                except KeyboardInterrupt:
                    # The second Ctrl-C: tasks are killed, and the threads' waiting ends.
                    self._forced = summary.interrupted = True
                    collect(0)
        finally:
            display.stop()
        return summary

    # One run -----------------------------------------------------------------------------------

    def _need(self, spec: RunSpec) -> dict[str, float]:
        from tunebench.machine import devices

        need: dict[str, float] = {"CPU": self._threads, "memory": self._memory.get(spec.run_id, 0)}
        if devices.resolve_device(self.execution.device) == "cuda":
            need["GPU"] = 1
        return need

    def _train(self, attempt: Attempt) -> RunRecord:
        """Send a run away until it comes back; once more where its worker dies. See ``TrainFunction``."""
        import ray
        from ray.exceptions import ActorDiedError, NodeDiedError, ObjectLostError, WorkerCrashedError

        from tunebench.machine import devices

        lost = (WorkerCrashedError, NodeDiedError, ObjectLostError, ActorDiedError)
        spec, folder = attempt.spec, attempt.folder
        need = self._need(spec)
        device = devices.resolve_device(attempt.execution.device)
        there = attempt.execution.model_copy(
            update={
                # As resolved here, where the plan's precision comes from.
                "device": device,
                "threads": self._threads,
                "workers": max(int(node["CPU"]) // self._threads for node in ray_cluster.nodes()),
            }
        )
        task = ray.remote(run_task).options(
            num_cpus=need["CPU"], num_gpus=need.get("GPU", 0), memory=need["memory"] or None, max_retries=0
        )
        for number in range(1, RETRIES + 2):
            key = f"{spec.run_id}:{number}"
            call = self._calls[key] = _Call(attempt)
            reference = task.remote(
                key,
                spec.model_dump(mode="json"),
                there,
                self._shared,
                unfinished(folder),
                self._mailbox,
                self.remote_train or super().train,
                Orders.of(attempt),
            )
            try:
                outcome = self._wait(reference, call)
                break
            except lost as error:
                if number > RETRIES:
                    raise
                folder.note(f"{type(error).__name__}; tried again, attempt {number + 1} of {RETRIES + 1}")
            finally:
                self._drain()
                self._calls.pop(key, None)
        return write_outcome(outcome, folder)

    def _wait(self, reference: Any, call: _Call) -> dict[str, Any]:
        """Return what a task gives.

        Raises:
            Interrupted: The run is to stop, and has not begun; or everything is to end at once.
        """
        import ray
        from ray.exceptions import TaskCancelledError

        told, stop = False, call.attempt.stop
        while True:
            ready, _ = ray.wait([reference], timeout=_POLL)
            if ready:
                try:
                    outcome: dict[str, Any] = ray.get(reference)
                except TaskCancelledError:
                    raise Interrupted("stopped") from None
                return outcome
            if self._forced:
                ray.cancel(reference, force=True)
                raise Interrupted("stopped at once")
            if stop() and not call.started:
                self._drain()  # its word that it began may be waiting: then it has a checkpoint to bring back
                if not call.started:
                    ray.cancel(reference)
                    raise Interrupted("stopped before it began")
            if stop() and not told:
                told = True
                self._mailbox.stop.remote()

    # Events ------------------------------------------------------------------------------------

    def _relay(self) -> None:
        while not self._closed.wait(_POLL):
            self._drain()

    def _drain(self) -> None:
        """Take what the runs have sent, and pass it on; one thread at a time, so that nothing overtakes."""
        import ray

        with self._draining:
            if self._mailbox is None:
                return
            try:
                events = ray.get(self._mailbox.take.remote(), timeout=30)
            except Exception:
                return  # the cluster is going; whoever waits for a run hears of it there
            for key, kind, value in events:
                call = self._calls.get(key)
                if call is not None:
                    self._handle(call, key, kind, value)

    def _handle(self, call: _Call, key: str, kind: str, value: Any) -> None:
        import ray

        attempt = call.attempt
        if kind == "progress":
            attempt.report(value)
        elif kind == "started":
            call.started = True
            attempt.folder.note(f"runs on {value}")
        elif kind == "log":
            attempt.folder.note(value)
        elif kind == "checkpoint":
            try:
                keep_checkpoint(ray.get(value[0], timeout=60), attempt.folder)
            except ray.exceptions.RayError:
                pass  # its machine has gone; the one before stays
        elif kind == "prune":
            number, scores = value
            self._mailbox.answer.remote(key, number, attempt.prune is not None and attempt.prune(scores))
