"""What strategies there are, and what each trains on a given model."""

from __future__ import annotations

from typing import Any

from tunebench.errors import ConfigError
from tunebench.strategies import STRATEGIES
from tunebench.strategies.base import Strategy


def describe_strategies(name: str | None = None, *, model: str | None = None) -> list[dict[str, Any]]:
    """Describe one strategy or all as plain values.

    Args:
        name: A key of :data:`~tunebench.strategies.STRATEGIES`; None for all.
        model: Also count what each trains on this model with its default parameters.

    Raises:
        ConfigError: There is no such strategy.
        ModelError: The model cannot be loaded.
    """
    if name is not None and name not in STRATEGIES:
        raise ConfigError("There is no such strategy.", value=name, allowed=", ".join(STRATEGIES))
    found = []
    for strategy in STRATEGIES.values() if name is None else [STRATEGIES[name]]:
        row = {
            "name": strategy.name,
            "summary": strategy.summary,
            "source": strategy.source,
            "learning_rate": strategy.default_learning_rate if strategy.tunes_learning_rate else None,
            "params": _params(strategy),
        }
        found.append(row if model is None else row | _on(strategy, model))
    return found


def _params(strategy: Strategy) -> list[dict[str, Any]]:
    schema = strategy.params.model_json_schema().get("properties", {})
    return [
        {
            "name": key,
            "type": _type(schema[key]),
            "default": field.get_default(call_default_factory=True),
            "description": field.description,
        }
        for key, field in strategy.params.model_fields.items()
    ]


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_type(part) for part in schema["anyOf"])
    return {"array": "list"}.get(schema.get("type", ""), str(schema.get("type", schema.get("const", "any"))))


def _on(strategy: Strategy, model: str) -> dict[str, Any]:
    from tunebench.models.architectures import count_parameters
    from tunebench.models.loading import load_architecture, load_classifier
    from tunebench.models.sources import model_folder

    empty = {"model": model, "trainable": None, "adapter": None, "head": None, "total": None, "share": None}
    if not strategy.adapts_classifier:
        return empty | {"refused": None}
    folder = model_folder(model)
    architecture, params = load_architecture(folder), strategy.params()
    if reason := strategy.refusal(params, architecture):
        return empty | {"refused": reason}
    prepared = strategy.prepare(load_classifier(folder, label_names=("0", "1")), params, architecture)
    total, adapter, head = count_parameters(prepared, architecture)
    trainable = adapter + head
    return {
        "model": model,
        "trainable": trainable,
        "adapter": adapter,
        "head": head,
        "total": total,
        "share": trainable / total,
        "refused": None,
    }
