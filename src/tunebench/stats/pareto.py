"""The front of points that no other beats in both score and cost, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunebench.stats.joint_counts import RESAMPLES, joint_counts, resampled_scores
from tunebench.stats.measures import MACRO_F1, Measure
from tunebench.stats.methods import resample_seeds
from tunebench.stats.results import Over, finite


@dataclass(frozen=True)
class Front:
    """The front.

    Attributes:
        on_front: Whether each point lies on it, as observed.
        probability: Share of the draws in which it does.
        method: Name of the method.
        over: The source of variation that the probabilities hold.
    """

    on_front: tuple[bool, ...]
    probability: tuple[float, ...]
    method: str
    over: Over


def score_draws(
    labels: np.ndarray,
    runs: Sequence[np.ndarray],
    *,
    classes: int,
    rng: np.random.Generator,
    over: Over = "seeds and test examples",
    metric: Measure = MACRO_F1,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """Bootstrap the mean scores of several points jointly: each draw is one resample of the examples for all.

    Args:
        labels: Integers of shape ``(n,)``.
        runs: Predictions of each point, ``(seeds, n)`` or ``(n,)``.
        classes: Number of classes.
        rng: Source of randomness.
        over: Whether to resample seeds, too (of each point by itself).
        metric: What to score.
        resamples: Number of resamples.

    Returns:
        Shape ``(resamples, points)``.

    Raises:
        ValueError: Shapes or values do not fit, ``over`` is seeds alone, or seeds are to be resampled and
            a point has one.
    """
    if over == "seeds":
        raise ValueError("over must be 'test examples' or 'seeds and test examples'")
    points = [np.atleast_2d(np.asarray(point)) for point in runs]
    if not points or len({point.shape[1:] for point in points}) > 1:
        raise ValueError("every point must be scored on the same test examples")
    if over == "seeds and test examples" and min(len(point) for point in points) < 2:
        raise ValueError("every point needs at least 2 seeds to resample them; take over='test examples'")
    cells = joint_counts(labels, np.concatenate(points), classes=classes)
    scores = resampled_scores(cells, metric=metric, resamples=resamples, rng=rng)
    columns = np.split(scores, np.cumsum([len(point) for point in points])[:-1], axis=1)
    if over == "test examples":
        return np.column_stack([column.mean(1) for column in columns])
    return np.column_stack([resample_seeds(column, rng) for column in columns])


def on_front(scores: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Mark the points that no other dominates: none scores as much for as little and is better in one.

    Args:
        scores: Larger is better, shape ``(..., points)``.
        costs: Smaller is better, shape ``(points,)`` or that of the scores.

    Returns:
        Booleans of the shape of the scores. Points equal in both are on the front together.
    """
    scores, costs = np.broadcast_arrays(scores, costs)
    mine, yours = scores[..., :, None], scores[..., None, :]
    pay, price = costs[..., :, None], costs[..., None, :]
    beaten = (yours >= mine) & (price <= pay) & ((yours > mine) | (price < pay))
    return np.asarray(~beaten.any(-1))


def pareto_front(
    scores: np.ndarray,
    costs: np.ndarray,
    draws: np.ndarray,
    *,
    over: Over,
    cost_draws: np.ndarray | None = None,
) -> Front:
    """Find the front, and how often each point is on it when the scores are drawn again.

    Args:
        scores: Score of each point, shape ``(points,)``.
        costs: Cost of each point, shape ``(points,)``.
        draws: Joint draws of the scores, shape ``(resamples, points)``, as :func:`score_draws` makes them.
        over: The source of variation of the draws.
        cost_draws: Draws of the costs, shaped as ``draws``; None keeps the costs as they are.

    Raises:
        ValueError: Shapes differ, or a value is not finite.
    """
    scores, costs = finite(scores, name="scores"), finite(costs, name="costs")
    draws = finite(draws, name="draws", ndim=2)
    drawn_costs = costs if cost_draws is None else finite(cost_draws, name="cost_draws", ndim=2)
    if (
        scores.shape != costs.shape
        or draws.shape[1:] != scores.shape
        or drawn_costs.shape
        not in (
            costs.shape,
            draws.shape,
        )
    ):
        raise ValueError(
            f"one score, one cost and one column of draws a point are needed, got {scores.shape}, {costs.shape}, "
            f"{draws.shape}"
        )
    share = on_front(draws, drawn_costs).mean(0)
    return Front(tuple(on_front(scores, costs).tolist()), tuple(share.tolist()), "bootstrap", over)
