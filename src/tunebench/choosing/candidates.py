"""The methods that ``choose`` compares, each with each of the models, and their learning rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tunebench.strategies import STRATEGIES
from tunebench.study.models_axis import AT, model_names

#: Methods from cheap to dear: label and strategy.
CANDIDATES: dict[str, dict[str, Any]] = {
    "tfidf": {"kind": "tfidf"},
    "embeddings": {"kind": "embeddings"},
    "lora": {"kind": "lora", "placement": "all_linear"},
    "full": {"kind": "full"},
}
#: Hidden size up to which an encoder is narrow.
_NARROW = 512
#: Middle learning rates for narrow and for wide encoders: wider ones take smaller rates (docs/choose.md).
_MIDDLE = {"lora": (1e-3, 5e-4), "full": (1e-4, 5e-5)}


class Candidate(NamedTuple):
    """A method, with one of the models.

    Attributes:
        settings: Its strategy, as in a study file.
        method: A key of :data:`CANDIDATES`.
        model: The encoder; of a method without one, the first.
    """

    settings: dict[str, Any]
    method: str
    model: str

    @property
    def has_rates(self) -> bool:
        """Whether it has a learning rate."""
        return self.method in _MIDDLE

    def rates(self, width: int, count: int) -> list[float]:
        """Return so many learning rates around the middle one, each twice the one before.

        Args:
            width: Hidden size of its encoder.
            count: How many; an odd number.
        """
        middle = _MIDDLE[self.method][width > _NARROW]
        return [float(f"{middle * 2.0**power:.3g}") for power in range(-(count // 2), count // 2 + 1)]


def candidates_of(models: Sequence[str]) -> dict[str, Candidate]:
    """Return the candidates by label, method by method: each with each of the models.

    With several models, labels are ``method@model``; a method without an encoder is there once.
    """
    found, names = {}, model_names(models)
    for method, settings in CANDIDATES.items():
        if len(names) == 1 or not STRATEGIES[settings["kind"]].uses_encoder:
            found[method] = Candidate(dict(settings), method, models[0])
            continue
        for model, name in names.items():
            found[f"{method}{AT}{name}"] = Candidate({**settings, "model": model}, method, model)
    return found
