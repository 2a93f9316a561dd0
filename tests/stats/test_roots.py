"""Roots and logarithms of the softmax against scipy's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from tunebench.stats.roots import root
from tunebench.stats.softmax import log_softmax


@given(st.floats(-50, 50), st.floats(0.01, 30), st.sampled_from([math.tanh, math.atan, math.sinh]))
def test_a_root_is_the_one_that_scipy_finds(zero: float, width: float, shape: Callable[[float], float]) -> None:
    def function(x: float) -> float:
        return shape((x - zero) / 4)

    for low, high in ((zero - width, zero + 2 * width), (zero, zero + width), (zero - width, zero)):
        expected = scipy.optimize.brentq(function, low, high, xtol=1e-12)
        assert root(function, low, high, xtol=1e-12) == pytest.approx(expected, abs=1e-11)


def test_a_root_takes_few_steps_and_needs_two_signs() -> None:
    tried: list[float] = []

    def function(x: float) -> float:
        tried.append(x)
        return math.exp(x) - 20

    assert root(function, -10, 10) == pytest.approx(math.log(20), rel=1e-15)
    assert len(tried) < 20
    with pytest.raises(ValueError, match="same sign"):
        root(lambda x: x * x + 1, -1, 1)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_logarithm_of_the_softmax_is_scipys_to_the_bit(kind: type) -> None:
    values = (np.random.default_rng(0).normal(size=(3, 40, 7)) * 20).astype(kind)
    found, expected = log_softmax(values, 2), scipy.special.log_softmax(values, axis=2)
    assert found.dtype == expected.dtype and (found == expected).all()
