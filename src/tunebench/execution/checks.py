"""Checks before the first step: strategies, recipes, processes, sizes and the disk."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from tunebench.data import TextDataset
from tunebench.data.copies import held_out_copies
from tunebench.data.splits import available_train, held_out_count, make_parts
from tunebench.errors import ConfigError, MissingExtraError, PlanError, TunebenchError, raise_all
from tunebench.store.imported import is_imported
from tunebench.store.run_folder import kept_bytes
from tunebench.store.study_folder import StudyStore
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.models.architectures import Architecture
    from tunebench.training.estimate import Estimate

#: Free space that stays untouched.
_DISK_RESERVE = 200 * 2**20


def available(study: StudyConfig, dataset: TextDataset) -> tuple[int, int]:
    """Return how many training examples ``all`` means, and how many test examples are scored."""
    if dataset.test is not None:
        return len(dataset.train), study.test_size or len(dataset.test)
    found = held_out_copies(dataset, study.test_draw, study.test_size)
    left_out = found.left_out if found is not None and study.copies == "together" else 0
    train = available_train(len(dataset.train), has_test=False, test_size=study.test_size, left_out=left_out)
    return train, held_out_count(len(dataset.train), study.test_size)


def begun_copies(study: StudyConfig, folder: Path | None, tell: Callable[[str], None]) -> StudyConfig:
    """Return the study as its folder's runs treat copies, where it does not say so itself.

    So a study that began before this choice existed resumes, and does not count as another study.
    """
    if folder is None or "copies" in study.model_fields_set:
        return study
    begun = {spec.copies for spec in StudyStore(folder).begun() if not is_imported(spec)}
    if len(begun) != 1 or study.copies in begun:
        return study
    (copies,) = begun
    tell(
        f"the runs in this folder were made with copies: {copies}, so the study keeps that (a new one has "
        f"{study.copies})"
    )
    return study.model_copy(update={"copies": copies})


def check_strategies(study: StudyConfig, architecture: Architecture) -> list[TunebenchError]:
    """Return what the model's family cannot do, and what is not installed."""
    errors: list[TunebenchError] = []
    for label, config in study.strategies.items():
        strategy = STRATEGIES[config.kind]
        if strategy.extra is not None and importlib.util.find_spec(strategy.extra[0]) is None:
            errors.append(MissingExtraError(*strategy.extra))
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


def check_runs(specs: Sequence[RunSpec], architecture: Architecture) -> list[TunebenchError]:
    """Return what strategies and recipes cannot do together; of runs with the same trouble the first one's."""
    errors: dict[tuple[str, str], TunebenchError] = {}
    for spec in specs:
        classes = len(spec.data.label_names)
        reason = STRATEGIES[spec.kind].run_refusal(
            spec.params, spec.recipe, architecture, train_size=spec.train_size, classes=classes
        )
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


def check_sizes(study: StudyConfig, dataset: TextDataset) -> list[TunebenchError]:
    """Cut the parts of every size once, so that nothing can fail there later; return what is wrong."""
    train_examples, test_examples = available(study, dataset)
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
    for size, subset_seed in product(sizes, dict.fromkeys(subset for subset, _ in study.draws)):
        try:
            make_parts(
                train_labels=dataset.train.labels,
                test_labels=None if dataset.test is None else dataset.test.labels,
                train_size=size,
                subset_seed=subset_seed,
                test_seed=study.shared_test_seed,
                validation_fraction=study.held_out_fraction,
                test_size=test_examples,
                label_names=dataset.label_names,
                copies_of=dataset.copies_of if study.copies == "together" else None,
            )
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
