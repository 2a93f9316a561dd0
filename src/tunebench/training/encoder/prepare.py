"""What a run has before its first step: model, tokenised parts, and the Trainer's arguments."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainingArguments, set_seed

from tunebench.data import Split, TextDataset
from tunebench.data.splits import Parts
from tunebench.data.tokenizer import tokenizer_fingerprint
from tunebench.data.tokens import tokenize
from tunebench.engine import process_group
from tunebench.engine.batching import Collator, TokenDataset
from tunebench.engine.fast.attach import FastEncoder, attach
from tunebench.engine.fast.shared_masks import SharedMasks
from tunebench.engine.flash import use_flash_attention
from tunebench.engine.flops import Workload, count
from tunebench.engine.frozen_layers import FrozenPrefix, frozen_layers
from tunebench.engine.learning_rates import Multiplier
from tunebench.engine.trained_rows import TrainedRows
from tunebench.files import default_cache_dir
from tunebench.machine import devices
from tunebench.models.architectures import Architecture, architecture_of, count_parameters, unwrap
from tunebench.models.loading import load_stored
from tunebench.models.pooling import pool_mean
from tunebench.models.sources import model_folder
from tunebench.models.tokenizer import load_tokenizer
from tunebench.store.record import Parameters
from tunebench.strategies import STRATEGIES
from tunebench.study.spec import RunSpec
from tunebench.tasks.registry import TASKS
from tunebench.training.imbalance import oversampled
from tunebench.training.parts import split_of_test, split_of_validation

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from tunebench.data.pair_rows import TokenRows
    from tunebench.strategies import StepHook


#: What the Trainer calls the optimisers.
_OPTIMIZERS = {
    "adafactor": "adafactor",
    "lion": "lion_32bit",
    "adamw_8bit": "adamw_bnb_8bit",
    "lion_8bit": "lion_8bit",
}


@dataclass
class Prepared:
    """A model ready to train, and what is known of it."""

    model: nn.Module
    architecture: Architecture
    workload: Workload
    fast: FastEncoder | None
    autocast: torch.dtype | None
    parameters: Parameters
    multiplier: Multiplier
    #: From the number of optimisation steps to what the strategy does at each of them.
    step_hook: Callable[[int], StepHook | None]
    prefix: FrozenPrefix | None = None
    #: The fast engine's dropout masks in a model of the reference engine, if it takes them.
    shared: SharedMasks | None = None
    #: What the record says of the attention on a GPU.
    attention: str | None = None
    #: A wrapper's prefix that was taken off the names of the base's weights.
    weights_prefix: str = ""
    #: What pretrained encoders of the family are saved with, and the base is not; it was drawn with the head.
    lacking: tuple[str, ...] = ()


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
    task = TASKS[spec.task]
    base = load_stored(
        model_folder(spec.model.source, spec.model.revision),
        label_names=spec.data.label_names,
        problem_type=task.problem_type,
        attention_dropout=spec.attention_dropout,
        base_head=spec.base_head,
    )
    model: nn.Module = base.model
    architecture = architecture_of(base.model.config)
    strategy = STRATEGIES[spec.kind]
    params = spec.strategy_params
    if spec.pooling == "mean" and "pooling" not in spec.without_effect:
        pool_mean(model, architecture)
    model = strategy.prepare(model, params, architecture)
    if batches is not None:
        strategy.initialise(model, params, batches)

    def multiplier(parameter: str) -> tuple[float, float]:
        return strategy.multiplier(parameter, params, architecture)

    def step_hook(steps: int) -> StepHook | None:
        return strategy.step_hook(model, params, steps=steps)

    total, adapter, head = count_parameters(model, architecture)
    parameters = Parameters(total=total, trainable=adapter + head, adapter=adapter, head=head)
    workload = count(model, architecture)
    fast, autocast, shared = None, None, None
    if spec.takes_fast_draws and device == "cpu":
        shared = SharedMasks(
            model, architecture, seed=spec.seed, stream=process_group.rank(), max_length=spec.max_length
        )
    dtype = devices.compute_type(spec.precision, device)
    if spec.engine == "fast" and device == "cpu":
        fast, autocast = attach(
            model,
            architecture,
            dtype,
            seed=spec.seed,
            stream=process_group.rank(),
            recomputes=spec.gradient_checkpointing,
            native=spec.kernels == "native",
        )
    elif dtype != torch.float32:
        autocast = dtype
    attention = None
    if spec.engine == "fast" and device == "cuda":
        attention = use_flash_attention(model, autocast)
    if spec.gradient_checkpointing:
        workload = replace(workload, recomputes=True)
        if fast is None:
            replays = {} if shared is None else {"context_fn": shared.contexts}
            unwrap(model).activation_checkpointing_enable({"use_reentrant": False} | replays)
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
    return Prepared(
        model,
        architecture,
        workload,
        fast,
        autocast,
        parameters,
        multiplier,
        step_hook,
        prefix,
        shared,
        attention,
        base.prefix,
        base.lacking,
    )


def trained_rows(
    spec: RunSpec, model: nn.Module, texts: TokenRows, *, pad_id: int, device: str
) -> TrainedRows | None:
    """Leave word embeddings that no training text uses out of training, where that changes no result.

    Weight decay changes every row. Other optimisers than AdamW are not known to leave rows without gradient alone.
    Several processes exchange gradients of whole parameters.

    Args:
        spec: The run.
        model: The prepared model.
        texts: The training texts.
        pad_id: The token that fills batches up.
        device: Where it trains.

    Returns:
        The rows, which stay apart until they are restored; None where all are trained, or none is.
    """
    if spec.engine != "fast" or device != "cpu" or process_group.size() > 1:
        return None
    if spec.optimizer != "adamw" or spec.weight_decay:
        return None
    return TrainedRows.of(unwrap(model), texts, pad_id=pad_id)


def evaluation_interval(spec: RunSpec, steps_per_epoch: int) -> int:
    """Return the steps between two evaluations; one more follows the last step.

    Rounded up: rounding down would add an evaluation a run, just before that last one.
    """
    return math.ceil(steps_per_epoch / spec.evaluations_per_epoch)


def training_arguments(
    spec: RunSpec, *, output: Path, device: str, steps_per_epoch: int, evaluates: bool, autocast: torch.dtype | None
) -> TrainingArguments:
    """Translate a spec; the one place where a study's words become the Trainer's.

    Args:
        spec: The run.
        output: A folder the Trainer may use.
        device: Where to train.
        steps_per_epoch: Optimisation steps an epoch.
        evaluates: Whether there is a split to select on.
        autocast: Type of the Trainer's own autocast; with fp16 it scales the loss. None for none.
    """
    total = spec.steps_at(steps_per_epoch)
    # What is at its usual value is left to the Trainer.
    options: dict[str, Any] = {} if spec.optimizer == "adamw" else {"optim": _OPTIMIZERS[spec.optimizer]}
    if spec.max_steps:
        options["max_steps"] = total
    if spec.schedule == "cosine_with_restarts":
        options["lr_scheduler_kwargs"] = {"num_cycles": spec.restarts + 1}
    arguments = TrainingArguments(
        output_dir=str(output),
        seed=spec.seed,
        num_train_epochs=spec.epochs_at(steps_per_epoch),
        gradient_accumulation_steps=spec.gradient_accumulation,
        per_device_train_batch_size=spec.batch_size // process_group.size(),
        per_device_eval_batch_size=spec.batch_size // process_group.size(),
        learning_rate=spec.learning_rate,
        weight_decay=spec.weight_decay,
        lr_scheduler_type=spec.schedule,
        warmup_steps=spec.warmup_steps or math.ceil(total * spec.warmup_ratio),
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
        bf16=autocast == torch.bfloat16,
        fp16=autocast == torch.float16,
        # Among several processes: our parameters are all used, and each process's part is weighted by us.
        ddp_find_unused_parameters=False,
        average_tokens_across_devices=False,
        **options,
    )
    # One process uses one device: left alone, the Trainer would spread each batch over all GPUs it sees, and
    # multiply the batch size by their number.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


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
    trained = parts.train
    if spec.oversampling:
        trained = trained[oversampled(dataset.train.labels[trained], spec.seed)]
    task = TASKS[spec.task]
    scale = task.scale(dataset.train.labels[parts.train])

    def part(split: Split, rows: np.ndarray) -> TokenDataset:
        texts = train_texts if split is dataset.train else tokenize(split.texts, **options)
        labels = split.labels[rows]
        return TokenDataset(texts.take(rows), labels, task.targets(scale.onto(labels)))

    train_set = part(dataset.train, trained)
    test_set = part(split_of_test(dataset, parts), parts.test)
    selection_set: TokenDataset | None = None
    if spec.selection == "test":
        selection_set = test_set
    elif len(parts.validation):
        selection_set = part(split_of_validation(dataset, parts), parts.validation)
    return train_set, selection_set, test_set, make_collator(spec, tokenizer)


def make_collator(spec: RunSpec, tokenizer: PreTrainedTokenizerBase) -> Collator:
    """Return what pads the batches of a run."""
    return Collator.of_engine(spec.engine, pad_id=tokenizer.pad_token_id or 0, max_length=spec.max_length)


@contextmanager
def trainer_folder() -> Iterator[Path]:
    """Give the Trainer a folder of its own: what it writes there is not what we keep."""
    with tempfile.TemporaryDirectory(prefix="tunebench-") as name:
        yield Path(name)
