"""The baseline without a transformer: TF-IDF and a linear classifier."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tunebench.schema import ADDED_LATER, added_later
from tunebench.strategies.base import ClassicalStrategy, CompareBy, LinearParams, StrategyParams, register

#: What TF-IDF counts.
Analyzer = Literal["word", "char_wb", "both"]


class TfidfParams(LinearParams):
    """Parameters of the baseline."""

    analyzer: Analyzer = Field(
        default="word",
        json_schema_extra=ADDED_LATER,
        description="what is a feature: runs of words; char_wb, runs of 2 or more characters of a word; or both",
    )
    ngrams: int = Field(
        default=2,
        ge=1,
        le=5,
        json_schema_extra={"only_with": {"analyzer": ["word", "both"]}},
        description="longest run of words that is a feature",
    )
    char_ngrams: int = Field(
        default=5,
        ge=2,
        le=10,
        json_schema_extra=ADDED_LATER | {"only_with": {"analyzer": ["char_wb", "both"]}},
        description="longest run of characters that is a feature",
    )
    min_documents: int = Field(default=2, ge=1, description="training texts that must hold a feature")
    choose_by: Literal["cross_validation", "selection"] = Field(
        default="cross_validation",
        json_schema_extra=added_later(neutral="selection"),
        description="what chooses C: cross_validation, and then a fit on all labels of the run; or selection, by "
        "the metric of the study on the part that selects the checkpoints of the others",
    )
    compare_by: CompareBy = Field(
        default="metric",
        json_schema_extra=added_later(neutral="loss") | {"only_with": {"choose_by": "cross_validation"}},
        description=LinearParams.model_fields["compare_by"].description,
    )


@register
class Tfidf(ClassicalStrategy):
    """Weigh words and word pairs, or runs of characters, by TF-IDF, and fit a linear classifier on them."""

    name: ClassVar[str] = "tfidf"
    summary: ClassVar[str] = "no encoder: TF-IDF of words or characters, linear classifier; reads whole texts"
    source: ClassVar[str] = "Manning, Raghavan and Schuetze 2008, Introduction to Information Retrieval, ch. 6"
    params: ClassVar[type[StrategyParams]] = TfidfParams
