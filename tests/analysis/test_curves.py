"""Learning curves in the words of the metric: no number in them but those that the study shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from factories import HONEST, compare, make_cell
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.curves import Curve, curves
from tunebench.report.tables import make_tables
from tunebench.stats import LearningCurve, Refusal
from tunebench.store.cell import Cell
from tunebench.tasks.metrics import METRICS
from tunebench.tasks.scores import Scores

SIZES = (100, 200, 400)


def scored(label: str, metric: str, size: int, seed: int, value: float) -> Cell:
    cell = make_cell(label, metric=metric, size=size, seed=seed, **HONEST)
    assert cell.record is not None
    scores = Scores(values={metric: value}, per_class=[], confusion=[])
    return replace(cell, record=cell.record.model_copy(update={"scores": scores}))


def study(metric: str, means: Mapping[str, Sequence[float]]) -> Comparison:
    """Return a study of three seeds, whose runs lie close around a mean at each size."""
    return compare(
        [
            scored(label, metric, size, seed, mean + 0.001 * (seed - 2))
            for label, found in means.items()
            for size, mean in zip(SIZES, found, strict=True)
            for seed in (1, 2, 3)
        ]
    )


def rising(metric: str, *values: float) -> tuple[float, ...]:
    return tuple(METRICS[metric].rising(value) for value in values)


def refused(found: object) -> str:
    assert isinstance(found, Refusal)
    return found.reason


def only(found: Sequence[Curve]) -> Curve:
    (curve,) = found
    return curve


@pytest.mark.parametrize(("metric", "words"), [("macro_f1", "macro F1 falls"), ("log_loss", "log loss rises")])
def test_a_score_that_gets_worse_with_labels_is_named_as_the_study_has_it(metric: str, words: str) -> None:
    before, after, last = rising(metric, 0.85, 0.70, 0.75)
    reason = refused(only(curves(study(metric, {"full": (before, after, last)}))).fit)
    assert reason == (
        f"{words} from {before:.4f} at 100 labels to {after:.4f} at 200, more than noise would: no learning curve"
    )


@pytest.mark.parametrize(("metric", "side"), [("macro_f1", "above"), ("log_loss", "below")])
def test_a_score_out_of_reach_lies_beyond_where_the_table_says_that_the_curve_levels_off(
    metric: str, side: str
) -> None:
    comparison = study(
        metric, {"full": rising(metric, 0.80, 0.88, 0.95), "lora": rising(metric, 0.70, 0.7004, 0.7005)}
    )
    full, lora = curves(comparison)
    assert full.target == pytest.approx(rising(metric, 0.95)[0])
    assert isinstance(lora.fit, LearningCurve)
    (table,) = make_tables(analyse(comparison), ["learning_curve"])
    shown = {column.key: column.text(table.rows[1].get(column.key)) for column in table.visible}
    assert refused(lora.needed) == (
        f"{shown['target']} lies {side} {shown['ceiling']}, where the fitted curve levels off"
    )
    assert shown["needed"] == f"cannot be said: {refused(lora.needed)}"
