"""One run: from a spec to a record, on the Hugging Face Trainer."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path

import numpy as np
import torch

from tunebench.data.splits import Parts
from tunebench.engine import checkpoint as checkpoints
from tunebench.engine import process_group
from tunebench.engine.batching import Batches, Collator, TokenDataset
from tunebench.engine.losses import WeightedLoss
from tunebench.files import stored_file
from tunebench.machine import devices
from tunebench.models.heads import restore_unit
from tunebench.store.partial_logits import PartialLogits
from tunebench.store.record import RunRecord, Selected
from tunebench.store.run_folder import RunFolder
from tunebench.study.spec import RunSpec
from tunebench.tasks.registry import TASKS
from tunebench.tasks.temperature import tempered
from tunebench.training.attempt import Attempt, Pruned
from tunebench.training.backend import Predicted
from tunebench.training.encoder.callbacks import RunContext
from tunebench.training.encoder.cost import cost_profile, estimate_encoder
from tunebench.training.encoder.prefix import fill_prefix
from tunebench.training.encoder.prepare import (
    Prepared,
    make_datasets,
    prepare_model,
    trained_rows,
    trainer_folder,
    training_arguments,
)
from tunebench.training.encoder.recorded import recorded_settings
from tunebench.training.encoder.setup import EngineSetup
from tunebench.training.encoder.stored import load, predict_test
from tunebench.training.encoder.trainer import StudyTrainer
from tunebench.training.estimate import Estimate, EstimateContext
from tunebench.training.imbalance import label_weights, said_weights, texts_per_epoch
from tunebench.training.measurements import (
    RunMeasurements,
    Trained,
    asks_validation,
    selection_task,
    temperature_of,
)
from tunebench.training.parts import run_parts, trained_count, validation_count

__all__ = ["estimate", "load", "predict_test", "train"]


def train(attempt: Attempt) -> RunRecord:
    """Train, select, score once, and describe one run; resumes from the folder's checkpoint.

    In a group of processes (:mod:`tunebench.engine.process_group`) each calls this, and the first one writes.

    Args:
        attempt: What to train. Its folder is written to, but nothing is committed here.

    Returns:
        The complete record; without scores where the attempt keeps the test part locked. A run
        given up has the status ``pruned`` and neither weights nor scores.

    Raises:
        Interrupted: ``attempt.stop`` turned true.
        NonFiniteLossError: Training diverged.
        TunebenchError: Data and spec do not go together.
    """
    spec, dataset, folder = attempt.spec, attempt.dataset, attempt.folder
    measured = RunMeasurements(
        attempt,
        engine=spec.engine,
        device=devices.resolve_device(attempt.execution.device),
        pids=process_group.pids(),
        total=process_group.total,
        writes=process_group.is_first(),
    )
    parts = run_parts(spec, dataset)
    with process_group.first_then_others():
        train_set, selection_set, test_set, collator = make_datasets(spec, dataset, parts)
    batches = Batches(train_set.texts, collator, spec.batch_size)
    prepared = prepare_model(spec, device=measured.device, batches=batches)
    with trainer_folder() as output:
        weights = label_weights(spec.class_weights, dataset.train.labels[parts.train], dataset.label_names)
        loss = _loss(spec, weights)
        trainer = _trainer(attempt, prepared, measured, output, (train_set, selection_set), collator, loss)
        scored = test_set if attempt.scores_test else None
        prefix = fill_prefix(
            attempt, prepared, trainer, [part for part in (train_set, selection_set, scored) if part is not None]
        )
        pruned = _learn(trainer, folder)
        process_group.barrier()  # the best weights are written by the first, and read by all
        selected = _select(attempt, trainer)
        test: Predicted | None = None
        validated = temperature = None
        if not pruned:
            _keep_model(attempt, prepared, trainer)
            if asks_validation(spec) and selection_set is not None:
                validated = selection_set.labels, trainer.logits(selection_set)
                temperature = temperature_of(spec, validated)
            if attempt.scores_test:
                test = _score(attempt, trainer, test_set, parts, temperature)
                if process_group.is_first():
                    folder.write_predictions(logits=test[0], labels=test[1], indices=parts.test)
        process_group.barrier()
    meters = trainer.meters
    trained = Trained(
        parameters=prepared.parameters,
        selected=selected,
        # A fold chooses, and is never scored or exported.
        weights=[] if pruned or spec.fold else [folder.weights],
        train_seconds=meters.train_seconds,
        eval_seconds=meters.eval_seconds,
        tokens=meters.tokens,
        tokens_padded=meters.tokens_padded,
        train_flops=meters.train_flops,
        log_history=trainer.state.log_history,
        pruned=pruned,
        trainer_total_flos=float(trainer.state.total_flos),
        step_seconds=meters.step_seconds,
        earlier_wall=meters.wall_seconds,
        earlier_cpu=meters.cpu_seconds,
        resumed=meters.resumed,
        prefix_seconds=meters.prefix_seconds if prefix and prefix["kept"] else None,
        settings=recorded_settings(spec, prepared, prefix, trainer.engine.rows, kept_memory=measured.kept_memory)
        | said_weights(weights, dataset.label_names),
        world_size=process_group.size(),
        validated=validated,
        temperature=temperature,
    )
    return measured.finish(trained, dataset=dataset, parts=parts, test=test)


def _loss(spec: RunSpec, weights: np.ndarray | None) -> WeightedLoss | None:
    """Return the loss to train with; None where the model's own is meant."""
    if weights is None and not spec.focal_gamma:
        return None
    given = None if weights is None else torch.tensor(weights, dtype=torch.float32)
    return WeightedLoss(given, spec.focal_gamma, spec.label_smoothing)


def _trainer(
    attempt: Attempt,
    prepared: Prepared,
    measured: RunMeasurements,
    output: Path,
    sets: tuple[TokenDataset, TokenDataset | None],
    collator: Collator,
    loss: WeightedLoss | None,
) -> StudyTrainer:
    """Return the Trainer of a run, its trackers attached."""
    spec, (train_set, selection_set) = attempt.spec, sets
    steps_per_epoch = math.ceil(len(train_set) / spec.texts_per_step)
    arguments = training_arguments(
        spec,
        output=output,
        device=measured.device,
        steps_per_epoch=steps_per_epoch,
        evaluates=selection_set is not None,
        autocast=prepared.autocast,
    )
    trainer = StudyTrainer(
        prepared.model,
        arguments,
        train_dataset=train_set,
        eval_dataset=selection_set,
        collator=collator,
        engine=EngineSetup(
            seed=spec.seed,
            workload=prepared.workload,
            fast=prepared.fast,
            autocast=prepared.autocast,
            own=spec.engine == "fast",
            by_length=spec.engine == "fast" and spec.batches == "by_length",
            shared=prepared.shared,
            rows=trained_rows(
                spec, prepared.model, train_set.texts, pad_id=collator.pad_id, device=measured.device
            ),
        ),
        context=RunContext(
            run_id=spec.run_id,
            checkpoints=attempt.folder.checkpoint,
            best=attempt.folder.best,
            task=selection_task(spec),
            scale=TASKS[spec.task].scale(train_set.labels),
            metric=spec.metric,
            patience=spec.patience,
            report=attempt.report,
            stop=attempt.stop,
            prune=attempt.prune,
            clock=measured.clock,
            contention=measured.contention,
            last_step=_last_step(attempt, steps_per_epoch),
        ),
        loss=loss,
        multiplier=prepared.multiplier,
        hook=prepared.step_hook(spec.steps_at(steps_per_epoch)),
    )
    if process_group.is_first():
        for callback in attempt.callbacks(attempt.folder):
            trainer.add_callback(callback)
    return trainer


def _last_step(attempt: Attempt, steps_per_epoch: int) -> int | None:
    """Return the step after which the folds of a cross-validation say that training stops."""
    if attempt.folds is None or attempt.folds.share is None:
        return None
    return max(1, round(attempt.folds.share * attempt.spec.steps_at(steps_per_epoch)))


def _learn(trainer: StudyTrainer, folder: RunFolder) -> bool:
    """Train from the last sound checkpoint on, or from the beginning; return whether the search gave the run up."""
    with process_group.first_then_others():
        checkpoint = _sound_checkpoint(folder)
    try:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    except Pruned:
        return True
    return False


def _keep_model(attempt: Attempt, prepared: Prepared, trainer: StudyTrainer) -> None:
    """Let the selected model answer in the unit of the data, and write its weights unless the run is a fold."""
    restore_unit(prepared.model, prepared.architecture, trainer.context.scale)
    if prepared.fast is not None:
        prepared.fast.refresh(everything=True)
    if process_group.is_first() and not attempt.spec.fold:
        checkpoints.save_weights(attempt.folder.weights, prepared.model)


def _score(
    attempt: Attempt, trainer: StudyTrainer, test_set: TokenDataset, parts: Parts, temperature: float | None
) -> Predicted:
    """Score the test part; in one process of the fast engine, what an earlier attempt scored is taken over.

    Raises:
        Interrupted: ``attempt.stop`` turned true.
    """
    start, known = time.monotonic(), None
    if attempt.spec.engine == "fast" and process_group.size() == 1:
        known = PartialLogits(
            attempt.folder.partial_logits,
            weights=stored_file(attempt.folder.weights).sha256,
            indices=parts.test,
            classes=int(trainer.model.config.num_labels),
        )
        trainer.meters.wall_seconds += known.earlier_wall
        trainer.meters.cpu_seconds += known.earlier_cpu
    logits = tempered(trainer.test_logits(test_set, known), temperature)
    earlier = 0.0 if known is None else known.earlier_wall
    return logits, test_set.labels, earlier + time.monotonic() - start


def _sound_checkpoint(folder: RunFolder) -> Path | None:
    """Return the checkpoint to resume from, if it and the best weights so far are undamaged.

    What is damaged is removed and noted in the run's log. The run then begins again, with the same result.
    """
    begun = folder.checkpoint.is_dir() and any(folder.checkpoint.iterdir())
    checkpoint = checkpoints.latest_checkpoint(folder.checkpoint)
    if checkpoint is None:
        if begun:
            folder.note("no whole checkpoint was found; begun again")
        return None
    chosen = checkpoints.read_state(checkpoint).get("best_step")
    if chosen is not None and not checkpoints.is_sound(folder.best.at(chosen)):
        folder.note("the best weights so far are damaged or missing; begun again")
        shutil.rmtree(folder.checkpoint, ignore_errors=True)
        return None
    return checkpoint


def _select(attempt: Attempt, trainer: StudyTrainer) -> Selected:
    """Load the weights that the selection rule names into the model."""
    spec, folder, meters = attempt.spec, attempt.folder, trainer.meters
    if attempt.folds is not None:
        step, epoch = trainer.state.global_step, float(trainer.state.epoch or 0)
        return Selected(by="folds", step=step, epoch=epoch, score=attempt.folds.score)
    if spec.selection == "last" or meters.best_step is None or meters.best_epoch is None:
        return Selected(
            by="last", step=trainer.state.global_step, epoch=float(trainer.state.epoch or 0), score=None
        )
    checkpoints.load_weights(folder.best.at(meters.best_step), trainer.model)
    return Selected(by=spec.selection, step=meters.best_step, epoch=meters.best_epoch, score=meters.best_score)


def estimate(spec: RunSpec, context: EstimateContext) -> Estimate:
    """Say what a run will take; see :mod:`tunebench.training.encoder.cost`."""
    profile = cost_profile(spec, context)
    validation = validation_count(spec, context.dataset)
    trained = texts_per_epoch(spec, context.dataset.train.labels, trained_count(spec))
    return estimate_encoder(
        spec, profile, train=trained, validation=validation, kept=context.kept, measured=context.measure
    )
