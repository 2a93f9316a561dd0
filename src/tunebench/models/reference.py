"""Which model: what a run's id holds of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tunebench.schema import Frozen

#: What a run does with the classification head of a base that is a finished classifier.
BaseHead = Literal["fresh", "kept"]
#: What a classification head reads: the first token, for which it was made, or the mean over all tokens.
Pooling = Literal["first", "mean"]


class ModelRef(Frozen):
    """A model, pinned by the content of its files."""

    source: str
    revision: str | None = None
    fingerprint: str


class UsedModel(NamedTuple):
    """A model, and what is done with its classification head: None where it has none."""

    ref: ModelRef
    head: BaseHead | None = None
