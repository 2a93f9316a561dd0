"""What a user writes: a study as frozen pydantic models.

Resolving a :class:`StudyConfig` gives the runs of its grid (:mod:`tunebench.study.expand`). What only says *how* to
execute (device, threads) is :class:`tunebench.machine.settings.Execution`, and is in no run's id.
"""

from __future__ import annotations

import json
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tunebench.data.reference import Copies, DataConfig, SplitRef
from tunebench.errors import ConfigError
from tunebench.recipe import Optimizer, Recipe, Selection
from tunebench.schema import without_neutral
from tunebench.stats.sequential import Spending
from tunebench.strategies import STRATEGIES
from tunebench.study.look_checks import FIRST_ANYTIME, check_looks
from tunebench.study.models_axis import with_models
from tunebench.study.parts import Search, SubsetSeeds, Validation
from tunebench.study.recipe_checks import Setting, check_recipes
from tunebench.study.settings_axes import combinations, with_settings
from tunebench.study.strategy_config import Strategies, StrategyConfig, TrainSizes, refuse_repeats
from tunebench.study.study_checks import (
    check_folds,
    check_pairs,
    check_parts,
    check_search,
    check_search_seeds,
    check_sizes,
)
from tunebench.tasks.metrics import DEFAULT_METRIC
from tunebench.tasks.registry import metric_names
from tunebench.tasks.temperature import Calibration
from tunebench.tasks.thresholds import Thresholds


class StudyConfig(Recipe):
    """A whole study: its axes, its data, and the recipe its strategies share.

    Axes: ``strategies`` (with learning rates), ``train_sizes``, ``seeds``; in YAML also ``models``, which
    :func:`~tunebench.study.models_axis.with_models` writes out as strategies.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    description: str = ""
    model: str = Field(description="packaged name, Hub name or folder")
    model_revision: str | None = None
    keep_head: bool = Field(
        default=False,
        description="keep the classification head of a model that is already a classifier, its classes matched "
        "by name; otherwise a new head is drawn from the seed",
    )
    data: DataConfig

    strategies: Strategies
    train_sizes: TrainSizes
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(default=(42,), min_length=1)

    subset_seed: SubsetSeeds = Field(
        default=(42,),
        description="seeds that draw the training subset: one, several, or per_seed for one draw per seed",
    )
    test_size: int | None = Field(default=None, ge=2, description="test texts to score")
    test_limit: int | None = Field(
        default=None, ge=2, description="most test texts to score where there is no test_size"
    )
    test_seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**31,
        description="draws the test part; unset, the seed of the first subset draws it",
    )
    sealed: bool = Field(
        default=False,
        description="keep half of the test part for tunebench confirm, which opens it once",
    )
    validation_fraction: float | None = Field(default=None, ge=0, lt=0.9)
    validation: Validation | None = Field(default=None, description="cross-validation, as in {folds: 5}")
    copies: Copies = Field(
        default="together",
        description="together: copies of a test or validation text are never in train; anywhere: the draw "
        "ignores copies",
    )
    selection: Selection = "validation"

    metric: str = Field(
        default=DEFAULT_METRIC,
        description="selects checkpoints and learning rates, and is what tables, tests and the recommendation "
        "speak of",
    )

    thresholds: Thresholds = Field(
        default="fixed",
        description="of several labels a text: fixed gives those above 0.5; tuned chooses a threshold for each "
        "label on validation. Of two classes, tuned chooses one for the second",
    )

    calibration: Calibration = Field(
        default="none",
        description="temperature divides the logits by a number that is chosen on validation, so that "
        "probabilities fit how often they are right",
    )

    optimizer: Optimizer = "adamw"
    evaluations_per_epoch: int = Field(default=2, ge=1, le=100)

    search: Search = Field(default_factory=Search)
    margin: float = Field(
        default=0.5,
        gt=0,
        description="points of the metric, or hundredths of its unit, within which two are equal",
    )
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="level of the tests, for all comparisons of a table and all looks"
    )
    looks: tuple[Annotated[int, Field(ge=3)], ...] | None = Field(
        default=None, description="numbers of seeds after which the study is decided and may end"
    )
    spending: Spending = Field(default="obrien-fleming", description="how the looks share alpha")
    design: Literal["fixed", "anytime"] = Field(
        default="fixed",
        description="anytime: tests and intervals hold after every seed together, so seeds may be added at will",
    )
    reference: Literal["paper"] | None = Field(
        default=None, description="published values to show beside runs of the same recipe"
    )
    pairs: tuple[tuple[str, str], ...] | None = Field(
        default=None, description="labels to compare two by two; all pairs when unset"
    )

    @model_validator(mode="before")
    @classmethod
    def _models_from_yaml(cls, raw: Any) -> Any:
        return with_settings(with_models(raw)) if isinstance(raw, dict) else raw

    @field_validator("data", mode="before")
    @classmethod
    def _data_from_string(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        if value not in metric_names():
            raise ValueError(f"there is no metric {value!r}; allowed: {', '.join(metric_names())}")
        return value

    @field_validator("seeds", "subset_seed")
    @classmethod
    def _no_duplicates(cls, value: Any) -> Any:
        return refuse_repeats(value)

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        if self.sealed and self.data.group_column is not None:
            raise ValueError("sealed draws texts, not whole groups; remove sealed, or data.group_column")
        check_parts(self.selection, self.validation_fraction, test_size=self.test_size, test_limit=self.test_limit)
        if self.validation is not None:
            self._check_folds()
        check_sizes(self.train_sizes, {label: each.train_sizes for label, each in self.strategies.items()})
        spends = self.spending != type(self).model_fields["spending"].default
        check_looks(self.looks, seeds=len(self.seeds), anytime=self.design == "anytime", spends=spends)
        self._check_search()
        check_pairs(self.pairs or (), self.strategies)
        check_recipes(self, self._settings(), selection=self.selection)
        self._check_draws()
        self._check_cells()
        return self

    def _check_folds(self) -> None:
        check_folds(
            self.selection,
            self.validation_fraction,
            after_training={
                name: getattr(self, name)
                for name in ("thresholds", "calibration")
                if getattr(self, name) != type(self).model_fields[name].default
            },
            choosing=[label for label, s in self.strategies.items() if s.params.get("choose_by") == "selection"],
        )

    def _check_search(self) -> None:
        counts = {
            label: len(self.settings_of(strategy))
            for label, strategy in self.strategies.items()
            if STRATEGIES[strategy.kind].tunes_learning_rate
        }
        check_search(self.search, counts, self.searched, self.selection)
        check_search_seeds(
            self.search,
            self.selection,
            seeds=len(self.seeds),
            first_read=self.stages[0],
            folds=self.validation is not None,
        )

    def _check_draws(self) -> None:
        """Refuse one draw for several seeds of a strategy whose score rests on the draw."""
        few_shot = [label for label, s in self.strategies.items() if STRATEGIES[s.kind].for_few_labels]
        if few_shot and len(self.draws) > 1 and len({subset for subset, _ in self.draws}) == 1:
            raise ValueError(
                f"{', '.join(few_shot)} learns from few labels, so their draw decides most of the score, and "
                "several seeds on one draw would hide that; set subset_seed: per_seed"
            )

    def _check_cells(self) -> None:
        """Refuse two strategies that give the same run."""
        cells: dict[str, str] = {}
        for label, strategy in self.strategies.items():
            for rate, chosen in self.settings_of(strategy):
                recipe = without_neutral(self.recipe_of(strategy, chosen).model_dump(mode="json"), Recipe)
                own = [strategy.kind, strategy.model, strategy.model_revision]
                key = json.dumps([*own, rate, strategy.params, recipe], sort_keys=True)
                if key in cells:
                    raise ValueError(f"strategies {cells[key]!r} and {label!r} hold the same run twice")
                cells[key] = label

    def recipe_of(self, strategy: StrategyConfig, chosen: dict[str, Any] | None = None) -> Recipe:
        """Return the recipe of one strategy: the study's, with what the strategy sets itself.

        Args:
            strategy: One of the study's.
            chosen: A value of each of its lists; by default the first.
        """
        values = chosen or {key: values[0] for key, values in strategy.axes.items()}
        return Recipe.model_validate(self.model_dump(include=set(Recipe.model_fields)) | strategy.recipe | values)

    def sizes_of(self, strategy: StrategyConfig) -> TrainSizes:
        """Return the training sizes of a strategy: its own, or all of the study's, in the study's order."""
        return tuple(
            size for size in self.train_sizes if strategy.train_sizes is None or size in strategy.train_sizes
        )

    def with_train_sizes(self, sizes: TrainSizes) -> StudyConfig:
        """Return the study at other training sizes; a strategy that trains at none of them is dropped.

        Args:
            sizes: What takes the place of ``train_sizes``.

        Raises:
            ConfigError: No strategy is for any of them.
        """
        strategies = {}
        for label, strategy in self.strategies.items():
            own = strategy.train_sizes and tuple(size for size in strategy.train_sizes if size in sizes)
            if own != ():
                strategies[label] = strategy.model_copy(update={"train_sizes": own})
        if not strategies:
            raise ConfigError(
                "No strategy trains at these sizes.",
                value=f"train_sizes: {list(sizes)}",
                fix="give a strategy one of them in its own train_sizes",
            )
        pairs = self.pairs and tuple(pair for pair in self.pairs if all(label in strategies for label in pair))
        return self.model_copy(update={"train_sizes": sizes, "strategies": strategies, "pairs": pairs})

    def settings_of(self, strategy: StrategyConfig) -> list[tuple[float, dict[str, Any]]]:
        """Return the settings of a strategy that are tried: learning rate, and a value of each of its lists."""
        return combinations(strategy.learning_rate, strategy.axes, self.search.trials)

    def _settings(self) -> list[Setting]:
        """Return what every setting of every strategy trains with."""
        return [
            Setting(label, strategy.kind, strategy.recipe, self.recipe_of(strategy, chosen))
            for label, strategy in self.strategies.items()
            for _, chosen in self.settings_of(strategy)
        ]

    @property
    def searched(self) -> str:
        """What is searched, in words."""
        return "settings" if any(strategy.axes for strategy in self.strategies.values()) else "learning rates"

    @property
    def draws(self) -> tuple[tuple[int, int], ...]:
        """Pairs of subset seed and seed; every strategy and size runs once with each."""
        if self.subset_seed == "per_seed":
            return tuple((seed, seed) for seed in self.seeds)
        return tuple(product(self.subset_seed, self.seeds))

    @property
    def stages(self) -> tuple[int, ...]:
        """Numbers of seeds after which the study may end; the last is all of them."""
        if self.looks is not None:
            return self.looks
        total = len(self.seeds)
        return tuple(range(min(FIRST_ANYTIME, total), total + 1)) if self.design == "anytime" else (total,)

    @property
    def choosing_draws(self) -> tuple[tuple[int, int], ...]:
        """The draws whose runs choose the settings; the others run at the chosen settings only.

        What is read more than once chooses before it is read for the first time: the test part is opened then. (An
        ``anytime`` study of two or three seeds has chosen with these, and chooses with four if it is given more.)
        Where each seed chooses its own, all of them do.
        """
        if self.search.method == "halving":
            return self.draws[:1]
        if self.selection != "validation" or self.search.seeds == "each":
            return self.draws
        choosing = self.seeds[: self.search.seeds or self.stages[0]]
        return tuple(draw for draw in self.draws if draw[1] in choosing)

    @property
    def plans_twice(self) -> bool:
        """Whether some seeds are planned only when the settings are chosen."""
        several = any(len(self.settings_of(strategy)) > 1 for strategy in self.strategies.values())
        return several and len(self.choosing_draws) < len(self.draws)

    @property
    def shared_test_seed(self) -> int | None:
        """Seed of the test part where it has one, or several subsets share it; None: the subset's own draws it."""
        if self.test_seed is not None:
            return self.test_seed
        first = self.draws[0][0]
        return first if any(subset != first for subset, _ in self.draws) else None

    @property
    def test_draw(self) -> int:
        """Seed that draws the test part of every run."""
        return self.draws[0][0] if self.shared_test_seed is None else self.shared_test_seed

    @property
    def folds(self) -> int:
        """Folds of the cross-validation; 0 without one."""
        return 0 if self.validation is None else self.validation.folds

    @property
    def validates(self) -> bool:
        """Whether anything validates."""
        return self.held_out_fraction > 0 or self.folds > 0

    def drawn_fraction(self, splits: SplitRef | None) -> float:
        """Return the share of each training subset that validates: none where the data's own part does."""
        return 0.0 if splits is not None and splits.validation is not None else self.held_out_fraction

    @property
    def models(self) -> list[tuple[str, str | None]]:
        """Every model with its revision: the study's, then those of single strategies."""
        own = [(each.model, each.model_revision) for each in self.strategies.values() if each.model is not None]
        return list(dict.fromkeys([(self.model, self.model_revision), *own]))

    @property
    def held_out_fraction(self) -> float:
        """Share of each training subset that is set aside for validation, unless the data brings such a part.

        It is 0 where nothing selects on it, and where folds validate.
        """
        if self.folds:
            return 0.0
        if self.validation_fraction is not None:
            return self.validation_fraction
        return 0.1 if self.selection == "validation" else 0.0
