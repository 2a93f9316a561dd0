"""What every run of a plan will take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunebench.data import TextDataset
from tunebench.machine import devices, memory
from tunebench.machine.settings import Execution
from tunebench.strategies import family_of
from tunebench.study.spec import RunSpec
from tunebench.training.encoder.cost import KeptPrefixes, Way, estimate_encoder, way_of
from tunebench.training.estimate import Estimate


def estimate_plan(
    specs: Sequence[RunSpec],
    dataset: TextDataset,
    execution: Execution,
    measure: bool,
    on_progress: Callable[[str], None] | None,
) -> Mapping[str, Estimate]:
    """Estimate every run of a plan, the memory of all its processes together."""
    found = estimate_runs(specs, dataset=dataset, execution=execution, measure=measure, on_progress=on_progress)
    # Each process holds the model; what the Trainer does not train stays one process.
    holders = {s.run_id: execution.processes if family_of(s.kind) == "encoder" else 1 for s in specs}
    return {
        run_id: replace(estimate, memory_bytes=estimate.memory_bytes * holders[run_id])
        for run_id, estimate in found.items()
    }


def estimate_runs(
    specs: Sequence[RunSpec],
    *,
    dataset: TextDataset,
    execution: Execution,
    measure: bool,
    on_progress: Callable[[str], None] | None = None,
) -> dict[str, Estimate]:
    """Estimate every run of a plan.

    Args:
        specs: The runs.
        dataset: Their texts.
        execution: Device and threads.
        measure: Take a few steps of each distinct way of training (seconds each).
        on_progress: Told what is being measured.

    Returns:
        Estimates by run id.

    Raises:
        ModelError: If a model and a strategy do not go together.
    """
    device = devices.resolve_device(execution.device)
    devices.set_threads(devices.threads_of(execution))
    found: dict[str, Estimate] = {}
    ways: dict[tuple[Any, ...], Way] = {}
    kept = KeptPrefixes(execution.prefix_cache)
    for spec in specs:
        family = family_of(spec.kind)
        if family == "classical":
            from tunebench.training.linear.run import estimate_classical

            found[spec.run_id] = estimate_classical(spec, dataset=dataset, measure=measure)
            continue
        timed = spec
        if family == "few_shot":
            from tunebench.training.setfit.run import estimate_few_shot, full_steps

            timed = full_steps(spec)
        way = (timed.model.fingerprint, timed.kind, repr(timed.params), timed.engine, timed.precision)
        key = (
            *way,
            timed.batches,
            timed.attention_dropout,
            timed.frozen_dropout,
            timed.batch_size,
            timed.max_length,
        )
        if key not in ways:
            if on_progress is not None:
                on_progress(f"{'measuring' if measure else 'counting'} {spec.label}")
            # The model of the way before must be gone: each is measured, and fits, as it does in a run.
            memory.release_memory()
            memory.set_memory(execution, engine=timed.engine, device=device)
            ways[key] = way_of(timed, dataset, device, measure)
        if family == "few_shot":
            found[spec.run_id] = estimate_few_shot(spec, ways[key], measured=measure)
        else:
            found[spec.run_id] = estimate_encoder(spec, ways[key], kept=kept, measured=measure)
    return found
