"""Virtual tokens before the text (prompt and prefix tuning), through PEFT.

The encoder is frozen; what is learnt stands before every text. PEFT leaves pooling as it is, so families
that read the first token read the first virtual one under prompt tuning, which attends to all of the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tunebench.strategies.base import Strategy, StrategyParams, register

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models import Architecture

#: Families whose attention takes keys and values from outside, which prefix tuning needs.
_TAKES_KEYS_AND_VALUES = ("bert", "roberta", "xlm-roberta", "camembert", "electra")


class PromptParams(StrategyParams):
    """Parameters of prompt and prefix tuning; PEFT's ``num_virtual_tokens``."""

    tokens: int = Field(default=20, ge=1, le=512, description="learnt, before every text")


class _Prompts(Strategy):
    """What both have in common."""

    params: ClassVar[type[StrategyParams]] = PromptParams

    def virtual_tokens(self, params: Any) -> int:
        """Return how many positions of the encoder are taken; see :meth:`Strategy.virtual_tokens`."""
        tokens: int = params.tokens
        return tokens


@register
class PromptTuning(_Prompts):
    """Train embeddings that stand before every text, and the head in full."""

    name: ClassVar[str] = "prompt_tuning"
    summary: ClassVar[str] = (
        "learned embeddings before every text, which begin as those of drawn words, and the head"
    )
    source: ClassVar[str] = "Lester, Al-Rfou and Constant 2021, prompt tuning (arXiv:2104.08691)"
    default_learning_rate: ClassVar[float] = 1e-2

    def prepare(self, model: Any, params: Any, architecture: Architecture) -> nn.Module:
        """Put a PEFT prompt before the embeddings; see :meth:`Strategy.prepare`."""
        from peft import PromptTuningConfig

        # ELECTRA's embeddings may be narrower than its layers.
        width = model.get_input_embeddings().embedding_dim
        return _wrap(
            model, PromptTuningConfig, params, architecture, token_dim=width, prompt_tuning_init="SAMPLE_VOCAB"
        )


@register
class PrefixTuning(_Prompts):
    """Train keys and values that stand before every text in every layer, and the head in full."""

    name: ClassVar[str] = "prefix_tuning"
    summary: ClassVar[str] = "learned keys and values before every text, in every layer, and the head"
    source: ClassVar[str] = (
        "Li and Liang 2021, prefix tuning (arXiv:2101.00190); on encoders Liu et al. 2022 (arXiv:2110.07602)"
    )
    default_learning_rate: ClassVar[float] = 5e-3

    def refusal(self, params: Any, architecture: Architecture) -> str | None:
        """Refuse families whose attention has keys and values of its own only; see :meth:`Strategy.refusal`."""
        if architecture.model_type not in _TAKES_KEYS_AND_VALUES:
            return f"the attention of {architecture.model_type} takes no keys and values from outside"
        return None

    def prepare(self, model: Any, params: Any, architecture: Architecture) -> nn.Module:
        """Put a PEFT prefix before every layer's keys and values; see :meth:`Strategy.prepare`."""
        from peft import PrefixTuningConfig

        return _wrap(model, PrefixTuningConfig, params, architecture, token_dim=model.config.hidden_size)


def _wrap(model: Any, config: Any, params: Any, architecture: Architecture, **options: Any) -> nn.Module:
    from peft import TaskType, get_peft_model

    adapted: nn.Module = get_peft_model(
        model,
        config(
            task_type=TaskType.SEQ_CLS,
            num_virtual_tokens=params.tokens,
            # PEFT would look for these under names that DistilBERT's configuration does not have.
            num_layers=model.config.num_hidden_layers,
            num_attention_heads=model.config.num_attention_heads,
            modules_to_save=list(architecture.head),
            **options,
        ),
    )
    return adapted
