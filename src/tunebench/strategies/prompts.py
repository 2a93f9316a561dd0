"""Prompt and prefix tuning: trained virtual tokens in front of a frozen encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from tunebench.strategies.base import Strategy, StrategyParams, register
from tunebench.strategies.wrapping import wrap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from tunebench.models.architectures import Architecture
    from tunebench.recipe import Recipe

#: Families whose Transformers encoder takes keys and values from outside, which is how PEFT gives a prefix.
_TAKE_KEYS = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra"})


class PrefixParams(StrategyParams):
    """Parameters of prefix tuning."""

    virtual_tokens: int = Field(default=20, ge=1, le=1024, description="keys and values in front of a text's own")


class PromptParams(StrategyParams):
    """Parameters of prompt tuning."""

    virtual_tokens: int = Field(default=20, ge=1, le=1024, description="embeddings in front of a text's own")
    init: Literal["vocabulary", "random"] = Field(
        default="vocabulary", description="embeddings of tokens drawn from the vocabulary, or normal noise"
    )


class _VirtualTokens(Strategy):
    """Base of prefix and prompt tuning: virtual tokens take positions, and the head is trained too."""

    def virtual_tokens(self, params: Mapping[str, Any]) -> int:
        """Return how many there are; see :meth:`Strategy.virtual_tokens`."""
        return int(params["virtual_tokens"])


@register
class PrefixTuning(_VirtualTokens):
    """Learn keys and values that every layer attends to."""

    name: ClassVar[str] = "prefix_tuning"
    summary: ClassVar[str] = "learned keys and values in front of every layer's own, and the head"
    source: ClassVar[str] = (
        "Li and Liang 2021, prefix-tuning (arXiv:2101.00190); Liu et al. 2022 (arXiv:2110.07602)"
    )
    params: ClassVar[type[StrategyParams]] = PrefixParams
    default_learning_rate: ClassVar[float] = 1e-2

    def refusal(self, params: Any, architecture: Architecture) -> str | None:
        """Refuse encoders that take no keys and values from outside; see :meth:`Strategy.refusal`."""
        if architecture.model_type not in _TAKE_KEYS:
            return f"the encoder of {architecture.model_type} does not accept keys and values from outside"
        return None

    def run_refusal(
        self,
        params: Mapping[str, Any],
        recipe: Recipe,
        architecture: Architecture,
        *,
        train_size: int,
        classes: int,
    ) -> str | None:
        """Refuse layers that are computed again; see :meth:`Strategy.run_refusal`."""
        if recipe.gradient_checkpointing:
            return "with gradient_checkpointing, Transformers' layers leave the learned keys and values out"
        return super().run_refusal(params, recipe, architecture, train_size=train_size, classes=classes)

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Wrap the model with a PEFT prefix; see :meth:`Strategy.prepare`."""
        from peft import PrefixTuningConfig

        return wrap(model, PrefixTuningConfig, architecture, **_options(model, architecture, params))


@register
class PromptTuning(_VirtualTokens):
    """Learn embeddings that are put in front of every text."""

    name: ClassVar[str] = "prompt_tuning"
    summary: ClassVar[str] = "learned embeddings before the text, and the head, which reads the first of them"
    source: ClassVar[str] = "Lester, Al-Rfou and Constant 2021, prompt tuning (arXiv:2104.08691)"
    params: ClassVar[type[StrategyParams]] = PromptParams
    default_learning_rate: ClassVar[float] = 1e-2

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Wrap the model with a PEFT prompt; see :meth:`Strategy.prepare`."""
        from peft import PromptTuningConfig

        init = {"vocabulary": "SAMPLE_VOCAB", "random": "RANDOM"}[params.init]
        embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
        options = _options(model, architecture, params) | {"prompt_tuning_init": init}
        # ELECTRA's embeddings may be narrower than its layers.
        options["token_dim"] = int(embeddings.embedding_dim)
        return wrap(model, PromptTuningConfig, architecture, **options)


def _options(model: Any, architecture: Architecture, params: Any) -> dict[str, Any]:
    """Return what both configurations need to know of a model."""
    return {
        "num_virtual_tokens": params.virtual_tokens,
        "num_layers": architecture.num_layers,
        "num_attention_heads": model.config.num_attention_heads,
        # PEFT looks for a size under names that DistilBERT does not use.
        "token_dim": model.config.hidden_size,
    }
