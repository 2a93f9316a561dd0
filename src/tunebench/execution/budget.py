"""Which runs of a plan come first, and which ones a budget leaves out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tunebench.machine.devices import sharing
from tunebench.store.plan_file import PlannedRun
from tunebench.strategies import capabilities_of
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec, Setting

if TYPE_CHECKING:
    from tunebench.machine.settings import Execution
    from tunebench.training.estimate import Estimate


#: Strategy, training size and setting.
Trial = tuple[str, int, Setting]
#: Settings that were chosen, by strategy and training size.
Chosen = Mapping[tuple[str, int], Setting]


def stage(
    study: StudyConfig,
    specs: Sequence[RunSpec],
    chosen: Chosen,
    survivors: Collection[Trial] = (),
) -> list[RunSpec]:
    """Return the cells that can run by now.

    Of several settings, a grid runs all with the seeds that choose. Halving runs all with the first seed, of a
    cross-validation with its first fold, and the other folds of those that survive. The other seeds, and the run on
    all texts after a cross-validation, follow at the chosen setting.

    Args:
        study: The study.
        specs: Every cell.
        chosen: Settings that are chosen so far.
        survivors: What halving did not stop in the first fold.
    """
    single = {label for label, strategy in study.strategies.items() if len(study.settings_of(strategy)) == 1}
    grid, choosing = study.search.method == "grid", study.choosing_draws

    def ready(spec: RunSpec) -> bool:
        if spec.label in single or chosen.get((spec.label, spec.train_size)) == spec.setting:
            return True
        if spec.fold_runs:
            return False
        survived = spec.fold <= 1 or (spec.label, spec.train_size, spec.setting) in survivors
        return spec.draw in choosing and (grid or survived)

    return [spec for spec in specs if ready(spec)]


def reserved(study: StudyConfig, specs: Sequence[RunSpec], staged: Sequence[RunSpec]) -> list[RunSpec]:
    """Return the runs that a cross-validation still needs for any score, at one setting of each strategy.

    They are those of the first seed, whose setting is not chosen yet: a budget must have room for them.
    """
    there = {(spec.label, spec.train_size, spec.fold) for spec in staged if spec.draw == study.draws[0]}
    found: dict[tuple[str, int, int], RunSpec] = {}
    for spec in specs:
        key = (spec.label, spec.train_size, spec.fold)
        if spec.folds and spec.draw == study.draws[0] and key not in there:
            found.setdefault(key, spec)
    return list(found.values())


def equal_compute(runs: Sequence[PlannedRun], estimates: Mapping[str, Estimate]) -> list[PlannedRun]:
    """Leave out the outermost settings of strategies whose trials would take more operations than others'.

    Per seed, size and fold, every strategy gets the operations that the cheapest one needs for all its
    settings. What has no encoder has nothing to tune, and takes next to nothing: it is no measure for the others.
    """
    blocks: dict[tuple[int, ...], dict[str, list[PlannedRun]]] = {}
    for run in runs:
        spec = run.spec
        if run.left_out is None and capabilities_of(spec.kind).tunes_learning_rate:
            block = blocks.setdefault((spec.subset_seed, spec.seed, spec.train_size, spec.fold), {})
            block.setdefault(run.spec.label, []).append(run)
    over: dict[str, str] = {}
    for block in blocks.values():
        flops = {label: [estimates[r.spec.run_id].train_flops for r in found] for label, found in block.items()}
        cap = min(sum(values) for values in flops.values())
        for label, found in block.items():
            # In the plan's order rates go from the middle outward; the first one always runs.
            for i in range(1, len(found)):
                if sum(flops[label][: i + 1]) > cap * (1 + 1e-9):
                    over[found[i].spec.run_id] = (
                        f"left out: search.budget: compute allows {cap:.3g} operations per strategy"
                    )
    return [PlannedRun(r.spec, over.get(r.spec.run_id, r.left_out)) for r in runs]


def order(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """Order cells so that a stop at any time leaves the most useful comparison.

    All strategies at the smallest size with the first seed come first, then the next size, then the
    next seed. Learning rates go from the middle of their range outward, one of each strategy in turn; so do the
    settings of a rate, in the order in which they are listed.
    """
    draws = dict.fromkeys((spec.subset_seed, spec.seed) for spec in specs)
    place = {draw: number for number, draw in enumerate(draws)}
    settings: dict[str, dict[float, dict[Setting, None]]] = {}
    for spec in specs:
        rates = settings.setdefault(spec.label, {})
        rates.setdefault(spec.learning_rate, {})[spec.setting] = None
    # The turn at which a strategy tries a setting: 0 for the middle rate, then outward, the smaller first. All
    # rates have their first setting before one has its second.
    turn = {
        (label, setting): (place, number)
        for label, rates in settings.items()
        for number, rate in enumerate(_middle_outward(sorted(rates)))
        for place, setting in enumerate(rates[rate])
    }

    def rank(spec: RunSpec) -> tuple[int, ...]:
        # The run on all texts comes after the folds that choose for it.
        fold = spec.fold or spec.folds + 1
        return place[spec.draw], spec.train_size, *turn[spec.label, spec.setting], fold

    return sorted(specs, key=rank)


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
    at_a_time: int = 1,
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
        at_a_time: How many runs train at the same time.
    """
    if budget is None:
        return [PlannedRun(spec) for spec in specs]
    left = budget - spent
    blocks: dict[tuple[int, int, int], list[RunSpec]] = {}
    for spec in specs:
        blocks.setdefault((spec.subset_seed, spec.seed, spec.train_size), []).append(spec)
    cost = {spec.run_id: 0.0 if spec.run_id in done else estimates[spec.run_id].seconds for spec in specs}
    taken: list[RunSpec] = []

    def fit(more: Sequence[RunSpec]) -> bool:
        costs = [(spec.data.fingerprint, cost[spec.run_id]) for spec in (*taken, *more)]
        return wall_seconds(costs, at_a_time) <= left

    runs, open_ = [], True
    for number, block in enumerate(blocks.values()):
        open_ = open_ and fit(block)
        for spec in block:
            if open_ or spec.run_id in done or (number == 0 and fit([spec])):
                taken.append(spec)
                runs.append(PlannedRun(spec))
            else:
                needs = f"needs about {cost[spec.run_id]:.0f} s"
                runs.append(PlannedRun(spec, f"left out by the budget of {budget:.0f} s; {needs}"))
    return runs


def divided_by(study: StudyConfig, execution: Execution) -> int:
    """Return by how many runs at a time a budget divides their time.

    A search trains the rates of a strategy one after the other.
    """
    return 1 if study.search.method == "halving" else sharing(execution)


def wall_seconds(costs: Iterable[tuple[str, float]], at_a_time: int) -> float:
    """Return the seconds that runs take at most with so many at a time, one data set after the other.

    A run waits for nothing but a free place. So all places are busy until the last run begins (Graham 1969, SIAM
    Journal on Applied Mathematics 17, 416).

    Args:
        costs: The data set of each run, and its seconds.
        at_a_time: How many run at the same time.
    """
    by_data: dict[str, list[float]] = {}
    for data, seconds in costs:
        by_data.setdefault(data, []).append(seconds)
    return sum(max(each) + (sum(each) - max(each)) / at_a_time for each in by_data.values())
