"""What a run will take: steps, parameters, arithmetic, time, memory and disk, before it starts.

Time is measured where it can be: a few steps and one evaluation batch of each distinct way of
training, at the texts' own lengths. Without measuring it follows from the arithmetic and the
machine's rate of matrix products.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tunebench.data import TextDataset
from tunebench.data.pair_rows import TokenRows
from tunebench.data.tokenizer import tokenizer_fingerprint
from tunebench.data.tokens import tokenize
from tunebench.engine.batching import Collator, longest_of_batches
from tunebench.engine.evaluator import predict_logits
from tunebench.machine import environment, memory
from tunebench.models.sources import model_folder
from tunebench.models.tokenizer import load_tokenizer
from tunebench.store.run_folder import kept_bytes
from tunebench.store.timings import Numbers
from tunebench.study.spec import RunSpec
from tunebench.tasks.registry import TASKS
from tunebench.training.encoder.prepare import (
    Prepared,
    evaluation_interval,
    make_collator,
    prepare_model,
    trained_rows,
)
from tunebench.training.estimate import Estimate, EstimateContext, KeptPrefixes
from tunebench.training.parts import trained_count

if TYPE_CHECKING:
    from tunebench.engine.flops import Workload
    from tunebench.store.record import Parameters

#: Texts whose lengths stand for the data set's.
_SAMPLE = 512
#: Share of the machine's product rate that training reaches when nothing was measured: what MiniLM
#: reached on 2 cores with AVX512-BF16.
_EFFICIENCY = {"fast": 0.65, "reference": 0.4}
#: Steps that are measured: at least, at most, and for how many seconds beyond the fewest. Others may use the cores
#: for a moment.
_FEWEST_STEPS, _MOST_STEPS, _STEPS_SECONDS = 3, 10, 4.0
#: Seconds a run takes beside steps and evaluations: loading, tokenised data, writing.
OVERHEAD = 4.0


@dataclass(frozen=True)
class Rates:
    """What one way of training takes.

    Attributes:
        seconds_per_flop: Of a training step.
        eval_seconds_per_text: Of scoring, at the sample's lengths.
        memory_bytes: Peak resident memory.
    """

    seconds_per_flop: float
    eval_seconds_per_text: float
    memory_bytes: int


@dataclass(frozen=True)
class FrozenPart:
    """Frozen layers whose outputs can be kept.

    Attributes:
        layers: How many, from the bottom.
        key: What the outputs depend on besides the text.
        bytes_per_text: Mean size of a text's outputs.
    """

    layers: int
    key: str
    bytes_per_text: float


@dataclass(frozen=True)
class CostProfile:
    """One way of training, as far as it is known without a model in memory.

    Attributes:
        parameters: Counted.
        workload: Operations.
        hidden_size: Of the encoder.
        rates: What they take.
        lengths: Tokens of a sample of the texts.
        trained_lengths: Tokens of such texts in the batches of training, with what padding is left there.
        frozen: Layers to keep the outputs of, if any.
    """

    parameters: Parameters
    workload: Workload
    hidden_size: int
    rates: Rates
    lengths: np.ndarray
    trained_lengths: np.ndarray
    frozen: FrozenPart | None


def _profiled(spec: RunSpec, context: EstimateContext, key: tuple[Any, ...]) -> CostProfile:
    """Measure, or derive, what one way of training takes."""
    device = context.device
    ready = prepare_model(spec, device=device)
    sample, collator = _sample(spec, context.dataset)

    def measure() -> Numbers:
        return asdict(_measure(spec, ready, sample, collator, device))

    if context.measure:
        found = context.measured(key, spec.label, measure)
        rates = Rates(found["seconds_per_flop"], found["eval_seconds_per_text"], int(found["memory_bytes"]))
    else:
        rates = _assume(spec, ready, sample, collator, device)
    frozen = None
    if ready.prefix is not None and ready.prefix.reason is None:
        prefix = ready.prefix
        frozen = FrozenPart(prefix.layers, prefix.key(), prefix.bytes_per_text(sample.lengths))
    config: Any = ready.model.config
    trained = _trained_lengths(spec, ready, sample.lengths, collator)
    return CostProfile(ready.parameters, ready.workload, config.hidden_size, rates, sample.lengths, trained, frozen)


def cost_profile(spec: RunSpec, context: EstimateContext) -> CostProfile:
    """Return what a run's way of training takes, measured once for all runs that share it."""
    key = (
        *(spec.model.fingerprint, spec.kind, repr(spec.params), spec.engine, spec.precision, spec.batches),
        *(spec.attention_dropout, spec.frozen_dropout, spec.batch_size, spec.max_length),
        *(spec.gradient_checkpointing, spec.takes_fast_draws, spec.kernels, spec.pooling),
    )
    if key not in context.profiles:
        if not context.measure:
            context.tell(f"counting the operations of {spec.label}")
        # The model that was measured last must be gone: a run has the memory to itself.
        memory.release_memory()
        memory.set_memory(context.execution, engine=spec.engine, device=context.device)
        context.profiles[key] = _profiled(spec, context, key)
    found: CostProfile = context.profiles[key]
    return found


def _trained_lengths(spec: RunSpec, ready: Prepared, lengths: np.ndarray, collator: Collator) -> np.ndarray:
    # The fast layers pack their batches.
    if ready.fast is not None or spec.batches == "by_length":
        return lengths
    # Batches are drawn at random, and so was the sample.
    return np.array([collator.width(longest) for longest in longest_of_batches(lengths, spec.batch_size)])


def estimate_encoder(
    spec: RunSpec, profile: CostProfile, *, train: int, validation: int, kept: KeptPrefixes, measured: bool
) -> Estimate:
    """Estimate a run that the Trainer trains, and count what it will keep.

    Args:
        spec: The run.
        profile: What its way of training costs.
        train: Texts that an epoch goes over.
        validation: Texts that validate.
        kept: Outputs of frozen layers that runs before it keep; this one's are added.
        measured: Whether the profile was measured.
    """
    rates, lengths = profile.rates, profile.lengths
    steps_per_epoch = math.ceil(train / spec.texts_per_step)
    steps = spec.steps_at(steps_per_epoch)
    epochs = steps / steps_per_epoch
    used = _prefix_use(spec, profile, kept, texts=trained_count(spec) + validation + spec.test_size)
    work = profile.workload if used is None else profile.workload.above(used.layers)
    flops = train * epochs * _mean(spec, profile.trained_lengths, work.step)
    # Of what a text takes to score, the part above the frozen layers.
    above = _mean(spec, lengths, work.forward) / _mean(spec, lengths, profile.workload.forward)
    selection = {"validation": validation, "test": spec.test_size, "last": validation}[spec.selection]
    interval = evaluation_interval(spec, steps_per_epoch)
    scored = selection * math.ceil(steps / interval) + (0 if spec.fold else spec.test_size)
    seconds = OVERHEAD + flops * rates.seconds_per_flop + scored * above * rates.eval_seconds_per_text
    if used is not None:
        seconds += used.new_texts * used.flops_per_text * rates.seconds_per_flop
        # As in records: operations for texts that select or are scored are none of training.
        flops += min(used.new_texts, train) * used.flops_per_text
    trainable, total = profile.parameters.trainable, profile.parameters.total
    assert total is not None, "counted when the model was prepared"
    # Besides: the best weights so far, those that the checkpoint names, and two checkpoints (old and new) of
    # weights and two moments.
    disk = kept_bytes(spec, trainable) + 4 * trainable * (2 + 2 * 3)
    return Estimate(
        steps=steps,
        trainable_params=trainable,
        total_params=total,
        train_flops=flops,
        seconds=seconds,
        measured=measured,
        memory_bytes=rates.memory_bytes,
        disk_bytes=disk,
        prefix_bytes=0 if used is None else used.new_bytes,
        prefix_layers=None if used is None else used.layers,
    )


@dataclass(frozen=True)
class _PrefixUse:
    """What a run takes from kept outputs of frozen layers, and what it adds to them."""

    layers: int
    new_texts: int
    new_bytes: int
    flops_per_text: float


def _prefix_use(spec: RunSpec, profile: CostProfile, kept: KeptPrefixes, *, texts: int) -> _PrefixUse | None:
    frozen = profile.frozen
    if frozen is None:
        return None
    # The larger of two counts is kept, so the test part and a validation part of the data's own, which are the same
    # for all sizes, are counted once. States are kept by token ids: a text that is cut elsewhere is another one.
    same = (frozen.key, spec.max_length, spec.truncation, spec.head_share, spec.subset_seed)
    new = kept.add(repr(same), texts, frozen.bytes_per_text)
    if new is None:
        return None
    work = profile.workload.below(frozen.layers)
    size = round(new * frozen.bytes_per_text)
    return _PrefixUse(frozen.layers, new, size, _mean(spec, profile.lengths, work.forward))


def _mean(spec: RunSpec, lengths: np.ndarray, operations: Callable[..., float]) -> float:
    """Return the mean operations a text, at the lengths the engine pads to."""
    padded = [spec.max_length] if spec.engine == "reference" else lengths
    return float(np.mean([operations(texts=1, length=int(length)) for length in padded]))


def _sample(spec: RunSpec, dataset: TextDataset) -> tuple[TokenRows, Collator]:
    tokenizer = load_tokenizer(model_folder(spec.model.source, spec.model.revision))
    chosen = np.random.default_rng(0).permutation(len(dataset.train.texts))[:_SAMPLE]
    texts = tokenize(
        [dataset.train.texts[i] for i in chosen],
        tokenizer=tokenizer,
        tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
        max_length=spec.max_length,
        truncation=spec.truncation,
        head_share=spec.head_share,
        cache_dir=None,
    )
    return texts, make_collator(spec, tokenizer)


@functools.cache
def _products(precision: str) -> float:
    """Return a quick look at the rate of products (GFLOP/s), taken once a process: a guess needs no more."""
    return environment.gemm_gflops(precision, size=512, repeats=3)


def assumed_rate(precision: str, engine: str, device: str) -> float:
    """Return the operations a second that are assumed where nothing was measured."""
    return _products(precision) * 1e9 * _EFFICIENCY[engine] if device == "cpu" else 5e12


def _assume(spec: RunSpec, ready: Prepared, sample: TokenRows, collator: Collator, device: str) -> Rates:
    """Derive rates from the arithmetic and the machine's rate of products."""
    rate = assumed_rate(spec.precision, spec.engine, device)
    lengths = sample.lengths if collator.length is None else [collator.length]
    mean = float(np.mean([ready.workload.forward(texts=1, length=int(n)) for n in lengths]))
    width = 4 if spec.precision == "fp32" else 2
    config: Any = ready.model.config
    # Saved for backward, a token and a layer: about 24 activations of the hidden size, and the
    # attention probabilities with their mask.
    length = float(np.max(sample.lengths))
    per_token = 24 * config.hidden_size + 3 * config.num_attention_heads * length
    kept = config.num_hidden_layers * per_token
    if spec.gradient_checkpointing:
        # The input of every layer, and all of the one that is computed again.
        kept = config.num_hidden_layers * config.hidden_size + per_token
    activations = spec.batch_size * length * kept * width
    total = ready.parameters.total
    assert total is not None, "counted when the model was prepared"
    weights = 4 * total + 12 * ready.parameters.trainable
    return Rates(1 / rate, mean / rate, int(weights + activations + 400e6))


def _middle(values: np.ndarray, count: int) -> np.ndarray:
    """Return so many values from the middle; all of them where there are fewer."""
    start = max(0, len(values) // 2 - count // 2)
    return values[start : start + count]


def _measure(spec: RunSpec, ready: Prepared, sample: TokenRows, collator: Collator, device: str) -> Rates:
    """Take a few training steps, score a few texts twice, and keep the best times; then a step of the longest."""
    memory.reset_peak_memory()
    task = TASKS[spec.task]
    model = ready.model.to(device)
    rows = trained_rows(spec, model, sample, pad_id=collator.pad_id, device=device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=0.0)
    model.train()

    def step(number: int, chosen: np.ndarray) -> tuple[float, float]:
        """Return seconds and operations."""
        batch = collator.pad([sample[i] for i in chosen])
        inputs = {name: tensor.to(device) for name, tensor in batch.items()}
        labels = task.any_labels(len(chosen), len(spec.data.label_names))
        inputs["labels"] = torch.from_numpy(task.targets(labels)).to(device)
        start = time.perf_counter()
        if ready.fast is not None:
            ready.fast.start_step(number)
        with torch.autocast(device, dtype=ready.autocast, enabled=ready.autocast is not None):
            loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        flops = ready.workload.step(texts=len(chosen), length=inputs["input_ids"].shape[1])
        return time.perf_counter() - start, flops

    # One length stands for all: close to the mean, as batches are on average once their padding is left out.
    order = np.argsort(sample.lengths)
    middle = _middle(order, spec.batch_size)
    best, begin = math.inf, time.perf_counter()
    for number in range(_MOST_STEPS):
        seconds, flops = step(number, middle)
        best = min(best, seconds / flops)
        if number + 1 >= _FEWEST_STEPS and time.perf_counter() - begin > _STEPS_SECONDS:
            break
    # Memory is what the longest batch needs.
    step(_MOST_STEPS, order[-spec.batch_size :])
    if rows is not None:
        rows.restore()
    scored = sample.take(np.arange(min(64, len(sample))))
    per_text = min(_seconds_to_score(ready, model, scored, collator, device) for _ in range(2)) / len(scored)
    # Of the rows that the sample does not use, other training texts may use any.
    more = 0 if rows is None else rows.bytes_saved
    return Rates(best, per_text, memory.peak_memory_bytes(device) + more)


def _seconds_to_score(ready: Prepared, model: Any, texts: TokenRows, collator: Collator, device: str) -> float:
    start = time.perf_counter()
    predict_logits(model, texts, collator=collator, device=device, fast=ready.fast, autocast=ready.autocast)
    return time.perf_counter() - start
