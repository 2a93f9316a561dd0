"""Where the variance of a strategy's macro F1 comes from."""

from __future__ import annotations

import numpy as np

from tunebench.analysis.evidence import Entry
from tunebench.metrics import METRICS
from tunebench.stats import VarianceShares, sampling_variance, variance_shares


def shares_of(entry: Entry) -> VarianceShares:
    """Split the variance of one run's macro F1 at one size into subset draw, seed and test sampling."""
    score = METRICS["macro_f1"].function
    scores = np.array([score(entry.labels, logits) for logits in entry.logits])
    return variance_shares(
        scores,
        subsets=[cell.spec.subset_seed for cell in entry.cells],
        seeds=[cell.spec.seed for cell in entry.cells],
        test_sampling=sampling_variance(entry.labels, entry.predictions, classes=entry.classes),
    )
