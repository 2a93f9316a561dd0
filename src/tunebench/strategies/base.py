"""What a fine-tuning strategy is, and the registry all of them are found in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from tunebench.registry import Registry
from tunebench.schema import ADDED_LATER, Frozen, added_later

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor, nn

    from tunebench.models.architectures import Architecture
    from tunebench.recipe import Recipe
    from tunebench.tasks.base import Task


#: Settings of a whole study that reach only strategies which train step by step, as the Trainer does.
STEP_KEYS = frozenset({"optimizer", "evaluations_per_epoch"})


class StrategyParams(Frozen):
    """Parameters of a strategy: frozen; unknown keys are refused, and numbers that JSON cannot hold."""


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
        """Remember again what :meth:`state` gave; then the run resumes as if nothing had been interrupted."""


class Strategy(ABC):
    """One way to get a classifier: by adapting a pretrained encoder, unless its capabilities say otherwise.

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
    #: Key of the backend that trains it; see :mod:`tunebench.training.registry`.
    backend: ClassVar[str] = "encoder"
    #: What it trains, for messages.
    trains: ClassVar[str] = "a classifier on a pretrained encoder"
    #: Whether it reads texts with the study's encoder.
    uses_encoder: ClassVar[bool] = True
    #: Whether it reads whole texts, of whatever length.
    reads_whole_texts: ClassVar[bool] = False
    #: Whether a text may be a pair of texts.
    reads_pairs: ClassVar[bool] = True
    #: Whether it has a learning rate.
    tunes_learning_rate: ClassVar[bool] = True
    #: Whether :meth:`prepare` adapts a sequence classifier, with a head that may come from the base.
    adapts_classifier: ClassVar[bool] = True
    #: Whether a parameter of its own says what the head reads, so that the recipe's ``pooling`` does not reach it.
    sets_pooling: ClassVar[bool] = False
    #: Whether several processes can train one run together.
    data_parallel: ClassVar[bool] = True
    #: Whether all dropout that it adds is ``nn.Dropout``, and it adds no tokens. Only then can the reference engine
    #: take the fast engine's dropout masks.
    shares_dropout: ClassVar[bool] = False
    #: Whether the trained model can be exported, and opened by a predictor.
    exportable: ClassVar[bool] = True
    #: Whether the folds of a cross-validation train it. What chooses by one of its own needs no other.
    trains_in_folds: ClassVar[bool] = True
    #: Whether it is for a handful of labels, so that their draw decides most of the score.
    for_few_labels: ClassVar[bool] = False
    #: Names of the tasks that it can learn; None for all.
    tasks: ClassVar[frozenset[str] | None] = None
    #: Why not the others, as it stands in a sentence.
    tasks_reason: ClassVar[str] = "it was not made for that"
    #: Keys of the recipe, and of :data:`STEP_KEYS`, that reach it; None for all. Others are in no run's id, and
    #: refused where a study sets them for this strategy alone.
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

    def run_refusal(
        self,
        params: Mapping[str, Any],
        recipe: Recipe,
        architecture: Architecture,
        *,
        train_size: int,
        classes: int,
    ) -> str | None:
        """Say, before anything is trained, why this does not go with a run's recipe or size; None where it does.

        Args:
            params: The run's parameters, as in a study file.
            recipe: Its recipe.
            architecture: The family, with its number of layers and positions.
            train_size: Its number of labelled texts.
            classes: How many classes there are.
        """
        if self.recipe_keys is not None and "max_length" not in self.recipe_keys:
            # Of a text no more goes through the encoder at once than a token, if anything does.
            return None
        virtual = self.virtual_tokens(params)
        needed = virtual + recipe.max_length
        if architecture.positions is None or needed <= architecture.positions:
            return None
        before = f"{virtual} virtual tokens before " if virtual else ""
        return (
            f"{before}max_length {recipe.max_length} need {needed} positions, "
            f"and the model has {architecture.positions}"
        )

    def learns(self, task: Task) -> bool:
        """Return whether it can learn a task; :attr:`tasks_reason` says why not."""
        return self.tasks is None or task.name in self.tasks

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

    def multiplier(self, parameter: str, params: Any, architecture: Architecture) -> tuple[float, float]:
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


#: What is fitted on fixed features.
Head = Literal["logistic", "svm"]


#: What a cross-validation compares values of C by.
CompareBy = Literal["metric", "loss"]


class LinearParams(StrategyParams):
    """Parameters of a linear function of fixed features."""

    head: Head = Field(
        default="logistic",
        json_schema_extra=ADDED_LATER,
        description="what is fitted: logistic regression, for numbers ridge regression; or svm, a linear support "
        "vector machine",
    )
    c: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(0.01, 0.1, 1.0, 10.0, 100.0),
        min_length=1,
        description="inverse strengths of the L2 penalty, to choose from",
    )
    compare_by: CompareBy = Field(
        default="metric",
        json_schema_extra=added_later(neutral="loss"),
        description="what cross-validation compares values of C by: the metric of the study, and of equals the "
        "loss; or the loss alone",
    )

    @field_validator("c")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("c must ascend, without repeats")
        return value


class LinearStrategy(Strategy):
    """A linear function of features that training does not change.

    It has no learning rate. :mod:`tunebench.training.linear.runs` fits it.
    """

    reads_whole_texts: ClassVar[bool] = True
    tunes_learning_rate: ClassVar[bool] = False
    adapts_classifier: ClassVar[bool] = False
    data_parallel: ClassVar[bool] = False
    trains_in_folds: ClassVar[bool] = False
    #: A spec has to hold one; it is never shown, and no other value is accepted.
    default_learning_rate: ClassVar[float] = 1.0

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Refuse: no sequence classifier is adapted.

        Raises:
            ModelError: Always.
        """
        from tunebench.errors import ModelError

        raise ModelError("This strategy adapts no sequence classifier.", value=self.name)


class ClassicalStrategy(LinearStrategy):
    """A baseline without an encoder: it fits a linear classifier on whole texts.

    Of a recipe it takes the weights of classes. :mod:`tunebench.training.linear.run` fits it.
    """

    backend: ClassVar[str] = "linear"
    trains: ClassVar[str] = "a baseline without an encoder"
    uses_encoder: ClassVar[bool] = False
    recipe_keys: ClassVar[frozenset[str] | None] = frozenset({"class_weights"})


@cache
def _instance(cls: type[Strategy]) -> Strategy:
    """Return the one instance of a class, so that registering it and naming it as an entry point are the same."""
    return cls()


def _member(found: Any) -> tuple[str, Strategy]:
    if not isinstance(found, type) or not issubclass(found, Strategy):
        raise TypeError(f"a subclass of tunebench.strategies.Strategy is needed, got {found!r}")
    missing = [name for name in _REQUIRED if not hasattr(found, name)]
    if missing:
        raise TypeError(f"the class {found.__name__} lacks {', '.join(missing)}")
    return found.name, _instance(found)


#: What a class must set.
_REQUIRED = ("name", "summary", "source", "params", "default_learning_rate")


#: All strategies by name, those of installed packages included. A new one is one file and one entry in
#: ``strategies/__init__.py``.
STRATEGIES: Registry[Strategy] = Registry("tunebench.strategies", "strategy", _member)


def register(cls: type[Strategy]) -> type[Strategy]:
    """Add a strategy class to the registry, keyed by its name."""
    STRATEGIES.add(cls.name, _instance(cls))
    return cls


def capabilities_of(kind: str | None) -> Strategy | type[Strategy]:
    """Return the strategy that declares what a kind can do; the defaults for kinds that only imported runs have."""
    return STRATEGIES.get(kind or "", Strategy)
