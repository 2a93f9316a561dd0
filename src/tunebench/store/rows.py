"""A run as a flat row of plain values."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from tunebench.store.imported import AnyRun, is_imported
from tunebench.store.record import RunRecord, Status
from tunebench.tasks.registry import TASKS

#: Settings that are columns of a row.
_RECIPE = ("engine", "precision", "attention_dropout", "truncation")


def to_row(spec: AnyRun, *, status: Status, record: RunRecord | None = None) -> dict[str, Any]:
    """Flatten a planned run and its record, if there is one, into a row of plain values.

    Args:
        spec: The planned run.
        status: Its state.
        record: Its record; ``None`` when it has none yet.

    Returns:
        The columns that ``tunebench results`` prints; what is not known, or does not reach the run, is ``None``.
    """
    parameters, scores = (record.parameters, record.scores) if record else (None, None)
    timing, cost = (record.timing, record.cost) if record else (None, None)
    values = {} if scores is None else scores.values
    recipe = {name: None if name in spec.without_effect else getattr(spec, name) for name in _RECIPE}
    trainable, score = _get(parameters, "trainable"), values.get(spec.selects_by)
    return {
        "run_id": spec.run_id,
        "status": status,
        "strategy": spec.label,
        "kind": spec.kind,
        "params": spec.params,
        "train_size": spec.train_size,
        "seed": spec.seed,
        "learning_rate": spec.shown_learning_rate,
        "selection": spec.selection,
        "fold": spec.fold or None,
        **recipe,
        "head_share": spec.head_share if recipe["truncation"] == "head_tail" else None,
        "trainable_params": trainable,
        "adapter_params": _get(parameters, "adapter"),
        "head_params": _get(parameters, "head"),
        "total_params": _get(parameters, "total"),
        "metric": spec.metric,
        "score": score,
        **dict.fromkeys(TASKS[spec.task].built_in) | values,
        "test_loss": values.get(TASKS[spec.task].loss),
        "selection_score": _get(record.selected, "score") if record else None,
        "selected_step": _get(record.selected, "step") if record else None,
        "train_seconds": _get(timing, "train_seconds"),
        "eval_seconds": _get(timing, "eval_seconds"),
        "test_seconds": _get(timing, "test_seconds"),
        "wall_seconds": _get(timing, "wall_seconds"),
        "cpu_seconds": _get(timing, "cpu_seconds"),
        "seconds_per_step": _get(timing, "seconds_per_step"),
        "contended": _get(timing, "contended"),
        "prefix_seconds": _get(timing, "prefix_seconds"),
        "tokens": _get(cost, "tokens"),
        "tokens_padded": _get(cost, "tokens_padded"),
        "train_flops": _get(cost, "train_flops"),
        "trainer_total_flos": _get(cost, "trainer_total_flos"),
        "peak_memory_bytes": _get(cost, "peak_memory_bytes"),
        "artifact_bytes": _get(cost, "artifact_bytes"),
        "price": _get(cost, "price"),
        "currency": _get(cost, "currency"),
        "origin": "imported" if is_imported(spec) else "tunebench",
        "score_per_million": per_million(score, trainable),
        "error": record.error.message if record and record.error else None,
    }


def per_million(score: float | None, trainable: int | None) -> float | None:
    """Return a score per million trainable parameters; None where either is not known, or nothing is trained."""
    return None if score is None or not trainable else score / (trainable / 1e6)


def _get(part: BaseModel | None, name: str) -> Any:
    return None if part is None else getattr(part, name)
