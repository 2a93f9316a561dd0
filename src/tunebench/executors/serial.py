"""One run after the other, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from tunebench.executors.base import Executor
from tunebench.runner import Job, Summary, run_plan
from tunebench.spec import RunSpec


class SerialExecutor(Executor):
    """The plainest way, and what the others are compared with."""

    def run(self, specs: Sequence[RunSpec], job: Job) -> Summary:
        """Run the cells; see :func:`tunebench.runner.run_plan`."""
        return run_plan(specs, job)
