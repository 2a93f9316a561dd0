"""Checks before the first step: strategies, recipes, processes, sizes and the disk."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from tunebench.data import TextDataset
from tunebench.data.cut import Cut, test_count
from tunebench.data.reference import SplitRef
from tunebench.errors import ConfigError, MissingExtraError, PlanError, TunebenchError, raise_all
from tunebench.store.run_folder import kept_bytes
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.models.architectures import Architecture
    from tunebench.tasks.base import Task
    from tunebench.training.estimate import Estimate

#: Free space that stays untouched.
_DISK_RESERVE = 200 * 2**20


def available(study: StudyConfig, dataset: TextDataset, splits: SplitRef | None) -> tuple[int, int]:
    """Return how many examples ``all`` stands for, and how many are scored.

    What is left out beside groups may differ from draw to draw; ``all`` is then what every draw has.
    """
    test = test_count(
        dataset,
        size=study.test_size,
        limit=study.test_limit,
        seed=study.test_draw,
        splits=splits,
        copies=study.copies,
    )
    try:
        train = min(cut.most(dataset) for cut in cuts_of(study, splits, test))
    except TunebenchError:
        # What is wrong is said where parts are cut.
        train = len(dataset.train) - (test if dataset.test is None else 0)
    return train, test


def cuts_of(study: StudyConfig, splits: SplitRef | None, test_size: int) -> list[Cut]:
    """Return how the parts of each draw of a study are cut."""
    return [
        Cut(
            splits=splits,
            copies=study.copies,
            subset_seed=subset_seed,
            test_seed=study.shared_test_seed,
            validation_fraction=study.drawn_fraction(splits),
            test_size=test_size,
            folds=study.folds,
        )
        for subset_seed in dict.fromkeys(subset for subset, _ in study.draws)
    ]


def check_folds(study: StudyConfig, dataset: TextDataset) -> list[TunebenchError]:
    """Return an error where folds meet a validation part that the data brings."""
    if not study.folds or dataset.validation is None:
        return []
    return [
        ConfigError(
            "The data brings a validation part of its own, and the study asks for folds.",
            value=f"validation: {{folds: {study.folds}}}, {len(dataset.validation):,} validation texts",
            fix="set data.validation: drawn, which passes that part over; or remove validation",
        )
    ]


def check_strategies(study: StudyConfig, architectures: Mapping[str, Architecture]) -> list[TunebenchError]:
    """Return what the family of each strategy's model cannot do, and what is not installed.

    Args:
        study: The study.
        architectures: By label; those that could not be loaded are not there.
    """
    errors: list[TunebenchError] = []
    for label, config in study.strategies.items():
        strategy = STRATEGIES[config.kind]
        if strategy.extra is not None and importlib.util.find_spec(strategy.extra[0]) is None:
            errors.append(MissingExtraError(*strategy.extra))
        architecture = architectures.get(label)
        if architecture is None:
            continue
        reason = strategy.refusal(strategy.params(**config.params), architecture)
        if reason is not None:
            errors.append(
                PlanError(
                    f"{architecture.model_type} cannot be trained with strategy {label!r}: {reason}",
                    value=", ".join(f"{key}: {value}" for key, value in config.params.items()) or config.kind,
                    fix=f"change or remove strategies.{label}; tunebench strategies lists all strategies",
                )
            )
    return errors


def check_task(study: StudyConfig, task: Task, classes: int) -> list[TunebenchError]:
    """Return what the metric, the strategies and the recipe cannot do with a task."""
    errors: list[TunebenchError] = []
    if study.metric not in task.metrics:
        errors.append(
            ConfigError(
                f"The metric {study.metric} is not defined for {task.label}.",
                value=f"metric: {study.metric}",
                allowed=", ".join(task.metrics),
                fix=f"set metric: {task.default_metric}",
            )
        )
    elif not task.metrics[study.metric].allows_margin(study.margin):
        margins = task.metrics[study.metric].margins
        errors.append(
            ConfigError("The margin is out of range.", value=f"margin: {study.margin:g}", allowed=margins)
        )
    if study.thresholds == "tuned":
        fits = task.thresholded or (task.exclusive and classes == 2)
        needs = None if fits else "several labels a text, or two classes"
        errors += _chosen_on_validation("thresholds: tuned", study, task, needs)
    if study.calibration == "temperature":
        needs = None if task.labelled else "probabilities, and a number has none"
        errors += _chosen_on_validation("calibration: temperature", study, task, needs)
    for label, config in study.strategies.items():
        strategy = STRATEGIES[config.kind]
        if not strategy.learns(task):
            able = [name for name, found in STRATEGIES.items() if found.learns(task)]
            errors.append(
                PlanError(
                    f"Strategy {label!r} cannot learn {task.label}: {strategy.tasks_reason}.",
                    value=config.kind,
                    allowed=", ".join(able),
                    fix=f"remove strategies.{label}",
                )
            )
        if study.recipe_of(config).label_smoothing and not task.smooths_labels:
            errors.append(
                PlanError(
                    f"Labels are not smoothed where there are {task.label}.",
                    value=f"label_smoothing: {study.recipe_of(config).label_smoothing:g} (strategy {label})",
                    allowed="0",
                    fix="remove label_smoothing",
                )
            )
    return errors


def _chosen_on_validation(setting: str, study: StudyConfig, task: Task, needs: str | None) -> list[TunebenchError]:
    """Return an error where nothing can be chosen on validation after training.

    Args:
        setting: What asks for it.
        study: The study.
        task: What is learned.
        needs: What the task lacks for it; None where it lacks nothing.
    """
    remove = f"remove {setting.partition(':')[0]}"
    if needs is not None:
        return [ConfigError(f"{setting} needs {needs}.", value=task.label, fix=remove)]
    if study.selection == "validation":
        return []
    return [
        ConfigError(
            f"{setting} needs a validation part to choose on.",
            value=f"selection: {study.selection}",
            fix=f"{remove}, or set selection: validation",
        )
    ]


def check_runs(specs: Sequence[RunSpec], architectures: Mapping[str, Architecture]) -> list[TunebenchError]:
    """Return what strategies and recipes cannot do together; of runs with the same trouble the first one's."""
    errors: dict[tuple[str, str], TunebenchError] = {}
    for spec in specs:
        classes = len(spec.data.label_names)
        reason = STRATEGIES[spec.kind].run_refusal(
            spec.params, spec.recipe, architectures[spec.label], train_size=spec.train_size, classes=classes
        )
        reason = reason or _pair_refusal(spec)
        if reason is not None:
            errors.setdefault(
                (spec.label, reason),
                PlanError(
                    f"Strategy {spec.label!r} cannot be trained with these settings: {reason}",
                    value=spec.kind,
                    fix=f"change or remove strategies.{spec.label}",
                ),
            )
    return list(errors.values())


def _pair_refusal(spec: RunSpec) -> str | None:
    """Say why a run cannot learn from pairs of texts; None where it can, or texts are no pairs."""
    inputs, strategy = spec.data.inputs, STRATEGIES[spec.kind]
    if inputs is None or not inputs.pair:
        return None
    if not strategy.reads_pairs:
        return (
            f"{spec.kind} reads single texts, and the data holds pairs ({', '.join(inputs.columns)}); "
            "data.join makes one text of the two columns"
        )
    cuts = not strategy.reads_whole_texts and spec.truncation == "head_tail"
    return "of the texts of a pair one end is kept: truncation: head or tail, not head_tail" if cuts else None


def check_processes(specs: Sequence[RunSpec], processes: int, device: str) -> None:
    """Refuse what several processes cannot train together.

    Raises:
        TunebenchError: All that is wrong.
    """
    trained = [spec for spec in specs if STRATEGIES[spec.kind].data_parallel]
    if processes == 1 or not trained:
        return
    errors: list[TunebenchError] = []
    for size in sorted({spec.batch_size for spec in trained if spec.batch_size % processes}):
        errors.append(
            PlanError(
                f"A batch of {size} texts cannot be shared equally by {processes} processes.",
                value=f"batch_size: {size}",
                allowed=f"a multiple of {processes}",
                fix="change batch_size or --processes",
            )
        )
    if device == "cuda":
        import torch

        if torch.cuda.device_count() < processes:
            errors.append(
                PlanError(
                    "Each process needs a GPU of its own.",
                    value=f"processes: {processes}",
                    allowed=f"at most {torch.cuda.device_count()}",
                )
            )
    elif device == "mps":
        errors.append(PlanError("On mps each run uses one process.", value=f"processes: {processes}", allowed="1"))
    raise_all(errors)


def check_sizes(study: StudyConfig, dataset: TextDataset, splits: SplitRef | None) -> list[TunebenchError]:
    """Cut the parts of every size once, so that nothing can fail there later; return what is wrong."""
    train_examples, test_examples = available(study, dataset, splits)
    errors: dict[str, TunebenchError] = {}
    sizes = [train_examples if size == "all" else size for size in study.train_sizes]
    if len(set(sizes)) < len(sizes):
        error = ConfigError(
            f"Two training sizes are the same: the data has {train_examples} examples to train on.",
            value=list(study.train_sizes),
            allowed="different sizes",
            fix="remove 'all', or the number",
        )
        errors[str(error)] = error
    for size, cut in product(sizes, cuts_of(study, splits, test_examples)):
        try:
            cut.parts(dataset, size)
        except TunebenchError as found:
            # What is wrong with the test part is wrong at every size, and is said once.
            errors[str(found)] = found
    return list(errors.values())


def disk_need(specs: Sequence[RunSpec], estimates: Mapping[str, Estimate]) -> int:
    """Return the bytes that running these takes at most at once.

    Checkpoints go when a run is complete. So the need is what all of them keep, and the rest of the largest
    one while it runs.
    """
    kept = {spec.run_id: kept_bytes(spec, estimates[spec.run_id].trainable_params) for spec in specs}
    extra = [max(0, estimates[run_id].disk_bytes - size) for run_id, size in kept.items()]
    prefixes = sum(estimates[spec.run_id].prefix_bytes for spec in specs)
    return sum(kept.values()) + max(extra, default=0) + prefixes


def check_disk(folder: Path, need: int) -> None:
    """Refuse a plan that needs more disk space than there is.

    Raises:
        PlanError: There is too little space.
    """
    existing = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(existing).free - _DISK_RESERVE
    if need > free:
        raise PlanError(
            "There is too little disk space for the plan.",
            value=f"{max(0, free) / 1e9:.1f} GB free at {existing}",
            allowed=f"at least {need / 1e9:.1f} GB",
            fix="choose another --out, or a smaller plan (--budget, fewer sizes or seeds)",
        )
