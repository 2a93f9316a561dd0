"""SetFit: a sentence encoder tuned on pairs of texts, for a handful of labels a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tunebench.strategies.base import Strategy, StrategyParams, register

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from tunebench.models.architectures import Architecture
    from tunebench.recipe import Recipe

#: With more labels there are more pairs and no better scores; other strategies are the better choice then.
MOST_LABELS_A_CLASS = 128


class SetFitParams(StrategyParams):
    """Parameters of SetFit."""

    iterations: int = Field(
        default=20, ge=1, le=1000, description="pairs of each kind (same class, different class) for each text"
    )
    pairs_per_batch: int = Field(default=16, ge=1, le=4096, description="pairs of texts in a batch")


@register
class SetFit(Strategy):
    """Pull texts of one class together and push those of two apart, then fit a logistic regression on them.

    The setfit library trains; see :mod:`tunebench.training.setfit.run`.
    """

    name: ClassVar[str] = "setfit"
    summary: ClassVar[str] = (
        "few labels: tune the encoder on pairs of texts, then logistic regression on its mean-pooled states"
    )
    source: ClassVar[str] = "Tunstall et al. 2022, arXiv:2209.11055"
    params: ClassVar[type[StrategyParams]] = SetFitParams
    default_learning_rate: ClassVar[float] = 2e-5
    backend: ClassVar[str] = "setfit"
    trains: ClassVar[str] = "a sentence encoder of SetFit"
    adapts_classifier: ClassVar[bool] = False
    data_parallel: ClassVar[bool] = False
    reads_pairs: ClassVar[bool] = False
    for_few_labels: ClassVar[bool] = True
    tasks: ClassVar[frozenset[str]] = frozenset({"single_label"})
    tasks_reason: ClassVar[str] = "it trains on pairs of texts that are of one class or of two"
    recipe_keys: ClassVar[frozenset[str] | None] = frozenset({"max_length", "precision"})
    extra: ClassVar[tuple[str, str] | None] = ("setfit", "setfit")

    def run_refusal(
        self,
        params: Mapping[str, Any],
        recipe: Recipe,
        architecture: Architecture,
        *,
        train_size: int,
        classes: int,
    ) -> str | None:
        """Refuse many labels, and texts cut anywhere but at their end; see :meth:`Strategy.run_refusal`."""
        most = MOST_LABELS_A_CLASS * classes
        if train_size > most:
            return (
                f"SetFit is for up to {MOST_LABELS_A_CLASS} labels a class, {most} for {classes} classes, "
                f"and the training size is {train_size}"
            )
        if recipe.truncation != "head":
            return f"the sentence encoder keeps the beginning of a text, and truncation is {recipe.truncation}"
        return super().run_refusal(params, recipe, architecture, train_size=train_size, classes=classes)

    def prepare(self, model: nn.Module, params: Any, architecture: Architecture) -> nn.Module:
        """Refuse: there is no classifier to prepare, it is made from a sentence encoder.

        Raises:
            ModelError: Always.
        """
        from tunebench.errors import ModelError

        raise ModelError("This strategy is trained by the setfit library.", value=self.name)
