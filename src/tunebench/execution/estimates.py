"""Time and memory of every run of a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunebench.data import TextDataset
from tunebench.machine import devices
from tunebench.machine.settings import Execution
from tunebench.store.timings import Timings
from tunebench.strategies import STRATEGIES
from tunebench.study.spec import RunSpec
from tunebench.training.estimate import Estimate, EstimateContext, KeptPrefixes
from tunebench.training.registry import backend_of


def estimate_plan(
    specs: Sequence[RunSpec],
    dataset: TextDataset,
    execution: Execution,
    measure: bool,
    on_progress: Callable[[str], None] | None,
    profiles: dict[Any, Any] | None = None,
    timings: Timings | None = None,
) -> Mapping[str, Estimate]:
    """Estimate every run of a plan, the memory of all its processes together."""
    found = estimate_each(
        specs,
        dataset=dataset,
        execution=execution,
        measure=measure,
        on_progress=on_progress,
        profiles=profiles,
        timings=timings,
    )
    # Each process holds the model; what several cannot train together stays one process.
    holders = [execution.processes if STRATEGIES[spec.kind].data_parallel else 1 for spec in specs]
    return {
        spec.run_id: replace(estimate, memory_bytes=estimate.memory_bytes * processes)
        for spec, estimate, processes in zip(specs, found, holders, strict=True)
    }


@devices.kept_threads()
def estimate_each(
    specs: Sequence[RunSpec],
    *,
    dataset: TextDataset,
    execution: Execution,
    measure: bool,
    on_progress: Callable[[str], None] | None = None,
    profiles: dict[Any, Any] | None = None,
    timings: Timings | None = None,
) -> list[Estimate]:
    """Estimate runs, one after the other: a later one finds what an earlier one has kept.

    Args:
        specs: The runs.
        dataset: Their texts.
        execution: Device and threads.
        measure: Take a few steps of each distinct way of training (seconds each).
        on_progress: Called with a line for each measurement.
        profiles: What was measured before on the same data; what is measured now is added.
        timings: The same as numbers, which a study's folder keeps.

    Returns:
        An estimate for each run.

    Raises:
        ModelError: If a model and a strategy do not go together.
    """
    device = devices.resolve_device(execution.device)
    threads = devices.set_threads(devices.threads_of(execution))
    context = EstimateContext(
        dataset=dataset,
        execution=execution,
        device=device,
        measure=measure,
        tell=on_progress or (lambda line: None),
        kept=KeptPrefixes(execution.prefix_cache),
        profiles={} if profiles is None else profiles.setdefault(threads, {}),
        timings=Timings() if timings is None else timings,
    )
    return [backend_of(spec.kind).estimate(spec, context) for spec in specs]
