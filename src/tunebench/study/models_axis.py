"""Several models in one study: each strategy once with each of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tunebench.strategies import STRATEGIES

#: Between a strategy's label and its model's, where a study has several models.
AT = "@"


def with_models(raw: dict[str, Any]) -> dict[str, Any]:
    """Write out the key ``models`` of a study: strategies with the key ``model``, labelled ``strategy@model``.

    A strategy may name some of the models (``models: [...]``). One without an encoder, such as TF-IDF, or with a
    ``model`` of its own stays as it is. ``pairs`` of two strategies become pairs on each model.

    Args:
        raw: A study as YAML has it.

    Returns:
        The study without ``models``; the first of them is the study's ``model``.

    Raises:
        ValueError: The key makes no sense as it is.
    """
    if "models" not in raw:
        return raw
    if "model" in raw:
        raise ValueError("model and models are both given; drop one of them")
    models = _checked(raw["models"], "models")
    names = model_names(models)
    study = {key: value for key, value in raw.items() if key != "models"} | {"model": models[0]}
    given = study.get("strategies")
    if isinstance(given, (list, tuple)):
        given = {label: None for label in given}
    if not isinstance(given, dict):
        return study  # for the validator of strategies to say
    strategies: dict[Any, Any] = {}
    placed: dict[Any, dict[str, str]] = {}
    for label, strategy in given.items():
        found = _on_each(label, strategy, names)
        strategies |= found
        placed[label] = {entry["model"]: name for name, entry in found.items() if name != label}
    study["strategies"] = strategies
    if isinstance(study.get("pairs"), (list, tuple)):
        study["pairs"] = [pair for each in study["pairs"] for pair in _pairs(each, placed, models)]
    return study


def _checked(value: Any, where: str) -> list[str]:
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{where} is a list of models, such as [minilm, distilbert-base-uncased]; got {value!r}")
    if len(set(value)) < len(value):
        raise ValueError(f"{where} holds the same model twice: {', '.join(value)}")
    return list(value)


def model_names(models: Sequence[str]) -> dict[str, str]:
    """Return what labels call each model: the last part of its name, of safe characters.

    Raises:
        ValueError: Two would be called the same.
    """
    names = {}
    for model in models:
        last = model.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
        names[model] = re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip("-") or "model"
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if twice:
        raise ValueError(f"two of the models are called {twice[0]}; name models by the key model of each strategy")
    return names


def _on_each(label: Any, strategy: Any, names: dict[str, str]) -> dict[Any, Any]:
    """Return a strategy once for each model; alone, where it has no encoder or is odd in itself."""
    fields = {} if strategy is None else strategy
    if not isinstance(fields, dict):
        return {label: strategy}
    fields = {"kind": label} | fields
    kind = STRATEGIES.get(fields["kind"]) if isinstance(fields["kind"], str) else None
    if kind is None or not kind.uses_encoder or not fields.keys().isdisjoint(("model", "model_revision")):
        return {label: fields}
    chosen = fields.pop("models", None)
    wanted = list(names) if chosen is None else _checked(chosen, f"strategies.{label}.models")
    unknown = [model for model in wanted if model not in names]
    if unknown:
        raise ValueError(f"strategies.{label}.models names none of the models: {', '.join(unknown)}")
    return {f"{label}{AT}{names[model]}": fields | {"model": model} for model in wanted}


def _pairs(pair: Any, placed: dict[Any, dict[str, str]], models: list[str]) -> list[Any]:
    """Return a pair of strategies as pairs on each model that both have; any other pair as it is."""
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not any(placed.get(label) for label in pair):
        return [pair]
    first, second = (placed.get(label) or {} for label in pair)
    found = []
    for model in models:
        both = [own.get(model) if own else label for label, own in zip(pair, (first, second), strict=True)]
        if None not in both:
            found.append(both)
    return found
