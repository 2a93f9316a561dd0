"""What pydantic finds wrong with a study, in our words: key, value, what is allowed, and the fix.

What is allowed is read from the JSON schema of the specs, so that a message cannot differ from the
check behind it.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from tunebench.errors import ConfigError, TunebenchError, did_you_mean
from tunebench.strategies import STRATEGIES
from tunebench.study.allowed import describe, known_keys, schema_at
from tunebench.study.models_axis import AT, with_models
from tunebench.study.settings_axes import with_settings
from tunebench.tasks.registry import metric_names

_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number")
#: What is said of a value, by the type of pydantic's error; the range wins over the wrong type, since a
#: union reports both.
_COMPLAINTS = {
    **dict.fromkeys(_RANGE, "is out of range"),
    **dict.fromkeys(("too_short", "string_too_short"), "is empty"),
    "literal_error": "is not one of the choices",
    "string_pattern_mismatch": "is not a valid name",
}


def explain(error: ValidationError, raw: dict[str, Any]) -> list[TunebenchError]:
    """Translate all errors of one validation, one per key.

    Args:
        error: What validating ``raw`` as a :class:`StudyConfig` raised.
        raw: The study as plain values.

    Returns:
        Errors in pydantic's order; a union's several complaints about one value are one error.
    """
    grouped: dict[tuple[Any, ...], list[Any]] = {}
    checked = _written_out(raw)
    for item in error.errors(include_url=False):
        grouped.setdefault(_as_written(_real_path(item, checked), raw), []).append(item)
    unknown_kinds = {path[:2] for path in grouped if path[0:1] == ("strategies",) and path[2:] == ("kind",)}
    return [
        _explain_one(path, items, raw)
        for path, items in grouped.items()
        # A strategy of unknown kind has no default learning rate; that is not another mistake.
        if not (path[:2] in unknown_kinds and path[2:] == ("learning_rate",) and items[0]["type"] == "missing")
        # What is left after values were refused one by one is not empty by itself, and of a union the other
        # choice is not what was meant.
        if not (
            {item["type"] for item in items} <= {"too_short", "literal_error"}
            and any(p[: len(path)] == path != p for p in grouped)
        )
    ]


def check_booleans(raw: dict[str, Any]) -> list[TunebenchError]:
    """Find true and false where a study wants numbers or text, which pydantic would read as 1 and 0.

    Args:
        raw: The study as plain values.
    """
    return _booleans(raw, (), raw)


def _booleans(value: Any, path: tuple[Any, ...], raw: dict[str, Any]) -> list[TunebenchError]:
    if isinstance(value, bool):
        schema = schema_at(path, raw)
        if any(option.get("type") == "boolean" for option in (schema, *schema.get("anyOf", ()))):
            return []
        key = ".".join(str(part) for part in path)
        allowed = describe(schema)
        return [ConfigError(f"{key}: true and false are not allowed here.", value=value, allowed=allowed)]
    children: list[tuple[Any, Any]] = []
    if isinstance(value, list):
        children = list(enumerate(value))
    elif isinstance(value, dict):
        known = known_keys(path, raw)
        if path[:1] == ("strategies",) and len(path) == 2:
            known += ["params", "recipe"]
        # Under a key that is unknown, the key is what is wrong.
        children = [(k, v) for k, v in value.items() if k in known or path == ("strategies",)]
    return [error for part, child in children for error in _booleans(child, (*path, part), raw)]


def _written_out(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the study as it was checked: its models and lists written out as strategies."""
    try:
        return with_settings(with_models(raw))
    except ValueError:
        return raw


def _as_written(path: tuple[Any, ...], raw: dict[str, Any]) -> tuple[Any, ...]:
    """Return the place in the user's file: a strategy that is there for several models was written once."""
    given = raw.get("strategies")
    if path[0:1] != ("strategies",) or len(path) < 2 or not isinstance(given, dict) or path[1] in given:
        return path
    return (path[0], str(path[1]).split(AT)[0], *path[2:])


def _real_path(item: Any, raw: Any) -> tuple[Any, ...]:
    """Keep the parts of pydantic's location that stand in the study; tags of unions do not."""
    path: list[Any] = []
    here = raw
    for position, part in enumerate(item["loc"]):
        if isinstance(here, dict) and part in here:
            here = here[part]
        elif isinstance(here, (list, tuple)) and isinstance(part, int) and part < len(here):
            here = here[part]
        elif item["type"] == "missing" and position == len(item["loc"]) - 1:
            pass
        elif part == "kind" and path[0:1] == ["strategies"]:
            # No kind was given, so the label stands for it.
            pass
        else:
            continue
        path.append(part)
    return tuple(path)


def _explain_one(path: tuple[Any, ...], items: list[Any], raw: dict[str, Any]) -> ConfigError:
    types = {item["type"] for item in items}
    key = ".".join(str(part) for part in path) or "study"
    first = items[0]
    schema = schema_at(path, raw)
    if "missing" in types:
        allowed = describe(schema) or schema.get("description")
        return ConfigError(f"{key}: this key is missing.", allowed=allowed, fix=f"add '{path[-1]}: ...'")
    if types & {"extra_forbidden", "invalid_key"}:
        known = known_keys(path[:-1], raw)
        return ConfigError(
            f"{key}: unknown key.",
            value=path[-1],
            allowed=", ".join(known) or "no keys",
            fix=did_you_mean(path[-1], known) or "remove it",
        )
    if path[0:1] == ("strategies",) and path[2:] == ("kind",) and "value_error" in types:
        kinds = sorted(STRATEGIES)
        return ConfigError(
            f"strategies.{path[1]}: unknown kind of strategy.",
            value=first["input"],
            allowed=", ".join(kinds),
            fix=did_you_mean(first["input"], kinds)
            or "set 'kind' to one of these, or install the package that adds it",
        )
    if path == ("metric",) and "value_error" in types:
        return ConfigError(
            "metric: there is no such metric.",
            value=first["input"],
            allowed=", ".join(metric_names()),
            fix=did_you_mean(str(first["input"]).lower(), metric_names()) or "choose one of these",
        )
    if "value_error" in types:
        message = str(first["msg"]).removeprefix("Value error, ")
        return ConfigError(f"{key}: {message}", value=None if isinstance(first["input"], dict) else first["input"])
    return _wrong_value(key, path, first["input"], types, schema)


def _wrong_value(
    key: str, path: tuple[Any, ...], given: Any, types: set[str], schema: dict[str, Any]
) -> ConfigError:
    """Say what is wrong with a value whose key is right, and what the schema allows."""
    allowed = describe(schema)
    complaint = next((_COMPLAINTS[t] for t in _COMPLAINTS if t in types), "has the wrong type")
    settable = ".".join(str(part) for part in path if not isinstance(part, int))
    options = (schema, *schema.get("anyOf", ()))
    choices = [name for option in options for name in option.get("enum", [option.get("const")]) if name]
    meant = did_you_mean(given, choices)
    fix = meant or f"edit {settable}, or pass --set {settable}=VALUE"
    if "tuple_type" in types and meant is None and not isinstance(given, (dict, type(None))):
        fix = f"write a list: {key}: [{given}]"
    return ConfigError(f"{key}: this {complaint}.", value=given, allowed=allowed, fix=fix)
