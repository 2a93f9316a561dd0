"""A stand-in for AutoGluon, which is not installed where the tests run."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest


class StandIn(ModuleType):
    """What AutoGluon's predictor takes and gives; it learns the most frequent label."""

    def __init__(self, asked: list[dict[str, Any]]) -> None:
        super().__init__("autogluon.multimodal")

        class MultiModalPredictor:
            def __init__(self, label: str, path: str) -> None:
                self.label = label

            def fit(self, train_data: Any, time_limit: int | None, hyperparameters: dict[str, Any]) -> None:
                asked.append({"data": train_data, "limit": time_limit, **hyperparameters})
                self.most = train_data[self.label].mode()[0]

            def predict(self, data: Any) -> Any:
                return np.full(len(data), self.most, dtype=object)

        self.MultiModalPredictor = MultiModalPredictor


@pytest.fixture
def autogluon(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a predictor that stands in for AutoGluon's was asked."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setitem(sys.modules, "autogluon", ModuleType("autogluon"))
    monkeypatch.setitem(sys.modules, "autogluon.multimodal", StandIn(asked))
    return asked
