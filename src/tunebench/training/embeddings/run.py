"""One run of a linear classifier on frozen embeddings; and what it will take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.data import TextDataset
from tunebench.data.splits import Parts
from tunebench.data.text import Text, by_side
from tunebench.data.tokenizer import tokenizer_fingerprint
from tunebench.data.tokens import TokenizedTexts, whole_tokens
from tunebench.engine.flops import Workload
from tunebench.files import default_cache_dir
from tunebench.machine import devices
from tunebench.models.sources import model_folder
from tunebench.models.tokenizer import load_tokenizer
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder, kept_bytes
from tunebench.store.timings import Numbers
from tunebench.study.spec import RunSpec
from tunebench.tasks.registry import TASKS
from tunebench.training.attempt import Attempt
from tunebench.training.backend import Predicted
from tunebench.training.embeddings.cache import EmbeddingCache
from tunebench.training.embeddings.encoder import FIXED_BATCH, Embedder, fixed_widths, load_encoder
from tunebench.training.embeddings.model import EmbeddedText
from tunebench.training.embeddings.pairs import feature_count, features
from tunebench.training.encoder.cost import OVERHEAD
from tunebench.training.encoder.rates import assumed_rate
from tunebench.training.estimate import Estimate, EstimateContext
from tunebench.training.linear.runs import fits_planned
from tunebench.training.linear.vectors import (
    ITERATIONS,
    Embedded,
    Look,
    Solving,
    Work,
    load_head,
    predict_on_vectors,
    train_on_vectors,
)
from tunebench.training.parts import validation_count

#: Texts whose lengths stand for the data set's, and how many of them are embedded to measure the time.
_SAMPLE, _MEASURED = 512, 64


@dataclass(eq=False)
class _FrozenEncoder:
    """The encoder of a run with its cache, and the tokens of the data set."""

    embedder: Embedder
    workload: Workload
    cache: EmbeddingCache
    fingerprint: str

    @classmethod
    def of(cls, spec: RunSpec, device: str) -> _FrozenEncoder:
        """Load the encoder of a run."""
        folder = model_folder(spec.model.source, spec.model.revision)
        encoder, workload = load_encoder(folder, spec.data.label_names, TASKS[spec.task].problem_type)
        tokenizer = load_tokenizer(folder)
        fingerprint = tokenizer_fingerprint(tokenizer)
        pooling = spec.strategy_params.pooling
        embedder = Embedder(encoder, tokenizer, pooling=pooling, max_length=spec.max_length, device=device)
        embedder.compute_in(spec.precision)
        return cls(embedder, workload, EmbeddingCache(embedder, spec.model.fingerprint), fingerprint)

    def tokens(self, texts: Sequence[Text], cache_dir: Path | None) -> list[TokenizedTexts]:
        """Return the tokens of whole texts; of pairs those of the first and of the second texts."""
        return [whole_tokens(side, self.embedder.tokenizer, self.fingerprint, cache_dir) for side in by_side(texts)]

    def embed(self, texts: Sequence[Text], rows: np.ndarray, look: Look = lambda done, total: None) -> Embedded:
        """Return the features of some texts of a split: their embeddings, or those of pairs."""
        sides = [self.cache.embed(tokens.take(rows), look) for tokens in self.tokens(texts, default_cache_dir())]
        return Embedded(
            features([side.vectors for side in sides]),
            sum(side.computed for side in sides),
            sum(side.seconds for side in sides),
        )

    @property
    def parameters(self) -> int:
        """Number of the encoder's parameters."""
        return self.embedder.parameters

    def work(self, texts: Sequence[Text], rows: np.ndarray) -> Work:
        """Say what went through the encoder, each text once."""
        windows = self.window_lengths([side.take(rows) for side in self.tokens(texts, default_cache_dir())])
        padded, flops = self.forward(windows)
        return Work(int(windows.sum()), padded, flops)

    def said(self, found: Embedded) -> dict[str, Any]:
        """Return what the record says: how many texts went through the encoder in this run."""
        counts = {"texts": len(found.vectors), "computed": found.computed}
        return {"embeddings": counts | {"precision": self.embedder.precision}}

    def window_lengths(self, sides: Sequence[TokenizedTexts]) -> np.ndarray:
        """Return the tokens of all windows of texts."""
        windows = [self.embedder.windows_of(texts[i]) for texts in sides for i in range(len(texts))]
        return np.array([len(part) for parts in windows for part in parts], dtype=np.int64)

    def forward(self, windows: np.ndarray) -> tuple[int, float]:
        """Return the padded tokens and the operations of windows of some lengths."""
        widths, counts = np.unique(fixed_widths(windows, self.embedder.max_length), return_counts=True)
        flops = sum(
            int(n) * self.workload.forward(texts=1, length=int(width))
            for width, n in zip(widths, counts, strict=True)
        )
        return int((widths * counts).sum()), flops


def train(attempt: Attempt) -> RunRecord:
    """Embed, fit, choose C, score once, and describe; see :mod:`tunebench.training.linear.vectors`."""
    device = devices.resolve_device(attempt.execution.device)
    return train_on_vectors(attempt, lambda spec, look: _FrozenEncoder.of(spec, device), device=device)


@dataclass(frozen=True)
class _Profile:
    """What embedding takes, a text of the data set on average."""

    parameters: int
    width: int
    flops: float
    seconds: float


def _profile(spec: RunSpec, context: EstimateContext) -> _Profile:
    """Measure, or derive, what embedding takes; once for all runs that embed alike."""
    key = ("embeddings", spec.model.fingerprint, spec.strategy_params.pooling, spec.max_length)
    if key not in context.profiles:
        if not context.measure:
            context.tell(f"counting the operations of {spec.label}")
        frozen, texts = _FrozenEncoder.of(spec, context.device), context.dataset.train.texts
        chosen = np.random.default_rng(0).permutation(len(texts))[:_SAMPLE]
        sample = frozen.tokens([texts[i] for i in chosen], None)
        _, flops = frozen.forward(frozen.window_lengths(sample))
        rate = 1 / assumed_rate("fp32", "reference", context.device)

        def measure() -> Numbers:
            first = sample[0].take(np.arange(min(_MEASURED, len(chosen))))
            frozen.embedder.vectors([first[0]], fixed=True)
            parts = np.array_split(np.arange(len(first)), min(2, len(first)))
            # The best of several: other work may slow one of them down.
            return {"seconds_per_flop": min(_seconds_per_flop(frozen, first.take(part)) for part in parts)}

        if context.measure:
            rate = context.measured(key, spec.label, measure)["seconds_per_flop"]
        mean = flops / len(chosen)
        embedder = frozen.embedder
        width = feature_count(embedder.width, len(sample))
        context.profiles[key] = _Profile(embedder.parameters, width, mean, mean * rate)
    found: _Profile = context.profiles[key]
    return found


def _seconds_per_flop(frozen: _FrozenEncoder, sample: TokenizedTexts) -> float:
    begin = time.perf_counter()
    frozen.embedder.vectors([sample[i] for i in range(len(sample))], fixed=True)
    seconds = time.perf_counter() - begin
    # Few texts fill no batch, and are computed with copies of the last one: these count here.
    windows = fixed_widths(frozen.window_lengths([sample]), frozen.embedder.max_length)
    widths, counts = np.unique(windows, return_counts=True)
    batches = -(-counts // FIXED_BATCH)
    texts = (batches * FIXED_BATCH).tolist()
    flops = sum(frozen.workload.forward(texts=n, length=w) for n, w in zip(texts, widths.tolist(), strict=True))
    return seconds / flops


def estimate(spec: RunSpec, context: EstimateContext) -> Estimate:
    """Estimate a run: each text goes through the encoder once in a plan, and the fits are small beside that."""
    profile, classes, grid = _profile(spec, context), len(spec.data.label_names), spec.strategy_params.c
    rows = TASKS[spec.task].linear_rows(classes)
    head = rows * (profile.width + 1)
    solving = Solving.of(spec.train_size, profile.width, rows, fits_planned(grid))
    # What earlier runs of the plan embed is there: subsets are nested, and share their test part.
    kept = ("embedded", spec.model.fingerprint, spec.strategy_params.pooling, spec.max_length)
    wanted: dict[tuple[object, ...], int] = {
        (*kept, "train", spec.subset_seed): spec.train_size,
        (*kept, "test", spec.test_draw): spec.test_size,
    }
    if spec.own_validation:
        wanted[(*kept, "validation")] = validation_count(spec, context.dataset)
    fresh = 0
    for key, count in wanted.items():
        fresh += max(0, count - context.embedded.get(key, 0))
        context.embedded[key] = max(count, context.embedded.get(key, 0))
    return Estimate(
        steps=ITERATIONS,
        trainable_params=head,
        total_params=profile.parameters + head,
        train_flops=spec.train_size * profile.flops + solving.flops,
        seconds=OVERHEAD + fresh * profile.seconds + solving.seconds,
        measured=context.measure,
        memory_bytes=int(500e6 + 4 * profile.parameters + 16 * profile.width * spec.train_size),
        disk_bytes=kept_bytes(spec, head),
    )


def load(spec: RunSpec, folder: RunFolder, *, device: str) -> EmbeddedText:
    """Return the classifier, with the study's encoder."""
    return EmbeddedText(_FrozenEncoder.of(spec, device).embedder, load_head(spec, folder))


def predict_test(spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, device: str) -> Predicted:
    """Return the test part's logits and labels, and the seconds; with the stored linear function."""
    return predict_on_vectors(spec, dataset, parts, folder, _FrozenEncoder.of(spec, device))
