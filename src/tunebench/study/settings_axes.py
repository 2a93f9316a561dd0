"""Settings of the recipe that a study searches beside the learning rate, written as lists."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from pydantic import ValidationError

from tunebench.recipe import TUNABLE, Recipe
from tunebench.strategies import STRATEGIES


def with_settings(raw: dict[str, Any]) -> dict[str, Any]:
    """Give every strategy the lists that a study writes for all of them.

    A strategy that sets the key itself keeps its own value. One that the setting does not reach gets none.

    Args:
        raw: A study as YAML has it, its models written out already.

    Raises:
        ValueError: A list reaches no strategy, or holds what its key cannot be.
    """
    lists = {key: _checked(key, raw[key]) for key in TUNABLE if isinstance(raw.get(key), (list, tuple))}
    given = raw.get("strategies")
    if isinstance(given, (list, tuple)) and all(isinstance(label, str) for label in given):
        given = {label: None for label in given}
    if not lists or not isinstance(given, dict):
        return raw
    strategies, used = dict(given), set[str]()
    for label, strategy in given.items():
        fields = {} if strategy is None else strategy
        if not isinstance(fields, dict):
            continue
        kind = STRATEGIES.get(str(fields.get("kind", label)))
        if kind is None:
            continue  # said by the validator of strategies
        reaching = [key for key in lists if kind.recipe_keys is None or key in kind.recipe_keys]
        used.update(reaching)
        own = {key: lists[key] for key in reaching if key not in fields}
        strategies[label] = {"kind": label, **fields, **own}
    if idle := [key for key in lists if key not in used]:
        raise ValueError(f"{', '.join(idle)}: no strategy has this setting; remove the list")
    return {key: value for key, value in raw.items() if key not in lists} | {"strategies": strategies}


def repeats(values: Sequence[Any]) -> bool:
    """Tell whether a list holds a value twice, or none."""
    return not values or any(value in values[:place] for place, value in enumerate(values))


def _checked(key: str, values: Sequence[Any]) -> list[Any]:
    """Return the values of a list, each of which the key can be."""
    if repeats(values):
        raise ValueError(f"{key} is a list of different values; got {list(values)!r}")
    for value in values:
        try:
            Recipe.model_validate({key: value})
        except ValidationError as error:
            raise ValueError(f"{key} cannot be {value!r}: {error.errors()[0]['msg'].lower()}") from None
    return list(values)


def combinations(
    rates: Sequence[float], axes: Mapping[str, Sequence[Any]], most: int | None
) -> list[tuple[float, dict[str, Any]]]:
    """Return the settings of a strategy that are tried: learning rate, and a value of each axis.

    Args:
        rates: Its learning rates.
        axes: By key of the recipe, the values.
        most: How many are tried. If there are more combinations, they are drawn at random, the same for strategies
            with as many (Bergstra and Bengio 2012, JMLR 13, 281). None tries all.
    """
    every = [(rate, dict(zip(axes, values, strict=True))) for rate, *values in product(rates, *axes.values())]
    if most is None or len(every) <= most:
        return every
    # Drawn before the first run: plan, budget, other processes and a resumed study know all of them.
    drawn = random.Random(0).sample(range(len(every)), most)
    return [every[place] for place in sorted(drawn)]
