"""What a run is: a cell of a study's grid, fully resolved, and its id, which is a hash of its spec."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from pydantic import Field, field_validator

from tunebench.data.reference import Copies, DataRef, SplitRef
from tunebench.models.reference import BaseHead, ModelRef, Pooling
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
