"""What the recipe asks for, against the data, the strategies and what is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from tunebench.data import TextDataset
from tunebench.errors import ConfigError, PlanError, TunebenchError, did_you_mean
from tunebench.recipe import Recipe
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.spec import without_effect

#: Settings whose effect on a strategy is easily taken for granted.
_NOTED = ("class_weights", "focal_gamma", "oversampling")


def check_recipes(study: StudyConfig, dataset: TextDataset) -> list[TunebenchError]:
    """Return which weights name no label of the data, and what the task has no use for."""
    errors: dict[str, TunebenchError] = {error.what: error for error in _optimizer(study)}
    for label, config in study.strategies.items():
        recipe, idle = study.recipe_of(config), without_effect(config.kind)
        asked = [key for key in _NOTED if getattr(recipe, key) and key not in idle]
        # What the study sets for all strategies is said once.
        errors |= {
            error.what: error for error in _refusals(label, recipe, asked, dataset) if error.what not in errors
        }
    return list(errors.values())


def _optimizer(study: StudyConfig) -> list[TunebenchError]:
    reached = any("optimizer" not in without_effect(config.kind) for config in study.strategies.values())
    if not reached or study.optimizer in ("adamw", "adafactor") or importlib.util.find_spec("bitsandbytes"):
        return []
    return [
        PlanError(
            f"optimizer: {study.optimizer} comes from bitsandbytes, which is not installed.",
            value=study.optimizer,
            allowed="adamw, adafactor",
            fix="pip install bitsandbytes, or choose one of these",
        )
    ]


def _refusals(label: str, recipe: Recipe, asked: list[str], dataset: TextDataset) -> list[TunebenchError]:
    if not dataset.task.labelled:
        return [_without_labels(key) for key in asked]
    found = _unknown_labels(recipe, dataset) if "class_weights" in asked else []
    if "oversampling" in asked and not dataset.task.exclusive:
        found.append(
            PlanError(
                "oversampling is for one label a text: repeating a text for one of its labels repeats it for "
                "the others too.",
                value=f"oversampling: true (strategy {label})",
                fix="set class_weights: balanced in its place",
            )
        )
    return found


def _without_labels(key: str) -> TunebenchError:
    return PlanError(
        f"{key} is for labels, and the data has one number a text: no number is of a class.",
        value=key,
        fix=f"remove {key}",
    )


def _unknown_labels(recipe: Recipe, dataset: TextDataset) -> list[TunebenchError]:
    weights = recipe.class_weights
    names = list(dataset.label_names)
    odd = [name for name in weights if name not in names] if isinstance(weights, Mapping) else []
    return [
        ConfigError(
            f"class_weights.{name}: the data has no such label.",
            value=name,
            allowed=", ".join(names),
            fix=did_you_mean(name, names) or "remove it, or name one of these",
        )
        for name in odd
    ]


def recipe_remarks(study: StudyConfig) -> list[str]:
    """Return a line on each setting of the study that has no effect on some of its strategies."""
    lines = []
    for key in _NOTED:
        if getattr(study, key) == Recipe.model_fields[key].default:
            continue
        idle = [label for label, config in study.strategies.items() if key in without_effect(config.kind)]
        if idle:
            able = [kind for kind in STRATEGIES if key not in without_effect(kind)]
            used = [config.kind for config in study.strategies.values() if config.kind in able]
            rest = "" if used else f"; it is for {', '.join(able)}"
            lines.append(f"note: {key} has no effect on {', '.join(idle)}{rest}.")
    return lines
