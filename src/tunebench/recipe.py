"""The settings of one training, on which a run's id rests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tunebench.schema import ADDED_LATER, Frozen

#: A run with fewer steps than the first is doubted, and warned of. The second is what is advised: with warm-up and
#: a fitting rate, more steps changed MiniLM's scores little (docs/choose.md).
FEW_STEPS, ENOUGH_STEPS = 100, 300

#: Settings that a strategy may list for the search, beside its learning rates.
TUNABLE = ("batch_size", "epochs", "weight_decay", "warmup_ratio")

Selection = Literal["validation", "last", "test"]
#: What products run in. ``fp16``, which scales the loss, is for GPUs without bf16.
Precision = Literal["fp32", "bf16", "fp16"]
Engine = Literal["fast", "reference"]
Schedule = Literal["linear", "cosine", "constant", "cosine_with_restarts"]
#: ``adamw`` is the Trainer's default. All but ``adafactor`` and it come from bitsandbytes.
Optimizer = Literal["adamw", "adafactor", "lion", "adamw_8bit", "lion_8bit"]
#: What is kept of a text that is too long: its beginning, its end, or some of both.
Truncation = Literal["head", "tail", "head_tail"]
BatchOrder = Literal["random", "by_length"]
#: Which engine draws the order of the texts and the dropout masks of the reference engine: itself, or the fast one.
Randomness = Literal["own", "fast_engine"]
#: What computes the pieces of the fast layers that are no product with a weight: PyTorch's operators, or native
#: kernels (:mod:`tunebench.engine.native`), which round differently and draw other dropout masks.
Kernels = Literal["torch", "native"]
#: How much the texts of each label count in the loss: by their share of the texts, or as given.
ClassWeights = Annotated[
    Literal["balanced"] | dict[str, Annotated[float, Field(gt=0, le=1e6)]],
    # Labels may be numbers in YAML; everywhere else they are text.
    BeforeValidator(lambda raw: {str(k): v for k, v in raw.items()} if isinstance(raw, Mapping) else raw),
]


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
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    attention_dropout: float | None = Field(default=None, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, json_schema_extra=ADDED_LATER)
    pooling: Literal["auto", "first", "mean"] = Field(
        default="auto",
        json_schema_extra=ADDED_LATER,
        description="what a new classification head reads: the first token, or the mean over all tokens; auto: the "
        "mean for the first layers of a model, else the first token",
    )
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
