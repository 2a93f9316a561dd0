"""Fields of the times and the costs of a run of which nothing is told; an import fills in what is."""

from __future__ import annotations

from typing import Any

#: Of :class:`~tunebench.store.record.Timing`.
UNTIMED: dict[str, Any] = {
    **dict.fromkeys(("train_seconds", "eval_seconds", "test_seconds", "wall_seconds", "cpu_seconds")),
    **dict.fromkeys(("seconds_per_step", "workers", "contended")),
    "warmup_steps": 0,
    "step_seconds": [],
    "resumed": 0,
}
#: Of :class:`~tunebench.store.record.Cost`.
UNCOSTED: dict[str, Any] = dict.fromkeys(
    ("tokens", "tokens_padded", "train_flops", "trainer_total_flos", "peak_memory_bytes", "artifact_bytes")
)
