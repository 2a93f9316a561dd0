"""What a fine-tuning strategy is, and the registry all of them are found in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from torch import Tensor, nn

    from tunebench.architectures import Architecture
    from tunebench.linear_text import LinearText
    from tunebench.spec import RunSpec


Family = Literal["encoder", "classical", "few_shot"]

#: For ``Field(json_schema_extra=...)`` of anything added to specs or parameters after the first records:
#: its default must mean what was done before it was there, and then does not enter a run's id.
ADDED_LATER: dict[str, Any] = {"added_later": True}


def without_neutral(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Drop fields declared with :data:`ADDED_LATER` that have their default, or that nothing switches on."""
    extras = {
        name: field.json_schema_extra
        for name, field in model.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("added_later")
    }

    def matters(name: str, value: Any) -> bool:
        if name not in extras:
            return True
        switch: Any = extras[name].get("only_with", {})
        default = model.model_fields[name].get_default(call_default_factory=True)
        return bool(value != default and all(values[other] == wanted for other, wanted in switch.items()))

    return {name: value for name, value in values.items() if matters(name, value)}


class StrategyParams(BaseModel):
    """Parameters of a strategy: frozen; unknown keys are refused, and numbers that JSON cannot hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StepHook(ABC):
    """What a strategy does at every optimisation step besides what the optimiser does."""

    @abstractmethod
    def after_update(self, step: int) -> None:
        """Act when the optimiser has moved the parameters, and their gradients are still there.

        Args:
            step: Optimisation steps done, this one included.
        """

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return what it remembers from step to step; it goes into the run's checkpoints."""

    @abstractmethod
    def restore(self, state: dict[str, Tensor]) -> None:
        """Remember again what :meth:`state` gave; then it goes on as if nothing had been interrupted."""


class Strategy(ABC):
    """One way to get a classifier: by adapting a pretrained encoder, unless :attr:`family` says otherwise.

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
    #: Who trains: ``encoder`` the Trainer; ``classical`` itself, see :class:`ClassicalStrategy`; ``few_shot``
    #: the setfit library, see :mod:`tunebench.few_shot`.
    family: ClassVar[Family] = "encoder"
    #: Keys of the recipe that reach it; None for all.
    recipe_keys: ClassVar[frozenset[str] | None] = None
    #: What must be importable besides what is always there, and the extra of this package that brings it.
    extra: ClassVar[tuple[str, str] | None] = None

    def refusal(self, params: Any, architecture: Architecture) -> str | None:
        """Say, before anything is trained, why a model family cannot do this; None where it can.

        Args:
            params: An instance of :attr:`params`.
            architecture: The family, with its number of layers.
        """
        return None

    def run_refusal(self, spec: RunSpec, architecture: Architecture) -> str | None:
        """Say, before anything is trained, why this does not go with a run's recipe or size; None where it does.

        Args:
            spec: The run.
            architecture: The family, with its number of layers and positions.
        """
        virtual = self.virtual_tokens(spec.params)
        needed = virtual + spec.max_length
        if self.family == "classical" or architecture.positions is None or needed <= architecture.positions:
            return None
        before = f"{virtual} virtual tokens before " if virtual else ""
        return (
            f"{before}max_length {spec.max_length} need {needed} positions, "
            f"and the model has {architecture.positions}"
        )

    def virtual_tokens(self, params: Mapping[str, Any]) -> int:
        """Return how many positions are taken before a text's own tokens.

        Args:
            params: A run's parameters.
        """
        return 0

    def step_hook(self, model: nn.Module, params: Any, *, steps: int) -> StepHook | None:
        """Return what is to be done at every optimisation step; None where the optimiser does it all.

        Args:
            model: The model that :meth:`prepare` returned.
            params: An instance of :attr:`params`.
            steps: Optimisation steps of the whole run.
        """
        return None

    def pace(self, parameter: str, params: Any, architecture: Architecture) -> tuple[float, float]:
        """Return how a parameter learns.

        Args:
            parameter: Its full name.
            params: An instance of :attr:`params`.
            architecture: The family, with its number of layers.

        Returns:
            Its learning rate over the run's, and the share of training after which it begins to learn.
        """
        return 1.0, 0.0

    def initialise(self, model: nn.Module, params: Any, batches: Iterable[dict[str, Any]]) -> None:
        """Draw first values from the training texts, where the method does; before the first step of a run.

        Args:
            model: What :meth:`prepare` returned.
            params: An instance of :attr:`params`.
            batches: ``input_ids`` and ``attention_mask`` of all training texts; may be gone through repeatedly.
        """
        return None

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


class ClassicalStrategy(Strategy):
    """A baseline without an encoder: it fits a linear classifier on whole texts.

    It has no learning rate and no recipe; what it has to choose (see :meth:`settings`) is chosen on the
    part that selects the checkpoints of the others.
    """

    family: ClassVar[Family] = "classical"
    recipe_keys: ClassVar[frozenset[str] | None] = frozenset()
    #: Stands in the spec, which has a place for one; never shown, and nothing else is accepted.
    default_learning_rate: ClassVar[float] = 1.0

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Refuse: there is no encoder to prepare.

        Raises:
            ModelError: Always.
        """
        from tunebench.errors import ModelError

        raise ModelError("This strategy uses no encoder.", value=self.name)

    @abstractmethod
    def settings(self, params: Any, *, selects: bool) -> tuple[float, ...]:
        """Return the settings to choose from, in the order in which they are tried.

        Args:
            params: An instance of :attr:`params`.
            selects: Whether there is a part to choose on; where there is none, one setting is returned.
        """

    @abstractmethod
    def fit(
        self, texts: Sequence[str], labels: np.ndarray, *, classes: int, params: Any, settings: Sequence[float]
    ) -> list[LinearText]:
        """Fit one model a setting.

        Args:
            texts: Training texts, whole.
            labels: Integers of shape ``(texts,)``.
            classes: Number of classes.
            params: An instance of :attr:`params`.
            settings: Some of :meth:`settings`.

        Raises:
            DataError: The texts hold nothing to learn from.
        """

    @abstractmethod
    def load(self, folder: Any, params: Any) -> LinearText:
        """Read a fitted model back from a run's folder.

        Raises:
            StoreError: Files are missing or damaged.
        """


#: All strategies by name. A new one is one file and one entry in ``strategies/__init__.py``.
STRATEGIES: dict[str, Strategy] = {}


def register(cls: type[Strategy]) -> type[Strategy]:
    """Add a strategy class to the registry, keyed by its name."""
    if cls.name in STRATEGIES:
        raise ValueError(f"strategy {cls.name!r} is registered twice")
    STRATEGIES[cls.name] = cls()
    return cls


def family_of(kind: str | None) -> Family:
    """Return who trains a kind; kinds that only imported runs have are taken for the Trainer's."""
    strategy = STRATEGIES.get(kind or "")
    return "encoder" if strategy is None else strategy.family


def is_classical(kind: str | None) -> bool:
    """Whether a kind uses no encoder."""
    return family_of(kind) == "classical"
