"""What an executor is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from tunebench.data import TextDataset
from tunebench.execution.runner import Job, Summary
from tunebench.execution.search import run_search
from tunebench.machine.settings import Execution
from tunebench.study.parts import Search
from tunebench.study.spec import RunSpec
from tunebench.training.attempt import TrainFunction

if TYPE_CHECKING:
    from tunebench.training.estimate import Estimate


class Executor(ABC):
    """Trains runs somewhere; a context manager around what that takes.

    Opened before anything is written, so that what is missing is said first. The store stays with the
    caller's process or its children: locks, records and failures are :mod:`tunebench.execution.runner`'s.

    Args:
        execution: Device, threads, workers, address.
    """

    def __init__(self, execution: Execution) -> None:
        self.execution = execution

    def __enter__(self) -> Executor:
        """Get ready; nothing to do where runs stay on this machine."""
        return self

    def __exit__(  # noqa: B027
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of what was opened."""

    def prepare(  # noqa: B027
        self, dataset: TextDataset, specs: Sequence[RunSpec], estimates: Mapping[str, Estimate]
    ) -> None:
        """Take what the runs of a checked plan share, and what each is expected to need.

        Raises:
            PlanError: A run fits nowhere.
        """

    @property
    def train(self) -> TrainFunction:
        """What trains one run, for a caller that decides run by run (the search for a learning rate)."""
        if self.execution.processes > 1:
            from tunebench.execution.executors.data_parallel import run_in_processes

            return run_in_processes
        from tunebench.training.registry import run_one

        return run_one

    def search(self, specs: Sequence[RunSpec], job: Job, search: Search) -> Summary:
        """Choose learning rates, one run at a time; see :func:`tunebench.execution.search.run_search`."""
        return run_search(specs, job, search=search)

    @abstractmethod
    def run(self, specs: Sequence[RunSpec], job: Job) -> Summary:
        """Run the cells; see :func:`tunebench.execution.runner.run_plan`."""
