"""What a run is expected to take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tunebench.data import TextDataset
from tunebench.machine import devices, environment
from tunebench.machine.settings import Execution
from tunebench.store.timings import Numbers, Timings


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


@dataclass
class KeptPrefixes:
    """What earlier runs of a plan will have kept of frozen layers.

    Attributes:
        limit: Bytes for all of them; None where nothing is kept.
        texts: Texts by prefix. Subsets are nested, so a larger one adds the difference.
        used: Bytes of all.
    """

    limit: int | None
    texts: dict[str, int] = field(default_factory=dict)
    used: int = 0

    def add(self, key: str, texts: int, bytes_each: float) -> int | None:
        """Return how many texts a run adds, or None where they would not fit."""
        new = max(0, texts - self.texts.get(key, 0))
        if self.limit is None or self.used + new * bytes_each > self.limit:
            return None
        self.texts[key] = max(texts, self.texts.get(key, 0))
        self.used += round(new * bytes_each)
        return new


@dataclass
class EstimateContext:
    """What the estimates of one plan share.

    Attributes:
        dataset: The texts.
        execution: Device and threads.
        device: The device, resolved.
        measure: Whether training steps are measured.
        tell: Told what is being measured.
        kept: What earlier runs of the plan will have kept of frozen layers.
        profiles: What was measured so far, by what it depends on.
        embedded: Texts that earlier runs of the plan will have embedded.
        timings: What was measured before of this study, perhaps in another process.
    """

    dataset: TextDataset
    execution: Execution
    device: str
    measure: bool
    tell: Callable[[str], None]
    kept: KeptPrefixes
    profiles: dict[Any, Any] = field(default_factory=dict)
    embedded: dict[Any, int] = field(default_factory=dict)
    timings: Timings = field(default_factory=Timings)

    def measured(self, key: tuple[Any, ...], label: str | None, measure: Callable[[], Numbers]) -> Numbers:
        """Return what was measured before on this machine and data; else say so, and measure.

        Args:
            key: What else it depends on.
            label: The strategy, for the line that says so; None where it takes a moment.
            measure: Measures.
        """
        where = (environment.describe(), environment.versions(), self.device, devices.threads_of(self.execution))
        whole = (*where, self.dataset.fingerprint, *key)
        if label is not None and not self.timings.known(whole):
            self.tell(f"measuring {label}")
        return self.timings.measured(whole, measure)
