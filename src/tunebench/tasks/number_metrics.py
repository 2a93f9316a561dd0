"""Metrics of one number a text by name; see :mod:`tunebench.tasks.metrics`.

Functions take the true and the predicted numbers ``(n,)`` in double precision. A package of your own adds one with
an entry point in the group ``tunebench.number_metrics``.
"""

from __future__ import annotations

from dataclasses import replace

from tunebench.registry import Registry
from tunebench.stats import number_measures as measures
from tunebench.tasks.metric import Metric, averaged, member, plain
from tunebench.tasks.outputs import ONE_NUMBER

#: All metrics by name, those of installed packages included.
NUMBER_METRICS: Registry[Metric] = Registry("tunebench.number_metrics", "metric", member)
_CONSTANT = "the true numbers or the predictions are all the same"
#: Errors are in the unit of the numbers that the data holds.
_UNIT = "target units"


def register(metric: Metric) -> Metric:
    """Add a metric to :data:`NUMBER_METRICS`; its logits are read as one number a text.

    Raises:
        ValueError: Its name is taken.
    """
    metric = replace(metric, outputs=ONE_NUMBER)
    NUMBER_METRICS.add(metric.name, metric)
    return metric


register(
    Metric(
        "spearman",
        "Spearman correlation",
        "max",
        plain(measures.spearman),
        short="Spearman",
        bounds=(-1.0, 1.0),
        undefined=_CONSTANT,
        weighted=measures.spearman,
        influence=measures.spearman_influence,
        source="Spearman 1904, The proof and measurement of association between two things",
    )
)
register(
    Metric(
        "pearson",
        "Pearson correlation",
        "max",
        plain(measures.pearson),
        short="Pearson",
        bounds=(-1.0, 1.0),
        undefined=_CONSTANT,
        weighted=measures.pearson,
        influence=measures.pearson_influence,
        source="Pearson 1895, Notes on regression and inheritance in the case of two parents",
    )
)
register(
    Metric(
        "mae",
        "mean absolute error",
        "min",
        averaged(measures.absolute_errors),
        short="MAE",
        unit=_UNIT,
        bounds=(0.0, None),
        points=False,
        per_example=measures.absolute_errors,
        source="Willmott and Matsuura 2005, doi:10.3354/cr030079",
    )
)
register(
    Metric(
        "rmse",
        "root mean squared error",
        "min",
        plain(measures.rmse),
        short="RMSE",
        unit=_UNIT,
        bounds=(0.0, None),
        points=False,
        weighted=measures.rmse,
        influence=measures.rmse_influence,
        source="Chai and Draxler 2014, doi:10.5194/gmd-7-1247-2014",
    )
)
register(
    Metric(
        "mse",
        "mean squared error",
        "min",
        averaged(measures.squared_errors),
        short="MSE",
        unit=f"{_UNIT} squared",
        bounds=(0.0, None),
        points=False,
        per_example=measures.squared_errors,
        source="Gauss 1821, Theoria combinationis observationum erroribus minimis obnoxiae",
    )
)
register(
    Metric(
        "r2",
        "R²",
        "max",
        plain(measures.r2),
        bounds=(None, 1.0),
        undefined="the true numbers are all the same",
        weighted=measures.r2,
        influence=measures.r2_influence,
        source="Wright 1921, Correlation and causation",
    )
)

#: Metrics that every record of this task holds.
NUMBER_BUILT_IN = NUMBER_METRICS.known
