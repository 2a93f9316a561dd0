"""One run: from a spec to a record, on the Hugging Face Trainer."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainingArguments, set_seed

from tunebench.architectures import Architecture, architecture_of, count_parameters
from tunebench.attempt import Attempt
from tunebench.data import TextDataset
from tunebench.data.splits import Parts, run_parts
from tunebench.data.tokens import default_cache_dir, tokenize, tokenizer_fingerprint
from tunebench.engine import checkpoint as checkpoints
from tunebench.engine import group, machine
from tunebench.engine.batching import Batches, Collator, TokenDataset
from tunebench.engine.fast.attach import FastEncoder, supports
from tunebench.engine.flops import Workload, count
from tunebench.engine.pace import Pace
from tunebench.engine.prefix import FrozenPrefix, frozen_layers
from tunebench.engine.trainer import StudyTrainer
from tunebench.files import stored_file
from tunebench.metrics import score
from tunebench.models import load_classifier, load_tokenizer, model_folder
from tunebench.progress import Interrupted, Progress, Pruned
from tunebench.records import Cost, Environment, Examples, Parameters, RunRecord, Selected, TestAccess, Timing
from tunebench.spec import RunSpec
from tunebench.strategies import STRATEGIES, family_of
from tunebench.tracking import add_trackers

if TYPE_CHECKING:
    from torch import nn

    from tunebench.run_folder import RunFolder
    from tunebench.strategies import StepHook

#: Steps left out of ``seconds_per_step``: the first ones pay for caches and page faults.
WARMUP_STEPS = 3


@dataclass
class Prepared:
    """A model ready to train, and what is known of it."""

    model: nn.Module
    architecture: Architecture
    workload: Workload
    fast: FastEncoder | None
    autocast: torch.dtype | None
    parameters: Parameters
    pace: Pace
    #: From the number of optimisation steps to what the strategy does at each of them.
    step_hook: Callable[[int], StepHook | None]
    prefix: FrozenPrefix | None = None


def prepare_model(spec: RunSpec, *, device: str, batches: Iterable[dict[str, Any]] | None = None) -> Prepared:
    """Load the model, give it its strategy and its engine.

    The seed is set first: the head and every adapter are drawn after it, so a run alone and the same
    run in a grid are one.

    Args:
        spec: The run.
        device: ``cpu``, ``cuda`` or ``mps``.
        batches: Of the training texts, for strategies that begin with what they hold; None where nothing
            will be trained.

    Raises:
        ModelError: If model and strategy do not go together.
    """
    set_seed(spec.seed)
    folder = model_folder(spec.model.source, spec.model.revision)
    model: nn.Module = load_classifier(
        folder, label_names=spec.data.label_names, attention_dropout=spec.attention_dropout
    )
    architecture = architecture_of(model.config)
    strategy = STRATEGIES[spec.kind]
    params = strategy.params(**spec.params)
    model = strategy.prepare(model, params, architecture)
    if batches is not None:
        strategy.initialise(model, params, batches)

    def pace(parameter: str) -> tuple[float, float]:
        return strategy.pace(parameter, params, architecture)

    def step_hook(steps: int) -> StepHook | None:
        return strategy.step_hook(model, params, steps=steps)

    total, adapter, head = count_parameters(model, architecture)
    parameters = Parameters(total=total, trainable=adapter + head, adapter=adapter, head=head)
    workload = count(model, architecture)
    fast, autocast = None, None
    if spec.engine == "fast" and device == "cpu" and supports(architecture, model) is None:
        dtype = machine.compute_type(spec.precision)
        fast = FastEncoder(model, architecture, seed=spec.seed, stream=group.rank(), dtype=dtype)
    elif spec.precision == "bf16":
        autocast = torch.bfloat16
    prefix, layers = None, frozen_layers(model, architecture)
    if not spec.frozen_dropout and layers:
        # After the fast layers, which it stands in front of.
        prefix = FrozenPrefix(
            model,
            architecture,
            layers=layers,
            fast=fast,
            autocast=autocast,
            fingerprint=spec.model.fingerprint,
        )
    return Prepared(model, architecture, workload, fast, autocast, parameters, pace, step_hook, prefix)


def evaluation_interval(spec: RunSpec, steps_per_epoch: int) -> int:
    """Return the steps between two evaluations; one more follows the last step.

    Rounded up: rounding down would add an evaluation a run, just before that last one.
    """
    return math.ceil(steps_per_epoch / spec.evaluations_per_epoch)


def training_arguments(
    spec: RunSpec, *, output: Path, device: str, steps_per_epoch: int, evaluates: bool, autocast: bool
) -> TrainingArguments:
    """Translate a spec; the one place where a study's words become the Trainer's.

    Args:
        spec: The run.
        output: A folder the Trainer may use.
        device: Where to train.
        steps_per_epoch: Optimisation steps an epoch.
        evaluates: Whether there is a split to select on.
        autocast: Whether the Trainer's own bf16 autocast is wanted.
    """
    total = steps_per_epoch * spec.epochs
    arguments = TrainingArguments(
        output_dir=str(output),
        seed=spec.seed,
        num_train_epochs=spec.epochs,
        per_device_train_batch_size=spec.batch_size // group.size(),
        per_device_eval_batch_size=spec.batch_size // group.size(),
        learning_rate=spec.learning_rate,
        weight_decay=spec.weight_decay,
        lr_scheduler_type=spec.schedule,
        warmup_steps=math.ceil(total * spec.warmup_ratio),
        max_grad_norm=spec.max_grad_norm,
        label_smoothing_factor=spec.label_smoothing,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=evaluation_interval(spec, steps_per_epoch),
        logging_steps=max(1, total // 200),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=device == "cuda",
        use_cpu=device == "cpu",
        bf16=autocast,
        # Among several processes: our parameters are all used, and each process's part is weighted by us.
        ddp_find_unused_parameters=False,
        average_tokens_across_devices=False,
    )
    # One process uses one device: left alone, the Trainer would spread each batch over all GPUs it sees, and
    # multiply the batch size by their number.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def run_one(attempt: Attempt) -> RunRecord:
    """Train, select, score once, and describe one run; resumes from the folder's checkpoint.

    In a group of processes (:mod:`tunebench.engine.group`) each calls this, and the first one writes.

    Args:
        attempt: What to train. Its folder is written to, but nothing is committed here.

    Returns:
        The complete record; without scores where ``attempt.execution`` keeps the test part locked. A run
        given up has the status ``pruned`` and neither weights nor scores.

    Raises:
        Interrupted: ``attempt.stop`` turned true.
        NonFiniteLossError: Training diverged.
        TunebenchError: Data and spec do not go together.
    """
    family = family_of(attempt.spec.kind)
    if family == "classical":
        from tunebench.classical import run_classical

        return run_classical(attempt)
    if family == "few_shot":
        from tunebench.few_shot import run_few_shot

        return run_few_shot(attempt)
    spec, dataset, folder, execution = attempt.spec, attempt.dataset, attempt.folder, attempt.execution
    started = now()
    clock = machine.Clock()
    device = machine.resolve_device(execution.device)
    threads = machine.set_threads(machine.threads_of(execution))
    kept = machine.set_memory(execution, engine=spec.engine, device=device)
    machine.release_memory()
    machine.reset_peak_memory()
    attempt.report(Progress(spec.run_id, "prepare", 0, 0, None, None))

    parts = run_parts(spec, dataset)
    with group.first_then_others():
        train_set, selection_set, test_set, collator = make_datasets(spec, dataset, parts)
    prepared = prepare_model(spec, device=device, batches=Batches(train_set.texts, collator, spec.batch_size))
    steps_per_epoch = math.ceil(len(train_set) / spec.batch_size)

    with trainer_folder() as output:
        trainer = StudyTrainer(
            prepared.model,
            training_arguments(
                spec,
                output=output,
                device=device,
                steps_per_epoch=steps_per_epoch,
                evaluates=selection_set is not None,
                autocast=prepared.autocast is not None,
            ),
            train_dataset=train_set,
            eval_dataset=selection_set,
            collator=collator,
            folder=folder.checkpoint,
            best_path=folder.best,
            seed=spec.seed,
            fast=prepared.fast,
            workload=prepared.workload,
            grouped=spec.engine == "fast",
            autocast=prepared.autocast,
            run_id=spec.run_id,
            report=attempt.report,
            stop=attempt.stop,
            prune=attempt.prune,
            pace=prepared.pace,
            hook=prepared.step_hook(steps_per_epoch * spec.epochs),
            clock=clock,
        )
        if group.is_first():
            add_trackers(trainer, execution.trackers, folder)
        scored = test_set if spec.run_id not in execution.locked else None
        sets = [part for part in (train_set, selection_set, scored) if part is not None]
        prefix = _fill_prefix(attempt, prepared, trainer, sets)
        with group.first_then_others():
            checkpoint = _sound_checkpoint(folder)
        pruned = False
        try:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except Pruned:
            pruned = True
        group.barrier()  # the best weights are written by the first, and read by all
        selected = _select(spec, trainer, folder)
        logits, test_seconds = None, None
        if not pruned:
            if prepared.fast is not None:
                prepared.fast.refresh(everything=True)
            if group.is_first():
                checkpoints.save_weights(folder.weights, prepared.model)
            if spec.run_id not in execution.locked:
                test_start = time.monotonic()
                logits = trainer.logits(test_set, phase="test")
                test_seconds = time.monotonic() - test_start
                if group.is_first():
                    folder.write_predictions(logits=logits, labels=test_set.labels, indices=parts.test)
        group.barrier()

    cpu_seconds, peak_memory = group.total([clock.cpu, machine.peak_memory_bytes(device)])
    files = ([] if pruned else [folder.weights]) + ([] if logits is None else [folder.predictions])
    meters = trainer.meters
    cost = Cost(
        tokens=meters.tokens,
        tokens_padded=meters.tokens_padded,
        train_flops=meters.train_flops,
        trainer_total_flos=float(trainer.state.total_flos),
        peak_memory_bytes=int(peak_memory),
        artifact_bytes=None if pruned else folder.weights.stat().st_size,
    )
    timing = Timing(
        train_seconds=meters.train_seconds,
        eval_seconds=meters.eval_seconds,
        test_seconds=test_seconds,
        wall_seconds=meters.wall_seconds + clock.wall,
        cpu_seconds=meters.cpu_seconds + cpu_seconds,
        seconds_per_step=machine.median(meters.step_seconds[WARMUP_STEPS:]),
        warmup_steps=min(WARMUP_STEPS, len(meters.step_seconds)),
        step_seconds=meters.step_seconds,
        workers=execution.workers,
        contended=trainer.contention.contended,
        resumed=meters.resumed,
        prefix_seconds=meters.prefix_seconds if prefix and prefix["kept"] else None,
    )
    settings: dict[str, Any] = {
        "kept_memory": kept,
        "fast_layers": prepared.fast is not None,
        "autocast": prepared.autocast is not None,
    }
    if prefix is not None:
        settings["frozen_prefix"] = prefix
    return RunRecord(
        run_id=spec.run_id,
        status="pruned" if pruned else "complete",
        spec=spec,
        started=started,
        finished=now(),
        environment=Environment(
            versions=machine.versions(),
            machine={**machine.describe(), **settings},
            device=device,
            threads=threads,
            world_size=group.size(),
        ),
        parameters=prepared.parameters,
        examples=describe_parts(dataset, parts),
        scores=None if logits is None else score(test_set.labels, logits, dataset.label_names),
        selected=selected,
        timing=timing,
        cost=cost,
        log_history=trainer.state.log_history,
        files={path.name: stored_file(path) for path in files},
        test_access=[] if logits is None else [TestAccess(time=now(), why="at the end of training")],
    )


def _sound_checkpoint(folder: RunFolder) -> Path | None:
    """Return the checkpoint to go on from, if it and the best weights so far are undamaged.

    What is damaged is removed and noted in the run's log: the run begins again, and ends the same.
    """
    begun = folder.checkpoint.is_dir() and any(folder.checkpoint.iterdir())
    checkpoint = checkpoints.latest_checkpoint(folder.checkpoint)
    if checkpoint is None:
        if begun:
            folder.note("no whole checkpoint was found; begun again")
        return None
    chosen = checkpoints.read_state(checkpoint).get("best_step")
    if chosen is not None and not checkpoints.is_sound(folder.best):
        folder.note("the best weights so far are damaged or missing; begun again")
        shutil.rmtree(folder.checkpoint, ignore_errors=True)
        return None
    return checkpoint


def _fill_prefix(
    attempt: Attempt, prepared: Prepared, trainer: StudyTrainer, sets: list[TokenDataset]
) -> dict[str, Any] | None:
    """Have the frozen layers' outputs of all texts there before the first step, where that is asked for.

    The time is counted apart from training, the operations with it.

    Returns:
        What the record says of it; ``None`` where there is no such prefix.

    Raises:
        Interrupted: ``attempt.stop`` turned true.
    """
    prefix, limit = prepared.prefix, attempt.execution.prefix_cache
    if prefix is None:
        return None
    said: dict[str, Any] = {"layers": prefix.layers, "kept": False, "texts_computed": 0}
    if limit is None:
        return said | {"reason": "switched off"}
    if prefix.open(attempt.folder.prefixes, limit=limit) is None:
        return said | {"reason": prefix.reason}

    def tell(done: int, total: int) -> None:
        attempt.report(Progress(attempt.spec.run_id, "prepare", done, total, None, None))
        if attempt.stop():
            raise Interrupted(f"stopped after {done} of {total} texts went through the frozen layers")

    start = time.monotonic()
    work = prepared.workload.below(prefix.layers)
    for dataset in sets:
        try:
            lengths = prefix.fill(dataset.texts, trainer.collator, on_batch=tell)
        except OSError as error:
            lengths, said["reason"] = None, f"the cache cannot be written: {error.strerror}"
        if lengths is None:
            said.setdefault("reason", "more than the cache may hold")
            continue
        said["texts_computed"] += len(lengths)
        if dataset is sets[0]:
            said["kept"] = True
            trainer.workload = prepared.workload.above(prefix.layers)
            trainer.meters.train_flops = sum(work.forward(texts=1, length=int(n)) for n in lengths)
    trainer.meters.prefix_seconds = time.monotonic() - start
    return said


def make_datasets(
    spec: RunSpec, dataset: TextDataset, parts: Parts
) -> tuple[TokenDataset, TokenDataset | None, TokenDataset, Collator]:
    """Tokenise once, and cut into what trains, what selects (if anything does) and what is scored."""
    tokenizer = load_tokenizer(model_folder(spec.model.source, spec.model.revision))
    options = {
        "tokenizer": tokenizer,
        "tokenizer_fingerprint": tokenizer_fingerprint(tokenizer),
        "max_length": spec.max_length,
        "truncation": spec.truncation,
        "head_share": spec.head_share,
        "cache_dir": default_cache_dir(),
    }
    train_texts = tokenize(dataset.train.texts, **options)
    if parts.test_from == "train" or dataset.test is None:
        test_texts, test_labels = train_texts, dataset.train.labels
    else:
        test_texts, test_labels = tokenize(dataset.test.texts, **options), dataset.test.labels
    train_set = TokenDataset(train_texts.take(parts.train), dataset.train.labels[parts.train])
    test_set = TokenDataset(test_texts.take(parts.test), test_labels[parts.test])
    selection_set: TokenDataset | None = None
    if spec.selection == "test":
        selection_set = test_set
    elif len(parts.validation):
        selection_set = TokenDataset(train_texts.take(parts.validation), dataset.train.labels[parts.validation])
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    collator = Collator.of_engine(spec.engine, pad_id=pad_id, max_length=spec.max_length)
    return train_set, selection_set, test_set, collator


def _select(spec: RunSpec, trainer: StudyTrainer, folder: RunFolder) -> Selected:
    """Load the weights that the selection rule names into the model."""
    meters = trainer.meters
    if spec.selection == "last" or meters.best_step is None or meters.best_epoch is None:
        return Selected(
            by="last", step=trainer.state.global_step, epoch=float(trainer.state.epoch or 0), macro_f1=None
        )
    checkpoints.load_weights(folder.best, trainer.model)
    return Selected(by=spec.selection, step=meters.best_step, epoch=meters.best_epoch, macro_f1=meters.best_score)


def describe_parts(dataset: TextDataset, parts: Parts) -> Examples:
    """Return how many examples of each class every part holds."""
    classes = len(dataset.label_names)
    test = dataset.train if parts.test_from == "train" or dataset.test is None else dataset.test

    def per_class(labels: np.ndarray) -> list[int]:
        return [int(n) for n in np.bincount(labels, minlength=classes)]

    return Examples(
        train=len(parts.train),
        validation=len(parts.validation),
        test=len(parts.test),
        train_per_class=per_class(dataset.train.labels[parts.train]),
        validation_per_class=per_class(dataset.train.labels[parts.validation]),
        test_per_class=per_class(test.labels[parts.test]),
        test_held_out=parts.test_held_out,
    )


@contextmanager
def trainer_folder() -> Any:
    """Give the Trainer a folder of its own: what it writes there is not what we keep."""
    with tempfile.TemporaryDirectory(prefix="tunebench-") as name:
        yield Path(name)


def now() -> str:
    """Return the time in UTC, as records have it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
