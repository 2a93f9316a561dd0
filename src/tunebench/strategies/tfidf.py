"""The baseline without a transformer: TF-IDF and logistic regression."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from tunebench.strategies.base import ClassicalStrategy, StrategyParams, register


class TfidfParams(StrategyParams):
    """Parameters of the baseline."""

    ngrams: int = Field(default=2, ge=1, le=5, description="longest run of words that is a feature")
    min_documents: int = Field(default=2, ge=1, description="training texts that must hold a feature")
    c: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(0.01, 0.1, 1.0, 10.0, 100.0),
        min_length=1,
        description="inverse strengths of the L2 penalty, to choose from on the selection split",
    )

    @field_validator("c")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("c must ascend, without repeats")
        return value


@register
class Tfidf(ClassicalStrategy):
    """Weigh words and word pairs by TF-IDF, and fit a logistic regression on them."""

    name: ClassVar[str] = "tfidf"
    summary: ClassVar[str] = "no encoder: TF-IDF of words and word pairs, logistic regression; reads whole texts"
    source: ClassVar[str] = "Manning, Raghavan and Schuetze 2008, Introduction to Information Retrieval, ch. 6"
    params: ClassVar[type[StrategyParams]] = TfidfParams
