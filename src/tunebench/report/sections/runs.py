"""Every run with its spec and a command that repeats it; and how to repeat the whole study."""

from __future__ import annotations

import json
import shlex
from typing import Any

from tunebench.recipe import Recipe
from tunebench.report.reproduce import as_yaml, data_of
from tunebench.report.sections.registry import part
from tunebench.report.source import Source
from tunebench.schema import switched_off
from tunebench.store.cell import Cell
from tunebench.store.imported import is_imported, trained_here
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.parts import Validation
from tunebench.study.spec import RunSpec
from tunebench.study.strategy_config import StrategyConfig


@part("run_list", "runs")
def runs(source: Source) -> dict[str, Any]:
    """Return the runs with spec and command, and the study file that makes all of them."""
    return {
        "runs": [
            {
                "cell": cell,
                "spec": json.dumps(cell.spec.model_dump(mode="json"), indent=1, ensure_ascii=False),
                "command": None if is_imported(cell.spec) else command(cell, source.study),
                "yaml": None if source.study or is_imported(cell.spec) else _run_yaml(cell),
                "traceback": cell.record.error.traceback if cell.record and cell.record.error else None,
            }
            for cell in source.comparison.cells
        ],
        "has_study": source.study is not None,
        "study": None if source.reproducing_study is None else as_yaml(source.reproducing_study),
        "imported": source.imported,
        "model": source.comparison.cells[0].spec.model,
        "data_ref": source.comparison.cells[0].spec.data,
    }


def command(cell: Cell, study: StudyConfig | None) -> str:
    """Return a command that makes a run again from its study's file, or from a file of its own.

    With the study's file at hand, everything in which a run may differ from it is set: strategy with its
    recipe, learning rate, size, seed, subset and test part.
    """
    spec = trained_here(cell.spec)
    out = ["--out", f"again/{spec.run_id}"]
    if study is None:
        return shlex.join(["tunebench", "run", "run.yaml", *out])
    own = {} if spec.model.source == study.model else {"model": spec.model.source}
    settings = {
        "strategies": {spec.label: _strategy(spec) | (own if STRATEGIES[spec.kind].uses_encoder else {})},
        "pairs": None,
        "search": {"method": "grid"},
        "train_sizes": [spec.train_size],
        "seeds": [spec.seed],
        "subset_seed": [spec.subset_seed],
        "test_size": spec.test_size,
        **({} if study.test_limit is None else {"test_limit": None}),
        # One run is read once.
        **(
            {} if study.looks is None else {"looks": None, "spending": StudyConfig.model_fields["spending"].default}
        ),
        "test_seed": spec.test_seed,
    }
    # JSON is YAML, and stands on one line.
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return shlex.join(["tunebench", "run", "study.yaml", *sets, *out])


def _run_yaml(cell: Cell) -> str | None:
    study = study_of_run(cell)
    return None if study is None else as_yaml(study)


def study_of_run(cell: Cell) -> StudyConfig | None:
    """Return a study of one run; None where its parts were drawn by columns that no record names."""
    spec = trained_here(cell.spec)
    data = data_of(spec)
    if data is None:
        return None
    return StudyConfig(
        name="run",
        model=spec.model.source,
        model_revision=spec.model.revision,
        data=data,
        strategies={spec.label: StrategyConfig.model_validate(_strategy(spec))},
        train_sizes=(spec.train_size,),
        seeds=(spec.seed,),
        subset_seed=spec.subset_seed,
        test_size=spec.test_size,
        test_seed=spec.test_seed,
        keep_head=spec.base_head == "kept",
        validation_fraction=None if spec.own_validation or spec.folds else spec.validation_fraction,
        validation=Validation(folds=spec.folds) if spec.folds else None,
        copies=spec.copies,
        selection=spec.selection,
        metric=spec.metric,
        thresholds=spec.thresholds,
        calibration=spec.calibration,
        evaluations_per_epoch=spec.evaluations_per_epoch,
    )


def _strategy(spec: RunSpec) -> dict[str, Any]:
    """Return a strategy as a study file has it, with all of the recipe that reaches it."""
    strategy, own = STRATEGIES[spec.kind], {"kind": spec.kind, "params": spec.full_params}
    reaching = strategy.recipe_keys
    # What another setting switches off has no effect, and is refused.
    off = switched_off({name: getattr(spec, name) for name in Recipe.model_fields}, Recipe)
    recipe = {
        name: getattr(spec, name)
        for name in Recipe.model_fields
        if (reaching is None or name in reaching) and name not in off
    }
    rate = {"learning_rate": spec.learning_rate} if strategy.tunes_learning_rate else {}
    return own | rate | ({"recipe": recipe} if recipe else {})
