"""One run of a strategy without an encoder, to the same record as any other; and what it will take.

Such a run takes seconds to minutes and has no checkpoint: interrupted, it is begun again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from tunebench.data import TextDataset
from tunebench.data.splits import Parts
from tunebench.store.live import Progress
from tunebench.store.record import Parameters, RunRecord, Selected
from tunebench.store.run_folder import RunFolder, kept_bytes
from tunebench.strategies import STRATEGIES
from tunebench.strategies.base import ClassicalStrategy
from tunebench.study.spec import RunSpec
from tunebench.tasks.metrics import METRICS, Metric, selection_metrics
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.backend import Predicted
from tunebench.training.estimate import Estimate, EstimateContext
from tunebench.training.linear.model import LinearText, fit_linear_text
from tunebench.training.measurements import RunMeasurements, Trained
from tunebench.training.parts import run_parts, scored_texts

#: Used where nothing can choose; scikit-learn's own default.
_UNCHOSEN = 1.0
#: Texts on which an estimate fits for real.
_SAMPLE = 500
_WORD = re.compile(r"\w+")


def train(attempt: Attempt) -> RunRecord:
    """Fit, choose on the selection split, score once, and describe; see :mod:`tunebench.training.encoder.run`.

    ``selected.step`` is the number of solver iterations, each of which is a pass over the training part,
    so it is the epoch too. All coefficients count as head, since there is nothing below them.
    """
    spec, dataset, folder = attempt.spec, attempt.dataset, attempt.folder
    measured = RunMeasurements(attempt, engine="reference", device="cpu")
    strategy, classes = _strategy(spec), len(spec.data.label_names)
    params = strategy.params(**spec.params)
    parts = run_parts(spec, dataset)
    texts = [dataset.train.texts[i] for i in parts.train]
    labels = dataset.train.labels[parts.train]
    selection, (test_texts, truth) = scored_texts(spec, dataset, parts)
    settings = _settings(params, selects=selection is not None)

    measured.contention.start()
    attempt.report(Progress(spec.run_id, "train", 0, len(settings), None, None))
    models = _fit(texts, labels, classes=classes, params=params, settings=settings)
    if attempt.stop():
        raise Interrupted("stopped after fitting; a run of this kind begins again")
    measured.contention.stop()
    eval_start = time.monotonic()
    chosen, best, history = _choose(models, selection, METRICS[spec.metric])
    eval_seconds = time.monotonic() - eval_start
    attempt.report(Progress(spec.run_id, "train", len(settings), len(settings), None, best))

    stored = chosen.save(folder.path)
    test: Predicted | None = None
    if attempt.scores_test:
        test_start = time.monotonic()
        logits = chosen.logits(chosen.features(test_texts))
        test = (logits, truth, time.monotonic() - test_start)
        folder.write_predictions(logits=logits, labels=truth, indices=parts.test)
    tokens = sum(len(_WORD.findall(text)) for text in texts) * sum(model.iterations for model in models)
    trained = Trained(
        parameters=Parameters(
            total=chosen.parameters, trainable=chosen.parameters, adapter=0, head=chosen.parameters
        ),
        selected=Selected(
            by=spec.selection if best is not None else "last",
            step=chosen.iterations,
            epoch=float(chosen.iterations),
            score=best,
        ),
        weights=stored,
        train_seconds=sum(model.seconds for model in models),
        eval_seconds=eval_seconds,
        tokens=tokens,
        tokens_padded=tokens,
        train_flops=sum(model.flops for model in models),
        log_history=history,
        packages=("scikit-learn",),
    )
    return measured.finish(trained, dataset=dataset, parts=parts, test=test)


def estimate(spec: RunSpec, context: EstimateContext) -> Estimate:
    """Estimate a run by fitting a few hundred texts for real.

    Features grow with the number of texts by a power law (Heaps), taken from two samples; time grows
    with the texts, and is that of the sample, so ``measured`` is what the plan says although a fit
    is always made.

    Args:
        spec: The run.
        context: Its texts, and whether the estimates of the plan are called measured.
    """
    dataset, measure = context.dataset, context.measure
    strategy, classes = _strategy(spec), len(spec.data.label_names)
    params = strategy.params(**spec.params)
    parts = run_parts(spec, dataset)
    selects = spec.selection == "test" or (spec.selection == "validation" and len(parts.validation) > 0)
    settings = _settings(params, selects=selects)
    chosen = _balanced(dataset.train.labels[parts.train], _SAMPLE)
    texts = [dataset.train.texts[i] for i in parts.train[chosen]]
    labels = dataset.train.labels[parts.train[chosen]]
    begin = time.monotonic()
    models = _fit(texts, labels, classes=classes, params=params, settings=settings)
    seconds = time.monotonic() - begin
    begin = time.monotonic()
    models[0].features(texts)
    per_text = (time.monotonic() - begin) / len(texts)
    growth = len(parts.train) / len(texts)
    half = _balanced(labels, max(classes, len(texts) // 2))
    fewer = _fit([texts[i] for i in half], labels[half], classes=classes, params=params, settings=settings[:1])[0]
    power = np.log(models[0].parameters / fewer.parameters) / np.log(len(texts) / len(half)) if growth > 1 else 0.0
    coefficients = round(models[0].parameters * growth ** float(np.clip(power, 0, 1)))
    scored = (len(parts.validation) + len(parts.test)) * per_text
    # Beside the coefficients the idf weights and the vocabulary.
    disk = kept_bytes(spec, coefficients) + coefficients * (4 + 20)
    return Estimate(
        steps=max(model.iterations for model in models),
        trainable_params=coefficients,
        total_params=coefficients,
        train_flops=growth * sum(model.flops for model in models),
        seconds=1.0 + growth * seconds + scored,
        measured=measure,
        memory_bytes=int(400e6 + 200 * coefficients),
        disk_bytes=disk,
    )


def _settings(params: Any, *, selects: bool) -> tuple[float, ...]:
    """Return the values of C to try, in order; the one nearest to scikit-learn's default where nothing selects."""
    grid: tuple[float, ...] = params.c
    return grid if selects else (min(grid, key=lambda c: (abs(c - _UNCHOSEN), c)),)


def _fit(
    texts: Sequence[str], labels: np.ndarray, *, classes: int, params: Any, settings: Sequence[float]
) -> list[LinearText]:
    """Fit one model a value of C.

    Args:
        texts: Training texts, whole.
        labels: Integers of shape ``(texts,)``.
        classes: Number of classes.
        params: The strategy's parameters.
        settings: Some of :func:`_settings`.

    Raises:
        DataError: The texts hold nothing to learn from.
    """
    return fit_linear_text(
        texts, labels, classes=classes, ngrams=params.ngrams, min_documents=params.min_documents, grid=settings
    )


def _strategy(spec: RunSpec) -> ClassicalStrategy:
    strategy = STRATEGIES[spec.kind]
    assert isinstance(strategy, ClassicalStrategy)
    return strategy


def _choose(
    models: Sequence[LinearText], selection: tuple[Sequence[str], np.ndarray] | None, metric: Metric
) -> tuple[LinearText, float | None, list[dict[str, Any]]]:
    """Return the model with the best score, the more regularised one of equals, its score and a log."""
    if selection is None:
        (only,) = models
        return only, None, [_entry(only)]
    features = models[0].features(selection[0])  # the same for all: they share the vocabulary
    history: list[dict[str, Any]] = []
    chosen, best = models[0], None
    for model in models:
        found = selection_metrics(selection[1], model.logits(features), metric.name)
        history.append(_entry(model) | {f"selection_{name}": value for name, value in found.items()})
        if metric.better(found[metric.name], best):
            chosen, best = model, float(found[metric.name])
    return chosen, best, history


def _entry(model: LinearText) -> dict[str, Any]:
    return {
        "step": model.iterations,
        "epoch": float(model.iterations),
        "c": model.setting,
        "converged": model.converged,
    }


def _balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the first ``count`` texts, with the first of every class among them."""
    firsts = np.unique(labels, return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(labels)), firsts)
    return np.sort(np.concatenate([firsts, rest[: max(0, count - len(firsts))]]))


def load(spec: RunSpec, folder: RunFolder, *, device: str) -> LinearText:
    """Return the fitted model; it computes on the CPU, whatever the device."""
    params: Any = _strategy(spec).params(**spec.params)
    return LinearText.load(folder.path, ngrams=params.ngrams)


def predict_test(spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, device: str) -> Predicted:
    """Return the test part's logits and labels, and the seconds; with the stored model."""
    model = load(spec, folder, device=device)
    _, (texts, labels) = scored_texts(spec, dataset, parts)
    begin = time.monotonic()
    return model.logits(model.features(texts)), labels, time.monotonic() - begin
