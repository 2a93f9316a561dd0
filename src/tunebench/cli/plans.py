"""How a plan is printed, of a study or of a suite."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunebench.cli.console import out, print_json, print_rows
from tunebench.formatting import counted, duration

if TYPE_CHECKING:
    from tunebench.execution.dry_run import DryRun
    from tunebench.study.config import StudyConfig


def print_search(study: StudyConfig, found: DryRun) -> None:
    """Say what a search adds to a plan."""
    more = len(study.draws) - len(study.choosing_draws)
    longest = sum(seconds for _, seconds in found.later) / found.at_a_time
    about = f", at most about {duration(longest)}" if longest else ""
    then = f"Then {counted(more, 'more seed')} at the chosen settings{about}."
    if study.folds:
        then = f"Then the other folds and seeds, and the runs on all texts, at what it chooses{about}."
    if study.search.method == "halving":
        out.print(f"At most: the search stops runs early. {then}")
    elif study.plans_twice:
        out.print(then)


def print_looks(found: DryRun, study: StudyConfig) -> None:
    """Print what a study costs up to each of its looks."""
    stages = study.stages
    if len(stages) < 2:
        return
    costs = []
    for number, seeds in enumerate(stages, 1):
        kept = [row for row in _to_run(found.rows) if row["look"] <= number]
        later = [seconds for look, seconds in found.later if look <= number]
        total = duration(_time(kept, found.at_a_time) + sum(later) / found.at_a_time)
        costs.append(f"{counted(seeds, 'seed')} {total}")
    shown = costs if study.looks is not None else [costs[0], costs[-1]]
    until = "to each look" if study.looks is not None else "to the first decision and to the last"
    out.print(f"The study ends when it is decided. Cost up {until}: {'; '.join(shown)}", markup=False)


def _to_run(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs that would be trained now."""
    return [row for row in rows if not row["left_out"] and not row["complete"]]


def _state(row: dict[str, Any]) -> str:
    return "complete" if row["complete"] else "left out" if row["left_out"] else "run"


def _time(rows: list[dict[str, Any]], at_a_time: int) -> float:
    """Return the seconds that a budget needs for these runs."""
    from tunebench.execution.budget import wall_seconds

    return wall_seconds([(row.get("data_set", ""), row["seconds"]) for row in rows], at_a_time)


def print_plan(found: DryRun, *, as_json: bool) -> None:
    """Print every run of a plan with its estimates, and the total: the budget that all of it needs."""
    rows, at_a_time = found.rows, found.at_a_time
    if as_json:
        print_json(rows)
        return
    tuned = dict.fromkeys(name for row in rows for name in row["settings"])
    folded = any(row["fold"] is not None for row in rows)
    cut = any(row["truncation"] != "head" for row in rows)
    shown = [
        {
            **({"data set": row["data_set"]} if "data_set" in row else {}),
            "strategy": row["strategy"],
            "size": row["train_size"],
            "rate": None if row["learning_rate"] is None else f"{row['learning_rate']:g}",
            **{name: None if name not in row["settings"] else f"{row['settings'][name]:g}" for name in tuned},
            "seed": str(row["seed"]),
            **({"fold": str(row["fold"])} if folded else {}),
            **({"truncation": row["truncation"]} if cut else {}),
            "steps": row["steps"],
            "trainable": row["trainable_params"],
            "time": duration(row["seconds"]),
            "memory": f"{row['memory_bytes'] / 1e9:.1f} GB",
            "disk": f"{row['disk_bytes'] / 1e6:.0f} MB",
            "plan": _state(row),
        }
        for row in rows
    ]
    print_rows(shown)
    kept = _to_run(rows)
    how = "measured here" if rows and rows[0]["measured"] else "estimated from the arithmetic"
    together = f" with {at_a_time} at a time" if at_a_time > 1 else ""
    total = duration(_time(kept, at_a_time) + found.reserved)
    complete = sum(row["complete"] for row in rows)
    done = f"; {counted(complete, 'run')} complete" if complete else ""
    out.print(f"{len(kept)} of {counted(len(rows), 'run')}, about {total}{together} ({how}){done}")
    prefixed = [row for row in kept if row["prefix_layers"] is not None]
    if prefixed:
        size = sum(row["prefix_bytes"] for row in prefixed) / 1e6
        out.print(
            f"{len(prefixed)} runs cache frozen layers on disk: about {size:.0f} MB until the study is complete"
        )
