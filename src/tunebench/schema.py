"""The bases of settings and records, and what a stored one lacks that is older than a field."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of all specs: frozen; unknown keys are refused, and numbers that JSON cannot hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Part(BaseModel):
    """Base of the record's parts; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


#: For ``Field(json_schema_extra=...)`` of anything added to specs or parameters after the first records:
#: its default must mean what was done before it was there, and then does not enter a run's id.
ADDED_LATER: dict[str, Any] = {"added_later": True}


def added_later(neutral: Any) -> dict[str, Any]:
    """Return :data:`ADDED_LATER` for a field whose default is not what was done before it was there.

    Args:
        neutral: What was done before, and what a record without the field means.
    """
    return ADDED_LATER | {"neutral": neutral}


@cache
def neutral_values(model: type[BaseModel]) -> dict[str, Any]:
    """Return, for each field declared with :data:`ADDED_LATER`, what a record without it means."""
    found = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("added_later"):
            found[name] = extra.get("neutral", field.get_default(call_default_factory=True))
    return found


def as_recorded(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Add to recorded values the fields that came later and whose default is not what was done before."""
    neutral = {name: value for name, value in neutral_values(model).items() if name not in values}
    defaults = {name: model.model_fields[name].get_default(call_default_factory=True) for name in neutral}
    return values | {name: value for name, value in neutral.items() if value != defaults[name]}


def without_neutral(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Drop fields declared with :data:`ADDED_LATER` that have their neutral value, or that nothing switches on."""
    neutral, idle = neutral_values(model), switched_off(values, model)
    return {
        name: value
        for name, value in values.items()
        if name not in idle and (name not in neutral or value != neutral[name])
    }


def switched_off(values: Mapping[str, Any], model: type[BaseModel]) -> set[str]:
    """Return the fields that have an effect only with another value of some other field.

    A field says so by ``only_with``: the other field, and its value or a list of its values.
    """
    neutral, found = neutral_values(model), set()
    for name in model.model_fields.keys() & values.keys():
        extra: Any = model.model_fields[name].json_schema_extra or {}
        for other, wanted in extra.get("only_with", {}).items():
            # A record from before there was the other field lacks it.
            value = values.get(other, neutral.get(other))
            if value not in (wanted if isinstance(wanted, list) else [wanted]):
                found.add(name)
    return found
