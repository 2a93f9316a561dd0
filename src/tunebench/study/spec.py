"""What a run is: a cell of a study's grid, fully resolved, and its id.

Resolving a :class:`~tunebench.study.config.StudyConfig` against a model, a data set and a machine gives
:class:`RunSpec` values; a run's id is a hash of its spec.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType
from typing import Any

from pydantic import Field, field_validator

from tunebench.data.reference import Copies, DataRef, SplitRef
from tunebench.models.first_layers import pooling_of
from tunebench.models.reference import BaseHead, ModelRef, Pooling, UsedModel
from tunebench.recipe import (
    ONLY_FAST,
    ONLY_HEAD_TAIL,
    ONLY_REFERENCE,
    ONLY_RESTARTS,
    TUNABLE,
    BatchOrder,
    ClassWeights,
    Engine,
    Kernels,
    Precision,
    Randomness,
    Recipe,
    Schedule,
    Selection,
    Truncation,
)
from tunebench.schema import ADDED_LATER, Frozen, as_recorded, without_neutral
from tunebench.strategies import STEP_KEYS, STRATEGIES, capabilities_of
from tunebench.study.config import StudyConfig
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.metrics import DEFAULT_METRIC
from tunebench.tasks.registry import TASKS
from tunebench.tasks.temperature import Calibration
from tunebench.tasks.thresholds import Thresholds

#: Raised whenever the meaning of a spec changes; part of every run id. In schema 1 an id was made of all settings;
#: in schema 2 it is made of those that reach the run. Both are read.
SCHEMA_VERSION = 2

#: Learning rate, and the values of :data:`~tunebench.recipe.TUNABLE`.
Setting = tuple[float | None, ...]

#: Fields that a run takes over from its study unchanged.
_COMMON = frozenset(
    {"copies", "selection", "sealed", "evaluations_per_epoch", "optimizer", "metric", "thresholds", "calibration"}
)


class RunSpec(Frozen):
    """One run, fully resolved: nothing in it is a default that may change later."""

    schema_version: int = SCHEMA_VERSION
    label: str
    kind: str
    params: dict[str, Any]
    learning_rate: float
    train_size: int
    seed: int

    model: ModelRef
    data: DataRef
    task: str = Field(
        default=CLASSIFICATION.name, json_schema_extra=ADDED_LATER, description="what is learned of a text"
    )
    subset_seed: int
    test_seed: int | None = Field(
        default=None,
        json_schema_extra=ADDED_LATER,
        description="draws the test part, where several subsets share one; None: the subset's seed draws it",
    )
    test_size: int
    validation_fraction: float
    sealed: bool = Field(
        default=False,
        json_schema_extra=ADDED_LATER,
        description="whether half of the test part is kept for the final confirmation",
    )
    copies: Copies = Field(
        default="anywhere",
        json_schema_extra=ADDED_LATER,
        description="whether copies of a text are kept in one part",
    )
    splits: SplitRef | None = Field(
        default=None,
        json_schema_extra=ADDED_LATER,
        description="what the parts rest on besides texts and labels: an own validation part, groups, times",
    )
    folds: int = Field(
        default=0,
        json_schema_extra=ADDED_LATER,
        description="parts that the training subset is cut into for a cross-validation; 0 is none",
    )
    fold: int = Field(
        default=0,
        json_schema_extra=ADDED_LATER,
        description="the part that validates, from 1; 0 with folds: all texts train",
    )
    selection: Selection
    max_length: int
    epochs: int
    batch_size: int
    optimizer: str
    weight_decay: float
    schedule: Schedule
    warmup_ratio: float
    max_grad_norm: float
    evaluations_per_epoch: int
    engine: Engine
    precision: Precision
    attention_dropout: float | None
    label_smoothing: float = Field(default=0.0, json_schema_extra=ADDED_LATER)
    pooling: Pooling = Field(default="first", json_schema_extra=ADDED_LATER)
    truncation: Truncation = Field(default="head", json_schema_extra=ADDED_LATER)
    head_share: float = Field(default=0.25, json_schema_extra=ONLY_HEAD_TAIL)
    frozen_dropout: bool = Field(default=True, json_schema_extra=ADDED_LATER)
    #: The fast engine grouped by length before there was a choice: what a record that does not say is.
    batches: BatchOrder = Field(default="by_length", json_schema_extra=ONLY_FAST)
    min_steps: int = Field(default=0, json_schema_extra=ADDED_LATER)
    patience: int = Field(default=0, json_schema_extra=ADDED_LATER)
    class_weights: ClassWeights | None = Field(default=None, json_schema_extra=ADDED_LATER)
    focal_gamma: float = Field(default=0.0, json_schema_extra=ADDED_LATER)
    gradient_accumulation: int = Field(default=1, json_schema_extra=ADDED_LATER)
    gradient_checkpointing: bool = Field(default=False, json_schema_extra=ADDED_LATER)
    max_steps: int = Field(default=0, json_schema_extra=ADDED_LATER)
    warmup_steps: int = Field(default=0, json_schema_extra=ADDED_LATER)
    restarts: int = Field(default=2, json_schema_extra=ONLY_RESTARTS)
    oversampling: bool = Field(default=False, json_schema_extra=ADDED_LATER)
    randomness: Randomness = Field(default="own", json_schema_extra=ONLY_REFERENCE)
    kernels: Kernels = Field(
        default="torch",
        json_schema_extra=ONLY_FAST,
        description="what the run was planned to compute with; its record says what it did",
    )
    metric: str = Field(
        default=DEFAULT_METRIC,
        json_schema_extra=ADDED_LATER,
        description="selects the checkpoint and the learning rate",
    )
    thresholds: Thresholds = Field(default="fixed", json_schema_extra=ADDED_LATER)
    calibration: Calibration = Field(default="none", json_schema_extra=ADDED_LATER)
    tuned: tuple[str, ...] = Field(
        default=(),
        json_schema_extra=ADDED_LATER,
        description="settings of the recipe that the study searches beside the learning rate; no part of the id",
    )
    without_effect: tuple[str, ...] = Field(
        default=(),
        json_schema_extra=ADDED_LATER,
        description="settings of the study that do not reach this run; its id leaves them out",
    )
    base_head: BaseHead | None = Field(
        default=None,
        json_schema_extra=ADDED_LATER,
        description="what was done with the classification head of a base that has one; None: it has none, or the "
        "record is older than the choice, and what fitted in shape was kept",
    )

    @field_validator("task")
    @classmethod
    def _known_task(cls, value: str) -> str:
        if value not in TASKS:
            raise ValueError(f"there is no task {value!r}; allowed: {', '.join(TASKS)}")
        return value

    @property
    def identity(self) -> dict[str, Any]:
        """The canonical content of the id: what reaches the run, but no labels and places.

        Fingerprints pin the content of model and data. What was added to specs or parameters later is left out
        where it changes nothing, so that older records keep their ids. The spec itself says what does not reach
        the run: the id stays the same where the strategy is not installed, or declares something else today.
        """
        spec = self.model_dump(mode="json", exclude={"label", "without_effect", "tuned"})
        spec = without_neutral(spec, type(self))
        if self.test_seed == self.subset_seed:
            # As without it: with one draw nothing is shared, and a study may get a second one later.
            spec.pop("test_seed", None)
        strategy = STRATEGIES.get(self.kind)
        if strategy is not None:
            spec["params"] = without_neutral(spec["params"], strategy.params)
        for part in ("model", "data"):
            spec[part] = {k: v for k, v in spec[part].items() if k not in ("source", "revision", "inputs")}
        return {key: value for key, value in spec.items() if key not in self.without_effect}

    @property
    def effective(self) -> dict[str, Any]:
        """The identity without settings that have no effect: equal for one run under all schemas."""
        idle = {"schema_version", *without_effect(self.kind)}
        return {key: value for key, value in self.identity.items() if key not in idle}

    @property
    def full_params(self) -> dict[str, Any]:
        """The strategy's parameters; one that the record is too old to have means what was done without it."""
        strategy = STRATEGIES.get(self.kind)
        return self.params if strategy is None else as_recorded(self.params, strategy.params)

    @property
    def strategy_params(self) -> Any:
        """The strategy's parameters as an instance of :attr:`~tunebench.strategies.base.Strategy.params`."""
        return STRATEGIES[self.kind].params(**self.full_params)

    @property
    def selects_by(self) -> str:
        """The metric of the selection scores."""
        return self.metric

    @property
    def recipe(self) -> Recipe:
        """How it is trained, besides strategy, learning rate and data."""
        return Recipe.model_construct(**{name: getattr(self, name) for name in Recipe.model_fields})

    def epochs_at(self, steps_per_epoch: int) -> int:
        """Return the epochs that are planned: :attr:`epochs`, or more where ``min_steps`` takes more."""
        return max(self.epochs, math.ceil(self.min_steps / steps_per_epoch))

    @property
    def takes_fast_draws(self) -> bool:
        """Whether the reference engine takes the fast engine's dropout masks and order of texts."""
        reaches = "randomness" not in self.without_effect
        return reaches and self.engine == "reference" and self.randomness == "fast_engine"

    @property
    def pools_mean(self) -> bool:
        """Whether the classification head reads the mean over all tokens, and not the first one."""
        return bool(self.full_params.get("pooling", self.pooling) == "mean")

    @property
    def texts_per_step(self) -> int:
        """Texts that one optimisation step learns from."""
        return self.batch_size * self.gradient_accumulation

    def steps_at(self, steps_per_epoch: int) -> int:
        """Return the optimisation steps that are planned, over all epochs."""
        steps = steps_per_epoch * self.epochs_at(steps_per_epoch)
        return min(steps, self.max_steps) if self.max_steps else steps

    @property
    def own_validation(self) -> bool:
        """Whether the validation part that the data brings selects, and no share of the training subset."""
        return self.splits is not None and self.splits.validation is not None

    @property
    def setting(self) -> Setting:
        """What a search chooses: the learning rate, and the values of :data:`~tunebench.recipe.TUNABLE`."""
        idle = without_effect(self.kind)
        return (self.learning_rate, *(None if name in idle else getattr(self, name) for name in TUNABLE))

    @property
    def draw(self) -> tuple[int, int]:
        """Subset draw and seed: what runs of one configuration differ in."""
        return self.subset_seed, self.seed

    @property
    def fold_runs(self) -> list[RunSpec]:
        """The runs of a cross-validation that choose for this one; empty where no folds do."""
        if not self.folds or self.fold or not capabilities_of(self.kind).trains_in_folds:
            return []
        return [self.model_copy(update={"fold": number}) for number in range(1, self.folds + 1)]

    @property
    def test_draw(self) -> int:
        """The seed that draws the test part."""
        return self.subset_seed if self.test_seed is None else self.test_seed

    @property
    def shown_learning_rate(self) -> float | None:
        """The learning rate; None if the strategy has none."""
        return self.learning_rate if capabilities_of(self.kind).tunes_learning_rate else None

    @property
    def run_id(self) -> str:
        """Readable prefix and 16 hex digits of sha256 over :attr:`identity`; safe as a folder name."""
        canonical = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        rate = "" if self.shown_learning_rate is None else f"-lr{self.learning_rate:g}"
        fold = f"-f{self.fold}" if self.fold else ""
        return f"{self.label}-n{self.train_size}{rate}-s{self.seed}{fold}-{digest}"


def without_effect(kind: str | None) -> frozenset[str]:
    """Return the fields of a spec that do not reach a run of this kind of strategy."""
    strategy = capabilities_of(kind)
    idle: set[str] = set()
    if strategy.recipe_keys is not None:
        idle = {*Recipe.model_fields, *STEP_KEYS} - strategy.recipe_keys
    idle |= {"kernels"} if "engine" in idle else set()
    idle |= {"pooling"} if strategy.sets_pooling else set()
    idle |= set() if strategy.uses_encoder else {"model"}
    return frozenset(idle if strategy.adapts_classifier else idle | {"base_head"})


def uses_kernels(study: StudyConfig, precision: Mapping[Engine, Precision]) -> bool:
    """Tell whether the native kernels could compute any run of a study; ``precision`` is as for :func:`expand`."""
    recipes = [study.recipe_of(config) for config in study.strategies.values()]
    if any(recipe.randomness == "fast_engine" for recipe in recipes):
        return False  # the reference engine takes the masks that PyTorch's operators get
    kinds = [config.kind for config in study.strategies.values()]
    return any(
        _resolved(recipe, recipe.engine, precision) == "bf16" and recipe.engine == "fast"
        for kind, recipe in zip(kinds, recipes, strict=True)
        if "kernels" not in without_effect(kind)
    )


def _resolved(recipe: Recipe, engine: Engine, precision: Mapping[Engine, Precision]) -> Precision:
    return precision[engine] if recipe.precision == "auto" else recipe.precision


def expand(
    study: StudyConfig,
    *,
    model: ModelRef,
    data: DataRef,
    train_examples: int,
    test_examples: int,
    precision: Mapping[Engine, Precision],
    kernels: Kernels = "torch",
    base_head: BaseHead | None = None,
    own_models: Mapping[str, UsedModel] = MappingProxyType({}),
    splits: SplitRef | None = None,
    task: str = CLASSIFICATION.name,
) -> Iterator[RunSpec]:
    """Yield every cell of the grid, resolved, in the order of the study file.

    Args:
        study: The study.
        model: The study's model, pinned.
        data: The pinned data set.
        train_examples: Training examples available; the meaning of ``all``.
        test_examples: Test examples the study will score.
        precision: What ``auto`` means on this machine, by engine. Strategies that the engine does not reach take
            that of the fast one.
        kernels: What the fast engine computes with in bf16 on this machine.
        base_head: What is done with the classification head of the base; None where it has none. It concerns only
            strategies that have a head of this kind.
        own_models: By label, the models of strategies that do not train the study's.
        splits: What the parts rest on besides texts and labels.
        task: What is learned.

    Yields:
        Specs by subset draw, then seed, then size, then strategy, then setting, then fold; the run on all
        texts after a cross-validation is the last.
    """
    common = study.model_dump(include=set(_COMMON))
    test_seed = study.shared_test_seed
    kernels = kernels if uses_kernels(study, precision) else "torch"
    for subset_seed, seed in study.draws:
        for size in study.train_sizes:
            for label, strategy in study.strategies.items():
                if size not in study.sizes_of(strategy):
                    continue
                recipe = study.recipe_of(strategy)
                idle = without_effect(strategy.kind)
                engine: Engine = "fast" if "engine" in idle else recipe.engine
                used = own_models.get(label, UsedModel(model, base_head))
                in_folds = capabilities_of(strategy.kind).trains_in_folds
                folds = [*range(1, study.folds + 1), 0] if in_folds else [0]
                resolved = _resolved(recipe, engine, precision)
                pooling = pooling_of(used.ref.source) if recipe.pooling == "auto" else recipe.pooling
                computes = "kernels" not in idle and recipe.engine == "fast" and resolved == "bf16"
                for (rate, chosen), fold in product(study.settings_of(strategy), folds):
                    yield RunSpec(
                        label=label,
                        kind=strategy.kind,
                        params=strategy.params,
                        learning_rate=rate,
                        train_size=train_examples if size == "all" else size,
                        seed=seed,
                        subset_seed=subset_seed,
                        test_seed=test_seed,
                        model=used.ref,
                        data=data,
                        task=task,
                        test_size=test_examples,
                        validation_fraction=study.drawn_fraction(splits),
                        folds=study.folds,
                        fold=fold,
                        splits=splits,
                        base_head=None if "base_head" in idle else used.head,
                        precision=resolved,
                        pooling=pooling,
                        kernels=kernels if computes else "torch",
                        tuned=tuple(strategy.axes),
                        without_effect=tuple(sorted(idle)),
                        **common,
                        **(recipe.model_dump(exclude={"precision", "pooling"}) | chosen),
                    )
