"""The settings of one training, and the bases of all that is stored: what a run's id rests on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

#: For ``Field(json_schema_extra=...)`` of anything added to specs or parameters after the first records:
#: its default must mean what was done before it was there, and then does not enter a run's id.
ADDED_LATER: dict[str, Any] = {"added_later": True}


def added_later(neutral: Any) -> dict[str, Any]:
    """Return :data:`ADDED_LATER` for a field whose default is not what was done before it was there.

    Args:
        neutral: What was done before, and what a record without the field means.
    """
    return ADDED_LATER | {"neutral": neutral}


@cache
def neutral_values(model: type[BaseModel]) -> dict[str, Any]:
    """Return, for each field declared with :data:`ADDED_LATER`, what a record without it means."""
    found = {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("added_later"):
            found[name] = extra.get("neutral", field.get_default(call_default_factory=True))
    return found


def as_recorded(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Add to recorded values the fields that came later and whose default is not what was done before."""
    neutral = {name: value for name, value in neutral_values(model).items() if name not in values}
    defaults = {name: model.model_fields[name].get_default(call_default_factory=True) for name in neutral}
    return values | {name: value for name, value in neutral.items() if value != defaults[name]}


def without_neutral(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Drop fields declared with :data:`ADDED_LATER` that have their neutral value, or that nothing switches on."""
    neutral, idle = neutral_values(model), switched_off(values, model)
    return {
        name: value
        for name, value in values.items()
        if name not in idle and (name not in neutral or value != neutral[name])
    }


def switched_off(values: Mapping[str, Any], model: type[BaseModel]) -> set[str]:
    """Return the fields that have an effect only with another value of some other field.

    A field says so by ``only_with``: the other field, and its value or a list of its values.
    """
    neutral, found = neutral_values(model), set()
    for name in model.model_fields.keys() & values.keys():
        extra: Any = model.model_fields[name].json_schema_extra or {}
        for other, wanted in extra.get("only_with", {}).items():
            # A record from before there was the other field lacks it.
            value = values.get(other, neutral.get(other))
            if value not in (wanted if isinstance(wanted, list) else [wanted]):
                found.add(name)
    return found


#: A run with fewer steps than the first is doubted, and warned of. The second is what is advised: with warm-up and
#: a fitting rate, more steps changed MiniLM's scores little (docs/choose.md).
FEW_STEPS, ENOUGH_STEPS = 100, 300

#: Settings that a strategy may list for the search, beside its learning rates.
TUNABLE = ("batch_size", "epochs", "weight_decay", "warmup_ratio")

Selection = Literal["validation", "last", "test"]
Precision = Literal["fp32", "bf16"]
Engine = Literal["fast", "reference"]
Schedule = Literal["linear", "cosine", "constant", "cosine_with_restarts"]
#: ``adamw`` is the Trainer's default. All but ``adafactor`` and it come from bitsandbytes.
Optimizer = Literal["adamw", "adafactor", "lion", "adamw_8bit", "lion_8bit"]
#: What is kept of a text that is too long: its beginning, its end, or some of both.
Truncation = Literal["head", "tail", "head_tail"]
BatchOrder = Literal["random", "by_length"]
#: Which engine draws the order of the texts and the dropout masks of the reference engine: itself, or the fast one.
Randomness = Literal["own", "fast_engine"]
#: How much the texts of each label count in the loss: by their share of the texts, or as given.
ClassWeights = Annotated[
    Literal["balanced"] | dict[str, Annotated[float, Field(gt=0, le=1e6)]],
    # Labels may be numbers in YAML; everywhere else they are text.
    BeforeValidator(lambda raw: {str(k): v for k, v in raw.items()} if isinstance(raw, Mapping) else raw),
]


class Frozen(BaseModel):
    """Base of all specs: frozen; unknown keys are refused, and numbers that JSON cannot hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


#: A setting that another one switches on; while that is off, this one enters no run's id.
ONLY_HEAD_TAIL: dict[str, Any] = ADDED_LATER | {"only_with": {"truncation": "head_tail"}}
ONLY_FAST: dict[str, Any] = ADDED_LATER | {"only_with": {"engine": "fast"}}
ONLY_REFERENCE: dict[str, Any] = ADDED_LATER | {"only_with": {"engine": "reference"}}
ONLY_RESTARTS: dict[str, Any] = ADDED_LATER | {"only_with": {"schedule": "cosine_with_restarts"}}


class Recipe(Frozen):
    """How a run is trained, besides strategy, learning rate and data.

    A study sets the recipe of all its strategies, and a strategy may set what differs for it.
    """

    max_length: int = Field(default=256, ge=4, le=8192)
    epochs: int = Field(default=3, ge=1, le=1000)
    batch_size: int = Field(default=32, ge=1, le=4096)
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    schedule: Schedule = "linear"
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, ge=0, description="0 clips nothing")
    engine: Engine = "fast"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, json_schema_extra=ADDED_LATER)
    truncation: Truncation = Field(default="head", json_schema_extra=ADDED_LATER)
    head_share: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        json_schema_extra=ONLY_HEAD_TAIL,
        description="share of the kept tokens that comes from the beginning; for truncation: head_tail only",
    )
    frozen_dropout: bool = Field(
        default=True,
        json_schema_extra=ADDED_LATER,
        description="dropout in the layers below the lowest trained one; without it, they are computed once "
        "per text",
    )
    batches: BatchOrder = Field(
        default="random",
        json_schema_extra=ONLY_FAST,
        description="by_length groups texts of similar length, which pads less and may cost accuracy",
    )
    min_steps: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        json_schema_extra=ADDED_LATER,
        description="whole epochs are added until a run has at least this many optimisation steps; 0 adds none",
    )
    patience: int = Field(
        default=0,
        ge=0,
        le=1_000,
        json_schema_extra=ADDED_LATER,
        description="evaluations on validation without a better score after which training stops; 0 never stops "
        "early",
    )
    class_weights: ClassWeights | None = Field(
        default=None,
        json_schema_extra=ADDED_LATER,
        description="factor of the loss of each label's texts: balanced, or a mapping from labels to factors",
    )
    focal_gamma: float = Field(
        default=0.0,
        ge=0,
        le=10,
        json_schema_extra=ADDED_LATER,
        description="exponent of the focal loss, which lowers the loss of texts that are right already; 0 is "
        "cross-entropy",
    )
    gradient_accumulation: int = Field(
        default=1,
        ge=1,
        le=1024,
        json_schema_extra=ADDED_LATER,
        description="batches whose gradients make one optimisation step",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        json_schema_extra=ADDED_LATER,
        description="keep only the input of each layer for the backward pass, and compute the rest again: less "
        "memory, more time, the same result",
    )
    max_steps: int = Field(
        default=0,
        ge=0,
        le=10_000_000,
        json_schema_extra=ADDED_LATER,
        description="most optimisation steps of a run, whatever epochs say; 0 is no limit",
    )
    warmup_steps: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        json_schema_extra=ADDED_LATER,
        description="optimisation steps in which the learning rate rises; in place of warmup_ratio",
    )
    restarts: int = Field(
        default=2,
        ge=1,
        le=100,
        json_schema_extra=ONLY_RESTARTS,
        description="how often the learning rate begins anew; for schedule: cosine_with_restarts only",
    )
    oversampling: bool = Field(
        default=False,
        json_schema_extra=ADDED_LATER,
        description="repeat the texts of smaller classes until all classes have as many as the largest",
    )
    randomness: Randomness = Field(
        default="own",
        json_schema_extra=ONLY_REFERENCE,
        description="fast_engine gives the reference engine the fast engine's dropout masks and order of texts, so "
        "that runs of the two with the same seed differ by rounding only; for engine: reference only",
    )


class Part(BaseModel):
    """Base of the record's parts; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


#: Why some fields may be None.
NONE_WHERE_IMPORTED = "None if an imported folder does not tell"
