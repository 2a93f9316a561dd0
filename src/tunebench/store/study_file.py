"""A study's file in its folder: written, and read again with what came later as it was before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tunebench.errors import ConfigError, StoreError
from tunebench.files import read_regular, write_text
from tunebench.recipe import Recipe
from tunebench.schema import as_recorded
from tunebench.store.imported import ImportedStudy
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec
from tunebench.study.strict_yaml import parse_yaml
from tunebench.tasks.registry import metric_names

#: What a stored study ran with where it does not say: recipe keys that came later, as in records without them.
_BEFORE = {
    key: RunSpec.model_fields[key].default
    for key in Recipe.model_fields
    if key in RunSpec.model_fields and not RunSpec.model_fields[key].is_required()
}


def write_study(path: Path, study: StudyConfig | ImportedStudy) -> None:
    """Write a study's file."""
    write_text(path, yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))


def read_stored_study(path: Path) -> StudyConfig | ImportedStudy:
    """Return the study of a file in a study's folder, or what stands in its place where the runs were imported.

    Raises:
        StoreError: It is damaged, or a strategy or the metric of it is not installed.
    """
    try:
        raw = parse_yaml(read_regular(path, limit=2**24).decode("utf-8"), where=str(path))
    except (OSError, StoreError, ConfigError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from None
    try:
        if isinstance(raw, dict) and raw.get("origin") == "imported":
            return ImportedStudy.model_validate(raw)
        return StudyConfig.model_validate(_as_stored(raw) if isinstance(raw, dict) else raw)
    except ValidationError as error:
        _refuse_unknown(path, error)
        raise _damaged(path, error) from None


def _as_stored(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a stored study with what came after it as it was before."""
    found = _BEFORE | raw
    search = raw.get("search", {})
    if isinstance(search, dict):
        found["search"] = {"first_look": 1} | search
    strategies = raw.get("strategies")
    for label, given in strategies.items() if isinstance(strategies, dict) else ():
        kind = STRATEGIES.get(str(given.get("kind"))) if isinstance(given, dict) else None
        if kind is not None and isinstance(given.get("params"), dict):
            params = as_recorded(given["params"], kind.params)
            found["strategies"] = found["strategies"] | {label: given | {"params": params}}
    return found


def _refuse_unknown(path: Path, error: ValidationError) -> None:
    """Refuse a study that uses a strategy or a metric that is not installed."""
    places = [(item["loc"], item["input"]) for item in error.errors()]
    kinds = {str(kind) for loc, kind in places if (loc[:1], loc[-1:]) == (("strategies",), ("kind",))}
    metrics = {str(name) for loc, name in places if loc == ("metric",)}
    for what, unknown, known in (("strategy", kinds, STRATEGIES), ("metric", metrics, metric_names())):
        if unknown - {*known}:
            raise StoreError(
                f"The study in {path.parent} uses a {what} that is not installed here.",
                value=", ".join(sorted(unknown)),
                allowed=", ".join(known),
                fix="install the package that adds it",
            ) from None


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"The stored study is damaged: {str(error).splitlines()[0]}",
        value=str(path),
        fix="tunebench run STUDY --out FOLDER writes it anew",
    )
