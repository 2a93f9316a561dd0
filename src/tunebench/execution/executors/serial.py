"""One run after the other, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from tunebench.execution.executors.base import Executor
from tunebench.execution.runner import Job, Summary, run_plan
from tunebench.study.spec import RunSpec


class SerialExecutor(Executor):
    """The plainest way, and what the others are compared with."""

    def run(self, specs: Sequence[RunSpec], job: Job) -> Summary:
        """Run the cells; see :func:`tunebench.execution.runner.run_plan`."""
        return run_plan(specs, job)
