"""How a run computes: its engine, and what that needs to know of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tunebench.engine.fast.attach import FastEncoder
    from tunebench.engine.fast.shared_masks import SharedMasks
    from tunebench.engine.flops import Workload
    from tunebench.engine.trained_rows import TrainedRows


@dataclass(frozen=True, kw_only=True)
class EngineSetup:
    """How a run computes.

    Attributes:
        seed: The run's seed.
        workload: The model's operations.
        fast: The model's fast layers, if any.
        autocast: Compute type of our evaluator's matrix products without fast layers.
        own: Take our own order of texts and our own evaluator, not the Trainer's.
        by_length: In that order, group batches by length.
        rows: The rows of the word embeddings that are trained, if not all are.
        shared: The fast layers' dropout masks in a model without them, if it takes them; it then takes our order
            of texts too.
    """

    seed: int
    workload: Workload
    fast: FastEncoder | None = None
    autocast: torch.dtype | None = None
    own: bool = True
    by_length: bool = False
    shared: SharedMasks | None = None
    rows: TrainedRows | None = None

    @property
    def own_order(self) -> bool:
        """Whether texts come in our own order, and not in the Trainer's."""
        return self.own or self.shared is not None
