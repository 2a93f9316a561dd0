"""All runs of a strategy at a size: which of them were chosen, and which lack a score."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from tunebench.analysis.configuration import Configuration
from tunebench.analysis.selecting import cells_by_draw, select_by_seed, select_configuration
from tunebench.store.cell import Cell


@dataclass(frozen=True)
class Group:
    """All runs of one strategy at one size.

    Attributes:
        configs: One a setting, ascending by learning rate.
        by_seed: Whether each seed chose its own setting.
    """

    label: str
    train_size: int
    configs: tuple[Configuration, ...]
    by_seed: bool = False

    @cached_property
    def selected(self) -> Configuration | None:
        """The configuration with the best mean selection score, or the runs that their own seeds chose.

        See :mod:`tunebench.analysis.selecting`; None where nothing can choose among several.
        """
        return self._choose(anew=False)

    @cached_property
    def preferred(self) -> Configuration | None:
        """What validation alone would choose now; it may have changed after the test part was opened."""
        return self._choose(anew=True)

    def _choose(self, *, anew: bool) -> Configuration | None:
        return (select_by_seed if self.by_seed else select_configuration)(self.configs, anew=anew)

    @cached_property
    def overtaken(self) -> tuple[Cell, ...]:
        """Runs that validation would choose now, and that are not chosen."""
        if self.selected is None or self.preferred is None:
            return ()
        return tuple(cell for cell in self.preferred.runs if not self.is_chosen(cell))

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

    @cached_property
    def not_chosen(self) -> tuple[Cell, ...]:
        """Cells without scores because they only chose, or were not chosen: no gap in the study."""
        if self.selected is None:
            return ()
        draws = {cell.draw for cell in self.selected.cells}
        others = [c for c in self.cells if not self.is_chosen(c) and not (self.by_seed and c.draw not in draws)]
        passed = [c for c in others if not c.scored and c.status in ("complete", "pruned", "pending", "left_out")]
        return (*(cell for cell in self.selected.cells if cell.is_fold and cell.trained), *passed)

    @property
    def at_edge(self) -> bool:
        """Whether the best of several rates, for most seeds, is the smallest or the largest one tried."""
        rates = list(dict.fromkeys(self.tried))
        chosen = [] if self.selected is None else [cell.spec.learning_rate for cell in self.selected.cells]
        return len(rates) > 1 and 2 * sum(rate in (rates[0], rates[-1]) for rate in chosen) > len(chosen)

    @cached_property
    def lacking(self) -> tuple[Cell, ...]:
        """One cell for each score that the strategy should have, and has not; none where nothing is selected.

        Of a seed that has not chosen its setting it is a run that it waits for, as far as there is one.
        """
        if self.selected is None:
            return ()
        lost = [cell for cell in self.selected.runs if not cell.scored]
        if self.by_seed:
            draws = {cell.draw for cell in self.selected.cells}
            without = [own for draw, own in cells_by_draw(self.configs).items() if draw not in draws]
            lost += [next((cell for cell in own if not cell.ended), own[0]) for own in without]
        return tuple(lost)

    @cached_property
    def _chosen(self) -> frozenset[int]:
        return frozenset(map(id, self.selected.cells)) if self.selected else frozenset()

    def is_chosen(self, cell: Cell) -> bool:
        """Tell whether one of :attr:`cells` is a run of the selected configuration."""
        return id(cell) in self._chosen

    @property
    def opened_settings(self) -> int:
        """For how many settings the test part was opened; for how many of one draw, where each chose its own."""
        opened = [(cell.draw if self.by_seed else None, cell.spec.setting) for cell in self.cells if cell.opened]
        return max(Counter(draw for draw, _ in dict.fromkeys(opened)).values(), default=0)

    def chose(self, config: Configuration) -> bool:
        """Tell whether a run of one of :attr:`configs` was chosen."""
        return any(map(self.is_chosen, config.cells))

    @property
    def searched(self) -> str:
        """What a search chooses among, in words."""
        return self.configs[0].searched
