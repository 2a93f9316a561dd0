"""Where the variance of a strategy's macro F1 comes from."""

from __future__ import annotations

import numpy as np

from tunebench.analysis.evidence import Entry
from tunebench.stats import VarianceShares, sampling_variance, variance_shares


def shares_of(entry: Entry) -> VarianceShares:
    """Split the variance of one run's macro F1 at one size into subset draw, seed and test sampling.

    Imported runs may lack macro F1, and are left out; or the subset draw, and then it is not known of all.
    """
    cells = [cell for cell in entry.arm.scored if cell.row["macro_f1"] is not None]
    subsets = [cell.spec.subset_seed for cell in cells]
    return variance_shares(
        np.array([cell.row["macro_f1"] for cell in cells], dtype=np.float64),
        subsets=None if None in subsets else subsets,
        seeds=[cell.spec.seed for cell in cells],
        test_sampling=sampling_variance(entry.labels, entry.predictions, classes=entry.classes),
    )
