"""A frozen encoder and a linear classifier on its embeddings."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunebench.strategies.base import LinearParams, LinearStrategy, StrategyParams, register


class EmbeddingsParams(LinearParams):
    """Parameters of the embeddings."""

    pooling: Literal["mean", "first"] = Field(
        default="mean", description="what stands for a text: the mean of its tokens' states, or the first one's"
    )
    c: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(0.1, 1.0, 10.0, 100.0, 1000.0),
        min_length=1,
        description="inverse strengths of the L2 penalty, to choose from",
    )


@register
class Embeddings(LinearStrategy):
    """Embed every text once with the frozen encoder, and fit a linear classifier on the embeddings."""

    name: ClassVar[str] = "embeddings"
    summary: ClassVar[str] = "frozen encoder: linear classifier on embeddings of whole texts, computed once"
    source: ClassVar[str] = "Reimers and Gurevych 2019, arXiv:1908.10084"
    params: ClassVar[type[StrategyParams]] = EmbeddingsParams
    backend: ClassVar[str] = "embeddings"
    trains: ClassVar[str] = "a linear classifier on frozen embeddings"
    recipe_keys: ClassVar[frozenset[str] | None] = frozenset({"max_length", "class_weights"})
