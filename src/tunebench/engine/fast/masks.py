"""Dropout masks, drawn as 16-bit lanes of wide random integers and applied as bit masks.

``torch.bernoulli_`` draws one element at a time on CPUs without a vectorised path, and multiplying by
a bool tensor is not vectorised either. A lane of a 64-bit draw costs a tenth of the former, and an
integer "and" with all-ones or zero a tenth of the latter. Drawing is the one part of a step that runs on
one core, so that every lane serves four elements, far apart: as drawn, and times the first three powers
of an odd number modulo 2**16. Each of the four is uniform, and together they are a lattice as even as
independent draws to 0.06 % of the variance, for two, three or all four of them (a test counts all 65,536
lanes). The keep rate is exact to 2**-16, far below what training can notice, and the scale is the inverse
of the rate that was really used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Values of a lane.
_LANES = 2**16
#: Elements a lane serves, and what makes the next of them; found by trying 8,000 odd numbers.
_USES, _MULTIPLIER = 4, 52_027 - _LANES


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
        self._step, self._calls = step, 0
        self._generator = np.random.Generator(np.random.SFC64([self._seed, step, *self._stream]))

    @contextmanager
    def replayed(self, state: Any) -> Iterator[None]:
        """Draw again what was drawn from a state on; then go on where the stream was."""
        now, self.state = self.state, state
        try:
            yield
        finally:
            self.state = now

    @property
    def state(self) -> Any:
        """Where the stream is, for :meth:`replayed`."""
        return self._generator.bit_generator.state, self._calls

    @state.setter
    def state(self, state: Any) -> None:
        self._generator.bit_generator.state, self._calls = state

    def keys(self) -> tuple[int, int]:
        """Return two 32-bit keys for a mask that a kernel computes itself; every call of a step has its own."""
        self._calls += 1
        entropy = [self._seed, self._step, *(self._stream or [0]), self._calls]
        first, second = np.random.SeedSequence(entropy).generate_state(2).tolist()
        return first, second

    @staticmethod
    def drops(p: float) -> bool:
        """Tell whether a dropout of ``p`` drops anything: one too small for a lane does not."""
        return round(p * _LANES) > 0

    def keep(self, shape: tuple[int, ...], p: float) -> tuple[Tensor | None, float]:
        """Draw a keep mask.

        Args:
            shape: Shape of the mask.
            p: Probability of dropping an element, in [0, 1).

        Returns:
            An int16 tensor, -1 (all bits set) where an element is kept and 0 where it is dropped, and
            the scale that keeps the mean. No mask, and scale 1, when nothing is dropped.
        """
        if not self.drops(p):
            return None, 1.0
        kept = _LANES - round(p * _LANES)
        count = int(np.prod(shape))
        lanes = -(-count // _USES)
        wide = self._generator.integers(0, 2**64 - 1, size=-(-lanes // 4), dtype=np.uint64, endpoint=True)
        lane = torch.from_numpy(wide.view(np.int16)[:lanes])
        # A uniform integer is below the threshold with the kept rate; clamping leaves that one bit of it.
        threshold = kept - _LANES // 2
        mask = torch.empty(_USES, lanes, dtype=torch.int16)
        for part in mask:
            torch.clamp(lane, threshold - 1, threshold, out=part).sub_(threshold)
            lane.mul_(_MULTIPLIER)
        return mask.view(-1)[:count].view(shape), _LANES / kept


def apply_mask(x: Tensor, keep: Tensor | None, *, in_place: bool = False) -> Tensor:
    """Return ``x`` with the dropped elements at zero and the others unchanged (not scaled).

    Args:
        x: bf16 or fp32.
        keep: A mask of the same shape from :class:`MaskStream`, or None for no dropout.
        in_place: Write to ``x`` itself, which costs half as much.
    """
    if keep is None:
        return x
    bits = x.view(_bits_of(x))
    return torch.bitwise_and(bits, keep.to(bits.dtype), out=bits if in_place else None).view(x.dtype)


def sign_kept(x: Tensor, keep: Tensor, *, out: Tensor) -> Tensor:
    """Write ``x``, which has no negative element, to ``out`` with a minus where it is kept.

    A mask costs as much memory as the activations it belongs to; the sign of a probability is free.
    """
    return torch.copysign(x, keep.to(_bits_of(x)).view(x.dtype), out=out)


def read_signs(signed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the elements and the mask that :func:`sign_kept` wrote together."""
    return signed.abs(), signed.view(_bits_of(signed)).clamp(-1, 0)


def _bits_of(x: Tensor) -> torch.dtype:
    return torch.int16 if x.dtype == torch.bfloat16 else torch.int32
