"""One run of TF-IDF; and what it will take. It takes seconds to minutes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.data import Split, TextDataset
from tunebench.data.splits import Parts
from tunebench.data.text import Text, sides_of
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder, kept_bytes
from tunebench.store.timings import Numbers
from tunebench.study.spec import RunSpec
from tunebench.tasks.registry import TASKS
from tunebench.training.attempt import Attempt
from tunebench.training.backend import Predicted
from tunebench.training.estimate import Estimate, EstimateContext
from tunebench.training.imbalance import weigher
from tunebench.training.linear.choose import Choice, choose_on_selection, unchosen
from tunebench.training.linear.folds import FOLDS
from tunebench.training.linear.heads import require_classes
from tunebench.training.linear.model import LinearText, TfidfLearner, fit_linear_text
from tunebench.training.linear.runs import LinearRun, cross_validated, fits_planned, labelled_parts, train_linear
from tunebench.training.linear.terms import Terms
from tunebench.training.measurements import selection_task
from tunebench.training.parts import run_parts, scored_texts

#: Texts on which an estimate fits for real.
_SAMPLE = 500
_WORD = re.compile(r"\w+")


def train(attempt: Attempt) -> RunRecord:
    """Fit, choose C, score once, and describe; see :func:`tunebench.training.linear.runs.train_linear`."""
    spec, dataset = attempt.spec, attempt.dataset
    if not _cross_validates(spec):
        return train_linear(attempt, run_parts(spec, dataset), _Tfidf, fits=len(spec.strategy_params.c))
    parts, judged = labelled_parts(spec, dataset)
    fits = fits_planned(spec.strategy_params.c)
    return train_linear(attempt, parts, partial(_Tfidf, judged=judged), fits=fits)


class _Tfidf(LinearRun):
    """TF-IDF of whole texts; see :class:`~tunebench.training.linear.runs.LinearRun`.

    Args:
        attempt: The run.
        parts: Its parts.
        look: Not called: counting words takes no time.
        judged: See :func:`~tunebench.training.linear.runs.labelled_parts`; None where no cross-validation chooses.
    """

    def __init__(
        self,
        attempt: Attempt,
        parts: Parts,
        look: Callable[[str, int, int], None],
        judged: np.ndarray | None = None,
    ) -> None:
        self.spec, self.dataset, self.parts, self.judged = attempt.spec, attempt.dataset, parts, judged
        self.texts = [self.dataset.train.texts[i] for i in parts.train]
        params, self.settings = self.spec.strategy_params, {}
        self.learner = TfidfLearner(
            self.texts,
            self.dataset.train.labels[parts.train],
            classes=len(self.spec.data.label_names),
            terms=Terms.of(params),
            min_documents=params.min_documents,
            head=params.head,
            weigh=weigher(self.spec),
        )

    def choose(self, tick: Callable[[], None]) -> Choice:
        """Choose C as the strategy's parameters say."""
        if self.judged is not None:
            return cross_validated(self.learner, self.spec, self.dataset, self.parts, self.judged, tick)
        require_classes(self.learner.labels, self.learner.classes)
        selection, _ = scored_texts(self.spec, self.dataset, self.parts)
        task = selection_task(self.spec)
        rows, grid = np.arange(len(self.texts)), self.spec.strategy_params.c
        return choose_on_selection(
            self.learner,
            grid,
            rows,
            selection=selection,
            by=self.spec.selection,
            task=task,
            metric=task.metrics[self.spec.metric],
            tick=tick,
        )

    def logits(self, model: LinearText, split: Split, rows: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the logits of some texts of a split, and the seconds."""
        begin = time.monotonic()
        found = model.logits(model.features([split.texts[i] for i in rows]))
        return found, time.monotonic() - begin

    def tokens(self, choice: Choice) -> tuple[int, int]:
        """Return the words of all passes over the texts; there is no padding."""
        words = round(
            choice.passes * sum(len(_WORD.findall(side)) for text in self.texts for side in sides_of(text))
        )
        return words, words

    def save(self, model: LinearText, folder: Path) -> Sequence[Path]:
        """Write weights and vocabulary."""
        return model.save(folder)


def estimate(spec: RunSpec, context: EstimateContext) -> Estimate:
    """Estimate a run by fitting a few hundred texts; once for all seeds, and for plans that share measurements."""
    own = {name: value for name, value in spec.identity.items() if name not in ("seed", "subset_seed", "fold")}
    key = ("linear", json.dumps(own, sort_keys=True), spec.fold > 0, context.measure)
    if key not in context.profiles:
        context.profiles[key] = _kept(spec, context, key) if context.measure else _estimated(spec, context)
    found: Estimate = context.profiles[key]
    return found


def _kept(spec: RunSpec, context: EstimateContext, key: tuple[Any, ...]) -> Estimate:
    """Return the estimate that was made before of this study, or make it."""

    def measure() -> Numbers:
        found = asdict(_estimated(spec, context))
        return {name: value for name, value in found.items() if value is not None and name != "measured"}

    known: dict[str, Any] = dict(context.measured(key, None, measure))
    return Estimate(**known, measured=True)


def _estimated(spec: RunSpec, context: EstimateContext) -> Estimate:
    """Estimate a run by fitting a few hundred texts for real.

    Features grow with the number of texts by a power law (Heaps), taken from two samples; time grows
    with the texts, and is that of the sample, so ``measured`` is what the plan says although a fit
    is always made.

    Args:
        spec: The run.
        context: Its texts, and whether the estimates of the plan are called measured.
    """
    dataset, measure = context.dataset, context.measure
    classes, params = len(spec.data.label_names), spec.strategy_params
    crosses, parts = _cross_validates(spec), run_parts(spec, dataset)
    validation = len(parts.validation)
    if crosses:
        parts, _ = labelled_parts(spec, dataset)
    selects = crosses or spec.selection == "test" or (spec.selection == "validation" and validation > 0)
    settings = params.c if selects else (unchosen(params.c),)
    # Each fold is fitted without a part of the texts, and then all of them once.
    repeats = (FOLDS - 1) * 1.0 + 1 / len(settings) if crosses else 1.0
    chosen = _balanced(dataset.strata["train"][parts.train], _SAMPLE)
    texts = [dataset.train.texts[i] for i in parts.train[chosen]]
    labels = dataset.train.labels[parts.train[chosen]]

    def fit(texts: Sequence[Text], labels: np.ndarray, grid: Sequence[float]) -> list[LinearText]:
        options = {"terms": Terms.of(params), "min_documents": params.min_documents, "head": params.head}
        return fit_linear_text(texts, labels, classes=classes, grid=grid, **options)

    growth = len(parts.train) / len(texts)
    half = _balanced(dataset.task.strata(labels), max(classes, len(texts) // 2))
    # The first fit also loads the library, so it is not the one that is timed.
    fewer = fit([texts[i] for i in half], labels[half], settings[:1])[0]
    begin = time.monotonic()
    models = fit(texts, labels, settings)
    seconds = repeats * (time.monotonic() - begin)
    begin = time.monotonic()
    models[0].features(texts)
    per_text = (time.monotonic() - begin) / len(texts)
    sizes = models[0].head.parameters, fewer.head.parameters
    # With so many classes that no smaller sample holds them all, the usual exponent of Heaps' law.
    smaller = len(half) < len(texts)
    power = np.log(sizes[0] / sizes[1]) / np.log(len(texts) / len(half)) if smaller else 0.5
    coefficients = round(sizes[0] * growth ** float(np.clip(power, 0, 1)))
    scored = (validation + len(parts.test)) * per_text
    # Beside the coefficients the idf weights and the vocabulary.
    disk = kept_bytes(spec, coefficients) + coefficients * (4 + 20)
    return Estimate(
        steps=max(model.head.iterations for model in models),
        trainable_params=coefficients,
        total_params=coefficients,
        train_flops=growth * repeats * sum(model.head.flops for model in models),
        seconds=1.0 + growth * seconds + scored,
        measured=measure,
        memory_bytes=int(400e6 + 200 * coefficients),
        disk_bytes=disk,
    )


def _cross_validates(spec: RunSpec) -> bool:
    return bool(spec.strategy_params.choose_by == "cross_validation")


def _balanced(strata: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the first ``count`` texts, with the first of every stratum among them."""
    firsts = np.unique(strata, return_index=True)[1] if strata.ndim == 1 else np.unique(strata.argmax(0))
    rest = np.setdiff1d(np.arange(len(strata)), firsts)
    return np.sort(np.concatenate([firsts, rest[: max(0, count - len(firsts))]]))


def load(spec: RunSpec, folder: RunFolder, *, device: str) -> LinearText:
    """Return the fitted model; it computes on the CPU, whatever the device."""
    return LinearText.load(folder.path, terms=Terms.of(spec.strategy_params), task=TASKS[spec.task])


def predict_test(spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, device: str) -> Predicted:
    """Return the test part's logits and labels, and the seconds; with the stored model."""
    model = load(spec, folder, device=device)
    _, (texts, labels) = scored_texts(spec, dataset, parts)
    begin = time.monotonic()
    return model.logits(model.features(texts)), labels, time.monotonic() - begin
