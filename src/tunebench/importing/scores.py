"""The scores of an imported run: from its predictions, its metrics, or its log, in that order."""

from __future__ import annotations

import math
from typing import Any

from tunebench.errors import StoreError
from tunebench.importing.folder import Contents
from tunebench.importing.log import examples_processed
from tunebench.importing.scored import Scored
from tunebench.importing.scored_step import best_step, chosen_by, find_scored_step
from tunebench.importing.sets import PLAIN, SET, Sets, prefix_of, set_names, tell_apart, with_set
from tunebench.importing.stated import Stated
from tunebench.tasks.base import Task
from tunebench.tasks.metric import Metric
from tunebench.tasks.scores import Scores

#: Largest difference at which a metric of a file is that of the predictions: many scripts round.
_ROUNDED = 5e-4


def score_run(contents: Contents, *, task: Task, names: tuple[str, ...], stated: Stated) -> Scored:
    """Collect the scores of a run.

    Args:
        contents: The folder.
        task: What was learned.
        names: Class names, or numbers; empty where nothing tells how many classes there are.
        stated: ``plain_f1`` says which F1 a metric called ``f1`` is; ``test_set`` and ``validation_set`` say which
            set is which.

    Raises:
        StoreError: Predictions that do not fit the classes, or whose number of classes is not known.
        ConfigError: A stated set was not evaluated.
    """
    scored = Scored(task, sets=_sets(contents, stated))
    if stated.plain_f1 is not None:
        scored.plain_f1 = f"{stated.plain_f1}_f1"
    _from_predictions(contents, names, scored)
    values = scored.scores
    entry = _final_metrics(contents, scored)
    if scored.plain_f1 is None and values is not None and entry is not None:
        _tell_f1(values, entry[0], scored)
    if values is None and entry is not None:
        _from_metrics(contents, entry, scored)
    elif values is None:
        _from_log(contents, scored)
    if entry is not None:
        _size_and_time(entry, scored)
        if values is not None:
            _compare(contents, values, entry[0], scored)
    find_scored_step(contents, scored)
    _curves(contents, scored, scored.selection[0] or stated.selection)
    if said := scored.sets.in_words(has_scores=bool(scored.scores)):
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


def _from_predictions(contents: Contents, names: tuple[str, ...], scored: Scored) -> None:
    labels, predicted, task = contents.labels, contents.predictions, scored.task
    if labels is None or predicted is None:
        return
    wide = contents.logits if contents.logits is not None else contents.probabilities
    if wide is None and not task.exclusive:
        wide = predicted
    classes = len(names) if wide is None else wide.shape[1]
    where = contents.path / contents.arrays_from
    if not classes:
        raise StoreError(
            "The number of classes is not known, and macro F1 is a mean over them.",
            value=str(where),
            fix=f"state them: --set {contents.path.name}:label_names=[...] (or tunebench.yaml in the folder)",
        )
    highest = int(max(labels.max(), predicted.max())) if task.exclusive else 0
    if (names and len(names) != classes) or highest >= classes:
        raise StoreError(
            "A label or prediction is not one of the classes.",
            value=f"{where}: {highest if highest >= classes else f'{classes} columns'}",
            allowed=f"the classes {', '.join(names) or f'0 to {classes - 1}'}",
        )
    every = names or tuple(str(i) for i in range(classes))
    scored.scores = (
        task.score_predicted(labels, predicted, every)
        if contents.logits is None
        else task.score(labels, contents.logits, every)
    )
    scored.classes = classes
    scored.found["scores"] = contents.arrays_from
    scored.test_sizes.append((len(labels), contents.arrays_from))


def _final_metrics(contents: Contents, scored: Scored) -> tuple[dict[str, Any], str] | None:
    """Return the metrics of one split, without their prefix, and where they stand.

    The split that was kept for the end comes first. Of several sets only the test set's are the run's.
    """
    sets, known = scored.sets, scored.vocabulary.all_names
    own = [prefix_of(sets.test, contents.metrics)] if sets.test else []
    others = [] if sets.several and PLAIN not in sets.names else ["eval_"]
    if sets.several and sets.test is None:
        others = []
    for prefix in ("test_", "predict_", *own, *others):
        names = [name for name in contents.metrics if name.startswith(prefix)]
        if any(name.removeprefix(prefix) in known for name in names):
            found = {name.removeprefix(prefix): contents.metrics[name] for name in names}
            return found, f"{contents.metrics_from[names[0]]}: {prefix}*"
    bare = [name for name in contents.metrics if name in known and name != "loss"]
    if not bare:
        return None
    return {name: contents.metrics[name] for name in bare}, contents.metrics_from[bare[0]]


def _tell_f1(values: Scores, metrics: dict[str, Any], scored: Scored) -> None:
    """Tell which F1 a metric called ``f1`` is: it equals that one of the predictions, and no other average."""
    said = metrics.get("f1")
    if said is None:
        return
    metrics_of = scored.task.metrics
    averages = {name: value for name, value in values.values.items() if metrics_of[name].needs == "labels"}
    averages |= {f"F1 of {one.label}": one.f1 for one in values.per_class}
    same = [name for name, own in averages.items() if own is not None and math.isclose(said, own, abs_tol=1e-9)]
    if len(same) == 1 and same[0] in scored.vocabulary.plain_f1:
        scored.plain_f1 = same[0]
        label = metrics_of[same[0]].label
        scored.found["plain_f1"] = f"the metric called f1 is the {label} of the predictions"


def _compare(contents: Contents, own: Scores, metrics: dict[str, Any], scored: Scored) -> None:
    """Say where metrics differ from those of the predictions; a loss may be of another kind."""
    for name, said in scored.values({key: value for key, value in metrics.items() if key != "loss"}).items():
        value = own[name]
        if said is None or value is None or math.isclose(said, value, rel_tol=_ROUNDED, abs_tol=_ROUNDED):
            continue
        scored.remarks.append(
            f"Of {contents.path.resolve().name} the metrics and the predictions differ in "
            f"{scored.task.metrics[name].label} ({said:.4f} and {value:.4f}); the predictions are used."
        )


def _curves(contents: Contents, scored: Scored, selection: str | None) -> None:
    """Keep the log, and the score at the scored step, of the set that chose, or else of the validation set."""
    if contents.log is None:
        return
    shown = scored.sets.test if selection == "test" or scored.sets.validation is None else scored.sets.validation
    scored.history = [_drawn(entry, shown, scored) for entry in contents.log.entries]
    at_step = [entry for entry in contents.log.during(shown) if entry["step"] == scored.step]
    if at_step:
        scored.selection_score = scored.values(at_step[-1], "eval_")[scored.task.default_metric]


def _drawn(entry: dict[str, Any], shown: str | None, scored: Scored) -> dict[str, Any]:
    """Return an entry of the log; metrics of the set that is shown have names without it, and tunebench's own."""
    if SET in entry and entry[SET] != shown:
        return with_set(entry)
    entry = {key: value for key, value in entry.items() if key != SET}
    found = scored.values(entry, "eval_")
    del found[scored.task.loss]
    return entry | {f"eval_{name}": value for name, value in found.items() if value is not None}


def _scores(
    values: dict[str, Any], scored: Scored, contents: Contents, source: str, prefix: str = ""
) -> Scores | None:
    """Return the scores among metrics; None where there is none of them."""
    found = scored.values(values, prefix)
    _note_unclear(values, scored, contents, source, prefix)
    for name, value in found.items():
        if value is not None and (wanted := _out_of_bounds(scored.task.metrics[name], value)):
            contents.notes.unusable(contents.path / source, name, value, wanted)
            found[name] = None
    if scored.task.labelled is False and found["rmse"] is None and found["mse"] is not None:
        found["rmse"] = math.sqrt(found["mse"])
        scored.found["rmse"] = "the square root of the mean squared error"
    known = any(value is not None for value in found.values())
    return Scores(values=found, per_class=[], confusion=[]) if known else None


def _note_unclear(values: dict[str, Any], scored: Scored, contents: Contents, source: str, prefix: str) -> None:
    """Note metrics of several labels a text whose names do not say what they are."""
    names = scored.vocabulary.unclear
    if names and scored.plain_f1 is None:
        names = ("f1", *names)
    if unread := [name for name in names if values.get(prefix + name) is not None]:
        contents.notes.add(
            f"{source}: not read, since scripts mean several things by it: {', '.join(unread)}. Predictions in an "
            f".npz file would tell{', and so would plain_f1: micro or macro' if 'f1' in unread else ''}."
        )


def _out_of_bounds(metric: Metric, value: float) -> str:
    """Return what a metric should be; empty where the value may be one."""
    low, high = metric.bounds
    if (low is None or value >= low) and (high is None or value <= high):
        return ""
    if low is None or high is None:
        return f"at least {low:g}" if high is None else f"at most {high:g}"
    return "a share of 1 (is it percent?)" if low == 0 else f"from {low:g} to {high:g} (is it percent?)"


def _from_metrics(contents: Contents, entry: tuple[dict[str, Any], str], scored: Scored) -> None:
    values, source = entry
    scored.scores = _scores(values, scored, contents, source)
    if scored.scores is not None:
        scored.found["scores"] = source


def _from_log(contents: Contents, scored: Scored) -> None:
    """Take the evaluation after training, or that of the best checkpoint, or the last one."""
    name = scored.sets.test
    if contents.log is None or name is None:
        return
    during, final, best = contents.log.during(name), contents.log.final(name), best_step(contents)
    if final is None and not during:
        return
    at_best = [entry for entry in during if best is not None and entry["step"] == best]
    if final is not None:
        chosen, what = final, "the evaluation after training"
    elif at_best:
        chosen, what = at_best[-1], "the evaluation of the best checkpoint"
    else:
        chosen, what = during[-1], "the last evaluation"
    scored.scores = _scores(chosen, scored, contents, contents.log_from, "eval_")
    scored.test_sizes.append((examples_processed(chosen, "eval"), contents.log_from))
    if scored.scores is None:
        return
    scored.found["scores"] = f"{contents.log_from}: {what}" + (f" of {name}" if scored.sets.several else "")
    if final is not None:
        scored.seconds = chosen.get("eval_runtime")
        return
    scored.step, scored.epoch = chosen["step"], chosen["epoch"]
    if at_best:
        scored.selection = chosen_by(contents, scored.sets, chosen["step"])


def _size_and_time(entry: tuple[dict[str, Any], str], scored: Scored) -> None:
    values, source = entry
    scored.seconds = scored.seconds if values.get("runtime") is None else values["runtime"]
    samples = values.get("samples")
    if samples is not None and samples == int(samples):
        scored.test_sizes.append((int(samples), source))
    elif not scored.test_sizes:
        timed = {f"eval_{name}": value for name, value in values.items()}
        scored.test_sizes.append((examples_processed(timed, "eval"), source))
