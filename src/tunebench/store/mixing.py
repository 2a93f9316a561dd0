"""Whether runs may join those that a study's folder holds: tables must not mix protocols."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunebench.data.reference import SplitRef
from tunebench.errors import StoreError
from tunebench.recipe import Recipe
from tunebench.study.spec import RunSpec, without_effect

#: Fields of a spec in which the cells of one study may differ, or that are compared in another way.
_NOT_SHARED = frozenset(
    {
        *("schema_version", "label", "without_effect", "splits", "copies", *Recipe.model_fields),
        *("kind", "params", "learning_rate", "train_size", "seed", "subset_seed", "test_seed"),
        *("fold", "tuned", "kernels"),
    }
)


def check_mixing(stored: Sequence[RunSpec], specs: Sequence[RunSpec], folder: Path) -> None:
    """Refuse cells that share no protocol with the stored ones, or reuse a label for something else.

    Args:
        stored: What the folder holds.
        specs: What is to join it.
        folder: For the message.

    Raises:
        StoreError: They are of another study; the message says in what they differ.
    """
    if not stored or not specs:
        return
    before, after = _protocol(stored), _protocol(specs)
    both = [key for key in after if key in before]
    changes = [f"{key}: {before[key]} -> {after[key]}" for key in both if before[key] != after[key]]
    meanings = {spec.label: _meaning(spec) for spec in stored}
    tuned = {(spec.label, key) for spec in (*stored, *specs) for key in spec.tuned}
    labels = {_content(spec): spec.label for spec in stored}
    for spec in {s.label: s for s in specs}.values():
        known, new = meanings.get(spec.label), _meaning(spec)
        if known is not None:
            changes += [
                f"strategy {spec.label}: {key}: {known.get(key)} -> {new.get(key)}"
                for key in known | new
                if known.get(key) != new.get(key) and (spec.label, key) not in tuned
            ]
    for spec in specs:
        label = labels.get(_content(spec), spec.label)
        if label != spec.label:
            changes.append(f"strategy {label} is called {spec.label}")
    if changes:
        raise StoreError(
            "The folder holds another study; they differ in:\n    " + "\n    ".join(dict.fromkeys(changes)),
            value=str(folder),
            allowed="the same study, or one that adds strategies, rates, sizes or seeds",
            fix="choose another --out, or give a changed strategy a label of its own",
        )


def _content(spec: RunSpec) -> str:
    """Return the same text for all specs of one run, whatever their schemas and labels."""
    return json.dumps(spec.effective, sort_keys=True)


def _meaning(spec: RunSpec) -> dict[str, Any]:
    """Return what a strategy's label stands for: kind, parameters and recipe."""
    effective = spec.effective
    recipe = {key: effective[key] for key in Recipe.model_fields if key in effective}
    return {"kind": spec.kind, **effective["params"], **recipe}


def _protocol(specs: Sequence[RunSpec]) -> dict[str, Any]:
    """Return what all cells of a study share; a setting that reaches none of these cells is left out."""
    splits = {f"data.{what}": found for what, found in (specs[0].splits or SplitRef()).model_dump().items()}
    shared: dict[str, Any] = {}
    for spec in specs:
        # One model to a folder, though it does not reach every strategy: tables compare on one.
        idle = without_effect(spec.kind) - {"model"}
        shared = spec.model_dump(mode="json", exclude={*_NOT_SHARED, *idle}) | shared
    # As in ids: the content counts, and not where it lies or what its columns are called.
    for part in ("model", "data"):
        places = ("source", "revision", "inputs")
        shared[part] = {key: value for key, value in shared[part].items() if key not in places}
    return shared | {"seed of the test part": specs[0].test_draw, "copies": specs[0].copies} | splits
