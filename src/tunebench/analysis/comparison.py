"""The cells of a study side by side: what tables and figures are made of."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tunebench.analysis.published import reference
from tunebench.errors import StoreError
from tunebench.formatting import learning_rate
from tunebench.models.reference import ModelRef
from tunebench.stats import Anytime, Looks
from tunebench.store.cell import Cell
from tunebench.store.confirmation import Confirmation
from tunebench.store.folds import fold_choice
from tunebench.store.imported import AnyRun, ImportedData, ImportedModel, is_imported
from tunebench.store.looks import LookEntry
from tunebench.store.record import RunRecord, Status
from tunebench.store.test_texts import LedgerNote
from tunebench.tasks.base import Task
from tunebench.tasks.metrics import DEFAULT_METRIC, Metric
from tunebench.tasks.registry import TASKS

if TYPE_CHECKING:
    import pandas as pd


#: Subset draw and seed of a run; None where an imported run does not tell it.
Draw = tuple[int | None, int | None]

#: What imported runs must share beside their fingerprints, which they do not have.
IMPORTED_PROTOCOL: dict[str, Callable[[AnyRun], Any]] = {
    "data": lambda spec: spec.data.source if is_imported(spec) else None,
    "number of classes": lambda spec: len(spec.data.label_names) or None,
    "class names": lambda spec: ", ".join(spec.data.label_names) if _of(spec, "named", True) else None,
    "labels of the test examples (sha256)": lambda spec: _of(spec, "test_labels", None),
}


def _of(spec: AnyRun, name: str, otherwise: Any) -> Any:
    return getattr(spec.data, name) if isinstance(spec.data, ImportedData) else otherwise


def check_coordinates(specs: Sequence[AnyRun]) -> None:
    """Check that runs of one label and size can be told apart, and so averaged or chosen from.

    Args:
        specs: All of one label and training size.

    Raises:
        StoreError: Several of them, and a learning rate or a seed is not known or stands there twice.
    """
    if len(specs) < 2 or not any(map(is_imported, specs)):
        return
    where = f"{specs[0].label!r} at size {specs[0].train_size}"
    for name in ("learning_rate", "seed"):
        if any(getattr(spec, name) is None for spec in specs):
            raise StoreError(
                f"Runs of {where} cannot be averaged: of some the {name.replace('_', ' ')} is not known.",
                value=", ".join(str(getattr(spec, name)) for spec in specs).replace("None", "not known"),
                fix=f"state it (tunebench.yaml in each folder, or --set FOLDER:{name}=...), or give each run a "
                "label of its own (strategy)",
            )
    cells = [(spec.learning_rate, spec.seed, spec.subset_seed) for spec in specs]
    for rate, seed, subset in cells:
        if cells.count((rate, seed, subset)) > 1:
            raise StoreError(
                f"Runs of {where} stand there twice; they would count as two seeds.",
                value=f"learning rate {rate:g}, seed {seed}",
                fix="import each run once, or give each a label of its own (strategy)",
            )


#: What all cells of a comparison share; tables never mix values of runs that differ here. What is not known
#: of an imported run is ``None``: it may stand beside others, which is said, and is averaged with none.
PROTOCOL: dict[str, Callable[[AnyRun], Any]] = {
    "task": lambda spec: TASKS[spec.task].label,
    "data (fingerprint)": lambda spec: spec.data.fingerprint,
    **IMPORTED_PROTOCOL,
    "selection": lambda spec: spec.selection,
    "validation_fraction": lambda spec: spec.validation_fraction,
    "the draw of the test part": lambda spec: spec.test_draw,
    "test_size": lambda spec: spec.test_size,
    "sealed part": lambda spec: None if is_imported(spec) else spec.sealed,
    "copies": lambda spec: spec.copies,
    "folds of the cross-validation": lambda spec: spec.folds or None,
    "the data's own validation part, groups and times": lambda spec: spec.splits,
    "metric": lambda spec: spec.metric,
}


@dataclass(frozen=True)
class MeanOverSeeds:
    """One figure over seeds.

    Attributes:
        values: One a seed, in the order of the cells; at least one.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation over seeds (n - 1); None with one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Configuration:
    """The runs of one strategy at one size and one setting: they differ in seed and subset draw only.

    A setting is a learning rate, with a value of whatever else the study searches.
    """

    label: str
    train_size: int
    learning_rate: float | None
    cells: tuple[Cell, ...]
    #: What else the strategy's settings differ in.
    tuned: tuple[str, ...] = ()

    @property
    def shown_learning_rate(self) -> float | None:
        """The learning rate; None where the strategy has none."""
        return self.cells[0].spec.shown_learning_rate

    @property
    def others(self) -> str | None:
        """What is searched beside the learning rate, in words; None where nothing else is."""
        spec = self.cells[0].spec
        return ", ".join(f"{name.replace('_', ' ')} {getattr(spec, name):g}" for name in self.tuned) or None

    @property
    def setting(self) -> str:
        """The learning rate and what else is searched, in words."""
        rate = None if self.shown_learning_rate is None else learning_rate(self.shown_learning_rate)
        return ", ".join(filter(None, [rate, self.others])) or "not known"

    @property
    def runs(self) -> tuple[Cell, ...]:
        """Cells that are there to be scored: all but those of the folds of a cross-validation."""
        return tuple(cell for cell in self.cells if not cell.is_fold)

    @property
    def judging(self) -> tuple[Cell, ...]:
        """Cells whose scores on the selection split choose: those of folds, or else all."""
        return tuple(cell for cell in self.cells if cell.is_fold) or self.cells

    @cached_property
    def scored(self) -> tuple[Cell, ...]:
        """Cells with scores."""
        return tuple(cell for cell in self.cells if cell.scored)

    @property
    def opened(self) -> bool:
        """Whether the test part was opened for one of the runs."""
        return any(cell.opened for cell in self.cells)

    @property
    def unscored(self) -> dict[Status, tuple[Cell, ...]]:
        """Cells without scores, by status."""
        left = [cell for cell in self.cells if not cell.scored and not (cell.is_fold and cell.trained)]
        return {s: tuple(c for c in left if c.status == s) for s in dict.fromkeys(c.status for c in left)}

    @property
    def tried(self) -> bool:
        """Whether a run at this learning rate has come to an end, good or bad."""
        return any(cell.status not in ("pending", "running", "left_out") for cell in self.cells)

    @property
    def draws(self) -> set[Draw]:
        """Subset draw and seed of every planned run."""
        return {cell.draw for cell in self.cells}

    def failed(self, draws: set[Draw]) -> bool:
        """Whether a run of one of these draws failed or ran out of memory."""
        return any(cell.draw in draws for cell in self.cells if cell.status in ("failed", "out_of_memory"))

    def summary(self, *columns: str) -> MeanOverSeeds | None:
        """Summarise a column of the rows over scored cells, or the sum of several columns.

        Cells where a column is not known are left out; None when that leaves nothing.
        """
        found = [[cell.value(column) for column in columns] for cell in self.scored]
        values = tuple(float(sum(parts)) for parts in found if None not in parts)
        return MeanOverSeeds(values) if values else None

    def minutes(self, *columns: str) -> MeanOverSeeds | None:
        """Return :meth:`summary` of columns in seconds, in minutes."""
        found = self.summary(*columns)
        return None if found is None else MeanOverSeeds(tuple(value / 60 for value in found.values))

    def per_million(self, metric: str) -> MeanOverSeeds | None:
        """Summarise a metric per million trainable parameters."""
        found = [(cell.value(metric), cell.row["trainable_params"]) for cell in self.scored]
        values = tuple(score / count * 1e6 for score, count in found if score is not None and count)
        return MeanOverSeeds(values) if values else None

    def selection_scores(self) -> dict[Draw, float]:
        """Return the score on the selection split by subset draw and seed, where there is one.

        Of a cross-validation it is the best of the mean curve, where all folds are trained.
        """
        trained = {cell.draw: cell.row["selection_score"] for cell in self.cells if cell.trained}
        folds: dict[Draw, list[RunRecord | None]] = {}
        for cell in self.cells:
            if cell.is_fold:
                folds.setdefault(cell.draw, []).append(cell.record if cell.trained else None)
        for draw, found in folds.items():
            records = [record for record in found if record is not None]
            trained[draw] = fold_choice(records).score if len(records) == len(found) else None
        return {draw: score for draw, score in trained.items() if score is not None}


@dataclass(frozen=True)
class Group:
    """All runs of one strategy at one size.

    Attributes:
        configs: One a setting, ascending by learning rate.
        selected: The configuration with the best mean selection score, see :func:`select_configuration`; None where
            nothing can choose among several.
    """

    label: str
    train_size: int
    configs: tuple[Configuration, ...]
    selected: Configuration | None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, of every learning rate."""
        return tuple(cell for config in self.configs for cell in config.cells)

    @property
    def tried(self) -> tuple[float | None, ...]:
        """The learning rate of each setting of which a run has come to an end, ascending."""
        return tuple(config.learning_rate for config in self.configs if config.tried)

    @property
    def shown(self) -> tuple[Configuration, ...]:
        """The selected configuration, or all of them where nothing chose."""
        return self.configs if self.selected is None else (self.selected,)

    @property
    def not_chosen(self) -> tuple[Cell, ...]:
        """Cells without scores because they only chose, or were not chosen: no gap in the study."""
        if self.selected is None:
            return ()
        others = [cell for config in self.configs if config is not self.selected for cell in config.cells]
        passed = [c for c in others if not c.scored and c.status in ("complete", "pruned", "pending")]
        return (*(cell for cell in self.selected.cells if cell.is_fold and cell.trained), *passed)

    @property
    def at_edge(self) -> bool:
        """Whether the best of several rates is the smallest or largest tried: the range was too narrow."""
        rates = list(dict.fromkeys(self.tried))
        return len(rates) > 1 and self.selected is not None and self.selected.learning_rate in (rates[0], rates[-1])

    @property
    def searched(self) -> str:
        """What a search chooses among, in words."""
        return "settings" if any(config.tuned for config in self.configs) else "learning rates"


def states(cells: Sequence[Cell]) -> str:
    """Return how many cells are in which state: ``2 complete, 1 out of memory``."""
    found = [cell.status.replace("_", " ") for cell in cells]
    return ", ".join(f"{found.count(state)} {state}" for state in dict.fromkeys(found))


def configurations_of(cells: Sequence[Cell]) -> tuple[Configuration, ...]:
    """Return the runs of a strategy at a size by setting, ascending by learning rate."""
    settings = dict.fromkeys(cell.spec.setting for cell in cells)
    label, size = cells[0].spec.label, cells[0].spec.train_size
    rates = known_first({setting[0] for setting in settings})
    tuned = tuple(dict.fromkeys(name for cell in cells for name in cell.spec.tuned))
    return tuple(
        Configuration(label, size, rate, tuple(c for c in cells if c.spec.setting == setting), tuned)
        for rate in rates
        for setting in settings
        if setting[0] == rate
    )


def known_first(values: Iterable[Any]) -> list[Any]:
    """Sort numbers of which one may not be known: ``None`` is last."""
    return sorted(values, key=lambda value: (value is None, value or 0))


def select_configuration(configs: Sequence[Configuration]) -> Configuration | None:
    """Choose a setting by the mean score on the selection split.

    A draw is a subset and a seed. Rates at which a run failed are passed over as long as another one is left:
    the mean over the draws that happened to survive would flatter them. Only draws that were planned for every
    rate count for that, since after a search only the chosen rate has the others. The remaining rates are compared
    on the draws that all of them have, so that a rate with fewer runs so far is not judged by an easier draw; where
    they share none, each is judged by its own. The smaller rate wins a tie.

    Args:
        configs: Configurations of one strategy and size.

    Returns:
        The configuration; a single one needs no score. None where several have none (``selection: last``).
    """
    if len(configs) == 1:
        return configs[0]
    scored = [config for config in configs if config.selection_scores()]
    everywhere = set.intersection(*(config.draws for config in configs))
    candidates = [config for config in scored if not config.failed(everywhere or config.draws)] or scored
    if not candidates:
        return None
    shared = set.intersection(*(set(config.selection_scores()) for config in candidates))

    def merit(config: Configuration) -> float:
        scores, spec = config.selection_scores(), config.cells[0].spec
        metric = TASKS[spec.task].metrics[spec.selects_by]
        return metric.merit(statistics.fmean(scores[draw] for draw in shared or scores))

    # Several have a rate each, also where they were imported: check_coordinates sees to that.
    return max(candidates, key=lambda config: (merit(config), -(config.learning_rate or 0.0)))


@dataclass(frozen=True, eq=False)
class Comparison:
    """A study's cells, checked to belong together; made by :meth:`from_cells`.

    Attributes:
        name: The study's name.
        cells: In the order of the plan.
        audit: The data audit as plain values, if it was made.
        notes: Further remarks, one sentence each, that stand beside the warnings.
        metric: Name of the metric that tables, tests and the recommendation speak of.
        margin: Points (hundredths of the metric) within which two strategies count as equal; declared by the study.
        pairs: Labels to compare two by two; None leaves the choice to :mod:`tunebench.analysis.pairs`.
        reference: Name of the published values that stand beside the runs; None for none.
        alpha: Level of the tests.
        design: When the study is read; None where that is once, after all of its seeds.
        looks: When it was read.
        confirmation: What the sealed part of the test texts gave; None where it was not opened.
        ledger: How often the test texts were scored by all studies; None where nobody counted.
    """

    name: str
    cells: tuple[Cell, ...]
    audit: dict[str, Any] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    metric: str = DEFAULT_METRIC
    margin: float = 0.5
    pairs: tuple[tuple[str, str], ...] | None = None
    reference: str | None = None
    alpha: float = 0.05
    design: Looks | Anytime | None = None
    looks: tuple[LookEntry, ...] = ()
    confirmation: Confirmation | None = None
    ledger: LedgerNote | None = None

    @classmethod
    def from_cells(
        cls,
        cells: Sequence[Cell],
        *,
        name: str,
        audit: dict[str, Any] | None = None,
        notes: Sequence[str] = (),
        metric: str | None = None,
        margin: float = 0.5,
        pairs: Sequence[tuple[str, str]] | None = None,
        reference: str | None = None,
        alpha: float = 0.05,
        design: Looks | Anytime | None = None,
        looks: Sequence[LookEntry] = (),
        confirmation: Confirmation | None = None,
        ledger: LedgerNote | None = None,
    ) -> Comparison:
        """Check that cells may stand in one table, and collect them.

        Args:
            cells: The plan.
            name: The study's name.
            audit: :meth:`tunebench.data.audit.Audit.to_dict` of its data.
            notes: Further remarks for tables and reports.
            metric: Name of the metric to speak of; by default the one that the runs were selected by.
            margin: Points (hundredths of the metric) within which two strategies count as equal.
            pairs: Labels to compare two by two.
            reference: Name of the published values that stand beside the runs.
            alpha: Level of the tests.
            design: When the study is read.
            looks: When it was read.
            confirmation: What the sealed part of the test texts gave.
            ledger: How often the test texts were scored.

        Raises:
            StoreError: There are no cells, one run stands there twice, a record is not its cell's or
                lacks its scores, or the runs differ in data, model, selection or another part of
                :data:`PROTOCOL`; or runs of one strategy, size and learning rate in more than seeds.
        """
        if not cells:
            raise StoreError("There are no runs to compare.", value=name)
        for what, key in PROTOCOL.items():
            values = sorted({str(value) for cell in cells if (value := key(cell.spec)) is not None})
            if len(values) > 1:
                raise StoreError(
                    f"These runs cannot be compared: they differ in {what}.",
                    value=", ".join(values),
                    fix="put runs of different protocols in different study folders",
                )
        _check_cells(cells)
        for place in dict.fromkeys((cell.spec.label, cell.spec.train_size) for cell in cells):
            check_coordinates([c.spec for c in cells if (c.spec.label, c.spec.train_size) == place])
        comparison = cls(
            name,
            tuple(cells),
            audit,
            tuple(notes),
            metric or cells[0].spec.selects_by,
            margin,
            None if pairs is None else tuple(pairs),
            reference,
            alpha,
            design,
            tuple(looks),
            confirmation,
            ledger,
        )
        for group in comparison.groups():
            _check_recipe(group)
        return comparison

    @property
    def task(self) -> Task:
        """What is learned, which all cells share."""
        return TASKS[self.cells[0].spec.task]

    @property
    def measure(self) -> Metric:
        """The metric itself."""
        return self.task.metrics[self.metric]

    @property
    def selecting(self) -> Metric:
        """The metric of the selection scores, which all cells share."""
        return self.task.metrics[self.cells[0].spec.selects_by]

    def published(self, spec: AnyRun) -> dict[str, Any] | None:
        """Return the published values for a run, where the study asks for them and they have one."""
        return None if self.reference is None else reference(self.reference).cell(spec)

    @property
    def publication(self) -> str:
        """How to call the published values: with their model's name where ours is another; empty without any."""
        if self.reference is None:
            return ""
        source, found = reference(self.reference), [self.published(cell.spec) for cell in self.cells]
        other = any(cell is not None and not cell["same_model"] for cell in found)
        return f"{source.name} ({source.model_label})" if other else source.name

    @property
    def on_test(self) -> str:
        """Name of the scores on the test split, for axes."""
        return f"{self.measure.heading} on test"

    @property
    def title(self) -> str:
        """What tables and figures are headed with."""
        return self.name

    @cached_property
    def labels(self) -> list[str]:
        """Strategy labels, in the order of the plan."""
        return list(dict.fromkeys(cell.spec.label for cell in self.cells))

    @cached_property
    def models(self) -> list[ModelRef | ImportedModel]:
        """The models that strategies train, in the order of the plan; the first, where none trains one."""
        specs = [cell.spec for cell in self.cells]
        used = [spec.model for spec in specs if "model" not in spec.without_effect] or [specs[0].model]
        return list({(model.source, model.fingerprint): model for model in used}.values())

    @cached_property
    def sizes(self) -> list[int]:
        """Training sizes, ascending."""
        return sorted({cell.spec.train_size for cell in self.cells})

    @property
    def selection(self) -> str:
        """The selection rule all cells share; ``not known`` where an imported run does not tell it."""
        found = {cell.spec.selection or "not known" for cell in self.cells}
        return "not known" if "not known" in found else found.pop()

    @property
    def searched(self) -> str:
        """What is searched of the strategies, in words."""
        return "settings" if any(cell.spec.tuned for cell in self.cells) else "learning rates"

    @property
    def evaluated(self) -> str:
        """What was evaluated during training, in words; nothing is said of what is not known."""
        names = {"last": "the selection split", "not known": "the evaluated split"}
        return names.get(self.selection, self.selection)

    @property
    def scored(self) -> tuple[Cell, ...]:
        """Cells with scores."""
        return tuple(cell for cell in self.cells if cell.scored)

    def rows(self) -> list[dict[str, Any]]:
        """Return every cell as a flat row, in the order of the plan."""
        return [dict(cell.row) for cell in self.cells]

    def frame(self) -> pd.DataFrame:
        """Return every cell as a row of a table."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def group(self, label: str, size: int) -> Group | None:
        """Return the runs of a strategy at a size, or None if the plan has none."""
        cells = [c for c in self.cells if c.spec.label == label and c.spec.train_size == size]
        if not cells:
            return None
        configs = configurations_of(cells)
        return Group(label, size, configs, select_configuration(configs))

    def groups(self) -> Iterator[Group]:
        """Yield the groups by strategy, then size."""
        yield from self._groups

    @cached_property
    def _groups(self) -> tuple[Group, ...]:
        found = (self.group(label, size) for label in self.labels for size in self.sizes)
        return tuple(group for group in found if group is not None)


def _check_cells(cells: Sequence[Cell]) -> None:
    seen = set()
    for cell in cells:
        run_id = cell.spec.run_id
        if run_id in seen:
            raise StoreError("A run stands in the plan twice; it would count as two seeds.", value=run_id)
        seen.add(run_id)
        if cell.record is not None and cell.record.run_id != run_id:
            raise StoreError("A record belongs to another run.", value=cell.record.run_id, allowed=run_id)
        if cell.status == "complete" and cell.record is None:
            raise StoreError("A complete run has no record.", value=run_id, fix="remove its folder, run again")


def _check_recipe(group: Group) -> None:
    """Refuse to average over anything but seeds, or to choose among anything but learning rates."""
    first, *others = [cell.spec.effective for cell in group.cells]
    for other in others:
        # That the test part is the same is checked for all runs together.
        tuned = {name for cell in group.cells for name in cell.spec.tuned}
        axes = {"seed", "subset_seed", "test_seed", "learning_rate", "fold", *tuned}
        differ = [k for k in first | other if first.get(k) != other.get(k) and k not in axes]
        if differ:
            raise StoreError(
                f"Runs of {group.label!r} at size {group.train_size} cannot be averaged: "
                f"they differ in {', '.join(differ)}.",
                value=" and ".join(f"{key}: {first.get(key)!r} or {other.get(key)!r}" for key in differ),
                fix="give each recipe its own strategy label",
            )
