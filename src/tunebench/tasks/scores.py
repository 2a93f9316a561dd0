"""The scores of a run on the test split, as its record holds them."""

from __future__ import annotations

from pydantic import Field

from tunebench.recipe import NONE_WHERE_IMPORTED, Part


class ClassScore(Part):
    """Scores of one class on the test split."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class Scores(Part):
    """Scores on the test split, with the selected weights."""

    macro_f1: float | None = Field(description=NONE_WHERE_IMPORTED)
    accuracy: float | None = Field(description=NONE_WHERE_IMPORTED)
    log_loss: float | None = Field(description=NONE_WHERE_IMPORTED)
    per_class: list[ClassScore]
    confusion: list[list[int]] = Field(description="rows: true class, columns: predicted class")
