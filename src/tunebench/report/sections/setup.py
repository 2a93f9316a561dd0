"""What was compared, by which recipe, on which machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tunebench.recipe import Recipe
from tunebench.report.sections.registry import part
from tunebench.report.source import Source
from tunebench.store.imported import AnyRun, is_imported
from tunebench.store.record import Environment


@part("setup", "measured")
def setup(source: Source) -> dict[str, Any]:
    """Return model, data, strategies, recipe and machine."""
    comparison = source.comparison
    records = [cell.record for cell in comparison.scored if cell.record is not None]
    machines = dict.fromkeys(tuple(_machine(record.environment)) for record in records)
    first = {label: next(c.spec for c in comparison.cells if c.spec.label == label) for label in comparison.labels}
    strategies = [
        {
            "label": label,
            "kind": spec.kind,
            "params": ", ".join(_parameters(spec.params)),
            "rates": known(c.spec.shown_learning_rate for c in comparison.cells if c.spec.label == label),
        }
        for label, spec in first.items()
    ]
    return {
        "description": source.study.description if source.study else "",
        "spec": comparison.cells[0].spec,
        "models": comparison.models,
        "sizes": comparison.sizes,
        "seeds": known(cell.spec.seed for cell in comparison.cells),
        "strategies": strategies,
        "recipe": _recipe(source),
        "machines": list(machines),
        "versions": records[0].environment.versions if records else {},
    }


def known(values: Iterable[Any]) -> list[Any]:
    """Return the different values in order; those that are not known are left out."""
    return sorted({value for value in values if value is not None})


def _machine(environment: Environment) -> Iterator[tuple[str, str]]:
    facts = {"device": environment.device, "threads": environment.threads} | environment.machine
    yield from _in_words(facts)
    unknown = [key.replace("_", " ") for key, value in facts.items() if value is None]
    if unknown:
        yield _UNKNOWN, ", ".join(unknown)


def _in_words(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield facts by name; what is not known is left out, and facts of a fact carry its name."""
    for key, value in facts.items():
        name = key.replace("_", " ")
        if value is None:
            continue
        elif isinstance(value, bool):
            yield name, "yes" if value else "no"
        elif isinstance(value, (list, tuple)):
            yield name, ", ".join(map(str, value)) or "none"
        elif isinstance(value, Mapping):
            yield from ((f"{name}, {inner}", words) for inner, words in _in_words(value))
        elif key.endswith("_bytes") and isinstance(value, int):
            yield name.removesuffix(" bytes"), f"{value / 1e9:.1f} GB"
        else:
            yield name, str(value)


def _parameters(params: dict[str, Any]) -> Iterator[str]:
    """Yield a strategy's parameters in words; what is off or unset is left out."""
    for key, value in params.items():
        if value is None or value is False:
            continue
        words = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        yield key.replace("_", " ") if value is True else f"{key.replace('_', ' ')} {words}"


#: What is shown of a setting that reaches no run.
_NO_EFFECT = "without effect"
_UNKNOWN = "not known"


def _recipe(source: Source) -> list[tuple[str, str]]:
    """Return the recipe: what most strategies have, then who differs; what is not known in one line."""
    comparison = source.comparison
    rows: list[tuple[str, str]] = []
    alike: dict[str, list[str]] = {_UNKNOWN: [], _NO_EFFECT: []}
    for key in (*Recipe.model_fields, "optimizer", "evaluations_per_epoch"):
        name = key.replace("_", " ")
        found = {(cell.spec.label, _setting(cell.spec, key)): None for cell in comparison.cells}
        found = {pair: None for pair in found if pair[1] != _NO_EFFECT} or found
        usual = Counter(value for _, value in found).most_common(1)[0][0]
        values = dict.fromkeys(value for _, value in found if value != usual)
        others = [f"{', '.join(label for label, value in found if value == one)}: {one}" for one in values]
        if usual in alike and not others:
            alike[usual].append(name)
        else:
            rows.append((name, "; ".join([usual, *others])))
    return rows + [(what, ", ".join(names)) for what, names in alike.items() if names]


def _setting(spec: AnyRun, key: str) -> str:
    if key in spec.without_effect:
        return _NO_EFFECT
    value = getattr(spec, key)
    if value is None:
        if is_imported(spec):
            return _UNKNOWN
        return "the model's own" if key == "attention_dropout" else "none"
    if isinstance(value, dict):
        return " ".join(f"{name} {number:g}" for name, number in value.items())
    return str(value)
