"""Populations whose true scores are known, to simulate coverage and level on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import norm

#: Shares of (label, prediction) in an unbalanced population of 3 classes.
CONFUSION = np.array([[0.42, 0.05, 0.03], [0.06, 0.20, 0.04], [0.05, 0.03, 0.12]])


def slow_macro_f1(labels: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """Macro F1 by counting."""
    total = 0.0
    for which in range(classes):
        pairs = list(zip(labels.tolist(), predicted.tolist(), strict=True))
        both = sum(a == which and b == which for a, b in pairs)
        either = sum(a == which for a, _ in pairs) + sum(b == which for _, b in pairs)
        total += 2 * both / either if either else 0.0
    return total / classes


def slow_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Accuracy by counting."""
    return sum(a == b for a, b in zip(labels.tolist(), predicted.tolist(), strict=True)) / len(labels)


def true_macro_f1(shares: np.ndarray) -> float:
    """Macro F1 of a population given by its confusion matrix."""
    return float(np.mean(2 * np.diag(shares) / (shares.sum(0) + shares.sum(1))))


def sample_confusion(rng: np.random.Generator, n: int, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels and predictions from a confusion matrix."""
    codes = rng.choice(shares.size, size=n, p=shares.ravel() / shares.sum())
    return codes // len(shares), codes % len(shares)


def sample_runs(
    rng: np.random.Generator, n: int, seeds: int, *, ease: float, seed_sd: float, common: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw two balanced classes and the predictions of several runs of one strategy.

    An example is right where ``ease + difficulty + seed effect + noise > 0``; difficulty is shared by all
    runs, of variance 1, noise has variance 0.36. Whatever the class, so F1 is accuracy in the population.

    Returns:
        Labels (n,), predictions (seeds, n), and the difficulties, to be handed on as ``common``.
    """
    difficulty = rng.standard_normal(n) if common is None else common
    labels = np.arange(n) % 2
    effect = seed_sd * rng.standard_normal((seeds, 1))
    right = ease + difficulty + effect + 0.6 * rng.standard_normal((seeds, n)) > 0
    return labels, np.where(right, labels, 1 - labels), difficulty


def true_score(ease: float, seed_sd: float) -> float:
    """Mean score, over seeds and examples, of the strategies of :func:`sample_runs`."""
    return float(norm.cdf(ease / np.sqrt(1.36 + seed_sd**2)))


def share(trials: int, trial: Callable[[np.random.Generator], bool], seed: int = 0) -> float:
    """Return the share of trials that succeed."""
    rng = np.random.default_rng(seed)
    return sum(trial(rng) for _ in range(trials)) / trials
