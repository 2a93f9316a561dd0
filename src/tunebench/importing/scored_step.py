"""The step whose weights an imported run was scored with, and the set that chose it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from tunebench.importing.folder import Contents
from tunebench.importing.scored import Scored
from tunebench.importing.sets import Sets


def find_scored_step(contents: Contents, scored: Scored) -> None:
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
        if entry["step"] == best_step(contents):
            scored.selection = chosen_by(contents, scored.sets, entry["step"])
    elif entry["step"] < contents.log.last_step:
        scored.selection = (
            "test",
            f"{contents.log_from}: the scores are those of step {entry['step']} of {contents.log.last_step}, "
            "to which the weights were taken back",
        )


def _matching(contents: Contents, scored: Scored) -> Iterator[dict[str, Any]]:
    assert contents.log is not None and scored.scores is not None
    loss, told_by = scored.task.loss, scored.vocabulary.told_by
    for entry in contents.log.during(scored.sets.test):
        found = {name: (value, scored.scores[name]) for name, value in scored.values(entry, "eval_").items()}
        found[loss] = entry.get("eval_loss"), scored.scores[loss]
        pairs = {name: (a, b) for name, (a, b) in found.items() if a is not None and b is not None}
        # An accuracy alone is often the same at two steps. Numbers that are sums over texts are rounded.
        precise = 1e-7 if scored.task.labelled else 1e-5
        tolerances = {loss: 1e-4} | {name: precise for name in told_by if name in pairs}
        if (
            loss in pairs
            and len(tolerances) > 1
            and all(math.isclose(*pairs[name], rel_tol=tolerance) for name, tolerance in tolerances.items())
        ):
            yield entry


def best_step(contents: Contents) -> int | None:
    """Return the step of the best checkpoint, as the Trainer's state has it; None where it has none."""
    best: int | None = contents.state.get("best_global_step")
    if best is None:
        tail = str(contents.state.get("best_model_checkpoint") or "").replace("\\", "/").rsplit("-", 1)[-1]
        best = int(tail) if tail.isdecimal() else None
    return best


def chosen_by(contents: Contents, sets: Sets, step: int) -> tuple[str | None, str]:
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
