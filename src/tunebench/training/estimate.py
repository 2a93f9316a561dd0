"""What a run is expected to take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """What one run is expected to take.

    Attributes:
        steps: Optimisation steps.
        trainable_params: Parameters trained.
        total_params: All parameters.
        train_flops: Operations of all steps.
        seconds: Wall time of the run, evaluations included.
        measured: Whether the time rests on measured steps.
        memory_bytes: Peak resident memory.
        disk_bytes: Most that will lie on disk at once.
        prefix_bytes: What the run adds to the kept outputs of frozen layers, which lie there until the
            study is complete.
        prefix_layers: Frozen layers whose outputs it takes from there; None where it computes them.
    """

    steps: int
    trainable_params: int
    total_params: int
    train_flops: float
    seconds: float
    measured: bool
    memory_bytes: int
    disk_bytes: int
    prefix_bytes: int = 0
    prefix_layers: int | None = None
