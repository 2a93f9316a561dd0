"""Dropout masks, drawn as 16-bit lanes of wide random integers and applied as bit masks.

``torch.bernoulli_`` draws one element at a time on CPUs without a vectorised path, and multiplying by
a bool tensor is not vectorised either. A lane of a 64-bit draw costs a tenth of the former, and an
integer "and" with all-ones or zero a tenth of the latter. The keep rate is exact to 2**-15, far below
what training can notice, and the scale is the inverse of the rate that was really used.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_LANES = 2**15


class MaskStream:
    """Keep masks that depend only on a seed, a step and the order of the calls in that step.

    No state has to be saved: a resumed run restarts the stream at its step.

    Args:
        seed: The run's seed.
        stream: Which of several independent streams; processes that train together have one each.
    """

    def __init__(self, seed: int, *, stream: int = 0) -> None:
        self._seed, self._stream = seed, [stream] if stream else []
        self.start_step(0)

    def start_step(self, step: int) -> None:
        """Restart the stream for an optimisation step."""
        self._generator = np.random.Generator(np.random.SFC64([self._seed, step, *self._stream]))

    def keep(self, shape: tuple[int, ...], p: float, *, out: Tensor | None = None) -> tuple[Tensor | None, float]:
        """Draw a keep mask.

        Args:
            shape: Shape of the mask.
            p: Probability of dropping an element, in [0, 1).
            out: Contiguous int16 of that many elements to write the mask to, if something is dropped.

        Returns:
            An int16 tensor, -1 (all bits set) where an element is kept and 0 where it is dropped, and
            the scale that keeps the mean. No mask, and scale 1, when nothing is dropped.
        """
        kept = _LANES - round(p * _LANES)
        if kept == _LANES:
            return None, 1.0
        count = int(np.prod(shape))
        wide = self._generator.integers(0, 2**64 - 1, size=-(-count // 4), dtype=np.uint64, endpoint=True)
        lanes = torch.from_numpy(wide.view(np.int16)[:count])
        # 15 uniform bits, minus the number kept: negative exactly for the kept; the sign fills the lane.
        lanes.bitwise_and_(_LANES - 1).sub_(kept)
        mask = lanes if out is None else out.view(-1)
        torch.bitwise_right_shift(lanes, 15, out=mask)
        return mask.view(shape), _LANES / kept


def apply_mask(x: Tensor, keep: Tensor | None, *, in_place: bool = False) -> Tensor:
    """Return ``x`` with the dropped elements at zero and the others unchanged (not scaled).

    Args:
        x: bf16 or fp32.
        keep: A mask of the same shape from :class:`MaskStream`, or None for no dropout.
        in_place: Write to ``x`` itself, which costs half as much.
    """
    if keep is None:
        return x
    lanes = torch.int16 if x.dtype == torch.bfloat16 else torch.int32
    bits = x.view(lanes)
    return torch.bitwise_and(bits, keep.to(lanes), out=bits if in_place else None).view(x.dtype)
