"""The scores of an imported run: from its predictions, its metrics, or its log, in that order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.errors import StoreError
from tunebench.importing.folder import Contents
from tunebench.importing.log import examples_processed
from tunebench.metrics import score
from tunebench.records import Scores

#: Names of metrics, without the split's prefix, that say which F1 they are.
_MACRO = ("macro_f1", "f1_macro", "macro-f1", "f1-macro")
#: Splits of a Trainer's metrics, the one that was kept for the end first.
_PREFIXES = ("test_", "predict_", "eval_")


@dataclass
class Scored:
    """Scores, and where they come from.

    Attributes:
        classes: How many classes there are; None if not known.
        step: Step of the scored weights, where an evaluation of the log gave the same scores.
        selection_f1: Macro F1 of that evaluation.
        same_split_chose: Why it is known that the evaluated split also gives the scores; empty where not.
        seconds: The scoring took.
        test_sizes: Numbers of scored examples, each with its source.
        history: The log, its macro F1 under tunebench's name.
    """

    scores: Scores | None = None
    classes: int | None = None
    step: int | None = None
    epoch: float | None = None
    selection_f1: float | None = None
    same_split_chose: str = ""
    seconds: float | None = None
    test_sizes: list[tuple[int | None, str]] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


def score_run(contents: Contents, *, names: tuple[str, ...], plain_f1: str | None) -> Scored:
    """Collect the scores of a run.

    Args:
        contents: The folder.
        names: Class names, or numbers; empty where nothing tells how many classes there are.
        plain_f1: ``macro`` where the user says that a metric called ``f1`` is macro F1.

    Raises:
        StoreError: Predictions that do not fit the classes, or whose number of classes is not known.
    """
    scored = Scored()
    _from_predictions(contents, names, scored)
    values = scored.scores
    entry = _final_metrics(contents)
    if plain_f1 is None and values is not None and entry is not None and _is_macro(contents, values, entry[0]):
        plain_f1 = "macro"
        scored.found["plain_f1"] = "the metric called f1 is the macro F1 of the predictions"
    scored.history = [_renamed(e, plain_f1) for e in contents.log.entries] if contents.log else []
    if values is None and entry is not None:
        _from_metrics(contents.path, entry, plain_f1, scored)
    if values is None and scored.scores is None:
        _from_log(contents, plain_f1, scored)
    if entry is not None:
        _size_and_time(entry, scored)
        if values is not None and (said := entry[0].get("accuracy")) is not None:
            assert values.accuracy is not None
            if not math.isclose(said, values.accuracy, abs_tol=5e-4):
                scored.remarks.append(
                    f"Of {contents.path.resolve().name} the metrics and the predictions differ in accuracy "
                    f"({said:.4f} and {values.accuracy:.4f}); the predictions are used."
                )
    _scored_step(contents, scored)
    return scored


def _from_predictions(contents: Contents, names: tuple[str, ...], scored: Scored) -> None:
    labels, predicted = contents.labels, contents.predictions
    if labels is None or predicted is None:
        return
    wide = contents.logits if contents.logits is not None else contents.probabilities
    classes = len(names) if wide is None else wide.shape[1]
    where = contents.path / contents.arrays_from
    if not classes:
        raise StoreError(
            "How many classes there are is not known, and macro F1 is a mean over them.",
            value=str(where),
            fix=f"state them: --set {contents.path.name}:label_names=[...] (or tunebench.yaml in the folder)",
        )
    highest = int(max(labels.max(), predicted.max()))
    if (names and len(names) != classes) or highest >= classes:
        raise StoreError(
            "A label or prediction is none of the classes.",
            value=f"{where}: {highest if highest >= classes else f'{classes} columns'}",
            allowed=f"the classes {', '.join(names) or f'0 to {classes - 1}'}",
        )
    # Scores come from one place; where only classes are known, stand-ins for logits give all but the log loss.
    logits = wide if wide is not None else np.eye(classes, dtype=np.float32)[predicted]
    found = score(labels, logits, names or tuple(str(i) for i in range(classes)))
    if contents.logits is None:
        found = found.model_copy(update={"log_loss": None})
    scored.scores, scored.classes = found, classes
    scored.found["scores"] = contents.arrays_from
    scored.test_sizes.append((len(labels), contents.arrays_from))


def _final_metrics(contents: Contents) -> tuple[dict[str, float], str] | None:
    """Return the metrics of one split, without their prefix, and where they stand."""
    for prefix in _PREFIXES:
        names = [name for name in contents.metrics if name.startswith(prefix)]
        if any(name.removeprefix(prefix) in ("accuracy", "f1", "loss", *_MACRO) for name in names):
            own = {name.removeprefix(prefix): contents.metrics[name] for name in names}
            return own, f"{contents.metrics_from[names[0]]}: {prefix}*"
    bare = [name for name in contents.metrics if name in ("accuracy", "f1", *_MACRO)]
    if not bare:
        return None
    return {name: contents.metrics[name] for name in bare}, contents.metrics_from[bare[0]]


def _is_macro(contents: Contents, values: Scores, metrics: dict[str, float]) -> bool:
    """Tell whether a metric called ``f1`` is macro F1: it equals that of the predictions, and no other average."""
    said = metrics.get("f1")
    if said is None or values.macro_f1 is None or not math.isclose(said, values.macro_f1, abs_tol=1e-9):
        return False
    others = [values.accuracy, *(one.f1 for one in values.per_class)]
    return not any(other is not None and math.isclose(said, other, abs_tol=1e-9) for other in others)


def _macro(values: dict[str, Any], plain_f1: str | None, prefix: str = "") -> float | None:
    names = (*_MACRO, "f1") if plain_f1 == "macro" else _MACRO
    return next((values[prefix + name] for name in names if values.get(prefix + name) is not None), None)


def _renamed(entry: dict[str, Any], plain_f1: str | None) -> dict[str, Any]:
    found = _macro(entry, plain_f1, "eval_")
    return dict(entry) if found is None else entry | {"eval_macro_f1": found}


def _scores(values: dict[str, Any], plain_f1: str | None, where: str, prefix: str = "") -> Scores | None:
    found = {
        "macro_f1": _macro(values, plain_f1, prefix),
        "accuracy": values.get(f"{prefix}accuracy"),
        "log_loss": values.get(f"{prefix}loss"),
    }
    for name in ("macro_f1", "accuracy"):
        value = found[name]
        if value is not None and not 0 <= value <= 1:
            raise StoreError(f"{name} is no share.", value=f"{where}: {value}", allowed="0 to 1, not percent")
    known = any(value is not None for value in found.values())
    return Scores(**found, per_class=[], confusion=[]) if known else None


def _from_metrics(folder: Path, entry: tuple[dict[str, float], str], plain_f1: str | None, scored: Scored) -> None:
    values, source = entry
    scored.scores = _scores(values, plain_f1, str(folder / source))
    if scored.scores is not None:
        scored.found["scores"] = source


def _from_log(contents: Contents, plain_f1: str | None, scored: Scored) -> None:
    """Take the evaluation after training, or that of the best checkpoint, or the last one."""
    if contents.log is None or not (contents.log.evaluations or contents.log.final):
        return
    best = contents.state.get("best_global_step")
    if best is None:
        tail = str(contents.state.get("best_model_checkpoint") or "").replace("\\", "/").rsplit("-", 1)[-1]
        best = int(tail) if tail.isdigit() else None
    at_best = [entry for entry in contents.log.evaluations if best is not None and entry["step"] == int(best)]
    if contents.log.final is not None:
        chosen, what = contents.log.final, "the evaluation after training"
    elif at_best:
        chosen, what = at_best[-1], "the evaluation of the best checkpoint"
    else:
        chosen, what = contents.log.evaluations[-1], "the last evaluation"
    scored.scores = _scores(chosen, plain_f1, str(contents.path / contents.log_from), "eval_")
    scored.found["scores"] = f"{contents.log_from}: {what}"
    scored.test_sizes.append((examples_processed(chosen, "eval"), contents.log_from))
    if contents.log.final is not None:
        scored.seconds = chosen.get("eval_runtime")
    else:
        scored.step, scored.epoch = chosen["step"], chosen["epoch"]
        scored.selection_f1 = _macro(chosen, plain_f1, "eval_")
        if at_best:
            scored.same_split_chose = f"{contents.log_from}: the scores are those of the best checkpoint"


def _size_and_time(entry: tuple[dict[str, float], str], scored: Scored) -> None:
    values, source = entry
    scored.seconds = scored.seconds if values.get("runtime") is None else values["runtime"]
    samples = values.get("samples")
    if samples is not None and samples == int(samples):
        scored.test_sizes.append((int(samples), source))
    elif not scored.test_sizes:
        timed = {f"eval_{name}": value for name, value in values.items()}
        scored.test_sizes.append((examples_processed(timed, "eval"), source))


def _scored_step(contents: Contents, scored: Scored) -> None:
    """Find the evaluation during training that gave the very scores of the end.

    If one did, the split that was evaluated is the split that is scored. If training went on after it, the
    weights were taken back to it: they were chosen on that split.
    """
    if contents.log is None or scored.step is not None or scored.scores is None:
        return
    same = list(_matching(contents, scored.scores))
    if len(same) != 1:
        return
    (entry,) = same
    scored.step, scored.epoch = entry["step"], entry["epoch"]
    scored.selection_f1 = next(e.get("eval_macro_f1") for e in scored.history if _is_same(e, entry))
    if entry["step"] < contents.log.last_step:
        scored.same_split_chose = (
            f"{contents.log_from}: the scores are those of step {entry['step']} of {contents.log.last_step}, "
            "to which the weights were taken back"
        )


def _matching(contents: Contents, scores: Scores) -> Iterator[dict[str, Any]]:
    assert contents.log is not None
    for entry in contents.log.evaluations:
        pairs = [
            (entry.get("eval_accuracy"), scores.accuracy, 1e-7),
            (entry.get("eval_loss"), scores.log_loss, 1e-4),
        ]
        known = [(a, b, tolerance) for a, b, tolerance in pairs if a is not None and b is not None]
        # An accuracy alone is often the same at two steps.
        if len(known) == 2 and all(math.isclose(a, b, rel_tol=tolerance) for a, b, tolerance in known):
            yield entry


def _is_same(entry: dict[str, Any], other: dict[str, Any]) -> bool:
    return entry.get("step") == other["step"] and entry.get("eval_loss") == other.get("eval_loss")
