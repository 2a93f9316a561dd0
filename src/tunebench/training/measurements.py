"""What is measured while a run trains."""

from __future__ import annotations

#: Steps left out of ``seconds_per_step``: the first ones pay for caches and page faults.
WARMUP_STEPS = 3
