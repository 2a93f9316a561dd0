"""Fine-tuning strategies: the registry and its members.

To add one: write a file beside this with a :class:`~tunebench.strategies.base.Strategy` subclass
under ``@register`` and import it here. The tests run over the registry, so it is tested on arrival.
"""

from tunebench.strategies.base import STRATEGIES, ClassicalStrategy, Strategy, StrategyParams
from tunebench.strategies.full import FullFineTuning, FullParams
from tunebench.strategies.lora import LoRA, LoraParams
from tunebench.strategies.tfidf import Tfidf, TfidfParams

__all__ = [
    "STRATEGIES",
    "ClassicalStrategy",
    "FullFineTuning",
    "FullParams",
    "LoRA",
    "LoraParams",
    "Strategy",
    "StrategyParams",
    "Tfidf",
    "TfidfParams",
]
