"""What the configuration files of a folder say about the classifier in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tunebench.data.inputs import ONE_TEXT, Inputs
from tunebench.errors import ModelError
from tunebench.files import read_foreign_object
from tunebench.models.architectures import usable_positions
from tunebench.models.reference import ModelRef
from tunebench.recipe import Recipe, Truncation
from tunebench.store.live import is_finite
from tunebench.tasks.base import Task
from tunebench.tasks.registry import task_of
from tunebench.tasks.regression import REGRESSION

if TYPE_CHECKING:
    from collections.abc import Mapping


#: File in every folder that ``tunebench export`` writes.
EXPORT_FILE = "export.json"
_NO_LIMIT = 1_000_000
_DEFAULT_LENGTH = 512


def export_facts(folder: Path) -> Mapping[str, Any]:
    """Return what an export of ours says of itself; nothing for folders of others."""
    file = folder / EXPORT_FILE
    return read_foreign_object(file) if file.exists() else {}


def stated_task(problem_type: str | None, facts: Mapping[str, Any], folder: Path) -> Task:
    """Return what was learned, with the thresholds that an export names."""
    try:
        return task_of(problem_type).at(facts.get("thresholds"))
    except (TypeError, ValueError):
        raise ModelError(
            "The export names thresholds that are none.",
            value=f"{folder / EXPORT_FILE}: {facts['thresholds']}",
            allowed="numbers between 0 and 1: one a label of several labels a text, or one for two classes",
        ) from None


def stated_temperature(facts: Mapping[str, Any], folder: Path) -> float | None:
    """Return what the logits of an export are divided by."""
    found = facts.get("temperature")
    if found is None or (is_finite(found) and found > 0):
        return found
    raise ModelError(
        "The export names a temperature that is none.",
        value=f"{folder / EXPORT_FILE}: {found}",
        allowed="a number above 0, or null",
    )


def configured_classes(config: Mapping[str, Any]) -> int:
    """Return the number of classes that a configuration gives; 2, as Transformers, where it gives none."""
    count = config.get("num_labels")
    return count if isinstance(count, int) and count > 0 else 2


def checked_names(names: tuple[str, ...], task: Task, folder: Path) -> tuple[str, ...]:
    """Return the names of a model's outputs, which are as many as its task has."""
    if task.labelled and len(names) < 2:
        raise ModelError(
            "This model has a single output; it is not a classifier.",
            value=str(folder),
            fix=f'if it predicts numbers, write "problem_type": "{REGRESSION.problem_type}" into its config.json',
        )
    if not task.labelled and len(names) > 1:
        raise ModelError(
            f"This model predicts {len(names)} numbers for each text.",
            value=f"{folder}: {', '.join(names)}",
            allowed="one number",
            fix="use it with Transformers",
        )
    return names


def label_names(config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names of the classes in a configuration, by label; None where it has none."""
    names = config.get("id2label")
    if not isinstance(names, dict) or not names:
        return None
    try:
        return tuple(str(names[key]) for key in sorted(names, key=int))
    except ValueError:
        return None


def stated_length(folder: Path, config: Mapping[str, Any], *, virtual_tokens: int = 0) -> int:
    """Return the tokenizer's limit, or what the positions left by virtual tokens allow where that is less."""
    limit = _tokenizer_config(folder).get("model_max_length")
    limits = [int(limit)] if isinstance(limit, (int, float)) and 0 < limit < _NO_LIMIT else []
    positions = usable_positions(config)
    if positions is not None:
        limits.append(positions - virtual_tokens)
    return min(limits, default=_DEFAULT_LENGTH)


def stated_truncation(facts: Mapping[str, Any], tokens: Path) -> tuple[Truncation, float]:
    """Return what is read of a long text: as the export says, else as the tokenizer itself would cut."""
    stated = {name: facts[name] for name in ("truncation", "head_share") if facts.get(name) is not None}
    # Exports without the two are older than their being kept, and say that the beginning is read.
    if not facts and _tokenizer_config(tokens).get("truncation_side") == "left":
        stated = {"truncation": "tail"}
    try:
        recipe = Recipe.model_validate(stated)
    except ValidationError:
        raise ModelError(
            "The export names an unknown way to shorten texts.",
            value=f"{EXPORT_FILE}: {stated}",
            allowed="truncation: head, tail or head_tail; head_share: more than 0, less than 1",
            fix="use the version of tunebench that wrote it",
        ) from None
    return recipe.truncation, recipe.head_share


def stated_inputs(facts: Mapping[str, Any], folder: Path) -> Inputs | None:
    """Return what a text is: as the export says, and not known of folders of others."""
    if not facts:
        return None
    stated = facts.get("inputs")
    try:
        return ONE_TEXT if stated is None else Inputs.model_validate(stated)
    except ValidationError:
        raise ModelError(
            "The export names columns of texts that cannot be understood.",
            value=f"{EXPORT_FILE}: {stated}",
            fix="use the version of tunebench that wrote it",
        ) from None


def _tokenizer_config(folder: Path) -> Mapping[str, Any]:
    file = folder / "tokenizer_config.json"
    return read_foreign_object(file) if file.exists() else {}


def stated_base(stated: Any, folder: Path) -> ModelRef:
    """Return the base that an export of ours names."""
    try:
        return ModelRef.model_validate(stated)
    except ValidationError:
        raise ModelError(
            "The export names a base that is none.",
            value=f"{folder / EXPORT_FILE}: {stated}",
            fix="use the version of tunebench that wrote it",
        ) from None
