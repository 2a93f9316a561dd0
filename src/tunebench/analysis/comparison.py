"""The cells of a study side by side: what tables and figures are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tunebench.analysis.configuration import Configuration, configurations_of
from tunebench.analysis.group import Group
from tunebench.analysis.protocol import check_cells, check_recipe
from tunebench.analysis.published import reference
from tunebench.errors import StoreError
from tunebench.models.reference import ModelRef
from tunebench.stats import Anytime, Looks
from tunebench.store.cell import Cell
from tunebench.store.confirmation import Confirmation
from tunebench.store.imported import AnyRun, ImportedModel
from tunebench.store.looks import LookEntry
from tunebench.store.rows import per_million
from tunebench.store.test_texts import LedgerNote
from tunebench.tasks.base import Task
from tunebench.tasks.metric import Metric
from tunebench.tasks.metrics import DEFAULT_METRIC
from tunebench.tasks.registry import TASKS

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """A study's cells, checked to belong together.

    Attributes:
        name: The study's name.
        cells: In the order of the plan.
        audit: The data audit as plain values (:meth:`tunebench.data.audit_result.Audit.to_dict`), if it was made.
        notes: Further remarks, one sentence each, that stand beside the warnings.
        doubts: Those of them that make a recommendation less than sure.
        metric: Name of the metric that tables, tests and the recommendation speak of.
        margin: Points (hundredths of the metric) within which two strategies count as equal; declared by the study.
        pairs: Labels to compare two by two; None leaves the choice to :mod:`tunebench.analysis.pairs`.
        reference: Name of the published values that stand beside the runs; None for none.
        alpha: Level of the tests.
        design: When the study is read; None where that is once, after all of its seeds.
        looks: When it was read.
        sealed: Whether a half of the test texts is kept for ``tunebench confirm``.
        confirmation: What the sealed part of the test texts gave; None where it was not opened.
        ledger: How often the test texts were scored by all studies; None where nobody counted.
        chosen_by_seed: Labels of the strategies of which each seed chose its own setting.

    Raises:
        StoreError: There are no cells, one run stands there twice, a record is not its cell's or lacks its scores,
            or the runs differ in data, model, selection or another part of
            :data:`~tunebench.analysis.protocol.PROTOCOL`; or runs of one strategy, size and learning rate differ in
            more than seeds.
    """

    name: str
    cells: Sequence[Cell]
    audit: dict[str, Any] | None = field(default=None, repr=False)
    notes: Sequence[str] = ()
    doubts: Sequence[str] = ()
    metric: str = DEFAULT_METRIC
    margin: float = 0.5
    pairs: Sequence[tuple[str, str]] | None = None
    reference: str | None = None
    alpha: float = 0.05
    design: Looks | Anytime | None = None
    looks: Sequence[LookEntry] = ()
    sealed: bool = False
    confirmation: Confirmation | None = None
    ledger: LedgerNote | None = None
    chosen_by_seed: Collection[str] = ()

    def __post_init__(self) -> None:
        """Check that the cells may stand in one table."""
        if not self.cells:
            raise StoreError("There are no runs to compare.", value=self.name)
        check_cells(self.cells)
        for group in self.groups():
            check_recipe(group)

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

    def published_for(self, config: Configuration) -> dict[str, Any] | None:
        """Return the published values to show beside runs of one setting; None where there are none.

        Values for the seed of the publication come before those for other seeds.
        """
        found = [self.published(cell.spec) for cell in config.scored] if config.is_single else []
        return min((one for one in found if one is not None), key=lambda one: len(one["differs"]), default=None)

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
        return [cell.row | self._score_of(cell) for cell in self.cells]

    def _score_of(self, cell: Cell) -> dict[str, Any]:
        """Return the score of an imported run, whose own study told no metric: it is by the metric of this one."""
        if cell.spec.metric is not None:
            return {}
        score = cell.score(self.metric)
        ratio = per_million(score, cell.row["trainable_params"])
        return {"metric": self.metric, "score": score, "score_per_million": ratio}

    def frame(self) -> pd.DataFrame:
        """Return every cell as a row of a table."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def group(self, label: str, size: int) -> Group | None:
        """Return the runs of a strategy at a size, or None if the plan has none."""
        cells = [c for c in self.cells if c.spec.label == label and c.spec.train_size == size]
        if not cells:
            return None
        return Group(label, size, configurations_of(cells), by_seed=label in self.chosen_by_seed)

    def groups(self) -> Iterator[Group]:
        """Yield the groups by strategy, then size."""
        yield from self._groups

    @cached_property
    def _groups(self) -> tuple[Group, ...]:
        found = (self.group(label, size) for label in self.labels for size in self.sizes)
        return tuple(group for group in found if group is not None)
