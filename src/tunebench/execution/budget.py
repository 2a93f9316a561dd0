"""Which runs of a plan come first, and which ones a budget leaves out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from tunebench.store.study_folder import PlannedRun
from tunebench.strategies import capabilities_of
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.training.estimate import Estimate


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
        if run.left_out is None and capabilities_of(spec.kind).tunes_learning_rate:
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
                    over[found[i].spec.run_id] = (
                        f"left out: search.budget: compute allows {cap:.3g} operations per strategy"
                    )
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
