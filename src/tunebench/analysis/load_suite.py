"""A suite's folder as an analysis over data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunebench.analysis.analysis import Analysis, analyse
from tunebench.analysis.load import load_comparison
from tunebench.analysis.suite import SuiteAnalysis
from tunebench.analysis.suite_data import DataSet
from tunebench.errors import ConfigError, StoreError
from tunebench.store.suite_folder import Member, SuiteStore
from tunebench.tasks.classification import CLASSIFICATION


def load_suite_analysis(folder: Path, *, metric: str | None = None, margin: float | None = None) -> SuiteAnalysis:
    """Load the studies of a suite for its tables and its report; needs no torch.

    Args:
        folder: Of the suite.
        metric: Name of the metric to speak of; by default that of the studies.
        margin: Points within which two strategies are equal; by default that of the studies.

    Raises:
        ConfigError: There is no such metric, or the margin is out of range.
        StoreError: No suite is there, or the studies have different metrics.
    """
    if margin is not None and not 0 < margin <= 100:
        raise ConfigError(
            "The margin is out of range.", value=margin, allowed="points of the metric, above 0, up to 100"
        )
    store = SuiteStore(folder)
    index = store.index()
    data_sets = tuple(_data_set(store, member, metric) for member in index.data_sets)
    comparisons = {one.name: one.analysis.comparison for one in data_sets if one.analysis is not None}
    metrics = {name: found.metric for name, found in comparisons.items()}
    if len(set(metrics.values())) > 1:
        raise StoreError(
            "The studies of this suite have different metrics.",
            value=", ".join(f"{name}: {found}" for name, found in metrics.items()),
            fix="name one that all of them have: --metric NAME",
        )
    first = next(iter(comparisons.values()), None)
    measure = CLASSIFICATION.metrics[CLASSIFICATION.default_metric] if first is None else first.measure
    own = 0.5 if first is None else first.margin
    return SuiteAnalysis(index.name, index.description, data_sets, measure, own if margin is None else margin)


def suite_rows(folder: Path) -> list[dict[str, Any]]:
    """Return every cell of every study of a suite as a flat row with its data set.

    Raises:
        StoreError: Files of a study are damaged.
    """
    studies = SuiteStore(folder).studies()
    return [{"data_set": name, **row} for name, one in studies.items() for row in load_comparison(one).rows()]


def _data_set(store: SuiteStore, member: Member, metric: str | None) -> DataSet:
    """Return a data set; what keeps its study from being read is the reason that it has none."""
    analysis: Analysis | None = None
    failure = store.failure(member.name)
    why = None if failure is None else f"failed: {failure.message.splitlines()[0]}"
    folder = store.study_folder(member.name)
    if (folder / "plan.json").exists():
        try:
            analysis = analyse(load_comparison(folder, metric=metric))
        except StoreError as error:
            why = error.what
    elif why is None:
        why = "not begun"
    return DataSet(member.name, member.sizes, member.left_out, analysis, why)
