"""What a run will take: steps, parameters, arithmetic, time, memory and disk, before it starts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tunebench.engine.batching import Collator, longest_of_batches
from tunebench.machine import memory
from tunebench.machine.random_state import kept_random_state
from tunebench.store.run_folder import kept_bytes
from tunebench.store.timings import Numbers
from tunebench.study.spec import RunSpec
from tunebench.training.encoder.prepare import (
    Prepared,
    evaluation_interval,
    prepare_model,
)
from tunebench.training.encoder.rates import Rates, assume_rates, measure_rates, sample_texts
from tunebench.training.estimate import Estimate, EstimateContext, KeptPrefixes
from tunebench.training.parts import trained_count

if TYPE_CHECKING:
    from tunebench.engine.flops import Workload
    from tunebench.store.record import Parameters

#: Seconds a run takes beside steps and evaluations: loading, tokenised data, writing.
OVERHEAD = 4.0


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


@kept_random_state()
def _profiled(spec: RunSpec, context: EstimateContext, key: tuple[Any, ...]) -> CostProfile:
    """Measure, or derive, what one way of training takes."""
    device = context.device
    ready = prepare_model(spec, device=device)
    sample, collator = sample_texts(spec, context.dataset)

    def measure() -> Numbers:
        return asdict(measure_rates(spec, ready, sample, collator, device))

    if context.measure:
        found = context.measured(key, spec.label, measure)
        rates = Rates(found["seconds_per_flop"], found["eval_seconds_per_text"], int(found["memory_bytes"]))
    else:
        rates = assume_rates(spec, ready, sample, collator, device)
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
