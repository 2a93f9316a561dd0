"""How a study goes on whose folder was begun before there was a choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tunebench.data import TextDataset, load_dataset
from tunebench.recipe import neutral_values
from tunebench.store.imported import is_imported
from tunebench.store.study_folder import StudyStore
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StrategyConfig, StudyConfig
from tunebench.study.spec import RunSpec

_Tell = Callable[[str], None]


def begun_copies(study: StudyConfig, folder: Path | None, tell: _Tell) -> StudyConfig:
    """Return the study as its folder's runs treat copies, where it does not say so itself.

    So that a study begun before there was a choice goes on, and is not taken for another study.
    """
    if folder is None or "copies" in study.model_fields_set:
        return study
    begun = {spec.copies for spec in _begun(folder)}
    if len(begun) != 1 or study.copies in begun:
        return study
    (copies,) = begun
    tell(
        f"the runs in this folder were made with copies: {copies}, so the study keeps that "
        f"(a new one has {study.copies})"
    )
    return study.model_copy(update={"copies": copies})


def begun_data(study: StudyConfig, folder: Path | None) -> TextDataset:
    """Return the data, with the columns of texts that its folder's runs have where the study names none."""
    begun = [] if folder is None else _begun(folder)
    return load_dataset(study.data, recorded=begun[0].data if begun else None)


def begun_validation(
    study: StudyConfig, dataset: TextDataset, folder: Path | None, tell: _Tell
) -> tuple[StudyConfig, TextDataset]:
    """Return study and data with the validation part that its folder's runs have, where the study does not say.

    Before there was a choice, a validation part that the data brings was passed over.
    """
    if folder is None or dataset.validation is None or study.data.validation is not None:
        return study, dataset
    begun = [spec for spec in _begun(folder) if spec.validation_fraction]
    if not begun or any(spec.own_validation for spec in begun):
        return study, dataset
    tell(
        "the folder's runs set their validation part aside from train; the study keeps that (data.validation: "
        "drawn; new, it would use the data's own part)"
    )
    data = study.data.model_copy(update={"validation": "drawn"})
    return study.model_copy(update={"data": data}), load_dataset(data, recorded=begun[0].data)


def begun_params(study: StudyConfig, folder: Path | None, tell: _Tell) -> StudyConfig:
    """Return the study with strategies as its folder's runs have them, where a parameter came after those runs.

    Only a parameter that has its default gives way. What was set otherwise makes another strategy, and is refused.
    """
    begun = {} if folder is None else {spec.label: spec for spec in _begun(folder)}
    changed: dict[str, StrategyConfig] = {}
    for label, config in study.strategies.items():
        spec = begun.get(label)
        if spec is None or spec.kind != config.kind:
            continue
        kind = STRATEGIES[config.kind].params
        before, default = spec.full_params, kind().model_dump(mode="json")
        names = [n for n in neutral_values(kind) if config.params[n] == default[n] != before.get(n, default[n])]
        if names:
            changed[label] = config.model_copy(update={"params": config.params | {n: before[n] for n in names}})
            was, new = (", ".join(f"{n}: {values[n]}" for n in names) for values in (before, default))
            tell(
                f"the runs of {label} in this folder were made with {was}, so the study keeps that "
                f"(a new one has {new})"
            )
    return study.model_copy(update={"strategies": study.strategies | changed}) if changed else study


def _begun(folder: Path) -> list[RunSpec]:
    return [spec for spec in StudyStore(folder).begun() if not is_imported(spec)]
