"""The dropout masks that the kernels compute, and the same in numpy.

A mask is a hash of two keys and a place, 32 bits, which serve two elements. Nothing of it is drawn or stored: the
backward pass computes it again. The keys come from seed, stream, step and the number of the call in that step.
"""

from __future__ import annotations

import ctypes

import numpy as np

#: Values of the 16 bits that decide about an element.
_VALUES = 2**16
_FIRST, _SECOND, _PARTS = 0x7FEB352D, 0x846CA68B, 0x9E3779B9
#: Places of a query in attention, as a power of two: two neighbouring keys share one.
_QUERY_BITS = 12
#: Keys that a text may have.
MOST_KEYS = 2 ** (_QUERY_BITS + 1)


class Dropout(ctypes.Structure):
    """What a kernel needs to drop elements; see ``vectors.h``."""

    _fields_ = (
        ("threshold", ctypes.c_uint32),
        ("scale", ctypes.c_float),
        ("key0", ctypes.c_uint32),
        ("key1", ctypes.c_uint32),
    )

    @classmethod
    def of(cls, p: float, keys: tuple[int, int]) -> Dropout:
        """Return the dropout of a probability in [0, 1), exact to 2**-16; the scale belongs to the rate taken."""
        threshold = round(p * _VALUES)
        return cls(threshold, _VALUES / (_VALUES - threshold), *keys)


def mask_of_rows(rows: int, size: int, dropout: Dropout) -> np.ndarray:
    """Return which elements are kept, bool ``(rows, size)``; ``size`` is a multiple of 32.

    Of 32 neighbours, each of the first 16 shares a place with the one 16 further on.
    """
    with np.errstate(over="ignore"):
        places = np.arange(rows * size // 2, dtype=np.uint32).reshape(rows, size // 32, 16)
        first, second = _kept(places, np.uint32(dropout.key0), np.uint32(dropout.key1), dropout.threshold)
    return np.concatenate([first, second], axis=-1).reshape(rows, size)


def mask_of_attention(number: int, queries: int, keys: int, dropout: Dropout) -> np.ndarray:
    """Return which probabilities are kept, bool ``(queries, keys)``.

    Args:
        number: Of the text times the heads, plus the number of the head.
        queries: Of the text.
        keys: Of the text.
        dropout: Its rate and keys.
    """
    with np.errstate(over="ignore"):
        part = np.uint32(number)
        key0 = _mixed(np.uint32(dropout.key0) + part)
        key1 = _mixed(np.uint32(dropout.key1) ^ (part * np.uint32(_PARTS)))
        rows = np.arange(queries, dtype=np.uint32)[:, None] << np.uint32(_QUERY_BITS)
        places = rows + np.arange((keys + 1) // 2, dtype=np.uint32)
        both = _kept(places, key0, key1, dropout.threshold)
    return np.stack(both, axis=-1).reshape(queries, -1)[:, :keys]


def _kept(places: np.ndarray, key0: np.uint32, key1: np.uint32, threshold: int) -> tuple[np.ndarray, np.ndarray]:
    x = places + key0
    x = (x ^ (x >> np.uint32(16))) * np.uint32(_FIRST)
    x = (x ^ (x >> np.uint32(15)) ^ key1) * np.uint32(_SECOND)
    x = x ^ (x >> np.uint32(16))
    return (x & np.uint32(_VALUES - 1)) >= threshold, (x >> np.uint32(16)) >= threshold


def _mixed(x: np.uint32) -> np.uint32:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(_FIRST)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(_SECOND)
    return x ^ (x >> np.uint32(16))
