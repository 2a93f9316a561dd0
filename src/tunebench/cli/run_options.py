"""The options of ``run``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

import typer

if TYPE_CHECKING:
    from tunebench.machine.settings import Execution

ModelOption = Annotated[str | None, typer.Option(help="The model: a packaged name, a folder or a Hub name.")]
DataOption = Annotated[str | None, typer.Option(help="The data: a packaged name, a file, a folder or a Hub name.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting of the study: epochs=2, data.text_column=review."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Folder for the results; default out/NAME.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Check the study and estimate its cost. Train nothing.")
]
BudgetOption = Annotated[
    str | None, typer.Option(help="Time limit, such as 3h or 90m. Runs that do not fit are left out.")
]
RunThreadsOption = Annotated[
    int | None, typer.Option(help="Threads for each run; default its share of the cores.", min=1, max=1024)
]
WorkersOption = Annotated[
    str,
    typer.Option(
        help="Number of runs that train at the same time; they share the cores. auto measures how many are best.",
        metavar="N|auto",
    ),
]
ProcessesOption = Annotated[
    int, typer.Option(help="Number of processes for each run (data parallel).", min=1, max=1024)
]
ExecutorOption = Annotated[
    str | None, typer.Option(help="serial, processes or ray; default processes if --workers is above 1.")
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(help="Address of a Ray cluster; default a new one on this machine.", metavar="HOST:PORT"),
]
TrackerOption = Annotated[
    list[str] | None, typer.Option(help="Also log to tensorboard, mlflow or trackio. May be repeated.")
]
MeasureOption = Annotated[
    bool,
    typer.Option(
        help="Measure the speed of this machine for the estimates. Without --budget, a study that takes a few "
        "minutes is not measured."
    ),
]
UnlockTestOption = Annotated[
    bool,
    typer.Option("--unlock-test", help="Allow a second look at the test part. Every table then reports it."),
]
PrefixCacheOption = Annotated[
    str, typer.Option(help="Disk space for cached outputs of frozen layers, such as 2GB, or off.")
]
KeepMemoryOption = Annotated[
    bool | None,
    typer.Option(help="Keep freed memory for the next step: faster, same results; default with the fast engine."),
]


class PlanOptions(TypedDict):
    """What :func:`tunebench.api.run_study` and similar functions take to plan and to run."""

    execution: Execution
    budget_seconds: float | None
    measure: bool


@dataclass(frozen=True)
class RunOptions:
    """How a study or a suite is to be run; none of it changes what it is.

    Attributes:
        plan: What the plan needs.
        unlock_test: Allow a second look at the test part.
        dry_run: Print the plan alone.
        json: Print JSON.
    """

    plan: PlanOptions
    unlock_test: bool
    dry_run: bool
    json: bool


def parse_workers(text: str) -> int | Literal["auto"]:
    """Return the number of runs at a time, or ``auto``.

    Raises:
        BadParameter: It is neither.
    """
    if text == "auto":
        return "auto"
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise typer.BadParameter(f"{text!r}: allowed are 1 to 1024, or auto", param_hint="--workers")
    return int(text)


def check_executor(executor: str | None) -> None:
    """Refuse what is no executor.

    Raises:
        BadParameter: It is none.
    """
    if executor not in (None, "serial", "processes", "ray"):
        raise typer.BadParameter(f"{executor!r}: allowed are serial, processes, ray", param_hint="--executor")
