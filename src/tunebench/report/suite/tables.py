"""The tables of a suite: scores on each data set, and what they say together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tunebench.analysis.costs import COSTS
from tunebench.analysis.suite import AtSize, SuiteAnalysis
from tunebench.analysis.suite_data import PairOverData
from tunebench.analysis.suite_words import p_text, standing_of_best, suite_answer, with_labels
from tunebench.errors import ConfigError
from tunebench.formatting import fixed, integer, p_value
from tunebench.report.tables.registry import STRATEGY, difference_column
from tunebench.report.tables.render import Column, ReportTable
from tunebench.stats import Heterogeneity, Interval, MeanRanks, Refusal

#: All tables by name, in the order of the report.
SUITE_TABLES: dict[str, Callable[[SuiteAnalysis], ReportTable]] = {}

_SIZE = Column("size", "Size", show=lambda size: size if size == "all" else f"{int(size):,}")
_DATA_SET = Column("data_set", "Data set", align="left")
_FIRST = Column("first", "First", align="left")
_SECOND = Column("second", "Second", align="left")


def _register(
    name: str,
) -> Callable[[Callable[[SuiteAnalysis], ReportTable]], Callable[[SuiteAnalysis], ReportTable]]:
    def add(function: Callable[[SuiteAnalysis], ReportTable]) -> Callable[[SuiteAnalysis], ReportTable]:
        SUITE_TABLES[name] = function
        return function

    return add


def suite_tables(suite: SuiteAnalysis, names: Sequence[str] | None = None) -> list[ReportTable]:
    """Return the named tables, or all of them.

    Raises:
        ConfigError: A name is none.
    """
    unknown = [name for name in names or () if name not in SUITE_TABLES]
    if unknown:
        raise ConfigError(
            "There is no such table of a suite.", value=", ".join(unknown), allowed=", ".join(SUITE_TABLES)
        )
    return [SUITE_TABLES[name](suite) for name in names or SUITE_TABLES]


@_register("strategies")
def strategies(suite: SuiteAnalysis) -> ReportTable:
    """Return the mean score and rank of every strategy over data sets, and how it stands to the best."""
    columns = (
        _SIZE,
        STRATEGY,
        Column("data_sets", "Data sets"),
        Column("score", f"Mean {suite.metric.label}", show=fixed(4)),
        Column("rank", "Mean rank", show=fixed(2)),
        Column("standing", "Beside the best", align="left"),
        difference_column(suite.metric, "difference", "Minus the best"),
        Column("p", "p", show=p_value),
    )
    rows = []
    for size, at in suite.at.items():
        stand = suite_answer(suite, size=size).standings
        ranks = at.ranks
        for label in (*at.ranked[:1], *at.others):
            test = at.tests.get(label)
            ranked = isinstance(ranks, MeanRanks) and label in at.everywhere
            scores = [own[label].interval().estimate for own in at.entries.values() if label in own]
            row = {
                "size": size,
                "strategy": label,
                "data_sets": len(scores),
                "score": sum(scores) / len(scores),
                "rank": ranks.ranks[at.everywhere.index(label)]
                if ranked and isinstance(ranks, MeanRanks)
                else None,
                "standing": standing_of_best(at) if label == at.best else stand.get(label),
                "difference": _mean_interval(at, label),
                "p": None if test is None else test.p_value,
            }
            rows.append(row)
    notes = [
        "Minus the best: mean of the paired differences over data sets, with its 95 % interval (random effects).",
        "p is corrected for all pairs of the size.",
        *(_ranks_note(at) for at in suite.at.values()),
    ]
    return _made("strategies", "Strategies over data sets", columns, rows, suite, notes)


@_register("scores")
def scores(suite: SuiteAnalysis) -> ReportTable:
    """Return the score of every strategy on every data set, with its interval."""
    columns = (
        _SIZE,
        _DATA_SET,
        Column("labels", "Labels", show=integer),
        *(Column(f"score_{label}", label, show=fixed(4)) for label in suite.labels),
    )
    rows = [
        {"size": size, "data_set": one.name, "labels": one.sizes[size]}
        | {f"score_{label}": own[label].interval() for label in suite.labels if label in own}
        for size, at in suite.at.items()
        for one in at.data_sets
        for own in [at.entries[one.name]]
    ]
    over = "over test texts, and over seeds where there are several"
    notes = [f"{suite.metric.heading} on test, with 95 % intervals {over}."]
    return _made("scores", "Scores on each data set", columns, rows, suite, notes)


@_register("costs")
def costs(suite: SuiteAnalysis) -> ReportTable:
    """Return what every strategy costs, as means over data sets."""
    kinds = {name: kind for name, kind in COSTS.items() if not kind.stated}
    columns = (
        _SIZE,
        STRATEGY,
        *(Column(name, kind.label, units=kind.units) for name, kind in kinds.items()),
    )
    rows = []
    for size, at in suite.at.items():
        known = {name: at.costs(name) for name in kinds}
        rows += [
            {"size": size, "strategy": label}
            | {name: found[label] for name, found in known.items() if label in found}
            for label in at.ranked
        ]
    notes = [
        "Means over data sets of the strategies that all of them have. Times of runs that shared the machine are "
        "left out where there are others.",
    ]
    return _made("costs", "Costs over data sets", columns, rows, suite, notes)


@_register("mean_differences")
def mean_differences(suite: SuiteAnalysis) -> ReportTable:
    """Return the mean difference of every pair over data sets, and how much it varies between them."""
    columns = (
        _SIZE,
        _FIRST,
        _SECOND,
        Column("data_sets", "Data sets"),
        difference_column(suite.metric, "difference", "Mean difference"),
        Column("p", "p", show=p_value),
        Column("p_equal", "TOST p", show=p_value),
        difference_column(suite.metric, "prediction", "On another data set"),
        difference_column(suite.metric, "tau", "Varies by", sign=False),
        Column("share", "Share", show=lambda value: f"{value:.0%}"),
        Column("better", "Better"),
        Column("equal", "Equal"),
        Column("worse", "Worse"),
        Column("open", "Open"),
    )
    rows, more = _rows_of_pairs(suite, lambda size, pair: [{"size": size, **_pair_row(pair)}])
    margin = suite.metric.show_margin(suite.margin)
    notes = [
        "The first minus the second. p is of no mean difference, TOST p of one beyond the margin of "
        f"{margin}; both are corrected for all pairs of the size.",
        "On another data set: where the true difference on one more data set like these lies, with 95 %.",
        "Varies by: standard deviation of the true differences. Share: its part of the variance that is seen.",
        "Better, equal, worse, open (too close to call): on how many data sets the first is so, tested on each.",
        *_left_to_csv(more),
    ]
    return _made("mean_differences", "Differences over data sets", columns, rows, suite, notes, more)


@_register("differences")
def differences(suite: SuiteAnalysis) -> ReportTable:
    """Return the difference of every pair on every data set."""
    columns = (
        _SIZE,
        _FIRST,
        _SECOND,
        _DATA_SET,
        difference_column(suite.metric, "difference", "Difference"),
        Column(
            "standing",
            "The first is",
            align="left",
            show=lambda value: "too close to call" if value == "open" else value,
        ),
        Column("weight", "Weight", show=lambda value: f"{value:.0%}"),
        Column("over", "Interval holds", align="left"),
    )
    rows, more = _rows_of_pairs(suite, _rows_on_data_sets)
    notes = [
        "The first minus the second, with 95 % intervals. Weight: in the mean over data sets.",
        *_left_to_csv(more),
    ]
    return _made("differences", "Differences on each data set", columns, rows, suite, notes, more)


_Rows = list[dict[str, Any]]


def _rows_of_pairs(suite: SuiteAnalysis, rows_of: Callable[[str, PairOverData], _Rows]) -> tuple[_Rows, _Rows]:
    """Return the rows of the pairs that people read, and those that only CSV has."""
    main: _Rows = []
    more: _Rows = []
    for size, at in suite.at.items():
        for pair in at.pairs:
            (main if at.is_main(pair) else more).extend(rows_of(size, pair))
    return main, more


def _left_to_csv(more: _Rows) -> list[str]:
    return ["Each pair with the best strategy; CSV has all pairs."] if more else []


def _rows_on_data_sets(size: str, pair: PairOverData) -> _Rows:
    weights = (None,) * len(pair.on) if isinstance(pair.mean, Refusal) else pair.mean.weights
    return [
        {
            "size": size,
            "first": pair.first,
            "second": pair.second,
            "data_set": on.data_set.name,
            "difference": on.difference.interval,
            "standing": on.standing,
            "weight": weight,
            "over": on.difference.over,
        }
        for on, weight in zip(pair.on, weights, strict=True)
    ]


def _pair_row(pair: PairOverData) -> dict[str, Any]:
    row: dict[str, Any] = {"first": pair.first, "second": pair.second, "data_sets": len(pair.on)}
    row |= {str(kind): count for kind, count in pair.counts.items()}
    if isinstance(pair.mean, Refusal) or pair.test is None:
        return row
    mean = pair.mean
    row |= {"difference": mean.as_difference().interval, "p": pair.test.p_value, "p_equal": pair.test.tost_p}
    if not isinstance(mean.prediction, Refusal):
        row["prediction"] = Interval(mean.estimate, *mean.prediction, mean.level, "prediction", "data sets")
    if isinstance(mean.heterogeneity, Heterogeneity):
        row |= {"tau": mean.heterogeneity.tau, "share": mean.heterogeneity.share}
    return row


def _mean_interval(at: AtSize, label: str) -> Interval | None:
    pair = None if at.best is None or label == at.best else at.pair(label, at.best)
    return None if pair is None or isinstance(pair.mean, Refusal) else pair.mean.as_difference().interval


def _ranks_note(at: AtSize) -> str:
    """Say what the mean ranks of a size rest on, or why there are none."""
    where = with_labels(at.size)
    if isinstance(at.ranks, Refusal):
        return f"No mean ranks {where}: {at.ranks.reason}."
    found = at.ranks
    text = f"Ranks {where}: {found.test} gives {p_text(found.p_value)} over {found.data_sets} data sets."
    if found.critical_difference is None:
        return text
    return f"{text} Mean ranks that differ by more than {found.critical_difference:.2f} differ (Nemenyi)."


def _made(
    name: str,
    title: str,
    columns: tuple[Column, ...],
    rows: list[dict[str, Any]],
    suite: SuiteAnalysis,
    notes: list[str],
    csv_rows: Sequence[dict[str, Any]] = (),
) -> ReportTable:
    return ReportTable(name, f"{title}: {suite.name}", columns, tuple(rows), tuple(notes), csv_rows=tuple(csv_rows))
