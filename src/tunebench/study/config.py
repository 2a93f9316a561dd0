"""What a user writes: a study as frozen pydantic models.

Resolving a :class:`StudyConfig` gives the runs of its grid (:mod:`tunebench.study.spec`). What only says *how* to
execute (device, threads) is :class:`tunebench.machine.settings.Execution`, and is in no run's id.
"""

from __future__ import annotations

import json
import re
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tunebench.data.reference import Copies, DataConfig, SplitRef
from tunebench.recipe import TUNABLE, Frozen, Optimizer, Recipe, Selection, without_neutral
from tunebench.stats.sequential import Spending
from tunebench.strategies import STRATEGIES
from tunebench.study.look_checks import check_looks
from tunebench.study.models_axis import AT, with_models
from tunebench.study.settings_axes import combinations, repeats, with_settings
from tunebench.tasks.metrics import DEFAULT_METRIC
from tunebench.tasks.registry import metric_names
from tunebench.tasks.temperature import Calibration
from tunebench.tasks.thresholds import Thresholds

#: Of a strategy; with its model behind the sign.
_LABEL = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,39}}({AT}[A-Za-z0-9_.-]{{1,60}})?")


def _expand_learning_rates(value: Any) -> Any:
    """Accept a number, a list, or ``{multiples_of: base, values: [...]}``."""
    if isinstance(value, dict):
        if set(value) != {"multiples_of", "values"} or not isinstance(value["values"], list):
            raise ValueError("a mapping of learning rates needs exactly the keys multiples_of and values")
        try:
            base = float(value["multiples_of"])
            # 12 significant digits: 3 * 5e-5 is written 0.00015, not 0.00015000000000000001.
            return [float(f"{base * float(multiple):.12g}") for multiple in value["values"]]
        except (TypeError, ValueError, OverflowError):
            raise ValueError("multiples_of is a number, and values is a list of numbers") from None
    return value if isinstance(value, (list, tuple)) else [value]


LearningRates = Annotated[
    tuple[Annotated[float, Field(gt=0, le=10)], ...],
    BeforeValidator(_expand_learning_rates),
    Field(min_length=1),
]


#: Seeds that draw the training subset: one or several, each with every seed; or each seed draws its own.
SubsetSeeds = Annotated[
    Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)] | Literal["per_seed"],
    BeforeValidator(lambda value: value if isinstance(value, (list, tuple, str)) else [value]),
]


class StrategyConfig(Frozen):
    """One strategy of a study: its kind, its learning rates, its own parameters and recipe.

    In YAML parameters and recipe stand beside the other keys:
    ``{kind: lora, learning_rate: 5e-4, rank: 16, epochs: 6}``.
    """

    kind: str
    learning_rate: LearningRates
    params: dict[str, Any] = Field(default_factory=dict, validate_default=True)
    #: The model it trains, where that is not the study's.
    model: str | None = None
    model_revision: str | None = None
    #: What differs from the study's :class:`Recipe`.
    recipe: dict[str, Any] = Field(default_factory=dict)
    #: Lists of the recipe: every combination with the learning rates is tried.
    axes: dict[str, tuple[Any, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _only_what_has_effect(self) -> StrategyConfig:
        strategy = STRATEGIES[self.kind]
        if not strategy.tunes_learning_rate and self.learning_rate != (strategy.default_learning_rate,):
            raise ValueError(f"{self.kind} has no learning rate; remove the key learning_rate")
        if self.model is not None and not strategy.uses_encoder:
            raise ValueError(f"{self.kind} trains without a model; remove the key model")
        if self.model is None and self.model_revision is not None:
            raise ValueError("model_revision is that of a strategy's own model; give the key model too")
        reaching = strategy.recipe_keys
        if reaching is not None and (idle := [key for key in (*self.recipe, *self.axes) if key not in reaching]):
            known = sorted(reaching.intersection(Recipe.model_fields))
            only = f" (only {', '.join(known)} {'do' if len(known) > 1 else 'does'})" if known else ""
            raise ValueError(f"these have no effect on {self.kind}{only}; remove them: {', '.join(idle)}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, raw: Any) -> Any:
        """Gather what is no key of its own under ``params``, so that each error keeps its key."""
        if isinstance(raw, cls):
            return raw
        if not isinstance(raw, dict):
            raise ValueError(f"a strategy is a mapping of its parameters, got {raw!r}")
        fields = dict(raw)
        keys = ("kind", "learning_rate", "model", "model_revision")
        own = {key: fields.pop(key) for key in keys if key in fields}
        recipe = {key: fields.pop(key) for key in Recipe.model_fields if key in fields}
        axes = {key: recipe.pop(key) for key in TUNABLE if isinstance(recipe.get(key), (list, tuple))}
        if axes or "axes" in fields:
            stored = fields.pop("axes", {})
            own["axes"] = stored | axes if isinstance(stored, dict) else stored
        if recipe or "recipe" in fields:
            stored = fields.pop("recipe", {})
            own["recipe"] = stored | recipe if isinstance(stored, dict) else stored
        strategy = STRATEGIES.get(own["kind"]) if isinstance(own.get("kind"), str) else None
        if strategy is not None:
            own.setdefault("learning_rate", strategy.default_learning_rate)
        given = fields.pop("params", None)
        if given is not None and not isinstance(given, dict):
            return own | {"params": given}
        return own | {"params": fields | (given or {})}

    @field_validator("kind")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        if value not in STRATEGIES:
            raise ValueError(f"unknown kind of strategy {value!r}; allowed: {', '.join(sorted(STRATEGIES))}")
        return value

    @field_validator("params", mode="before")
    @classmethod
    def _params_of_kind(cls, value: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("kind")
        if kind is None or not isinstance(value, dict):
            return value
        return STRATEGIES[kind].params.model_validate(value).model_dump(mode="json")

    @field_validator("axes", mode="before")
    @classmethod
    def _values_of_recipe(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for key, values in value.items():
            if key not in TUNABLE:
                raise ValueError(f"{key} cannot be a list; lists are for {', '.join(TUNABLE)}")
            if not isinstance(values, (list, tuple)) or repeats(values):
                raise ValueError(f"{key} is a list of different values; got {values!r}")
        return {
            key: tuple(Recipe.model_validate({key: each}).model_dump()[key] for each in values)
            for key, values in value.items()
        }

    @field_validator("recipe", mode="before")
    @classmethod
    def _only_what_differs(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return Recipe.model_validate(value).model_dump(mode="json", include=set(value))


def _with_kind(label: str, raw: Any) -> Any:
    """Let the label be the kind where none is given; anything odd is left for the validators."""
    if raw is None:
        return {"kind": label}
    return {"kind": label, **raw} if isinstance(raw, dict) else raw


#: Settings that a strategy cannot have both of, and why.
_NOT_TOGETHER = (
    ("oversampling", "class_weights", "do the same twice"),
    ("focal_gamma", "label_smoothing", "cannot be combined: the focal loss is defined for whole labels"),
)


#: Settings that have no effect without another one.
_NEEDS = {
    "head_share": "truncation: head_tail",
    "restarts": "schedule: cosine_with_restarts",
    "randomness": "engine: reference",
}


def _reaches(key: str, kind: str) -> bool:
    """Tell whether a setting of the recipe reaches a kind of strategy."""
    keys = STRATEGIES[kind].recipe_keys
    return keys is None or key in keys


class Search(Frozen):
    """How the learning rate of each strategy, and what else it lists, is chosen, always on validation.

    A setting is a learning rate, with a value of every other list. ``grid`` runs every setting with every seed.
    ``halving`` runs every setting with the first seed, stops early those that fall behind at the ``first_look``-th
    evaluation, and at ``reduction`` times that, and so on (successive halving), and runs the other seeds at the
    chosen setting only.
    """

    method: Literal["grid", "halving"] = "grid"
    reduction: int = Field(default=3, ge=2, le=10, description="one in this many runs continues at an evaluation")
    first_look: int = Field(default=1, ge=1, le=100, description="evaluation at which runs are first compared")
    trials: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="most settings of a strategy that are tried, drawn at random; unset, all combinations",
    )
    budget: Literal["trials", "compute"] | None = Field(
        default=None, description="what is equal for all strategies; unset, nothing is promised"
    )


class Validation(Frozen):
    """A cross-validation in place of one validation part, for small data; see docs/data.md."""

    folds: int = Field(
        ge=2,
        le=20,
        description="parts of each training subset; each validates once, and then all texts are trained on",
    )


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

    strategies: dict[str, StrategyConfig] = Field(min_length=1)
    train_sizes: tuple[Annotated[int, Field(ge=2)] | Literal["all"], ...] = Field(min_length=1)
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

    @field_validator("strategies", mode="before")
    @classmethod
    def _strategies_from_yaml(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            twice = sorted({str(label) for label in value if value.count(label) > 1})
            if twice:
                raise ValueError(f"names the same strategy twice: {', '.join(twice)}")
            value = {str(label): None for label in value}
        if not isinstance(value, dict):
            raise ValueError("strategies is a mapping from a label to the strategy's parameters")
        for label in value:
            if not isinstance(label, str) or not _LABEL.fullmatch(label):
                raise ValueError(f"{label!r} is not a strategy label: letters, digits, '_', '.', '-', at most 40")
        return {label: _with_kind(label, raw) for label, raw in value.items()}

    @field_validator("train_sizes", "seeds", "subset_seed")
    @classmethod
    def _no_duplicates(cls, value: Any) -> Any:
        if isinstance(value, tuple) and len(set(value)) != len(value):
            raise ValueError(f"holds the same value twice: {list(value)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        self._check_parts()
        self._check_search()
        self._check_pairs()
        self._check_switched_off()
        self._check_patience()
        self._check_losses()
        self._check_steps()
        self._check_draws()
        self._check_cells()
        spends = self.spending != type(self).model_fields["spending"].default
        check_looks(self.looks, seeds=len(self.seeds), anytime=self.design == "anytime", spends=spends)
        return self

    def _check_parts(self) -> None:
        """Refuse sizes of the test and validation parts that contradict each other or the selection."""
        if self.test_size is not None and self.test_limit is not None:
            raise ValueError("test_size is exact, and test_limit the most: drop one of them")
        if self.sealed and self.data.group_column is not None:
            raise ValueError("sealed draws texts, not whole groups; remove sealed, or data.group_column")
        if self.selection == "test" and self.validation_fraction:
            raise ValueError("selection: test does not use a validation part; remove validation_fraction")
        if self.selection == "validation" and self.validation_fraction == 0:
            raise ValueError("selection: validation needs a validation part; remove validation_fraction: 0")
        if self.validation is not None:
            self._check_folds()

    def _check_folds(self) -> None:
        """Refuse folds beside another validation part, and what would need one after the last training."""
        if self.selection != "validation":
            raise ValueError(
                f"validation.folds selects by cross-validation, and selection: {self.selection} does not; remove "
                "one of them"
            )
        if self.validation_fraction:
            raise ValueError(
                "validation_fraction and validation.folds are two validation parts; remove one of them"
            )
        for name, value in (("thresholds", "tuned"), ("calibration", "temperature")):
            if getattr(self, name) == value:
                raise ValueError(
                    f"{name}: {value} is chosen on validation texts after training, and with validation.folds the "
                    f"last training takes all texts; remove {name} or validation"
                )
        for label, strategy in self.strategies.items():
            if strategy.params.get("choose_by") == "selection":
                raise ValueError(
                    f"choose_by: selection (strategy {label}) needs a validation part, and with validation.folds "
                    "there is none; remove it: C is then chosen by cross-validation"
                )

    def _check_search(self) -> None:
        """Refuse a search that cannot keep what it promises, or has nothing to choose on."""
        counts = {
            label: len(self.settings_of(strategy))
            for label, strategy in self.strategies.items()
            if STRATEGIES[strategy.kind].tunes_learning_rate
        }
        if self.search.budget == "trials" and len(set(counts.values())) > 1:
            raise ValueError(
                f"search.budget: trials promises every strategy the same number of {self.searched}; they have "
                + ", ".join(f"{label} {count}" for label, count in counts.items())
            )
        if self.search.method == "halving" and self.selection != "validation":
            raise ValueError("search.method: halving chooses on validation; it needs selection: validation")

    def _check_pairs(self) -> None:
        """Refuse pairs of anything but two strategies of the study."""
        unknown = sorted({label for pair in self.pairs or () for label in pair} - set(self.strategies))
        if unknown:
            known = ", ".join(self.strategies)
            raise ValueError(f"pairs names no strategy of the study: {', '.join(unknown)}; allowed: {known}")
        alone = [first for first, second in self.pairs or () if first == second]
        if alone:
            raise ValueError(f"pairs compares a strategy with itself: {', '.join(alone)}")

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

    def _check_switched_off(self) -> None:
        """Refuse settings that have no effect without another one, in a strategy or everywhere."""
        for key, needs in _NEEDS.items():
            other, value = needs.split(": ")
            fits = {label: getattr(self.recipe_of(s), other) == value for label, s in self.strategies.items()}
            idle = [label for label, s in self.strategies.items() if key in s.recipe and not fits[label]]
            everywhere = getattr(self, key) != Recipe.model_fields[key].default
            if idle or (everywhere and not any(fits.values())):
                where = f" (strategy {', '.join(idle)})" if idle else ""
                raise ValueError(f"{key}{where} has no effect without {needs}; remove it, or set both")

    def _check_patience(self) -> None:
        """Refuse to stop early where no validation part says when."""
        hasty = [
            label
            for label, s in self.strategies.items()
            if self.recipe_of(s).patience and _reaches("patience", s.kind)
        ]
        if hasty and self.selection != "validation":
            raise ValueError(
                f"patience ({', '.join(hasty)}) stops training by the score on validation; it needs selection: "
                "validation"
            )

    def _check_losses(self) -> None:
        """Refuse settings that answer unequal classes twice, or that make a loss nobody has defined."""
        for label, strategy in self.strategies.items():
            recipe = self.recipe_of(strategy)
            for first, second, why in _NOT_TOGETHER:
                both = (getattr(recipe, key) and _reaches(key, strategy.kind) for key in (first, second))
                if all(both):
                    raise ValueError(f"{first} and {second} (strategy {label}) {why}; remove one of them")

    def _check_steps(self) -> None:
        """Refuse numbers of steps that contradict each other."""
        recipes = [
            (label, strategy, self.recipe_of(strategy, chosen))
            for label, strategy in self.strategies.items()
            for _, chosen in self.settings_of(strategy)
        ]
        for label, strategy, recipe in recipes:
            if not _reaches("max_steps", strategy.kind):
                continue
            if recipe.warmup_steps and recipe.warmup_ratio:
                raise ValueError(
                    f"warmup_steps and warmup_ratio (strategy {label}) say the same twice; remove one of them"
                )
            if 0 < recipe.max_steps < recipe.min_steps:
                raise ValueError(
                    f"max_steps: {recipe.max_steps} (strategy {label}) is below min_steps: {recipe.min_steps}; "
                    "remove one of them"
                )
            if recipe.max_steps and recipe.warmup_steps >= recipe.max_steps:
                raise ValueError(
                    f"warmup_steps: {recipe.warmup_steps} (strategy {label}) leaves no step of max_steps: "
                    f"{recipe.max_steps} at the full learning rate; lower it"
                )

    def recipe_of(self, strategy: StrategyConfig, chosen: dict[str, Any] | None = None) -> Recipe:
        """Return the recipe of one strategy: the study's, with what the strategy sets itself.

        Args:
            strategy: One of the study's.
            chosen: A value of each of its lists; by default the first.
        """
        values = chosen or {key: values[0] for key, values in strategy.axes.items()}
        return Recipe.model_validate(self.model_dump(include=set(Recipe.model_fields)) | strategy.recipe | values)

    def settings_of(self, strategy: StrategyConfig) -> list[tuple[float, dict[str, Any]]]:
        """Return the settings of a strategy that are tried: learning rate, and a value of each of its lists."""
        return combinations(strategy.learning_rate, strategy.axes, self.search.trials)

    @property
    def searched(self) -> str:
        """What is searched, in words."""
        return "settings" if any(strategy.axes for strategy in self.strategies.values()) else "learning rates"

    @property
    def draws(self) -> tuple[tuple[int, int], ...]:
        """Pairs of subset seed and seed; every strategy, size and rate runs once with each."""
        if self.subset_seed == "per_seed":
            return tuple((seed, seed) for seed in self.seeds)
        return tuple(product(self.subset_seed, self.seeds))

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
