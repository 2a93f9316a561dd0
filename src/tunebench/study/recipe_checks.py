"""Settings of training that contradict each other, or that have no effect."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tunebench.recipe import Recipe, Selection
from tunebench.strategies import STRATEGIES

#: Settings that a strategy cannot have both of, and why.
_NOT_TOGETHER = (
    ("oversampling", "class_weights", "do the same twice"),
    ("focal_gamma", "label_smoothing", "cannot be combined: the focal loss is defined for whole labels"),
)
#: Settings that have no effect unless another one has a value.
_NEEDS = {
    "head_share": ("truncation", "head_tail"),
    "restarts": ("schedule", "cosine_with_restarts"),
    "randomness": ("engine", "reference"),
}


@dataclass(frozen=True)
class Setting:
    """What one setting of a strategy trains with.

    Attributes:
        label: The strategy's label.
        kind: Its kind.
        own: Keys of the recipe that the strategy sets itself.
        recipe: The whole recipe.
    """

    label: str
    kind: str
    own: Collection[str]
    recipe: Recipe

    def has(self, key: str) -> bool:
        """Tell whether a setting of the recipe is given, and reaches this kind of strategy."""
        return bool(getattr(self.recipe, key)) and self.reached_by(key)

    def reached_by(self, key: str) -> bool:
        """Tell whether a setting of the recipe reaches this kind of strategy."""
        keys = STRATEGIES[self.kind].recipe_keys
        return keys is None or key in keys


def check_recipes(shared: Recipe, settings: Sequence[Setting], *, selection: Selection) -> None:
    """Refuse settings of training that contradict each other, or that have no effect.

    Args:
        shared: The study's own recipe.
        settings: Those of all strategies.
        selection: How the study selects.

    Raises:
        ValueError: There are such settings.
    """
    _check_switched_off(shared, settings)
    _check_patience(settings, selection)
    _check_losses(settings)
    _check_steps(settings)


def _check_switched_off(shared: Recipe, settings: Sequence[Setting]) -> None:
    """Refuse settings that have no effect without another one, in a strategy or everywhere."""
    for key, (other, value) in _NEEDS.items():
        off = [setting for setting in settings if getattr(setting.recipe, other) != value]
        idle = dict.fromkeys(setting.label for setting in off if key in setting.own)
        if idle or (_changed(shared, key) and len(off) == len(settings)):
            where = f" (strategy {', '.join(idle)})" if idle else ""
            raise ValueError(f"{key}{where} has no effect without {other}: {value}; remove it, or set both")


def _check_patience(settings: Sequence[Setting], selection: Selection) -> None:
    """Refuse to stop early where no validation part says when."""
    hasty = dict.fromkeys(setting.label for setting in settings if setting.has("patience"))
    if hasty and selection != "validation":
        raise ValueError(
            f"patience ({', '.join(hasty)}) stops training by the score on validation; it needs selection: "
            "validation"
        )


def _check_losses(settings: Sequence[Setting]) -> None:
    """Refuse settings that answer unequal classes twice, or that make a loss nobody has defined."""
    for setting in settings:
        for first, second, why in _NOT_TOGETHER:
            if setting.has(first) and setting.has(second):
                raise ValueError(f"{first} and {second} (strategy {setting.label}) {why}; remove one of them")


def _check_steps(settings: Sequence[Setting]) -> None:
    """Refuse numbers of steps that contradict each other."""
    for setting in settings:
        label, recipe = setting.label, setting.recipe
        if not setting.reached_by("max_steps"):
            continue
        if recipe.warmup_steps and recipe.warmup_ratio:
            raise ValueError(
                f"warmup_steps and warmup_ratio (strategy {label}) say the same twice; remove one of them"
            )
        if 0 < recipe.max_steps < recipe.min_steps:
            raise ValueError(
                f"max_steps: {recipe.max_steps} (strategy {label}) is below min_steps: {recipe.min_steps}; "
                "remove one of them"
            )
        if recipe.max_steps and recipe.warmup_steps >= recipe.max_steps:
            raise ValueError(
                f"warmup_steps: {recipe.warmup_steps} (strategy {label}) leaves no step of max_steps: "
                f"{recipe.max_steps} at the full learning rate; lower it"
            )


def _changed(shared: Recipe, key: str) -> bool:
    return bool(getattr(shared, key) != Recipe.model_fields[key].default)
