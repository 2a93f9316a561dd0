"""A classifier of entailment that reads each label as a sentence; nothing is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from tunebench.strategies.base import Strategy, StrategyParams, register

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models.architectures import Architecture


class ZeroShotParams(StrategyParams):
    """Parameters of the classifier of entailment."""

    hypothesis: str = Field(
        default="This example is {}.", description="the sentence that is entailed or not; {} stands for the label"
    )
    words: dict[str, str] = Field(
        default_factory=dict, description="what stands for a label in the sentence, where its name says too little"
    )

    @field_validator("hypothesis")
    @classmethod
    def _holds_a_label(cls, value: str) -> str:
        if value.count("{}") != 1 or value.replace("{}", "").count("{") + value.replace("{}", "").count("}"):
            raise ValueError("hypothesis must hold {} once, and no other brace")
        return value


@register
class ZeroShot(Strategy):
    """Ask a classifier of entailment, for each label, whether the text entails that it is of this label."""

    name: ClassVar[str] = "zero_shot"
    summary: ClassVar[str] = "no training: a model of entailment (NLI) reads each label as a sentence"
    source: ClassVar[str] = "Yin, Hay and Roth 2019, arXiv:1909.00161"
    params: ClassVar[type[StrategyParams]] = ZeroShotParams
    backend: ClassVar[str] = "zero_shot"
    trains: ClassVar[str] = "nothing"
    #: A spec has to hold one; it is never shown, and no other value is accepted.
    default_learning_rate: ClassVar[float] = 1.0
    tunes_learning_rate: ClassVar[bool] = False
    adapts_classifier: ClassVar[bool] = False
    data_parallel: ClassVar[bool] = False
    trains_in_folds: ClassVar[bool] = False
    exportable: ClassVar[bool] = False
    reads_pairs: ClassVar[bool] = False
    tasks: ClassVar[frozenset[str]] = frozenset({"single_label", "multi_label"})
    tasks_reason: ClassVar[str] = "a number is no sentence that could be entailed"
    recipe_keys: ClassVar[frozenset[str] | None] = frozenset({"max_length"})

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Refuse: nothing is trained.

        Raises:
            ModelError: Always.
        """
        from tunebench.errors import ModelError

        raise ModelError("This strategy trains nothing.", value=self.name)
