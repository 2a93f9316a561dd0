"""``tunebench bench --prefix``: frozen layers computed in every step against outputs kept on disk.

Both sides train the same top layers of the same model on the same batches, in turn, with the frozen
layers in evaluation mode; only where the outputs of these come from differs.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunebench.benchmarks.rounds import take_rounds
from tunebench.benchmarks.sides import BATCH, build_model, review_lengths
from tunebench.data.tokens import TokenizedTexts
from tunebench.engine.batching import Collator, EpochSampler
from tunebench.engine.fast.attach import FastEncoder, attach
from tunebench.engine.frozen_layers import FrozenPrefix, frozen_layers
from tunebench.formatting import counted
from tunebench.machine import devices, environment, memory


@dataclass
class PrefixSide:
    """Measurements with so many layers trained.

    Attributes:
        computed: Seconds a step that computes the frozen layers, one mean over all batches a round.
        kept: Seconds a step that reads their outputs.
        fill_seconds: Computing and writing the outputs of all texts, one value a round.
        bytes_per_text: What they take on disk.
    """

    computed: list[float] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)
    fill_seconds: list[float] = field(default_factory=list)
    bytes_per_text: float = 0.0

    @classmethod
    def of(cls, rounds: Sequence[PrefixSide]) -> PrefixSide:
        """Return the measurements of several rounds as one."""
        lists = {name: [getattr(one, name)[0] for one in rounds] for name in ("computed", "kept", "fill_seconds")}
        return cls(**lists, bytes_per_text=rounds[-1].bytes_per_text)

    def ratio(self) -> tuple[float, float, float]:
        """Return median, smallest and largest ratio over rounds of the step times."""
        pairs = [a / b for a, b in zip(self.computed, self.kept, strict=True)]
        return statistics.median(pairs), min(pairs), max(pairs)

    def break_even(self, steps: int) -> float | None:
        """Return after how many epochs of so many steps keeping is the faster way; None if it never is."""
        saved = steps * (statistics.median(self.computed) - statistics.median(self.kept))
        return statistics.median(self.fill_seconds) / saved if saved > 0 else None


@dataclass
class PrefixResult:
    """Everything measured, by the number of trained layers (0: the head alone)."""

    model: str
    machine: dict[str, Any]
    versions: dict[str, str]
    threads: int
    rounds: int
    layers: int
    mean_tokens: float
    steps_per_epoch: int
    sides: dict[int, PrefixSide]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ratios included."""
        found = asdict(self)
        found["ratio"] = {trained: side.ratio() for trained, side in self.sides.items()}
        found["break_even_epochs"] = {t: side.break_even(self.steps_per_epoch) for t, side in self.sides.items()}
        return found


def run_prefix_bench(
    model: str,
    *,
    seconds: float = 300.0,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> PrefixResult:
    """Measure both ways in turn until the time is used up, two rounds at least. Ctrl-C ends with the whole rounds.

    Args:
        model: ``distilbert`` or ``modernbert`` (real size, random weights), ``minilm``, or a folder.
        seconds: Time to use, roughly.
        threads: Compute threads.
        tell: Called with a line for each measurement.

    Raises:
        ModelError: The model cannot be loaded.
    """
    used = devices.set_threads(threads)
    memory.keep_memory()
    texts = review_lengths()
    depth = build_model(model, "full", None)[1].num_layers
    # The head alone, one layer, two, and half of them.
    every = sorted({0, 1, 2, depth // 2} & set(range(depth)))

    def take(number: int) -> dict[int, PrefixSide]:
        found = {}
        for trained in every:
            tell(f"round {number}: {model}, {trained} layers trained")
            found[trained] = _measure(model, trained, texts)
        return found

    rounds = take_rounds(take, fewest=2, seconds=seconds, tell=tell)
    return PrefixResult(
        model=model,
        machine=environment.describe(),
        versions=environment.versions(),
        threads=used,
        rounds=len(rounds),
        layers=depth,
        mean_tokens=float(texts.lengths.mean()),
        steps_per_epoch=math.ceil(len(texts) / BATCH),
        sides={trained: PrefixSide.of([each[trained] for each in rounds]) for trained in every},
    )


def _measure(name: str, trained: int, texts: TokenizedTexts) -> PrefixSide:
    model, architecture = build_model(name, "full", None)
    stack = list(model.get_submodule(architecture.layers))
    model.requires_grad_(False)
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(architecture.is_head(parameter_name))
    for layer in stack[len(stack) - trained :]:
        layer.requires_grad_(True)
    dtype = devices.compute_type(devices.default_precision("cpu", "fast"))
    fast, autocast = attach(model, architecture, dtype, seed=0)
    prefix = FrozenPrefix(
        model,
        architecture,
        layers=frozen_layers(model, architecture),
        fast=fast,
        autocast=autocast,
        fingerprint=name,
    )
    collator = Collator.of_engine("fast", pad_id=0, max_length=int(texts.lengths.max()))
    side = PrefixSide([_epochs(model, texts, collator, fast, autocast)])
    with tempfile.TemporaryDirectory(prefix="tunebench-") as folder:
        start = time.perf_counter()
        store = prefix.open(Path(folder), limit=10**12)
        if store is None or prefix.fill(texts, collator) is None:
            raise OSError(f"nothing can be kept in {folder}")
        side.fill_seconds.append(time.perf_counter() - start)
        side.bytes_per_text = prefix.bytes_per_text(texts.lengths)
        side.kept.append(_epochs(model, texts, collator, fast, autocast))
    return side


def _epochs(
    model: Any, texts: TokenizedTexts, collator: Collator, fast: FastEncoder | None, autocast: torch.dtype | None
) -> float:
    """Train for two epochs, and return the mean seconds a step of the second."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    sampler = EpochSampler(texts.lengths, batch_size=BATCH, seed=0)
    model.train()
    times: list[float] = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        order = np.array(list(sampler))
        times.clear()
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = collator([{"input_ids": texts[i], "labels": int(i) % 2} for i in rows])
            mark = time.perf_counter()
            if fast is not None:
                fast.start_step(start)
            with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
                loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if fast is not None:
                fast.refresh()
            times.append(time.perf_counter() - mark)
    return statistics.fmean(times)


def render_prefix(result: PrefixResult) -> str:
    """Return the result as text."""
    info = result.machine
    lines = [
        f"{result.model}, {result.layers} layers, on {info['cpu']}, {info['cores']} cores, "
        f"{result.threads} threads; {counted(result.rounds, 'round')}, batch {BATCH}, "
        f"mean length {result.mean_tokens:.0f} tokens",
        "frozen layers in evaluation mode on both sides: computed in every step, or kept on disk",
        "",
        f"{'trained':<12}{'computed':>10}{'kept':>10}{'ratio':>8}   {'range over rounds':<20}"
        f"{'kB a text':>10}{'pays after':>14}",
    ]
    for trained, side in result.sides.items():
        middle, low, high = side.ratio()
        after = side.break_even(result.steps_per_epoch)
        pays = "never" if after is None else f"{after:.1f} epochs"
        name = "head" if trained == 0 else f"top {trained}"
        computed, kept = statistics.median(side.computed), statistics.median(side.kept)
        lines.append(
            f"{name:<12}{computed:>8.3f} s{kept:>8.3f} s{middle:>7.2f}x   {f'{low:.2f}x to {high:.2f}x':<20}"
            f"{side.bytes_per_text / 1e3:>10.1f}{pays:>14}"
        )
    return "\n".join(lines) + "\n"
