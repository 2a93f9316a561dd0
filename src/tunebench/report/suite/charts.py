"""The charts of a suite's page: places on an axis in percent, drawn by the page's style sheet without a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunebench.analysis.evidence import POINTS
from tunebench.analysis.suite import AtSize
from tunebench.analysis.suite_data import PairOverData
from tunebench.analysis.suite_words import p_text, pair_sentence, spread_sentence, standing_of_best
from tunebench.analysis.wording import show_difference
from tunebench.report.axis import Axis, domain, ticks
from tunebench.stats import Interval, MeanRanks, MetaMean, Refusal
from tunebench.tasks.metric import Metric

#: How the first of two strategies stands on a data set, as the chart has it.
_STANDING = {"better": "better", "equal": "equal", "worse": "worse", "open": "too close"}


def forest(pair: PairOverData, metric: Metric, margin: float) -> dict[str, Any]:
    """Return the chart of two strategies on every data set, their mean last."""
    rows: list[dict[str, Any]] = [
        {
            "label": one.data_set.name,
            "interval": one.difference.interval,
            "standing": _STANDING[one.standing],
        }
        for one in pair.on
    ]
    found: dict[str, Any] = {
        "first": pair.first,
        "second": pair.second,
        "said": pair_sentence(pair, metric),
        "spread": None,
        "mean": None,
    }
    intervals: list[Interval] = [row["interval"] for row in rows]
    if isinstance(pair.mean, MetaMean):
        found["spread"] = spread_sentence(pair.mean, metric)
        found["mean"] = _mean(pair.mean)
        intervals.append(pair.mean.as_difference().interval)
    return found | _drawn(rows, found["mean"], intervals, metric, margin)


def against_best(at: AtSize, standings: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the chart of every strategy's mean difference from the best; None where there is none.

    Args:
        at: All data sets at a size.
        standings: How each other strategy stands to the best.
    """
    best = at.best
    pairs = [] if best is None else [at.pair(label, best) for label in at.others]
    known = [(pair, pair.mean) for pair in pairs if pair is not None and isinstance(pair.mean, MetaMean)]
    if best is None or not known:
        return None
    known.sort(key=lambda one: -at.metric.merit(one[1].estimate))
    rows = [_strategy(at, pair.first, standings[pair.first]) | _mean(mean) for pair, mean in known]
    drawn = _drawn(rows, None, [row["interval"] for row in rows], at.metric, at.margin)
    return {"best": _strategy(at, best, standing_of_best(at)), "mean": None} | drawn


def _strategy(at: AtSize, label: str, standing: str) -> dict[str, Any]:
    """Return what is said of a strategy beside its bar; score and rank only where all data sets have it."""
    place = at.everywhere.index(label) if label in at.everywhere else None
    ranks = at.ranks
    return {
        "label": label,
        "standing": standing,
        "score": None if place is None else float(at.merits[:, place].mean()) * at.metric.sign,
        "rank": None if place is None or isinstance(ranks, Refusal) else ranks.ranks[place],
    }


def heat(at: AtSize) -> dict[str, Any]:
    """Return the scores of strategies on data sets, each shaded by how near it is to the best of its data set."""
    scores = {
        name: {label: entry.interval().estimate for label, entry in own.items()} for name, own in at.entries.items()
    }
    behind = {name: _behind(own, at.metric) for name, own in scores.items()}
    most = max(gap for own in behind.values() for gap in own.values())
    rows = [
        {
            "label": name,
            "scores": own,
            "behind": behind[name],
            "shares": {label: round(1 - gap / most, 3) if most else 1.0 for label, gap in behind[name].items()},
        }
        for name, own in scores.items()
    ]
    return {"labels": at.labels, "rows": rows, "digits": 2 if at.metric.points else 4, "scale": at.metric.scale}


def _behind(scores: Mapping[str, float], metric: Metric) -> dict[str, float]:
    """Return how far each score is from the best of them."""
    best = max(map(metric.merit, scores.values()))
    return {label: best - metric.merit(value) for label, value in scores.items()}


def rank_diagram(at: AtSize) -> dict[str, Any]:
    """Return the mean ranks with the groups that are not told apart, or why there are none."""
    found = at.ranks
    if isinstance(found, Refusal):
        return {"refusal": found.reason}
    axis = Axis(0.7, len(at.everywhere) + 0.3)
    order = sorted(range(len(found.ranks)), key=lambda i: found.ranks[i])
    critical = found.critical_difference
    return {
        "refusal": None,
        "ticks": [(axis(rank), str(rank)) for rank in range(1, len(at.everywhere) + 1)],
        "rows": [{"label": at.everywhere[i], "rank": found.ranks[i], "at": axis(found.ranks[i])} for i in order],
        "groups": [
            {
                "labels": [at.everywhere[i] for i in group],
                "bar": axis.span(found.ranks[group[0]] - 0.05, found.ranks[group[-1]] + 0.05),
            }
            for group in found.groups
        ],
        "critical": critical,
        "level": f"{100 * found.alpha:g} %",
        "critical_bar": None if critical is None else axis.span(1, 1 + critical),
        "said": _ranks_said(found),
    }


def _ranks_said(found: MeanRanks) -> str:
    p = p_text(found.p_value)
    if found.different:
        return f"{found.test}: the ranks differ by more than chance ({p}, {found.data_sets} data sets)."
    return f"{found.test}: the ranks may differ by chance alone ({p}, {found.data_sets} data sets)."


def _mean(mean: MetaMean) -> dict[str, Any]:
    prediction = None if isinstance(mean.prediction, Refusal) else mean.prediction
    return {"interval": mean.as_difference().interval, "prediction": prediction}


def _drawn(
    rows: Sequence[dict[str, Any]],
    mean: dict[str, Any] | None,
    intervals: Sequence[Interval],
    metric: Metric,
    margin: float,
) -> dict[str, Any]:
    """Place rows and their mean on one axis, in the unit in which differences are shown."""
    within, scale = margin / POINTS, metric.scale
    shown = [-within, within, *(one.estimate for one in intervals)]
    ends = [(one.low, one.high) for one in intervals]
    predicted = [row["prediction"] for row in (*rows, *([mean] if mean else [])) if row.get("prediction")]
    low, high = domain(shown, [*ends, *predicted])
    axis = Axis(low, high)
    for row in (*rows, *([mean] if mean else [])):
        one: Interval = row["interval"]
        row |= {
            "at": axis(one.estimate),
            "bar": axis.span(one.low, one.high),
            "cut": [side for side, over in (("left", one.low < low), ("right", one.high > high)) if over],
            "thin": axis.span(*row["prediction"]) if row.get("prediction") else None,
            "text": show_difference(one, metric),
            "short": f"{one.estimate * scale:+.{2 if metric.points else 4}f}",
        }
    return {
        "rows": list(rows),
        "band": axis.span(-within, within),
        "zero": axis(0.0),
        "margin": metric.show_margin(margin),
        "unit": metric.difference_unit,
        "ticks": [
            (place, f"{tick * scale:+g}" if tick else "0")
            for tick in ticks(low, high)
            if 4 < (place := axis(tick)) < 96
        ],
    }
