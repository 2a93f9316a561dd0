"""How fast one way of training is on this machine, and what memory it takes: measured, or assumed.

Measured are a few steps and one evaluation batch, at the texts' own lengths. What is assumed follows from the
arithmetic and the machine's rate of matrix products.
"""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tunebench.data import TextDataset
from tunebench.data.pair_rows import TokenRows
from tunebench.data.tokenizer import tokenizer_fingerprint
from tunebench.data.tokens import tokenize
from tunebench.engine.batching import Collator
from tunebench.engine.evaluator import predict_logits
from tunebench.machine import environment, memory
from tunebench.models.sources import model_folder
from tunebench.models.tokenizer import load_tokenizer
from tunebench.study.spec import RunSpec
from tunebench.tasks.registry import TASKS
from tunebench.training.encoder.prepare import Prepared, make_collator, trained_rows

#: Texts whose lengths stand for the data set's.
_SAMPLE = 512
#: Share of the machine's product rate that training reaches when nothing was measured: what MiniLM
#: reached on 2 cores with AVX512-BF16.
_EFFICIENCY = {"fast": 0.65, "reference": 0.4}
#: Steps that are measured: at least, at most, and for how many seconds beyond the fewest. Others may use the cores
#: for a moment.
_FEWEST_STEPS, _MOST_STEPS, _STEPS_SECONDS = 3, 10, 4.0


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


def sample_texts(spec: RunSpec, dataset: TextDataset) -> tuple[TokenRows, Collator]:
    """Return tokens of texts whose lengths stand for the data set's, and what pads them."""
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


def assume_rates(spec: RunSpec, ready: Prepared, sample: TokenRows, collator: Collator, device: str) -> Rates:
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


def measure_rates(spec: RunSpec, ready: Prepared, sample: TokenRows, collator: Collator, device: str) -> Rates:
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
