"""A vector for each token of an encoder's vocabulary, and a linear classifier on the mean of a text's tokens."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tunebench.strategies.base import LinearStrategy, StrategyParams, register
from tunebench.strategies.embeddings import EmbeddingsParams


class StaticParams(EmbeddingsParams):
    """Parameters of the static embeddings."""

    pooling: Literal["mean", "first"] = Field(
        default="mean",
        description="what stands for a token: the mean of its state and those of the special tokens around it, or "
        "the state of the first special token",
    )


@register
class Static(LinearStrategy):
    """Send every token of the vocabulary through the encoder once, and fit a linear classifier on their means."""

    name: ClassVar[str] = "static"
    summary: ClassVar[str] = "no encoder at prediction: linear classifier on token vectors distilled from it once"
    source: ClassVar[str] = "Tulkens and van Dongen 2024, Model2Vec, github.com/MinishLab/model2vec"
    params: ClassVar[type[StrategyParams]] = StaticParams
    backend: ClassVar[str] = "static"
    trains: ClassVar[str] = "a linear classifier on static embeddings"
    recipe_keys: ClassVar[frozenset[str] | None] = frozenset({"class_weights"})
