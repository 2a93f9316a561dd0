"""The scores of an imported run: from its predictions, its metrics, or its log, in that order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunebench.errors import StoreError
from tunebench.importing.folder import Contents
from tunebench.importing.log import examples_processed
from tunebench.importing.sets import PLAIN, SET, Sets, prefix_of, set_names, tell_apart, with_set
from tunebench.importing.stated import Stated
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.metrics import ALWAYS_SHOWN, DEFAULT_METRIC, METRICS
from tunebench.tasks.scores import Scores

#: Names of metrics, without the split's prefix, that say which F1 they are.
_MACRO = (DEFAULT_METRIC, "f1_macro", "macro-f1", "f1-macro")
#: Metrics of which one must be there for a prefix to be that of an evaluation.
_SCORES = ("accuracy", "f1", "loss", *_MACRO)


@dataclass
class Scored:
    """Scores, and where they come from.

    Attributes:
        sets: The sets that were evaluated.
        classes: How many classes there are; None if not known.
        step: Step of the scored weights, where an evaluation of the log gave the same scores.
        selection_f1: Macro F1 at this step, of the set that is shown.
        selection: What chose the scored weights, with the reason; None and no reason where no score shows it.
        seconds: The scoring took.
        test_sizes: Numbers of scored examples, each with its source.
        history: The log, its macro F1 under tunebench's name.
    """

    sets: Sets = field(default_factory=Sets)
    scores: Scores | None = None
    classes: int | None = None
    step: int | None = None
    epoch: float | None = None
    selection_f1: float | None = None
    selection: tuple[str | None, str] = (None, "")
    seconds: float | None = None
    test_sizes: list[tuple[int | None, str]] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)


def score_run(contents: Contents, *, names: tuple[str, ...], stated: Stated) -> Scored:
    """Collect the scores of a run.

    Args:
        contents: The folder.
        names: Class names, or numbers; empty where nothing tells how many classes there are.
        stated: ``plain_f1`` says that a metric called ``f1`` is macro F1; ``test_set`` and ``validation_set``
            say which set is which.

    Raises:
        StoreError: Predictions that do not fit the classes, or whose number of classes is not known.
        ConfigError: A stated set was not evaluated.
    """
    plain_f1: str | None = stated.plain_f1
    scored = Scored(sets=_sets(contents, stated))
    _from_predictions(contents, names, scored)
    values = scored.scores
    entry = _final_metrics(contents, scored.sets)
    if plain_f1 is None and values is not None and entry is not None and _is_macro(values, entry[0]):
        plain_f1 = "macro"
        scored.found["plain_f1"] = "the metric called f1 is the macro F1 of the predictions"
    if values is None and entry is not None:
        _from_metrics(contents, entry, plain_f1, scored)
    elif values is None:
        _from_log(contents, plain_f1, scored)
    if entry is not None:
        _size_and_time(entry, scored)
        if values is not None and (said := entry[0].get("accuracy")) is not None:
            own = values["accuracy"]
            assert own is not None
            if not math.isclose(said, own, abs_tol=5e-4):
                scored.remarks.append(
                    f"Of {contents.path.resolve().name} the metrics and the predictions differ in accuracy "
                    f"({said:.4f} and {own:.4f}); the predictions are used."
                )
    _scored_step(contents, plain_f1, scored)
    _curves(contents, plain_f1, scored, scored.selection[0] or stated.selection)
    if said := _sets_in_words(scored):
        contents.notes.add(said)
    return scored


def _sets(contents: Contents, stated: Stated) -> Sets:
    names = contents.log.sets if contents.log else []
    if not names:
        names = set_names(contents.metrics)
        # The Trainer's own prefixes of a last evaluation, in files of metrics, name no set.
        names = [
            name for name in names if f"eval_{name}_loss" in contents.metrics or name not in ("test", "predict")
        ]
    return tell_apart(names, test=stated.test_set, validation=stated.validation_set)


def _sets_in_words(scored: Scored) -> str:
    """Say which sets were evaluated and what each was taken for; empty where there was one without a name."""
    sets = scored.sets
    names = ", ".join(name or "one without a name" for name in sets.names)
    aside = "" if not sets.training else f" Not used, as training texts: {', '.join(sets.training)}."
    if not sets.several:
        return (
            f"the evaluated set is called {names}.{aside}"
            if names.strip() and sets.names != (PLAIN,)
            else aside[1:]
        )
    said = f"{len(sets.names)} sets were evaluated: {names}.{aside}"
    if sets.test is None:
        lacking = "" if scored.scores else " No score is read from them."
        return f"{said} Which of them is the test set is not known.{lacking} State it: --set test_set=NAME."
    validation = "not known" if sets.validation is None else sets.validation or "the one without a name"
    return (
        f"{said} Taken as the test set, which gives the scores: {sets.test}. As the validation set: {validation}."
    )


def _from_predictions(contents: Contents, names: tuple[str, ...], scored: Scored) -> None:
    labels, predicted = contents.labels, contents.predictions
    if labels is None or predicted is None:
        return
    wide = contents.logits if contents.logits is not None else contents.probabilities
    classes = len(names) if wide is None else wide.shape[1]
    where = contents.path / contents.arrays_from
    if not classes:
        raise StoreError(
            "The number of classes is not known, and macro F1 is a mean over them.",
            value=str(where),
            fix=f"state them: --set {contents.path.name}:label_names=[...] (or tunebench.yaml in the folder)",
        )
    highest = int(max(labels.max(), predicted.max()))
    if (names and len(names) != classes) or highest >= classes:
        raise StoreError(
            "A label or prediction is not one of the classes.",
            value=f"{where}: {highest if highest >= classes else f'{classes} columns'}",
            allowed=f"the classes {', '.join(names) or f'0 to {classes - 1}'}",
        )
    # Scores come from one place; where only classes are known, stand-ins for logits give what needs no more.
    logits = wide if wide is not None else np.eye(classes, dtype=np.float32)[predicted]
    found = CLASSIFICATION.score(labels, logits, names or tuple(str(i) for i in range(classes)))
    if contents.logits is None:
        known = {name: value for name, value in found.values.items() if METRICS[name].needs == "labels"}
        found = found.model_copy(update={"values": dict.fromkeys(found.values) | known})
    scored.scores, scored.classes = found, classes
    scored.found["scores"] = contents.arrays_from
    scored.test_sizes.append((len(labels), contents.arrays_from))


def _final_metrics(contents: Contents, sets: Sets) -> tuple[dict[str, Any], str] | None:
    """Return the metrics of one split, without their prefix, and where they stand.

    The split that was kept for the end comes first. Of several sets only the test set's are the run's.
    """
    own = [prefix_of(sets.test, contents.metrics)] if sets.test else []
    others = [] if sets.several and PLAIN not in sets.names else ["eval_"]
    if sets.several and sets.test is None:
        others = []
    for prefix in ("test_", "predict_", *own, *others):
        names = [name for name in contents.metrics if name.startswith(prefix)]
        if any(name.removeprefix(prefix) in _SCORES for name in names):
            found = {name.removeprefix(prefix): contents.metrics[name] for name in names}
            return found, f"{contents.metrics_from[names[0]]}: {prefix}*"
    bare = [name for name in contents.metrics if name in ("accuracy", "f1", *_MACRO)]
    if not bare:
        return None
    return {name: contents.metrics[name] for name in bare}, contents.metrics_from[bare[0]]


def _is_macro(values: Scores, metrics: dict[str, Any]) -> bool:
    """Tell whether a metric called ``f1`` is macro F1: it equals that of the predictions, and no other average."""
    said = metrics.get("f1")
    macro = values[DEFAULT_METRIC]
    if said is None or macro is None or not math.isclose(said, macro, abs_tol=1e-9):
        return False
    others = [values["accuracy"], *(one.f1 for one in values.per_class)]
    return not any(other is not None and math.isclose(said, other, abs_tol=1e-9) for other in others)


def _macro(values: dict[str, Any], plain_f1: str | None, prefix: str = "") -> float | None:
    names = (*_MACRO, "f1") if plain_f1 == "macro" else _MACRO
    return next((values[prefix + name] for name in names if values.get(prefix + name) is not None), None)


def _curves(contents: Contents, plain_f1: str | None, scored: Scored, selection: str | None) -> None:
    """Keep the log, and macro F1 at the scored step, of the set that chose, or else of the validation set."""
    if contents.log is None:
        return
    shown = scored.sets.test if selection == "test" or scored.sets.validation is None else scored.sets.validation
    scored.history = [_drawn(entry, shown, plain_f1) for entry in contents.log.entries]
    at_step = [entry for entry in contents.log.during(shown) if entry["step"] == scored.step]
    if at_step:
        scored.selection_f1 = _macro(at_step[-1], plain_f1, "eval_")


def _drawn(entry: dict[str, Any], shown: str | None, plain_f1: str | None) -> dict[str, Any]:
    """Return an entry of the log; metrics of the set that is shown have names without it."""
    if SET in entry and entry[SET] != shown:
        return with_set(entry)
    entry = {key: value for key, value in entry.items() if key != SET}
    found = _macro(entry, plain_f1, "eval_")
    return entry if found is None else entry | {f"eval_{DEFAULT_METRIC}": found}


def _scores(
    values: dict[str, Any], plain_f1: str | None, contents: Contents, source: str, prefix: str = ""
) -> Scores | None:
    """Return the scores among metrics; None where there is none of them."""
    found = {
        DEFAULT_METRIC: _macro(values, plain_f1, prefix),
        "accuracy": values.get(f"{prefix}accuracy"),
        "log_loss": values.get(f"{prefix}loss"),
    }
    for name in ALWAYS_SHOWN:
        value = found[name]
        if value is not None and not 0 <= value <= 1:
            contents.notes.unusable(contents.path / source, name, value, "a share of 1 (is it percent?)")
            found[name] = None
    known = any(value is not None for value in found.values())
    return Scores(values=found, per_class=[], confusion=[]) if known else None


def _from_metrics(
    contents: Contents, entry: tuple[dict[str, Any], str], plain_f1: str | None, scored: Scored
) -> None:
    values, source = entry
    scored.scores = _scores(values, plain_f1, contents, source)
    if scored.scores is not None:
        scored.found["scores"] = source


def _best_step(contents: Contents) -> int | None:
    best: int | None = contents.state.get("best_global_step")
    if best is None:
        tail = str(contents.state.get("best_model_checkpoint") or "").replace("\\", "/").rsplit("-", 1)[-1]
        best = int(tail) if tail.isdecimal() else None
    return best


def _from_log(contents: Contents, plain_f1: str | None, scored: Scored) -> None:
    """Take the evaluation after training, or that of the best checkpoint, or the last one."""
    name = scored.sets.test
    if contents.log is None or name is None:
        return
    during, final, best = contents.log.during(name), contents.log.final(name), _best_step(contents)
    if final is None and not during:
        return
    at_best = [entry for entry in during if best is not None and entry["step"] == best]
    if final is not None:
        chosen, what = final, "the evaluation after training"
    elif at_best:
        chosen, what = at_best[-1], "the evaluation of the best checkpoint"
    else:
        chosen, what = during[-1], "the last evaluation"
    scored.scores = _scores(chosen, plain_f1, contents, contents.log_from, "eval_")
    scored.test_sizes.append((examples_processed(chosen, "eval"), contents.log_from))
    if scored.scores is None:
        return
    scored.found["scores"] = f"{contents.log_from}: {what}" + (f" of {name}" if scored.sets.several else "")
    if final is not None:
        scored.seconds = chosen.get("eval_runtime")
        return
    scored.step, scored.epoch = chosen["step"], chosen["epoch"]
    if at_best:
        scored.selection = _chosen_by(contents, scored.sets, chosen["step"])


def _chosen_by(contents: Contents, sets: Sets, step: int) -> tuple[str | None, str]:
    """Tell which set chose the checkpoint of a step: the one that has the best metric there, and alone has it."""
    best, log = contents.state.get("best_metric"), contents.log
    if best is None or log is None:
        return None, ""
    at_step = {name: entry for name in log.sets for entry in log.during(name) if entry["step"] == step}
    chose = {
        name: key
        for name, entry in at_step.items()
        for key, value in entry.items()
        if key.startswith("eval_") and value is not None and math.isclose(value, best, rel_tol=1e-9)
    }
    if len(chose) != 1:
        return None, ""
    ((name, key),) = chose.items()
    whose = f" of {name}" if name else ""
    reason = f"{contents.log_from}: best_metric is the {key.removeprefix('eval_')}{whose} at step {step}"
    if name == sets.test:
        return "test", f"{reason}, and the scores are of the same set"
    # A set of training texts is neither.
    return ("validation", reason) if name in sets.names and sets.test is not None else (None, "")


def _size_and_time(entry: tuple[dict[str, Any], str], scored: Scored) -> None:
    values, source = entry
    scored.seconds = scored.seconds if values.get("runtime") is None else values["runtime"]
    samples = values.get("samples")
    if samples is not None and samples == int(samples):
        scored.test_sizes.append((int(samples), source))
    elif not scored.test_sizes:
        timed = {f"eval_{name}": value for name, value in values.items()}
        scored.test_sizes.append((examples_processed(timed, "eval"), source))


def _scored_step(contents: Contents, plain_f1: str | None, scored: Scored) -> None:
    """Find the evaluation during training that gave the very scores of the end.

    If one did, the split that was evaluated is the split that is scored. If training went on after it, the
    weights were taken back to it: where no other set was evaluated, they were chosen on that split.
    """
    if contents.log is None or scored.step is not None or scored.scores is None:
        return
    same = list(_matching(contents, scored))
    if len(same) != 1:
        return
    (entry,) = same
    scored.step, scored.epoch = entry["step"], entry["epoch"]
    if scored.sets.several:
        if entry["step"] == _best_step(contents):
            scored.selection = _chosen_by(contents, scored.sets, entry["step"])
    elif entry["step"] < contents.log.last_step:
        scored.selection = (
            "test",
            f"{contents.log_from}: the scores are those of step {entry['step']} of {contents.log.last_step}, "
            "to which the weights were taken back",
        )


def _matching(contents: Contents, scored: Scored) -> Iterator[dict[str, Any]]:
    assert contents.log is not None and scored.scores is not None
    for entry in contents.log.during(scored.sets.test):
        pairs = [
            (entry.get("eval_accuracy"), scored.scores["accuracy"], 1e-7),
            (entry.get("eval_loss"), scored.scores["log_loss"], 1e-4),
        ]
        known = [(a, b, tolerance) for a, b, tolerance in pairs if a is not None and b is not None]
        # An accuracy alone is often the same at two steps.
        if len(known) == 2 and all(math.isclose(a, b, rel_tol=tolerance) for a, b, tolerance in known):
            yield entry
