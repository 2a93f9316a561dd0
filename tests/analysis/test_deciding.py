"""Which strategy the others are compared with: no test may show another to be better, where that can be."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tunebench.analysis.deciding import best_first


def made(gains: np.ndarray, shown: np.ndarray) -> Any:
    """Return the tests of the others minus one, whose differences are given, and which of them are shown."""

    def against(best: str) -> Mapping[str, Any]:
        j = int(best)
        return {
            str(i): SimpleNamespace(different=bool(shown[i, j]), interval=SimpleNamespace(estimate=gains[i, j]))
            for i in range(len(gains))
            if i != j
        }

    return against


@pytest.mark.parametrize("higher", [True, False])
def test_no_test_shows_another_to_be_better_than_the_first(higher: bool) -> None:
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(200):
        number = int(rng.integers(1, 6))
        truth = rng.normal(size=number)
        gains = (truth[:, None] - truth) * (1 if higher else -1)
        half = rng.random((number, number)) < 0.6
        shown = np.triu(half, 1) | np.triu(half, 1).T
        by_mean = [str(i) for i in np.argsort(-truth - rng.normal(size=number))]
        order = best_first(by_mean, made(gains, shown), higher_is_better=higher)
        first = int(order[0])
        assert not any(shown[i, first] and truth[i] > truth[first] for i in range(number))
        assert order[1:] == [name for name in by_mean if name != order[0]]
        if not any(shown[i, int(by_mean[0])] and truth[i] > truth[int(by_mean[0])] for i in range(number)):
            assert order == by_mean
        moved += order != by_mean
    assert moved > 20


def test_tests_that_go_round_in_a_circle_come_to_an_end() -> None:
    gains = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]], dtype=float)
    order = best_first(["0", "1", "2"], made(gains, gains != 0))
    assert sorted(order) == ["0", "1", "2"]
