"""What a fine-tuning strategy is, and the registry all of them are found in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import nn

    from tunebench.models import Architecture


#: For ``Field(json_schema_extra=...)`` of anything added to specs or parameters after the first records:
#: its default must mean what was done before it was there, and then does not enter a run's id.
ADDED_LATER: dict[str, Any] = {"added_later": True}


class StrategyParams(BaseModel):
    """Parameters of a strategy: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Strategy(ABC):
    """One way to adapt a pretrained encoder to a classification task.

    Subclasses are stateless. Importing them must not import torch or peft, so that a study file can
    be checked at once; :meth:`prepare` imports what it needs.
    """

    #: Key in :data:`STRATEGIES` and in study files.
    name: ClassVar[str]
    #: One line for listings.
    summary: ClassVar[str]
    #: Where the method comes from.
    source: ClassVar[str]
    #: Pydantic model of the parameters.
    params: ClassVar[type[StrategyParams]]
    #: Used where a study names none.
    default_learning_rate: ClassVar[float]

    @abstractmethod
    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Return the model with exactly the strategy's parameters trainable.

        Args:
            model: A freshly loaded sequence classifier; changed in place or wrapped.
            params: An instance of :attr:`params`.
            architecture: Names of the modules of this model family.

        Returns:
            The model to train.

        Raises:
            ModelError: If the architecture cannot do this; the message says why.
        """


#: All strategies by name. A new one is one file and one entry in ``strategies/__init__.py``.
STRATEGIES: dict[str, Strategy] = {}


def register(cls: type[Strategy]) -> type[Strategy]:
    """Add a strategy class to the registry, keyed by its name."""
    if cls.name in STRATEGIES:
        raise ValueError(f"strategy {cls.name!r} is registered twice")
    STRATEGIES[cls.name] = cls()
    return cls
