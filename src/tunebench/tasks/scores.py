"""The scores of a run on the test split, as its record holds them."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from tunebench.schema import Part

#: Metrics that records of format 1 held as fields of their own.
_FORMAT_1 = ("macro_f1", "accuracy", "log_loss")


class ClassScore(Part):
    """Scores of one class on the test split."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class Scores(Part):
    """Scores on the test split, with the selected weights; ``scores["mcc"]`` is the value of a metric."""

    values: dict[str, float | None] = Field(
        description="by the metric's name; null where it is not defined, or an imported run does not tell it"
    )
    per_class: list[ClassScore]
    confusion: list[list[int]] = Field(description="rows: true class, columns: predicted class")

    @model_validator(mode="before")
    @classmethod
    def _from_format_1(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "values" in raw:
            return raw
        rest = {key: value for key, value in raw.items() if key not in _FORMAT_1}
        return rest | {"values": {name: raw[name] for name in _FORMAT_1 if name in raw}}

    def __getitem__(self, metric: str) -> float | None:
        """Return the value of a metric; None where it is not known or not defined."""
        return self.values.get(metric)
