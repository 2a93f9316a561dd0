"""What training one run takes, and what trains it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tunebench.data import TextDataset
from tunebench.machine.settings import Execution
from tunebench.store.folds import FoldChoice
from tunebench.store.live import Progress
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.study.spec import RunSpec


class Interrupted(Exception):
    """A run stopped on request, with its checkpoint saved."""


class Pruned(Exception):
    """A run was stopped by the search: others had better scores after as many evaluations."""


def unheard(progress: Progress) -> None:
    """Take progress that nobody listens to."""


def never() -> bool:
    """Return False: nobody asks the run to stop."""
    return False


def _no_callbacks(folder: RunFolder) -> Sequence[Any]:
    return ()


@dataclass(frozen=True)
class Attempt:
    """One attempt at a run, from its beginning or from the checkpoint that an earlier one left.

    Attributes:
        spec: The run.
        dataset: Its texts.
        folder: Where everything of this run is written.
        execution: Device and threads.
        report: Called with the progress.
        stop: Asked after every step; when true, a checkpoint is saved and the run is interrupted.
        prune: Given the score of every evaluation on the selection split so far, says whether to give up.
        callbacks: Makes callbacks for the Trainer, such as trackers, in the process that trains. Backends without
            a Trainer of their own leave it alone.
        scores_test: Whether the run is scored on the test part. If not, the test part stays locked.
        folds: What the folds of a cross-validation chose for this run; None where it is no run after one.
    """

    spec: RunSpec
    dataset: TextDataset
    folder: RunFolder
    execution: Execution
    report: Callable[[Progress], None] = unheard
    stop: Callable[[], bool] = never
    prune: Callable[[list[float]], bool] | None = None
    callbacks: Callable[[RunFolder], Sequence[Any]] = _no_callbacks
    scores_test: bool = True
    folds: FoldChoice | None = None


class TrainFunction(Protocol):
    """What trains one run, here, in several processes, or far away; see :mod:`tunebench.training.encoder.run`."""

    def __call__(self, attempt: Attempt, /) -> RunRecord:
        """Train, and return the record without committing it."""
