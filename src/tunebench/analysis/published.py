"""Published values that stand beside a study's runs, where the study asks for them: ``reference: paper``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from tunebench.store.imported import AnyRun, is_imported
from tunebench.strategies import STRATEGIES
from tunebench.study.strict_yaml import parse_yaml


@dataclass(frozen=True)
class Reference:
    """The values of one publication; see ``study/references/``.

    Attributes:
        name: What a study calls it, and tables too.
        model: Last part of the model's name.
        model_label: The model's name for people.
        data: Last parts of the data's names.
        strategies: Learning rate and parameters by kind of strategy.
        recipe: A run that differs here is another experiment.
        protocol: A run that differs here may stand beside, and the table says how.
        cells: Values by kind of strategy and training size.
        notes: Sentences that belong under a table, by the column or rule they explain.
    """

    name: str
    model: str
    model_label: str
    data: tuple[str, ...]
    strategies: dict[str, dict[str, Any]]
    recipe: dict[str, Any]
    protocol: dict[str, Any]
    cells: dict[str, dict[int, dict[str, float]]]
    notes: dict[str, str]

    def cell(self, spec: AnyRun) -> dict[str, Any] | None:
        """Return the published values for a run of the same recipe.

        Labels do not matter. The model and the data are told by the last part of their names, since fingerprints
        of files would not survive a conversion.

        Args:
            spec: The run.

        Returns:
            The values, ``train_seconds`` (without evaluation), ``same_model`` and ``differs``: what differs, in
            words, and nothing for a cell of the publication itself. None for a run of another recipe.
        """
        found = self.cells.get(spec.kind or "", {}).get(spec.train_size)
        if found is None or not self._same_recipe(spec):
            return None
        if is_imported(spec):
            # Whether it is one of the published cells cannot be told where seed, model or data are not known.
            unknown = (spec.seed, spec.model.source, spec.data.source, spec.selection)
            if any(value is None for value in unknown):
                return None
        differs: dict[str, tuple[Any, Any]] = {}
        model, data = _last_part(spec.model.source or ""), _last_part(spec.data.source or "")
        same_model = model == self.model
        if not same_model:
            differs["model"] = (model, self.model)
        if data.lower() not in self.data:
            differs["data"] = (data, self.data[0])
        for name, theirs in self.protocol.items():
            ours = getattr(spec, name)
            if ours != theirs and not (ours is None and is_imported(spec)):
                differs[name.replace("_", " ")] = (ours, "the model's own" if theirs is None else theirs)
        return found | {
            "train_seconds": found["total_seconds"] - found["eval_seconds"],
            "same_model": same_model,
            "differs": tuple(f"{name} {ours} ({self.name}: {theirs})" for name, (ours, theirs) in differs.items()),
        }

    def _same_recipe(self, spec: AnyRun) -> bool:
        kind = spec.kind or ""
        ours, known = self.strategies[kind], STRATEGIES[kind].params
        return (
            self.data[0] in _last_part(spec.data.source or "").lower()
            and len(spec.data.label_names) == 2
            and set(spec.params) <= set(known.model_fields)
            and known(**spec.params) == known(**ours["params"])
            and spec.learning_rate == ours["learning_rate"]
            and all(getattr(spec, name) == value for name, value in self.recipe.items())
        )


@cache
def reference(name: str) -> Reference:
    """Return the published values that a study calls by this name."""
    path = resources.files("tunebench") / "study" / "references" / f"{name}.yaml"
    raw = parse_yaml(path.read_text(encoding="utf-8"), where=path.name)
    columns = raw.pop("columns")
    cells = {
        kind: {size: dict(zip(columns, values, strict=True)) for size, values in sizes.items()}
        for kind, sizes in raw["cells"].items()
    }
    return Reference(**raw | {"data": tuple(raw["data"]), "cells": cells})


def _last_part(source: str) -> str:
    return source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
