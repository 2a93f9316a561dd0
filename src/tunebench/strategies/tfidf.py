"""The baseline without a transformer: TF-IDF and logistic regression."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tunebench.recipe import added_later
from tunebench.strategies.base import ClassicalStrategy, LinearParams, StrategyParams, register


class TfidfParams(LinearParams):
    """Parameters of the baseline."""

    ngrams: int = Field(default=2, ge=1, le=5, description="longest run of words that is a feature")
    min_documents: int = Field(default=2, ge=1, description="training texts that must hold a feature")
    choose_by: Literal["cross_validation", "selection"] = Field(
        default="cross_validation",
        json_schema_extra=added_later(neutral="selection"),
        description="what chooses C: cross_validation of log loss, and then a fit on all labels of the run; or "
        "selection, by the metric of the study on the part that selects the checkpoints of the others",
    )


@register
class Tfidf(ClassicalStrategy):
    """Weigh words and word pairs by TF-IDF, and fit a logistic regression on them."""

    name: ClassVar[str] = "tfidf"
    summary: ClassVar[str] = "no encoder: TF-IDF of words and word pairs, logistic regression; reads whole texts"
    source: ClassVar[str] = "Manning, Raghavan and Schuetze 2008, Introduction to Information Retrieval, ch. 6"
    params: ClassVar[type[StrategyParams]] = TfidfParams
