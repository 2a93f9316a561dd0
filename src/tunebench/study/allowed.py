"""What a study may hold at each of its places: keys and values, read from the JSON schema of the specs."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel

from tunebench.recipe import Recipe
from tunebench.strategies import STRATEGIES
from tunebench.strategies.base import Strategy
from tunebench.study.config import StudyConfig
from tunebench.study.strategy_config import StrategyConfig


def _strategy_of(label: Any, raw: dict[str, Any]) -> Strategy | None:
    strategies = raw.get("strategies")
    given = strategies.get(label) if isinstance(strategies, dict) else None
    kind = given.get("kind", label) if isinstance(given, dict) else label
    return STRATEGIES.get(kind) if isinstance(kind, str) else None


def known_keys(path: tuple[Any, ...], raw: dict[str, Any]) -> list[str]:
    """Return the keys that are allowed at a place of a study.

    Args:
        path: The place, by its keys and positions from the top.
        raw: The study as plain values.
    """
    if path[0:1] != ("strategies",) or len(path) == 1:
        return list(schema_at(path, raw).get("properties", {}))
    strategy = _strategy_of(path[1], raw)
    params = list(strategy.params.model_fields) if strategy else []
    reaching = strategy.recipe_keys if strategy else None
    recipe = [key for key in Recipe.model_fields if reaching is None or key in reaching]
    if len(path) == 2:
        rate = ["learning_rate"] if strategy is None or strategy.tunes_learning_rate else []
        model = ["model", "model_revision"] if strategy is None or strategy.uses_encoder else []
        model += ["models"] if model and "models" in raw else []
        return ["kind", *rate, *model, "train_sizes", *params, *recipe]
    inner = {"params": params, "recipe": recipe, "learning_rate": ["multiples_of", "values"]}
    return inner.get(path[2], []) if len(path) == 3 else []


@cache
def _schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON schema, made once: making it takes longer than checking a study."""
    return model.model_json_schema()


def schema_at(path: tuple[Any, ...], raw: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a place of a study; empty where there is none.

    Args:
        path: The place, by its keys and positions from the top.
        raw: The study as plain values: it says of which kind each strategy is.
    """
    root = _schema_of(StudyConfig)
    if path[0:1] == ("strategies",) and len(path) > 2:
        # Parameters and recipe stand beside the other keys, or under their own.
        part, inner = path[2], path[3:] if path[2] in ("params", "recipe") else path[2:]
        if inner and (part == "recipe" or part in Recipe.model_fields):
            root, path = _schema_of(Recipe), inner
        elif inner and (part == "params" or part not in StrategyConfig.model_fields):
            strategy = _strategy_of(path[1], raw)
            root, path = (_schema_of(strategy.params) if strategy else {}), inner
    here: dict[str, Any] = root
    for part in path:
        here = _followed(here, root)
        if isinstance(part, int):
            here = next((option["items"] for option in (here, *here.get("anyOf", ())) if "items" in option), {})
        else:
            options = (here, *here.get("anyOf", ()))
            others: Any = next((o["additionalProperties"] for o in options if o.get("additionalProperties")), {})
            here = here.get("properties", {}).get(part, others)
        if not isinstance(here, dict):
            return {}
    return _followed(here, root)


def _followed(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Return what a schema refers to, also where it may be left out; itself where it is no reference."""
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    target = options[0] if len(options) == 1 else schema
    found: dict[str, Any] = root["$defs"][target["$ref"].rsplit("/", 1)[1]] if "$ref" in target else schema
    return found


def describe(schema: dict[str, Any]) -> str | None:
    """Say in words what a JSON schema accepts."""
    if "anyOf" in schema:
        parts = [describe(option) for option in schema["anyOf"] if option.get("type") != "null"]
        return ", or ".join(part for part in parts if part) or None
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return repr(schema["const"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return _describe_number(schema)
    if kind == "array":
        return f"a list; each is {describe(schema.get('items', {})) or 'anything'}"
    if kind == "string":
        return (
            f"text that matches {schema['pattern']}" if "pattern" in schema else schema.get("description", "text")
        )
    return {"object": "a mapping", "boolean": "true or false"}.get(str(kind))


def _describe_number(schema: dict[str, Any]) -> str:
    bounded = "maximum" in schema or "exclusiveMaximum" in schema
    noun = "an integer" if schema["type"] == "integer" else "a number" if bounded else "a finite number"
    bounds = [
        f"{words} {schema[name]}"
        for name, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if name in schema
    ]
    about = f"({schema['description']})" if "description" in schema else ""
    return " ".join(part for part in (noun, " and ".join(bounds), about) if part)
