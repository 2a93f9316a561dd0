"""Losses for labels of unequal size: weights by label, the focal loss, and label smoothing beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

#: Below this share of doubt the focal factor has no gradient: that of a root is infinite at 0.
_SURE = 1e-8


@dataclass(frozen=True, eq=False)
class WeightedLoss:
    """The mean over texts of each text's loss, times its factors.

    Of one label a text the loss is cross-entropy, and a text's weight is that of its class. Of several labels it
    is the mean over labels of binary cross-entropy, and a label's weight counts where a text has the label. The
    mean divides by the number of texts, and not by the sum of their weights, so that the parts of a batch add up
    to the batch.

    The focal loss multiplies by ``(1 - p) ** gamma``, where ``p`` is the probability of the truth (Lin et al. 2017,
    arXiv:1708.02002).

    Attributes:
        weights: One a label; None weighs all alike.
        gamma: Exponent of the focal loss; 0 is plain cross-entropy.
        smoothing: Share of each text's loss that is spread evenly over all classes; for one label a text.
    """

    weights: Tensor | None = None
    gamma: float = 0.0
    smoothing: float = 0.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss.

        Args:
            logits: ``(texts, labels)``.
            labels: Classes ``(texts,)``; or 0 and 1, ``(texts, labels)``.
        """
        logits = logits.float()
        weights = None if self.weights is None else self.weights.to(logits.device)
        return (self._one_label if labels.ndim == 1 else self._several)(logits, labels, weights).mean()

    def of_outputs(self, outputs: Any, labels: Tensor, **_: Any) -> Tensor:
        """Return the loss of a model's outputs, as the Trainer asks for it."""
        return self(outputs.logits, labels)

    def _one_label(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        found = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=self.smoothing)
        if self.gamma:
            found = self._focal(found) * found
        return found if weights is None else found * weights[labels]

    def _several(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        labels = labels.float()
        found = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=weights)
        if self.gamma:
            plain = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            found = self._focal(plain) * found
        return found.mean(1)

    def _focal(self, cross_entropy: Tensor) -> Tensor:
        """Return the factors ``(1 - p) ** gamma`` for cross-entropies ``-log p``."""
        return (-torch.expm1(-cross_entropy)).clamp_min(_SURE) ** self.gamma
