"""One run after the other, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunebench.config import Execution, RunSpec
from tunebench.data import TextDataset
from tunebench.executors.base import Executor
from tunebench.progress import Display
from tunebench.runner import Summary, TrainFunction, run_plan
from tunebench.store import StudyStore


class SerialExecutor(Executor):
    """The plainest way, and what the others are compared with."""

    def run(
        self,
        specs: Sequence[RunSpec],
        *,
        store: StudyStore,
        dataset: TextDataset,
        execution: Execution,
        display: Display,
        train: TrainFunction,
        estimates: Mapping[str, float],
    ) -> Summary:
        """Run the cells; see :func:`tunebench.runner.run_plan`."""
        return run_plan(
            specs,
            store=store,
            dataset=dataset,
            execution=execution,
            display=display,
            train=train,
            estimates=dict(estimates),
        )
