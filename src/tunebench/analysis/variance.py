"""Where the variance of a strategy's score comes from."""

from __future__ import annotations

import numpy as np

from tunebench.analysis.evidence import Entry
from tunebench.stats import VarianceShares, sampling_variance, variance_shares


def shares_of(entry: Entry) -> VarianceShares:
    """Split the variance of one run's score at one size into subset draw, seed and test sampling.

    Runs without the score are left out. Imported runs may lack it, or the subset draw; the draw then counts as
    not known of any.
    """
    metric = entry.metric
    found = [(cell, cell.score(metric.name)) for cell in entry.config.scored]
    cells = [cell for cell, score in found if score is not None]
    subsets = [cell.spec.subset_seed for cell in cells]
    return variance_shares(
        np.array([score for _, score in found if score is not None], dtype=np.float64),
        subsets=None if None in subsets else subsets,
        seeds=[cell.spec.seed for cell in cells],
        test_sampling=sampling_variance(entry.labels, entry.values, classes=entry.classes, metric=metric),
    )
