"""What will run, in which order, and what it will take; everything is checked before the first step."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunebench.config import Engine, Execution, Precision, StudyConfig
from tunebench.data import TextDataset, load_dataset
from tunebench.data.copies import held_out_copies
from tunebench.errors import ConfigError, TunebenchError, raise_all
from tunebench.imported import is_imported
from tunebench.models import inspect_base, load_architecture, load_tokenizer, model_folder, resolve_model
from tunebench.plan_checks import (
    available,
    begun_copies,
    check_disk,
    check_processes,
    check_runs,
    check_sizes,
    check_strategies,
    disk_need,
)
from tunebench.spec import DataRef, RunSpec, expand
from tunebench.store import PlannedRun, StudyStore
from tunebench.strategies import family_of, is_classical

if TYPE_CHECKING:
    from tunebench.engine.estimate import Estimate


@dataclass(frozen=True)
class Plan:
    """A checked plan.

    Attributes:
        study: What it comes from; what it leaves open is as the runs of its folder have it.
        dataset: The loaded data.
        runs: Cells in the order they will run, those left out marked.
        estimates: By run id.
    """

    study: StudyConfig
    dataset: TextDataset
    runs: tuple[PlannedRun, ...]
    estimates: Mapping[str, Estimate]

    @property
    def seconds(self) -> float:
        """Estimated time of the runs that are not left out."""
        return sum(self.estimates[r.spec.run_id].seconds for r in self.runs if r.left_out is None)


def make_plan(
    study: StudyConfig,
    *,
    execution: Execution,
    folder: Path | None = None,
    budget_seconds: float | None = None,
    spent_seconds: float = 0.0,
    measure: bool = True,
    chosen: Mapping[tuple[str, int], float] | None = None,
    on_progress: Callable[[str], None] | None = None,
) -> Plan:
    """Load and check everything, estimate every cell, and order the cells.

    Args:
        study: The study.
        execution: Device and threads.
        folder: Where it will be written, for the check of free space.
        budget_seconds: What does not fit is left out, whole comparisons at a time.
        spent_seconds: What is gone of the budget already, on runs that are complete by now.
        measure: Take a few steps of each way of training, for the estimates.
        chosen: Learning rates that a search has found so far, by strategy and size.
        on_progress: Told what is being done.

    Raises:
        TunebenchError: Everything that is wrong with model, data and sizes, together.
        StoreError: The folder holds something else, or another study.
        PlanError: The disk is too small.
    """
    from tunebench.engine import machine

    tell = on_progress or (lambda line: None)
    study = begun_copies(study, folder, tell)
    errors: list[TunebenchError] = []
    model = architecture = dataset = base = None
    try:
        model = resolve_model(study.model, study.model_revision)
        folder_of_model = model_folder(study.model, study.model_revision)
        architecture = load_architecture(folder_of_model)
        base = inspect_base(folder_of_model)
        load_tokenizer(folder_of_model)
    except TunebenchError as error:
        errors.append(error)
    try:
        tell("reading the data")
        dataset = load_dataset(study.data)
        for line in dataset.reading.lines():
            tell(line)
        copies = held_out_copies(dataset, study.test_draw, study.test_size)
        if copies is not None and (remark := copies.remark(study.copies)):
            tell(f"note: {remark}")
    except TunebenchError as error:
        errors.append(error)
    if dataset is not None:
        errors += check_sizes(study, dataset)
    if architecture is not None:
        errors += check_strategies(study, architecture)
    base_head = None
    if base is not None and dataset is not None:
        try:
            base_head = base.use_of_head(keep=study.keep_head, label_names=dataset.label_names)
        except TunebenchError as error:
            errors.append(error)
    raise_all(errors)
    assert model is not None and architecture is not None and base is not None and dataset is not None
    for line in base.remarks(base_head):
        tell(line)

    device = machine.resolve_device(execution.device)
    train_examples, test_examples = available(study, dataset)
    data = DataRef(
        source=study.data.source,
        revision=dataset.revision,
        fingerprint=dataset.fingerprint,
        label_names=dataset.label_names,
    )
    specs = list(
        expand(
            study,
            model=model,
            data=data,
            train_examples=train_examples,
            test_examples=test_examples,
            precision=_auto_precision(study, device, folder, tell),
            base_head=base_head,
        )
    )
    raise_all(check_runs(specs, architecture))
    specs = stage(study, specs, chosen or {})
    check_processes(specs, execution.processes, device)
    done: set[str] = set()
    if folder is not None:
        # Before anything is measured: a folder that cannot be used is no reason to wait.
        store = StudyStore.check(folder, specs)
        done = {spec.run_id for spec in specs if store.run_folder(spec.run_id).complete}
    estimates = _estimates(specs, dataset, execution, measure, on_progress)
    runs = choose(order(specs), estimates, budget_seconds, done=done, spent=spent_seconds)
    if study.search.budget == "compute":
        runs = equal_compute(runs, estimates)
    if folder is not None:
        to_do = [r.spec for r in runs if r.left_out is None and r.spec.run_id not in done]
        check_disk(folder, disk_need(to_do, estimates))
    return Plan(study, dataset, tuple(runs), estimates)


def _auto_precision(
    study: StudyConfig, device: str, folder: Path | None, tell: Callable[[str], None]
) -> dict[Engine, Precision]:
    """Return what ``precision: auto`` stands for, by engine: what gains here, or what the folder's runs have.

    So that a study begun on one kind of machine goes on on another, and is not taken for another study.
    """
    from tunebench.engine import machine

    engines: tuple[Engine, ...] = ("fast", "reference")
    here: dict[Engine, Precision] = {engine: machine.default_precision(device, engine) for engine in engines}
    found = dict(here)
    for spec in [] if folder is None else StudyStore(folder).begun():
        strategy = study.strategies.get(spec.label)
        if strategy and study.recipe_of(strategy).precision == "auto" and not is_imported(spec):
            found[spec.engine] = spec.precision
    if found != here:
        tell(f"the study was begun in {found['fast']} and goes on in it; new, it would be in {here['fast']} here")
    return found


def stage(study: StudyConfig, specs: Sequence[RunSpec], chosen: Mapping[tuple[str, int], float]) -> list[RunSpec]:
    """Return the cells a search can run by now: all rates with the first seed, the other seeds where it chose.

    Without halving that is every cell.
    """
    if study.search.method == "grid":
        return list(specs)
    single = {label for label, strategy in study.strategies.items() if len(strategy.learning_rate) == 1}
    first = study.draws[0]
    return [
        spec
        for spec in specs
        if spec.label in single
        or (spec.subset_seed, spec.seed) == first
        or chosen.get((spec.label, spec.train_size)) == spec.learning_rate
    ]


def equal_compute(runs: Sequence[PlannedRun], estimates: Mapping[str, Estimate]) -> list[PlannedRun]:
    """Leave out the outermost learning rates of strategies whose trials would take more operations than others'.

    Per seed and size, every strategy gets the operations that the cheapest one needs for all its rates. What has
    no encoder has no rate to tune, and takes next to nothing: it is no measure for the others.
    """
    blocks: dict[tuple[int, int, int], dict[str, list[PlannedRun]]] = {}
    for run in runs:
        spec = run.spec
        if run.left_out is None and not is_classical(spec.kind):
            block = blocks.setdefault((spec.subset_seed, spec.seed, spec.train_size), {})
            block.setdefault(run.spec.label, []).append(run)
    over: dict[str, str] = {}
    for block in blocks.values():
        flops = {label: [estimates[r.spec.run_id].train_flops for r in found] for label, found in block.items()}
        cap = min(sum(values) for values in flops.values())
        for label, found in block.items():
            # In the plan's order rates go from the middle outward; the first one always runs.
            for i in range(1, len(found)):
                if sum(flops[label][: i + 1]) > cap * (1 + 1e-9):
                    over[found[i].spec.run_id] = f"left out: equal compute allows {cap:.3g} operations a strategy"
    return [PlannedRun(r.spec, over.get(r.spec.run_id, r.left_out)) for r in runs]


def order(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """Order cells so that a stop at any time leaves the most useful comparison.

    All strategies at the smallest size with the first seed come first, then the next size, then the
    next seed. Learning rates go from the middle of their range outward, one of each strategy in turn.
    """
    draws = dict.fromkeys((spec.subset_seed, spec.seed) for spec in specs)
    place = {draw: number for number, draw in enumerate(draws)}
    rates: dict[str, list[float]] = {}
    for spec in specs:
        rates.setdefault(spec.label, [])
        if spec.learning_rate not in rates[spec.label]:
            rates[spec.label].append(spec.learning_rate)
    # The turn at which a strategy tries a rate: 0 for the middle one, then outward, the smaller first.
    turn = {
        (label, rate): number
        for label, values in rates.items()
        for number, rate in enumerate(_middle_outward(sorted(values)))
    }
    return sorted(specs, key=lambda s: (place[s.subset_seed, s.seed], s.train_size, turn[s.label, s.learning_rate]))


def _middle_outward(values: list[float]) -> list[float]:
    middle = (len(values) - 1) / 2
    return [values[i] for i in sorted(range(len(values)), key=lambda i: (abs(i - middle), i))]


def choose(
    specs: Sequence[RunSpec],
    estimates: Mapping[str, Estimate],
    budget: float | None,
    *,
    done: Collection[str] = (),
    spent: float = 0.0,
) -> list[PlannedRun]:
    """Mark what a budget leaves out.

    Cells are taken in whole blocks of one seed and size, so that what was paid for can be compared;
    from the first block that does not fit on, the rest is left out. Where not even the first block
    fits, its cells are taken one by one.

    Args:
        specs: Ordered cells.
        estimates: By run id.
        budget: Seconds, or None for no limit.
        done: Ids of complete runs; they cost nothing more.
        spent: Seconds of the budget that are gone already.
    """
    if budget is None:
        return [PlannedRun(spec) for spec in specs]
    blocks: dict[tuple[int, int, int], list[RunSpec]] = {}
    for spec in specs:
        blocks.setdefault((spec.subset_seed, spec.seed, spec.train_size), []).append(spec)
    cost = {spec.run_id: 0.0 if spec.run_id in done else estimates[spec.run_id].seconds for spec in specs}
    runs, open_ = [], True
    for number, block in enumerate(blocks.values()):
        fits = open_ and spent + sum(cost[spec.run_id] for spec in block) <= budget
        for spec in block:
            seconds = cost[spec.run_id]
            alone = number == 0 and spent + seconds <= budget
            if fits or alone or spec.run_id in done:
                spent += seconds
                runs.append(PlannedRun(spec))
            else:
                runs.append(
                    PlannedRun(spec, f"left out by the budget of {budget:.0f} s; needs about {seconds:.0f} s")
                )
        open_ = fits
    return runs


def parse_duration(text: str) -> float:
    """Return the seconds of ``3h``, ``90m``, ``1h30m`` or ``45s``.

    Raises:
        ConfigError: It is none of these.
    """
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip().lower())
    seconds = (
        sum(float(n) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True) if n) if match else 0
    )
    if not 0 < seconds < math.inf:
        raise ConfigError("This is no duration.", value=text, allowed="for example 3h, 90m, 1h30m, 45s")
    return seconds


def parse_size(text: str) -> int | None:
    """Return the bytes of ``2GB``, ``500MB`` or ``1.5 TB`` (powers of ten), or None of ``off``.

    Raises:
        ConfigError: It is none of these.
    """
    plain = text.strip().lower()
    if plain == "off":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(mb|gb|tb)", plain)
    exact = float(match[1]) * {"mb": 10**6, "gb": 10**9, "tb": 10**12}[match[2]] if match else 0.0
    size = round(exact) if exact < math.inf else 0
    if size <= 0:
        raise ConfigError("This is no size.", value=text, allowed="for example 2GB, 500MB, or off")
    return size


def _estimates(
    specs: Sequence[RunSpec],
    dataset: TextDataset,
    execution: Execution,
    measure: bool,
    on_progress: Callable[[str], None] | None,
) -> Mapping[str, Estimate]:
    from tunebench.engine.estimate import estimate_runs

    found = estimate_runs(specs, dataset=dataset, execution=execution, measure=measure, on_progress=on_progress)
    # Each process holds the model; what the Trainer does not train stays one process.
    holders = {s.run_id: execution.processes if family_of(s.kind) == "encoder" else 1 for s in specs}
    return {
        run_id: replace(estimate, memory_bytes=estimate.memory_bytes * holders[run_id])
        for run_id, estimate in found.items()
    }
