"""The report's published values, and which cells they belong to.

Source: Han, "Parameter-Efficient Fine-Tuning of DistilBERT for Sentiment Classification on IMDB",
Tables II-IV, with the unrounded values of the logs the author published with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunebench.store.imported import is_imported
from tunebench.strategies import STRATEGIES
from tunebench.study.spec import RunSpec


@dataclass(frozen=True)
class Published:
    """One cell of the report.

    Attributes:
        test_loss: Evaluation loss in nats.
        total_seconds: Training time as the report counts it: its six evaluations included.
        eval_seconds: Those evaluations.
        minutes: Table III as printed.
        f1_per_million: Table IV as printed.
        trainable_params: What was trained. Table IV divides full fine-tuning by 67.7M, which is base
            plus adapter, instead.
    """

    macro_f1: float
    accuracy: float
    test_loss: float
    total_seconds: float
    eval_seconds: float
    minutes: float
    f1_per_million: float
    trainable_params: int


FULL_PARAMS = 66_955_010
LORA_PARAMS = 739_586
LORA_HEAD_PARAMS = 592_130

#: By kind of strategy and training size.
PUBLISHED: dict[tuple[str, int], Published] = {
    ("full", 5_000): Published(0.89463, 0.89464, 0.3762, 1666, 1215, 27.8, 0.0132, FULL_PARAMS),
    ("full", 10_000): Published(0.90459, 0.90460, 0.2512, 2109, 1212, 35.2, 0.0134, FULL_PARAMS),
    ("full", 25_000): Published(0.91636, 0.91636, 0.3417, 3409, 1211, 56.8, 0.0135, FULL_PARAMS),
    ("lora", 5_000): Published(0.86892, 0.86892, 0.3038, 1690, 1321, 28.2, 1.175, LORA_PARAMS),
    ("lora", 10_000): Published(0.88231, 0.88236, 0.2772, 2051, 1321, 34.2, 1.1930, LORA_PARAMS),
    ("lora", 25_000): Published(0.89660, 0.89660, 0.2490, 3110, 1319, 51.8, 1.2123, LORA_PARAMS),
}

#: Strategy parameters and learning rate, by kind.
_STRATEGY: dict[str, tuple[dict[str, Any], float]] = {
    "full": ({}, 5e-5),
    "lora": ({"rank": 8, "alpha": 16.0, "dropout": 0.2, "placement": "query_value"}, 1e-4),
}
#: The recipe: a cell that differs here is another experiment.
_RECIPE: dict[str, Any] = {
    "max_length": 256,
    "epochs": 3,
    "batch_size": 32,
    "optimizer": "adamw",
    "weight_decay": 0.0,
    "schedule": "linear",
    "warmup_ratio": 0.0,
    "max_grad_norm": 1.0,
    "truncation": "head",
    "frozen_dropout": True,
}
#: The protocol around the recipe: a cell that differs here may stand beside, and it is said how.
_PROTOCOL: dict[str, Any] = {
    "selection": "test",
    "evaluations_per_epoch": 2,
    "subset_seed": 42,
    "seed": 42,
    "test_size": 25_000,
    "engine": "reference",
    "precision": "fp32",
    "attention_dropout": None,
}


def published_cell(spec: RunSpec, *, recipe_only: bool = False) -> dict[str, Any] | None:
    """Return the report's values for a run, if it is one of the report's cells.

    Labels do not matter. The model is told by the last part of its name (fingerprints of files would
    not survive a conversion), the data by ``imdb`` in the last part of its.

    Args:
        spec: The run.
        recipe_only: Also accept a run of the report's recipe (strategy, size, learning rate, epochs,
            batch, ...) with another model or under another protocol (selection, precision, ...).

    Returns:
        The fields of :class:`Published`, and ``train_seconds`` (without evaluation),
        ``same_model`` and ``differs`` (what differs, in words; empty without ``recipe_only``); None
        when the run is not the report's.
    """
    found = PUBLISHED.get((spec.kind, spec.train_size))
    if found is None or not _same_recipe(spec):
        return None
    if is_imported(spec):
        # Whether it is one of the report's cannot be told where seed, model or data are not known.
        unknown = (spec.seed, spec.model.source, spec.data.source, spec.selection)
        if any(value is None for value in unknown):
            return None
    differs: dict[str, tuple[Any, Any]] = {}
    same_model = _last_part(spec.model.source) == "distilbert-base-uncased"
    if not same_model:
        differs["model"] = (_last_part(spec.model.source), "distilbert-base-uncased")
    if _last_part(spec.data.source).lower() not in ("imdb", "aclimdb"):
        differs["data"] = (_last_part(spec.data.source), "imdb")
    for name, theirs in _PROTOCOL.items():
        ours = getattr(spec, name)
        if ours != theirs and not (ours is None and is_imported(spec)):
            differs[name.replace("_", " ")] = (ours, "the model's own" if theirs is None else theirs)
    if differs and not recipe_only:
        return None
    return vars(found) | {
        "train_seconds": found.total_seconds - found.eval_seconds,
        "same_model": same_model,
        "differs": tuple(f"{name} {ours} (paper: {theirs})" for name, (ours, theirs) in differs.items()),
    }


def _same_recipe(spec: RunSpec) -> bool:
    params, learning_rate = _STRATEGY[spec.kind]
    known = STRATEGIES[spec.kind].params
    return (
        "imdb" in _last_part(spec.data.source or "").lower()
        and len(spec.data.label_names) == 2
        and set(spec.params) <= set(known.model_fields)
        and known(**spec.params) == known(**params)
        and spec.learning_rate == learning_rate
        and all(getattr(spec, name) == value for name, value in _RECIPE.items())
    )


def _last_part(source: str) -> str:
    return source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
