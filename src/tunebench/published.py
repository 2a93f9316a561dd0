"""What the report published, and which of our cells stand beside it.

Values are the report's own logs, not its rounded tables. It is the study this project began with:
full fine-tuning and LoRA of DistilBERT on IMDB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunebench.config import RunSpec

#: Settings that make a cell the report's, whatever its model, engine and selection.
_RECIPE: dict[str, dict[str, Any]] = {
    "full": {"learning_rate": 5e-5, "params": {}},
    "lora": {
        "learning_rate": 1e-4,
        "params": {"rank": 8, "alpha": 16.0, "dropout": 0.2, "placement": "query_value"},
    },
}
_COMMON = {"epochs": 3, "batch_size": 32, "max_length": 256, "schedule": "linear", "warmup_ratio": 0.0}


@dataclass(frozen=True)
class PublishedCell:
    """One cell of the report.

    Attributes:
        total_seconds: Training with its six evaluations of the whole test split.
        eval_seconds: Those evaluations alone.
        trainable_params: What was really trained; the report prints 67.7M for full fine-tuning,
            which is base plus adapter.
        f1_per_million: As the report prints it, from its own counts.
    """

    macro_f1: float
    accuracy: float
    test_loss: float
    total_seconds: float
    eval_seconds: float
    trainable_params: int
    f1_per_million: float


PUBLISHED: dict[tuple[str, int], PublishedCell] = {
    ("full", 5000): PublishedCell(0.89463, 0.89464, 0.3762, 1666, 1215, 66_955_010, 0.0132),
    ("full", 10000): PublishedCell(0.90459, 0.90460, 0.2512, 2109, 1212, 66_955_010, 0.0134),
    ("full", 25000): PublishedCell(0.91636, 0.91636, 0.3417, 3409, 1211, 66_955_010, 0.0135),
    ("lora", 5000): PublishedCell(0.86892, 0.86892, 0.3038, 1690, 1321, 739_586, 1.175),
    ("lora", 10000): PublishedCell(0.88231, 0.88236, 0.2772, 2051, 1321, 739_586, 1.1930),
    ("lora", 25000): PublishedCell(0.89660, 0.89660, 0.2490, 3110, 1319, 739_586, 1.2123),
}


def published_cell(spec: RunSpec) -> PublishedCell | None:
    """Return the report's cell with the same strategy, size and hyper-parameters, or None.

    The model may differ (the tables then say whose value stands there), as may engine, selection and
    seed. The data must be IMDB by name or by its class names and at least the report's sizes.
    """
    recipe = _RECIPE.get(spec.kind)
    cell = PUBLISHED.get((spec.kind, spec.train_size))
    if recipe is None or cell is None or "imdb" not in spec.data.source.lower():
        return None
    same = spec.learning_rate == recipe["learning_rate"] and spec.params == recipe["params"]
    same = same and all(getattr(spec, key) == value for key, value in _COMMON.items())
    return cell if same else None


def is_report_model(spec: RunSpec) -> bool:
    """Tell whether a cell uses the report's model."""
    return spec.model.source.lower().rstrip("/").endswith("distilbert-base-uncased")
