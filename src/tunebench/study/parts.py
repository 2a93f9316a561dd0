"""Parts of a study that are mappings or lists of their own: its search, its cross-validation, its draws."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from tunebench.schema import Frozen

#: Seeds that draw the training subset: one or several, each with every seed; or each seed draws its own.
SubsetSeeds = Annotated[
    Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)] | Literal["per_seed"],
    BeforeValidator(lambda value: value if isinstance(value, (list, tuple, str)) else [value]),
]


class Search(Frozen):
    """How the learning rate of each strategy, and what else it lists, is chosen, always on validation.

    A setting is a learning rate, with a value of every other list. ``grid`` runs every setting with the first
    ``seeds``, by default all that are there before the first look; with ``each``, every seed runs all settings and
    chooses its own. ``halving`` runs every setting with the first seed, and stops early those that fall behind at
    the ``first_look``-th evaluation, and at ``reduction`` times that, and so on (successive halving). The other
    seeds run at the chosen setting only. A ``first_look`` below 1 is a share of the evaluations that a run plans.
    """

    method: Literal["grid", "halving"] = "grid"
    reduction: int = Field(default=3, ge=2, le=10, description="one in this many runs continues at an evaluation")
    first_look: int | float = Field(
        default=0.3,
        gt=0,
        le=100,
        description="evaluation at which runs are first compared; below 1, as a share of a run's evaluations",
    )
    seeds: Annotated[int, Field(ge=1, le=1000)] | Literal["each"] | None = Field(
        default=None,
        description="number of seeds whose runs choose the setting of a grid; unset, all before the first look; "
        "each: every seed chooses its own",
    )
    trials: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="most settings of a strategy that are tried, drawn at random; unset, all combinations",
    )
    budget: Literal["trials", "compute"] | None = Field(
        default=None, description="what is equal for all strategies; unset, nothing is promised"
    )

    @field_validator("first_look")
    @classmethod
    def _whole_or_share(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(
                "first_look is the number of an evaluation, such as 2, or a share below 1, such as 0.3"
            )
        return int(value) if value >= 1 else value


class Validation(Frozen):
    """A cross-validation in place of one validation part, for small data; see docs/data.md."""

    folds: int = Field(
        ge=2,
        le=20,
        description="parts of each training subset; each validates once, and then all texts are trained on",
    )
