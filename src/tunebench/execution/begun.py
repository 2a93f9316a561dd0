"""How a study resumes in a folder whose runs were made on another machine, or before there was a choice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tunebench.data import TextDataset
from tunebench.execution.known import Known
from tunebench.machine import devices
from tunebench.recipe import Engine, Kernels, Precision
from tunebench.schema import neutral_values
from tunebench.store.study_folder import StudyStore
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.expand import kernel_precisions
from tunebench.study.spec import RunSpec, without_effect
from tunebench.study.strategy_config import StrategyConfig

_Tell = Callable[[str], None]
#: The runs that the folder of a study holds already.
_Begun = Sequence[RunSpec]


def begun_runs(folder: Path | None) -> tuple[RunSpec, ...]:
    """Return the runs that a study's folder holds already; none where there is no folder, or no study in it."""
    return () if folder is None else tuple(StudyStore(folder).trainable())


def begun_ids(specs: Sequence[RunSpec], begun: _Begun) -> list[RunSpec]:
    """Return the cells of a study; one that its folder holds already keeps the form and the id that it has there.

    An older schema made another id of the same run.
    """
    stored = {_key(spec): spec for spec in reversed(begun)}
    return [stored.get(_key(spec), spec) for spec in specs]


def _key(spec: RunSpec) -> str:
    return json.dumps([spec.label, spec.model.fingerprint, spec.effective], sort_keys=True)


def begun_precision(study: StudyConfig, begun: _Begun, device: str, tell: _Tell) -> dict[Engine, Precision]:
    """Return what ``precision: auto`` stands for, by engine: what is faster here, or what the folder's runs have.

    So a study that began on one kind of machine resumes on another, and does not count as another study.
    """
    engines: tuple[Engine, ...] = ("fast", "reference")
    here: dict[Engine, Precision] = {engine: devices.default_precision(device, engine) for engine in engines}
    found: dict[Engine, Precision] = {}
    for spec in begun:
        strategy, idle = study.strategies.get(spec.label), without_effect(spec.kind)
        if strategy is None or study.recipe_of(strategy).precision != "auto" or "precision" in idle:
            continue
        if "engine" not in idle:
            found[spec.engine] = spec.precision
        else:
            found.setdefault("fast", spec.precision)
    for engine in [engine for engine in found if found[engine] != here[engine]]:
        tell(f"the study was begun in {found[engine]} and resumes in it; a new study would use {here[engine]} here")
    return here | found


def begun_kernels(
    study: StudyConfig, begun: _Begun, precision: Mapping[Engine, Precision], device: str, tell: _Tell
) -> dict[Precision, Kernels]:
    """Return what the fast engine computes with, by precision: the best there is, or what the folder's runs have.

    A study that was begun with native kernels keeps their ids where there are none. Its runs then compute with
    PyTorch's operators, and their records say so.
    """
    wanted = kernel_precisions(study, precision)
    if not wanted:
        return {}  # and nothing is compiled
    from tunebench.engine.native.loading import kernels_here, load

    chosen = kernels_here(device, wanted)
    computed = [spec for spec in begun if spec.engine == "fast" and "kernels" not in without_effect(spec.kind)]
    for numbers in wanted if device == "cpu" else ():
        found = {spec.kernels for spec in computed if spec.precision == numbers}
        if len(found) != 1 or chosen[numbers] in found:
            continue
        (chosen[numbers],) = found
        if chosen[numbers] == "torch":
            tell("the study was begun without native kernels and resumes so; a new study would use them here")
        else:
            reason = load(numbers).reason
            tell(f"the study was begun with native kernels, and resumes without them here: {reason}")
    return chosen


def begun_copies(study: StudyConfig, begun: _Begun, tell: _Tell) -> StudyConfig:
    """Return the study as its folder's runs treat copies, where it does not say so itself.

    So a study that began before there was a choice resumes, and is not taken for another study.
    """
    found = {spec.copies for spec in begun}
    if "copies" in study.model_fields_set or len(found) != 1 or study.copies in found:
        return study
    (copies,) = found
    tell(
        f"the runs in this folder were made with copies: {copies}, so the study keeps that "
        f"(a new one has {study.copies})"
    )
    return study.model_copy(update={"copies": copies})


def begun_data(study: StudyConfig, begun: _Begun, known: Known) -> TextDataset:
    """Return the data, with the columns of texts that its folder's runs have where the study names none."""
    return known.dataset(study.data, begun[0].data if begun else None)


def begun_validation(
    study: StudyConfig, dataset: TextDataset, begun: _Begun, *, known: Known, tell: _Tell
) -> tuple[StudyConfig, TextDataset]:
    """Return study and data with the validation part that its folder's runs have, where the study does not say.

    Before there was a choice, a validation part that the data brings was passed over.
    """
    if dataset.validation is None or study.data.validation is not None:
        return study, dataset
    drawn = [spec for spec in begun if spec.validation_fraction]
    if not drawn or any(spec.own_validation for spec in drawn):
        return study, dataset
    tell(
        "the folder's runs set their validation part aside from train; the study keeps that (data.validation: "
        "drawn; new, it would use the data's own part)"
    )
    data = study.data.model_copy(update={"validation": "drawn"})
    return study.model_copy(update={"data": data}), known.dataset(data, begun[0].data)


def begun_params(study: StudyConfig, begun: _Begun, tell: _Tell) -> StudyConfig:
    """Return the study with strategies as its folder's runs have them, where a parameter came after those runs.

    Only a parameter that has its default gives way. What was set otherwise makes another strategy, and is refused.
    """
    by_label = {spec.label: spec for spec in begun}
    changed: dict[str, StrategyConfig] = {}
    for label, config in study.strategies.items():
        spec = by_label.get(label)
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
