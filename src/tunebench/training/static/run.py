"""One run of a linear classifier on static embeddings; and what it will take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunebench.data import TextDataset
from tunebench.data.splits import Parts
from tunebench.data.text import Text, by_side
from tunebench.data.tokenizer import tokenizer_fingerprint
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
from tunebench.training.embeddings.encoder import Embedder, load_encoder
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
from tunebench.training.static.model import StaticText
from tunebench.training.static.table import Distilled, StaticTable, TableCache, distilled, table_rows, token_rows

#: Tokens that are distilled to measure the time.
_MEASURED = 512
#: Seconds a text that an estimate assumes.
_SECONDS_PER_TEXT = 2e-4


def _embedder(spec: RunSpec, device: str) -> tuple[Embedder, float]:
    """Return a run's encoder, and the operations that one token of the vocabulary takes."""
    folder = model_folder(spec.model.source, spec.model.revision)
    encoder, workload = load_encoder(folder, spec.data.label_names, TASKS[spec.task].problem_type)
    tokenizer = load_tokenizer(folder)
    _, rows = token_rows(tokenizer)
    embedder = Embedder(
        encoder,
        tokenizer,
        pooling=spec.strategy_params.pooling,
        # Nothing longer is read.
        max_length=len(rows[0]),
        normalised=False,
        device=device,
    )
    return embedder, workload.forward(texts=1, length=len(rows[0]))


@dataclass(eq=False)
class _Static:
    """The table of a run; see :class:`~tunebench.training.linear.vectors.Vectors`."""

    table: StaticTable
    found: Distilled
    computed: bool

    @classmethod
    def of(cls, spec: RunSpec, device: str, look: Look = lambda done, total: None) -> _Static:
        """Take a run's table from the cache, or distil it."""
        tokenizer = load_tokenizer(model_folder(spec.model.source, spec.model.revision))
        cache = TableCache(spec.model.fingerprint, tokenizer_fingerprint(tokenizer), spec.strategy_params.pooling)
        found, computed = cache.read(), False
        if found is None:
            embedder, a_token = _embedder(spec, device)
            begin = time.monotonic()
            vectors, computed = distilled(embedder, look), True
            count = len(token_rows(tokenizer)[0])
            found = Distilled(vectors, time.monotonic() - begin, a_token * count)
            cache.write(found)
        return cls(StaticTable(found.vectors, tokenizer), found, computed)

    @property
    def parameters(self) -> int:
        """Number of the table's values."""
        return int(self.table.vectors.size)

    def embed(self, texts: Sequence[Text], rows: np.ndarray, look: Look = lambda done, total: None) -> Embedded:
        """Return the features of some texts of a split: their embeddings, or those of pairs."""
        begin = time.monotonic()
        sides = by_side([texts[i] for i in rows])
        vectors = features([self.table.embed(self.table.tokens(side)) for side in sides])
        return Embedded(vectors, len(rows), time.monotonic() - begin)

    def work(self, texts: Sequence[Text], rows: np.ndarray) -> Work:
        """Say how many tokens were read, and what distilling took, as if it had been done for this run."""
        sides = by_side([texts[i] for i in rows])
        tokens = sum(len(row) for side in sides for row in self.table.tokens(side))
        return Work(tokens, tokens, self.found.flops, self.found.seconds)

    def said(self, found: Embedded) -> dict[str, Any]:
        """Return what the record says: whether this run distilled the table, or it was there."""
        return {"static": {"distilled": self.computed}}


def train(attempt: Attempt) -> RunRecord:
    """Distil, embed, fit, choose C, score once, and describe; see :mod:`tunebench.training.linear.vectors`."""
    device = devices.resolve_device(attempt.execution.device)
    return train_on_vectors(attempt, lambda spec, look: _Static.of(spec, device, look), device=device)


@dataclass(frozen=True)
class _Profile:
    """What a table takes, and how large it is."""

    tokens: int
    width: int
    flops: float
    seconds: float


def _profile(spec: RunSpec, context: EstimateContext) -> _Profile:
    """Measure, or derive, what distilling takes; once for all runs that share a table."""
    key = ("static", spec.model.fingerprint, spec.strategy_params.pooling)
    if key not in context.profiles:
        if not context.measure:
            context.tell(f"counting the operations of {spec.label}")
        embedder, a_token = _embedder(spec, context.device)
        ids, rows = token_rows(embedder.tokenizer)
        flops = a_token * len(ids)
        seconds = flops / assumed_rate("fp32", "reference", context.device)

        def measure() -> Numbers:
            embedder.vectors(rows[:1])
            begin = time.perf_counter()
            embedder.vectors(rows[:_MEASURED])
            return {"seconds": (time.perf_counter() - begin) * len(ids) / len(rows[:_MEASURED])}

        if context.measure:
            seconds = context.measured(key, spec.label, measure)["seconds"]
        context.profiles[key] = _Profile(table_rows(embedder.tokenizer), embedder.width, flops, seconds)
    found: _Profile = context.profiles[key]
    return found


def estimate(spec: RunSpec, context: EstimateContext) -> Estimate:
    """Estimate a run: the encoder is distilled once in a plan, and the fits are small beside that."""
    profile, classes = _profile(spec, context), len(spec.data.label_names)
    rows = TASKS[spec.task].linear_rows(classes)
    width = feature_count(profile.width, len(by_side(context.dataset.train.texts[:1])))
    head, table = rows * (width + 1), profile.tokens * profile.width
    solving = Solving.of(spec.train_size, width, rows, fits_planned(spec.strategy_params.c))
    key = ("distilled", spec.model.fingerprint, spec.strategy_params.pooling)
    fresh, context.embedded[key] = 1 - context.embedded.get(key, 0), 1
    texts = spec.train_size + spec.test_size
    return Estimate(
        steps=ITERATIONS,
        trainable_params=head,
        total_params=table + head,
        train_flops=profile.flops + solving.flops,
        seconds=OVERHEAD + fresh * profile.seconds + texts * _SECONDS_PER_TEXT + solving.seconds,
        measured=context.measure,
        memory_bytes=int(800e6 + 8 * table + 16 * width * spec.train_size),
        disk_bytes=kept_bytes(spec, head),
    )


def load(spec: RunSpec, folder: RunFolder, *, device: str) -> StaticText:
    """Return the classifier; its table is that of the study's encoder."""
    return StaticText(_Static.of(spec, device).table, load_head(spec, folder))


def predict_test(spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, device: str) -> Predicted:
    """Return the test part's logits and labels, and the seconds; with the stored linear function."""
    return predict_on_vectors(spec, dataset, parts, folder, _Static.of(spec, device))
