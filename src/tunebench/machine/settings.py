"""Settings of execution. They change time and memory, and never a result."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunebench.schema import Frozen


class Execution(Frozen):
    """How to execute a study: devices, processes, caches. Not part of a run's id."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default=1, description="runs at a time; auto measures how many are best"
    )
    processes: int = Field(
        default=1, ge=1, le=1024, description="that train each run together; threads are each one's"
    )
    executor: Literal["serial", "processes", "ray"] | None = Field(
        default=None, description="unset: processes where there are several workers"
    )
    ray_address: str | None = Field(default=None, description="host:port or ray://host:port; None starts a cluster")
    trackers: tuple[str, ...] = Field(
        default=(), description="trackers that receive what is logged; see tunebench.execution.tracking"
    )
    prefix_cache: int | None = Field(
        default=2 * 10**9, ge=1, description="bytes a study may keep of frozen layers' outputs; None keeps nothing"
    )
    keep_memory: bool | None = Field(
        default=None,
        description="keep freed pages between steps; unset: with the fast engine only",
    )

    @property
    def at_a_time(self) -> int:
        """How many runs train at a time; 1 as long as ``auto`` was not measured."""
        return 1 if self.workers == "auto" else self.workers
