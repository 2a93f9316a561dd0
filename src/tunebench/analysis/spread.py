"""Where the variance of a strategy's macro F1 comes from."""

from __future__ import annotations

import numpy as np

from tunebench.analysis.evidence import Entry
from tunebench.stats import VarianceShares, sampling_variance, variance_shares


def shares_of(entry: Entry) -> VarianceShares:
    """Split the variance of one run's macro F1 at one size into subset draw, seed and test sampling."""
    cells = entry.arm.scored
    return variance_shares(
        np.array([cell.row["macro_f1"] for cell in cells], dtype=np.float64),
        subsets=[cell.spec.subset_seed for cell in cells],
        seeds=[cell.spec.seed for cell in cells],
        test_sampling=sampling_variance(entry.labels, entry.predictions, classes=entry.classes),
    )
