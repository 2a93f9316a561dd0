"""Fine-tuning strategies: the registry and its members.

To add one: write a file in this folder with a :class:`~tunebench.strategies.base.Strategy` subclass
under ``@register`` and import it here. The tests run over the registry, so it is tested on arrival.
A package of your own adds one without a change here: an entry point in the group ``tunebench.strategies``
names the class; see ``examples/extending``.
"""

from tunebench.strategies.adalora import AdaLoRA, AdaLoraParams
from tunebench.strategies.adapters import IA3, OFT, VeRA
from tunebench.strategies.base import (
    STEP_KEYS,
    STRATEGIES,
    ClassicalStrategy,
    LinearStrategy,
    StepHook,
    Strategy,
    StrategyParams,
    capabilities_of,
)
from tunebench.strategies.embeddings import Embeddings, EmbeddingsParams
from tunebench.strategies.frozen import BitFit, HeadOnly, LastK
from tunebench.strategies.full import FullFineTuning, FullParams
from tunebench.strategies.lora import LoRA, LoraParams
from tunebench.strategies.prompts import PrefixTuning, PromptTuning
from tunebench.strategies.setfit import SetFit, SetFitParams
from tunebench.strategies.static import Static, StaticParams
from tunebench.strategies.tfidf import Tfidf, TfidfParams
from tunebench.strategies.zero_shot import ZeroShot, ZeroShotParams

__all__ = [
    "IA3",
    "OFT",
    "STEP_KEYS",
    "STRATEGIES",
    "AdaLoRA",
    "AdaLoraParams",
    "BitFit",
    "ClassicalStrategy",
    "Embeddings",
    "EmbeddingsParams",
    "FullFineTuning",
    "FullParams",
    "HeadOnly",
    "LastK",
    "LinearStrategy",
    "LoRA",
    "LoraParams",
    "PrefixTuning",
    "PromptTuning",
    "SetFit",
    "SetFitParams",
    "Static",
    "StaticParams",
    "StepHook",
    "Strategy",
    "StrategyParams",
    "Tfidf",
    "TfidfParams",
    "VeRA",
    "ZeroShot",
    "ZeroShotParams",
    "capabilities_of",
]
