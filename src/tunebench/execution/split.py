"""How many runs train at a time: measured, where ``--workers auto`` asks for it.

A step on short texts is many small products, and threads wait for each other between them. So several runs with
fewer threads each may do more in an hour than one run with all cores. How much depends on model, texts, batch and
machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import psutil

from tunebench.data import TextDataset
from tunebench.errors import ConfigError
from tunebench.execution.estimates import estimate_each
from tunebench.execution.executors.children import (
    READY,
    ask_for_work,
    hear_child,
    leave_terminal,
    start_child,
    tell_child,
)
from tunebench.execution.plan import Plan, plan_runs
from tunebench.execution.resolve import Request, resolve, silent
from tunebench.execution.search import compared_together
from tunebench.formatting import counted
from tunebench.machine import cores, devices, environment
from tunebench.machine.cores import Split
from tunebench.machine.settings import Execution
from tunebench.store.study_folder import StudyStore
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.store.timings import Numbers

#: More runs at a time must do so much more work: each takes memory, and measurements vary.
_GAIN = 1.05
#: Share of the free memory that all runs together may take by the estimates.
_MEMORY_SHARE = 0.8


def settle_workers(study: StudyConfig, request: Request) -> Request:
    """Return a request whose number of workers is settled: ``auto`` is measured with the study's dearest strategy.

    The study is planned and checked before anything is measured. What was measured before in its folder is not
    measured again.

    Args:
        study: The study.
        request: How it is planned and executed.

    Raises:
        TunebenchError: Something is wrong with the study, or nothing may be measured.
    """
    execution = request.execution
    if execution.workers != "auto":
        return request
    _check(request)
    resolved = resolve(study, replace(request, tell=silent))
    # Speeds that are derived must not stand for measured ones in the plans that follow.
    derived = replace(request.known, profiles={})
    plan = plan_runs(resolved, replace(request, measure=False, tell=silent, known=derived))
    split, reason = _best(plan, request)
    request.tell(f"{_said(split)}: {reason}")
    settled = execution.model_copy(update={"workers": split.workers, "threads": split.threads})
    return replace(request, execution=settled)


def _check(request: Request) -> None:
    execution = request.execution
    if execution.executor not in (None, "processes"):
        raise ConfigError(
            "--workers auto splits the cores of this machine over worker processes.",
            value=f"--executor {execution.executor}",
            fix="remove --executor, or give --workers a number",
        )
    if not request.measure:
        raise ConfigError(
            "--workers auto measures how many runs are best at a time.",
            value="--no-measure",
            fix="remove --no-measure, or give --workers a number",
        )


def _best(plan: Plan, request: Request) -> tuple[Split, str]:
    """Return the split to take, and why."""
    execution = request.execution
    whole = Split(1, devices.threads_of(execution))
    open_ = _to_do(plan, request)
    # A search trains one of each strategy and size at a time.
    most = len(compared_together(open_) if plan.study.search.method == "halving" else open_)
    spec = _dearest(open_, plan)
    if devices.resolve_device(execution.device) != "cpu":
        return whole, "one run has the GPU to itself"
    if spec is None or most == 1:
        return whole, "no more than one run of an encoder is left at a time"
    best, best_rate = whole, 0.0
    found: list[tuple[Split, Numbers]] = []
    for split in cores.splits(devices.usable_cores(), execution, most):
        refused = _memory_refusal(split, found)
        if refused is not None:
            return best, f"{_rates(spec, found)}; {refused}"
        request.doing(f"measuring {_said(split)}")
        measured = measure_split(spec, plan.dataset, split, request)
        if not measured:
            return best, f"{_rates(spec, found)}; with {_said(split)} a process ended"
        found.append((split, measured))
        if measured["runs_an_hour"] < best_rate * _GAIN:
            break
        best, best_rate = split, measured["runs_an_hour"]
    return best, _rates(spec, found)


def _dearest(specs: Sequence[RunSpec], plan: Plan) -> RunSpec | None:
    """Return a run of the strategy with most arithmetic to do; None where no encoder is left to be trained."""
    encoders = [spec for spec in specs if STRATEGIES[spec.kind].uses_encoder]
    flops: dict[str, float] = dict.fromkeys((spec.label for spec in encoders), 0.0)
    for spec in encoders:
        flops[spec.label] += plan.estimates[spec.run_id].train_flops
    own = [spec for spec in encoders if flops[spec.label] == max(flops.values())]
    return max(own, key=lambda spec: plan.estimates[spec.run_id].train_flops, default=None)


def _to_do(plan: Plan, request: Request) -> list[RunSpec]:
    if request.folder is None:
        return plan.to_run
    store = StudyStore(request.folder)
    return [spec for spec in plan.to_run if not store.run_folder(spec.run_id).complete]


def _memory_refusal(split: Split, found: Sequence[tuple[Split, Numbers]]) -> str | None:
    """Say why there is too little memory for a split; None where there is enough."""
    if not found:
        return None
    need = split.workers * found[0][1]["memory_bytes"]
    free = psutil.virtual_memory().available
    if need <= _MEMORY_SHARE * free:
        return None
    return f"{split.workers} would need {need / 1e9:.1f} of {free / 1e9:.1f} GB that are free"


def _said(split: Split) -> str:
    return f"{counted(split.workers, 'run')} at a time, {counted(split.threads, 'thread')} each"


def _rates(spec: RunSpec, found: Sequence[tuple[Split, Numbers]]) -> str:
    rates = ", ".join(f"{each['runs_an_hour']:.0f} with {split.workers} at a time" for split, each in found)
    return f"runs an hour of {spec.label} on {spec.train_size:,} labels: {rates}"


def measure_split(spec: RunSpec, dataset: TextDataset, split: Split, request: Request) -> Numbers:
    """Return what runs with a split: runs an hour of all together, and bytes of memory of one.

    As many processes as there are workers take a few training steps and score a few texts at the same time. Nothing
    is returned where one of them ended early.

    Args:
        spec: The run.
        dataset: Its texts.
        split: Workers and threads.
        request: Holds what was measured before.
    """
    context = (environment.describe(), environment.versions(), dataset.fingerprint)
    key = (
        "split",
        *context,
        spec.model_dump(mode="json", exclude={"seed", "subset_seed", "learning_rate", "fold"}),
        split,
    )
    execution = request.execution.model_copy(update={"workers": split.workers, "threads": split.threads})
    try:
        return request.known.timings.measured(key, lambda: _measure(spec, dataset, execution))
    except _ChildEndedError:
        return {}


class _ChildEndedError(Exception):
    """A process that measured has ended early."""


def _measure(spec: RunSpec, dataset: TextDataset, execution: Execution) -> Numbers:
    count = execution.at_a_time
    with ExitStack() as stack:
        children = []
        for number in range(count):
            name = f"tunebench-measure-{number}"
            process, connection = start_child(_child, number, count, name=name, daemon=True)
            stack.callback(process.kill)
            stack.callback(connection.close)
            children.append(connection)
        for child in children:
            _heard(child, READY)
            tell_child(child, (spec, dataset, execution))
        for child in children:
            _heard(child, READY)
        for child in children:
            tell_child(child, None)
        found = [_heard(child, "measured") for child in children]
    return {
        "runs_an_hour": sum(3600 / seconds for seconds, _ in found),
        "memory_bytes": max(float(memory) for _, memory in found),
    }


def _heard(child: Connection, kind: str) -> Any:
    message = hear_child(child)
    if message is None or message[0] != kind:
        raise _ChildEndedError
    return message[1]


def _child(connection: Connection, number: int, count: int) -> None:
    """Prepare, wait for the others, measure, and send what a run takes."""
    leave_terminal()
    cores.bind_worker(number, count)
    try:
        spec, dataset, execution = ask_for_work(connection)
        # Loads all that is needed, so that all processes measure at the same time.
        estimate_each([spec], dataset=dataset, execution=execution, measure=False)
        ask_for_work(connection)
        (found,) = estimate_each([spec], dataset=dataset, execution=execution, measure=True)
        connection.send(("measured", (found.seconds, found.memory_bytes)))
    except (EOFError, OSError):
        return  # the parent has ended
