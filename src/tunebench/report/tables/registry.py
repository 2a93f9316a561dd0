"""The registry of tables of a comparison, and the columns that many of them have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration
from tunebench.errors import ConfigError
from tunebench.formatting import fixed, integer, learning_rate, signed
from tunebench.report.tables.render import Column, ReportTable
from tunebench.tasks.metric import Metric

TableFunction = Callable[[Analysis], ReportTable]

#: Names of older versions, and what they are called now.
RENAMED = {"macro_f1": "scores", "f1_per_million": "score_per_million"}
#: All tables by name, in the order of a report. A new one is one function under ``@register``.
TABLES: dict[str, TableFunction] = {}
#: Tells of a table whether a comparison has what it is about; elsewhere it is left out.
_APPLIES: dict[str, Callable[[Analysis], bool]] = {}


def plain_words(status: str) -> str:
    """Return a status as words: ``out_of_memory`` is ``out of memory``."""
    return status.replace("_", " ")


def _some(words: str, limit: int = 4) -> str:
    found = words.split()
    return ", ".join(found if len(found) <= limit else [*found[: limit - 1], "…", found[-1]])


STRATEGY = Column("strategy", "Strategy", align="left")
SIZE = Column("train_size", "Size", show=integer)
RATE = Column("learning_rate", "Rate", show=learning_rate)
#: What is searched beside the learning rate; only where something is.
SETTING = Column("setting", "Other settings", align="left")
#: The settings of runs of which each seed chose its own: several are no number for the column of rates.
BY_SEED = Column("chosen_by_seed", "Chosen by the seeds", align="left")
N = Column("n", "n")
STATUS = Column("status", "Status", align="left", show=plain_words)
SEEDS = Column("seeds", "Seeds", align="left", show=_some)
SELECTION = Column("selection", "Selection", csv_only=True)


def chosen_of(config: Configuration) -> dict[str, Any]:
    """Return the setting; what is searched beside the learning rate only where something is.

    Of runs that have several settings it is said in words, in a column of its own.
    """
    if not config.is_single:
        return {BY_SEED.key: config.setting}
    rate = {RATE.key: config.shown_learning_rate}
    return rate | ({SETTING.key: config.others} if config.tuned else {})


def of_labels(analysis: Analysis) -> bool:
    """Tell whether texts have labels."""
    return analysis.comparison.task.labelled


def of_numbers(analysis: Analysis) -> bool:
    """Tell whether texts have numbers."""
    return not analysis.comparison.task.labelled


def score_columns(comparison: Comparison) -> tuple[Column, ...]:
    """Return columns for the comparison's metric, and for those that always stand beside it."""
    metrics = comparison.task.shown_metrics(comparison.metric).items()
    return tuple(Column(name, metric.heading, metric.unit, show=fixed(4)) for name, metric in metrics)


def loss_column(comparison: Comparison) -> Column:
    """Return the column of the loss on the test part."""
    loss = comparison.task.metrics[comparison.task.loss]
    return Column("test_loss", "Test loss", loss.unit, show=fixed(4))


def selection_score(comparison: Comparison) -> Column:
    """Return the column of the score at the chosen step; whether it chose that step is not always known."""
    label = comparison.selecting.short_heading
    known = comparison.selection != "not known"
    heading = f"{label} on {comparison.selection}" if known else f"{label} on the evaluated split"
    return Column("selection_score", heading, show=fixed(4))


def difference_column(metric: Metric, key: str, header: str, *, sign: bool = True) -> Column:
    """Return a column of differences of a metric, in its unit for differences.

    Args:
        metric: The metric.
        key: Key in the rows.
        header: Header for people.
        sign: Show the sign of what is above zero too.
    """
    digits = 2 if metric.points else 4
    show = signed(digits) if sign else fixed(digits)
    return Column(key, header, metric.difference_unit or None, show=show, per=1 / metric.scale)


def register(
    name: str, *, applies: Callable[[Analysis], bool] = lambda analysis: True
) -> Callable[[TableFunction], TableFunction]:
    """Add a table to the registry, under a name.

    Args:
        name: The name.
        applies: Tells whether a comparison has what the table is about; elsewhere it is left out.
    """

    def add(function: TableFunction) -> TableFunction:
        TABLES[name], _APPLIES[name] = function, applies
        return function

    return add


def tables_of(analysis: Analysis) -> list[str]:
    """Return the names of the tables that apply to a comparison, in their order."""
    return [name for name in TABLES if _APPLIES[name](analysis)]


def make_tables(analysis: Analysis, names: Sequence[str] | None = None) -> list[ReportTable]:
    """Return the named tables, or every table of the registry that applies, in its order.

    Raises:
        ConfigError: A name is none, or that of a table which does not apply.
    """
    names = None if names is None else [RENAMED.get(name, name) for name in names]
    unknown = [name for name in names or () if name not in TABLES]
    if unknown:
        raise ConfigError("There is no such table.", value=", ".join(unknown), allowed=", ".join(TABLES))
    fitting = tables_of(analysis)
    if odd := [name for name in names or () if name not in fitting]:
        raise ConfigError(
            f"There is no such table of {analysis.comparison.task.label}.",
            value=", ".join(odd),
            allowed=", ".join(fitting),
        )
    return [TABLES[name](analysis) for name in names or fitting]


def made(
    name: str,
    title: str,
    columns: tuple[Column, ...],
    rows: list[dict[str, Any]],
    comparison: Comparison,
    notes: list[str],
) -> ReportTable:
    """Finish a table: columns of published values are left out where no cell has one."""
    rows = [row | {"selection": comparison.selection} for row in rows]
    known = {key for row in rows for key, value in row.items() if value is not None}
    optional = ("published_", "selection_score", "error")
    kept = tuple(c for c in columns if c.key in known or not c.key.startswith(optional))
    heading = f"{title}: {comparison.title}"
    return ReportTable(name, heading, kept, tuple(rows), tuple(dict.fromkeys((*notes, *comparison.notes))))
