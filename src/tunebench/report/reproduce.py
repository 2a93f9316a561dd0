"""The study file that reproduces all runs of a comparison."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import ValidationError

from tunebench.data.reference import DataConfig
from tunebench.models.first_layers import pooling_of
from tunebench.store.imported import is_imported
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.parts import Search, Validation
from tunebench.study.spec import without_effect
from tunebench.study.strategy_config import StrategyConfig
from tunebench.tasks.classification import CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tunebench.analysis.comparison import Comparison
    from tunebench.study.spec import RunSpec


def study_of(comparison: Comparison) -> StudyConfig | None:
    """Return the study whose grid holds all cells, put together from their specs.

    Returns:
        The study as it was resolved (sizes in numbers, precision decided); None where the cells
        differ in more than the axes of a study, so that no single one gives them.
    """
    specs = [cell.spec for cell in comparison.cells if not is_imported(cell.spec)]
    if len(specs) < len(comparison.cells):
        return None
    first = specs[0]
    axes = {"label", "kind", "params", "learning_rate", "train_size", "seed", "subset_seed", "test_seed"}
    axes |= {"schema_version", "without_effect", "model", "base_head", "data", "task", "splits"}
    axes |= {"validation_fraction", "folds", "fold", "tuned", "kernels", "pooling"}
    # What does not reach a run may stand otherwise in it.
    settings = [spec.model_dump(exclude=axes | {*spec.tuned} | without_effect(spec.kind)) for spec in specs]
    common = {key: value for each in settings for key, value in each.items()}
    data = data_of(first)
    if data is None or any(common[key] != value for each in settings for key, value in each.items()):
        return None
    parts = {(spec.splits, spec.validation_fraction, spec.folds) for spec in specs}
    if len(parts) > 1:
        return None
    # What has no encoder has no head to keep.
    heads = {spec.base_head for spec in specs} - {None}
    if len(heads) > 1:
        return None
    strategies = _strategies(comparison, specs)
    draws = dict.fromkeys((spec.subset_seed, spec.seed) for spec in specs)
    seeds = tuple(dict.fromkeys(seed for _, seed in draws))
    paired = len(seeds) > 1 and all(subset == seed for subset, seed in draws)
    by_seed = {group.by_seed for group in comparison.groups() if len(group.configs) > 1}
    if strategies is None or len(by_seed) > 1:
        return None  # of several studies side by side
    try:
        return StudyConfig(
            name=comparison.name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", comparison.name) else "study",
            model=first.model.source,
            model_revision=first.model.revision,
            data=data,
            strategies=strategies,
            train_sizes=tuple(comparison.sizes),
            seeds=seeds,
            subset_seed="per_seed" if paired else tuple(dict.fromkeys(subset for subset, _ in draws)),
            keep_head=heads == {"kept"},
            validation_fraction=None if first.own_validation or first.folds else first.validation_fraction,
            search=Search(seeds="each") if True in by_seed else Search(),
            validation=Validation(folds=first.folds) if first.folds else None,
            test_seed=None if first.test_draw == first.subset_seed else first.test_draw,
            **common,
        )
    except ValidationError:
        return None  # such as one strategy of several studies side by side


def _strategies(comparison: Comparison, specs: Sequence[RunSpec]) -> dict[str, StrategyConfig] | None:
    """Return the strategies of all cells by label; None where the cells of a label are no grid of one."""
    found = {}
    for label in comparison.labels:
        own = [spec for spec in specs if spec.label == label]
        if any((spec.kind, spec.params) != (own[0].kind, own[0].params) for spec in own):
            return None
        rates = tuple(dict.fromkeys(spec.learning_rate for spec in own))
        tuned = dict.fromkeys(name for spec in own for name in spec.tuned)
        lists = {name: tuple(dict.fromkeys(getattr(spec, name) for spec in own)) for name in tuned}
        if len({spec.setting for spec in own}) < len(rates) * math.prod(map(len, lists.values())):
            return None  # some of the combinations were drawn
        sizes = tuple(size for size in comparison.sizes if any(spec.train_size == size for spec in own))
        found[label] = StrategyConfig(
            kind=own[0].kind,
            learning_rate=rates,
            params=own[0].params,
            axes=lists,
            recipe=_own_pooling(own[0]),
            train_sizes=None if sizes == tuple(comparison.sizes) else sizes,
            **_own_model(own[0], specs[0]),
        )
    return found


def _own_pooling(spec: RunSpec) -> dict[str, Any]:
    """Return what the head of a strategy reads, where it is not what ``auto`` gives."""
    usual = "pooling" in without_effect(spec.kind) or spec.pooling == pooling_of(spec.model.source)
    return {} if usual else {"pooling": spec.pooling}


def _own_model(spec: RunSpec, first: RunSpec) -> dict[str, Any]:
    """Return the model of a strategy, where it is not the study's."""
    if spec.model.fingerprint == first.model.fingerprint or not STRATEGIES[spec.kind].uses_encoder:
        return {}
    return {"model": spec.model.source, "model_revision": spec.model.revision}


def data_of(spec: RunSpec) -> DataConfig | None:
    """Return the data of a run as a study names it; None where parts were drawn by columns that no record names."""
    if spec.splits is not None and (spec.splits.groups or spec.splits.times):
        return None
    if spec.task != CLASSIFICATION.name:
        return None  # nor is it recorded how several labels were written, or in which column numbers stand
    own: Literal["own"] | None = "own" if spec.own_validation else None
    return DataConfig(source=spec.data.source, revision=spec.data.revision, validation=own)


def as_yaml(study: StudyConfig) -> str:
    """Return a study as a study file; what is not set is left out, and so are the defaults of data."""
    raw = study.model_dump(mode="json", exclude_none=True)
    raw["data"] = study.data.model_dump(mode="json", exclude_defaults=True)
    for strategy in raw["strategies"].values():
        if not strategy["axes"]:
            del strategy["axes"]
    if not study.keep_head:
        del raw["keep_head"]
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)
