"""What the folds of a cross-validation choose for the run on all texts.

Each fold validates once a run that trains on the other folds. Their curves are averaged, and the learning rate
whose mean curve comes to the best score is chosen. Then one run a seed trains on all texts with that rate. This
run alone is scored on the test part and exported (Hastie, Tibshirani and Friedman 2009, The Elements of
Statistical Learning, section 7.10). The runs of folds are never scored on test. An average over them would
score models that nobody gets. They also share texts, so no unbiased estimate of the variance of such an average
exists (Bengio and Grandvalet 2004, JMLR 5, 1089). With one scored run a seed, intervals and tests over seeds
are those of any other study.

The run on all texts has no validation part to choose a checkpoint on. It stops at the share of its steps at which
the mean curve was best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunebench.store.record import RunRecord
from tunebench.study.spec import RunSpec
from tunebench.tasks.registry import TASKS


@dataclass(frozen=True)
class FoldChoice:
    """What folds say of one seed and one learning rate.

    Attributes:
        share: Share of the planned steps after which the mean over folds was best; None where nothing was evaluated
            during training, and so all steps are taken.
        score: The mean over folds there; None where it is not defined.
    """

    share: float | None
    score: float | None


def fold_choice(records: Sequence[RunRecord]) -> FoldChoice:
    """Return what the complete runs of all folds choose.

    Folds are compared at their k-th evaluation, as far as all of them came. Of equal means the first is taken.

    Args:
        records: One a fold.
    """
    spec = records[0].spec
    assert isinstance(spec, RunSpec)
    curves = [_curve(record) for record in records]
    reached = min(len(curve) for curve in curves)
    if not reached:
        scores = [None if record.selected is None else record.selected.score for record in records]
        known = [score for score in scores if score is not None]
        return FoldChoice(None, float(np.mean(known)) if len(known) == len(scores) else None)
    shares, scores_at = np.mean([curve[:reached] for curve in curves], axis=0).T
    if not np.isfinite(scores_at).any():
        return FoldChoice(None, None)
    metric = TASKS[spec.task].metrics[spec.metric]
    merits = [metric.merit(score) if math.isfinite(score) else -math.inf for score in scores_at]
    best = int(np.argmax(merits))
    return FoldChoice(float(shares[best]), float(scores_at[best]))


def _curve(record: RunRecord) -> list[tuple[float, float]]:
    """Return share of the planned steps and score of every evaluation; a score that is not defined is NaN."""
    spec, key = record.spec, f"eval_{record.spec.selects_by}"
    assert isinstance(spec, RunSpec)
    found: dict[int, tuple[float, float]] = {}
    for entry in record.log_history:
        if key in entry:
            planned = spec.steps_at(round(entry["step"] / entry["epoch"]))
            value = entry[key]
            found[entry["step"]] = (entry["step"] / planned, math.nan if value is None else float(value))
    return [found[step] for step in sorted(found)]
