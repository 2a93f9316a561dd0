"""Where runs are trained: in this process, in several, or on a Ray cluster."""

from __future__ import annotations

from tunebench.errors import ConfigError
from tunebench.execution.executors.base import Executor
from tunebench.execution.executors.processes import ProcessExecutor
from tunebench.execution.executors.ray_executor import RayExecutor
from tunebench.execution.executors.serial import SerialExecutor
from tunebench.machine.settings import Execution

#: By the name that ``--executor`` takes.
EXECUTORS: dict[str, type[Executor]] = {
    "serial": SerialExecutor,
    "processes": ProcessExecutor,
    "ray": RayExecutor,
}


def make_executor(execution: Execution) -> Executor:
    """Return what runs the plan; without a name, processes where there are several workers.

    Raises:
        ConfigError: The settings contradict each other.
    """
    name = execution.executor or ("processes" if execution.at_a_time > 1 else "serial")
    if name == "serial" and execution.at_a_time > 1:
        raise ConfigError(
            "The serial executor trains one run at a time.",
            value=f"workers: {execution.workers}",
            fix="remove --workers, or use --executor processes",
        )
    if execution.processes > 1 and name == "ray":
        raise ConfigError(
            "On a Ray cluster each run uses one process.",
            value=f"processes: {execution.processes}",
            fix="remove --processes, or run without Ray",
        )
    if execution.ray_address is not None and name != "ray":
        raise ConfigError(
            "A Ray address needs the Ray executor.", value=execution.ray_address, fix="add --executor ray"
        )
    return EXECUTORS[name](execution)


__all__ = ["EXECUTORS", "Executor", "make_executor"]
