"""What a run takes to another process or machine, and how its errors come back under their own names."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tunebench.data import TextDataset
from tunebench.machine.settings import Execution
from tunebench.store.folds import FoldChoice
from tunebench.store.live import Progress
from tunebench.store.record import Environment
from tunebench.store.run_folder import RunFolder
from tunebench.study.spec import RunSpec
from tunebench.training.attempt import Attempt


class Line(Protocol):
    """What a run tells its sender, and asks of it."""

    def report(self, progress: Progress, /) -> None:
        """Send the progress."""

    def stop(self) -> bool:
        """Tell whether the run is to stop."""

    def prune(self, scores: list[float], /) -> bool:
        """Ask whether the run is given up."""


@dataclass(frozen=True)
class Orders:
    """What an attempt says beside the run itself; it pickles.

    Attributes:
        asks: Whether the sender decides, at every evaluation, if the run is given up.
        callbacks: Makes the Trainer's callbacks, there.
        scores_test: Whether the run is scored on the test part.
        folds: What the folds of a cross-validation chose for the run.
    """

    asks: bool
    callbacks: Callable[[RunFolder], Sequence[Any]]
    scores_test: bool
    folds: FoldChoice | None

    @classmethod
    def of(cls, attempt: Attempt) -> Orders:
        """Return an attempt's."""
        return cls(attempt.prune is not None, attempt.callbacks, attempt.scores_test, attempt.folds)

    def attempt(
        self, spec: RunSpec, dataset: TextDataset, folder: RunFolder, execution: Execution, line: Line
    ) -> Attempt:
        """Return the attempt where the run is trained.

        Args:
            spec: The run.
            dataset: Its texts.
            folder: Where it is written there.
            execution: Device and threads there.
            line: Leads back to the sender.
        """
        return Attempt(
            spec,
            dataset,
            folder,
            execution,
            report=line.report,
            stop=line.stop,
            prune=line.prune if self.asks else None,
            callbacks=self.callbacks,
            scores_test=self.scores_test,
            folds=self.folds,
        )


class RemoteFailureError(RuntimeError):
    """What went wrong elsewhere, where the error has no better name here."""


class _RemoteTracebackError(Exception):
    """Shows the other process's traceback as the cause."""


def describe_error(error: BaseException) -> dict[str, Any]:
    """Return an error as plain values."""
    return {
        "names": [cls.__name__ for cls in type(error).__mro__],
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def as_error(told: Mapping[str, Any], environment: Mapping[str, Any]) -> Exception:
    """Return an exception that is recorded as the one that :func:`describe_error` described would have been.

    Args:
        told: What that returned.
        environment: Where it happened, as JSON.
    """
    names = told["names"]
    base: type[Exception] = RemoteFailureError if "RuntimeError" in names else Exception
    if "MemoryError" in names or "OutOfMemoryError" in names:
        base = MemoryError
    elif "OSError" in names:
        base = OSError  # the disk, and not the run: its checkpoint stays
    error: Exception = type(names[0], (base,), {})(told["message"])
    error.__cause__ = _RemoteTracebackError(told["traceback"])
    error.environment = Environment.model_validate(environment)  # type: ignore[attr-defined]
    return error
