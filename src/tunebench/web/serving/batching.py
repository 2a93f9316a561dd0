"""Micro-batching: requests that wait at the same time are computed together, by one thread.

No request waits for others: requests that arrive while a batch is computed form the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from tunebench.data.text import Text
    from tunebench.web.serving.models import LoadedModel, ModelGroup

_LOG = logging.getLogger(__name__)

#: Texts that are sorted by length together. Enough to leave little padding; few enough that a short text
#: does not wait for many long ones.
_ROUND = 256


class QueueFullError(Exception):
    """More texts wait than may.

    Args:
        retry_after: Seconds after which there should be room; an estimate.
    """

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__(f"the queue is full; try again in {retry_after} s")


class ClosedError(Exception):
    """The batcher takes nothing more."""


class Observer(Protocol):
    """Receives what was computed, in the worker's thread."""

    def computed(self, *, texts: int, tokens: int, seconds: float) -> None:
        """Take note of a batch; tokens are without padding."""


class Answerer(Protocol):
    """What the application asks for answers; :class:`MicroBatcher` is the one that is served."""

    @property
    def waiting(self) -> int:
        """Texts that were taken and are not answered."""

    @property
    def alive(self) -> bool:
        """Whether texts are taken and answered."""

    def submit(self, model: LoadedModel, texts: Sequence[Text]) -> Future[np.ndarray]:
        """Take texts, and return the future of their logits, float32 ``(texts, classes)``; it can be cancelled."""

    def close(self, timeout: float | None = None) -> None:
        """Answer what was taken, and take nothing more."""


@dataclass(eq=False)
class _Job:
    """A request: some texts for one model."""

    model: LoadedModel
    texts: Sequence[Text]
    arrived: float
    future: Future[np.ndarray] = field(default_factory=Future)
    rows: list[np.ndarray] = field(default_factory=list)
    logits: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    missing: int = 0


class MicroBatcher:
    """Answers texts through one worker thread, which alone runs the models.

    Args:
        waiting: Texts that may wait or be computed at a time.
        batch_tokens: Tokens a batch, padding included; a longer text is a batch of its own.
        observer: Called for every batch.
    """

    def __init__(self, *, waiting: int, batch_tokens: int = 8192, observer: Observer | None = None) -> None:
        self._limit, self._batch_tokens, self._observer = waiting, batch_tokens, observer
        self._queues: dict[ModelGroup, deque[_Job]] = {}
        self._changed = threading.Condition()
        self._waiting, self._closed, self._given_up = 0, False, False
        #: Texts a second while busy; smoothed over batches.
        self._rate: float | None = None
        self._worker = threading.Thread(target=self._work, name="tunebench-batcher", daemon=True)
        self._worker.start()

    @property
    def waiting(self) -> int:
        """Texts that were taken and are not answered."""
        return self._waiting

    @property
    def alive(self) -> bool:
        """Whether texts are taken and answered."""
        return self._worker.is_alive() and not self._closed

    def submit(self, model: LoadedModel, texts: Sequence[Text]) -> Future[np.ndarray]:
        """Take texts, and return the future of their logits: float32 ``(texts, classes)``, in order.

        Until it has them it can be cancelled: its place is free at once, and no further batch computes its texts.

        Args:
            model: Which classifier answers.
            texts: At least one, valid Unicode.

        Raises:
            QueueFullError: They would be too many with those that wait.
            ClosedError: After :meth:`close`.
        """
        job = _Job(model, texts, time.monotonic(), missing=len(texts))
        job.future.add_done_callback(lambda _: self._withdraw(job))
        with self._changed:
            if self._closed:
                raise ClosedError
            if self._waiting + len(texts) > self._limit:
                raise QueueFullError(self._retry_after())
            self._waiting += len(texts)
            self._queues.setdefault(model.group, deque()).append(job)
            self._changed.notify()
        return job.future

    def close(self, timeout: float | None = None) -> None:
        """Answer what was taken, then end the worker; nothing more is taken. Blocks until then.

        Args:
            timeout: Most seconds to wait. Then what is left is given up with :class:`ClosedError`, and the batch
                that is being computed has as long again: a thread that computes while the process ends aborts it.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._worker.join(timeout)
        self._given_up = True
        self._worker.join(timeout)

    def _retry_after(self) -> int:
        seconds = self._waiting / self._rate if self._rate else 1.0
        return int(min(60, max(1, round(seconds))))

    def _work(self) -> None:
        while jobs := self._next_round():
            if self._given_up:
                self._give_up(jobs)
                continue
            try:
                self._answer(jobs)
            except Exception:
                # One of them may be to blame; the others shall not fail with it.
                for job in jobs:
                    self._answer_alone(job)

    def _give_up(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            self._end(job, ClosedError())

    def _end(self, job: _Job, answer: np.ndarray | Exception) -> None:
        """Hand out an answer, unless nobody waits for it; from here on the future cannot be cancelled."""
        if not job.future.set_running_or_notify_cancel():
            return
        # First, so that who has the answer may ask again at once.
        self._release(job)
        if isinstance(answer, Exception):
            job.future.set_exception(answer)
        else:
            job.future.set_result(answer)

    def _release(self, job: _Job) -> None:
        """Make room for others."""
        with self._changed:
            self._waiting -= len(job.texts)

    def _withdraw(self, job: _Job) -> None:
        """Make room where nobody waits any more, also in the queue: it is to hold no more than may wait."""
        if not job.future.cancelled():
            return
        self._release(job)
        with self._changed:
            if job in (queue := self._queues[job.model.group]):
                queue.remove(job)

    def _next_round(self) -> list[_Job]:
        """Wait for work; return whole jobs of the group whose first has waited longest. Empty at the end."""
        with self._changed:
            while not any(self._queues.values()):
                if self._closed:
                    return []
                self._changed.wait()
            queue = min((queue for queue in self._queues.values() if queue), key=lambda queue: queue[0].arrived)
            jobs: list[_Job] = []
            texts = 0
            while queue and (not jobs or texts + len(queue[0].texts) <= _ROUND):
                jobs.append(queue.popleft())
                texts += len(jobs[-1].texts)
            return jobs

    def _answer_alone(self, job: _Job) -> None:
        if job.future.done():
            return
        try:
            self._answer([job])
        except Exception as error:
            _LOG.exception("model %s failed on %d texts", job.model.name, len(job.texts))
            self._end(job, error)

    def _answer(self, jobs: Sequence[_Job]) -> None:
        from tunebench.engine.batching import batches_by_length

        for job in jobs:
            job.rows = job.model.predictor.encode(job.texts)
            job.logits = np.empty((len(job.rows), len(job.model.predictor.label_names)), dtype=np.float32)
            job.missing = len(job.rows)
        places = [(job, i) for job in jobs for i in range(len(job.rows))]
        lengths = np.array([len(job.rows[i]) for job, i in places], dtype=np.int64)
        # The shortest first: most requests are answered before the longest of the round are computed.
        for chosen in reversed(list(batches_by_length(lengths, batch_tokens=self._batch_tokens))):
            if self._given_up:
                self._give_up([job for job in jobs if job.missing])
                return
            wanted = [places[i] for i in chosen if not places[i][0].future.cancelled()]
            if wanted:
                self._compute(wanted)

    def _compute(self, places: Sequence[tuple[_Job, int]]) -> None:
        """Compute one batch, and hand out the requests it completes."""
        start = time.perf_counter()
        rows = [job.rows[i] for job, i in places]
        found = places[0][0].model.group.logits(rows, [job.model for job, _ in places])
        seconds = time.perf_counter() - start
        rate = len(rows) / max(seconds, 1e-9)
        self._rate = rate if self._rate is None else 0.8 * self._rate + 0.2 * rate
        if self._observer is not None:
            self._observer.computed(texts=len(rows), tokens=sum(map(len, rows)), seconds=seconds)
        for (job, i), logits in zip(places, found, strict=True):
            job.logits[i] = logits
            job.missing -= 1
            if job.missing == 0:
                self._end(job, job.logits)
