"""What a study says of one strategy."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from tunebench.recipe import TUNABLE, Recipe
from tunebench.schema import Frozen
from tunebench.strategies import STRATEGIES
from tunebench.study.models_axis import AT
from tunebench.study.settings_axes import repeats


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


def refuse_repeats(value: Any) -> Any:
    """Refuse a list that holds a value twice; what is no list is kept as it is."""
    if isinstance(value, tuple) and len(set(value)) != len(value):
        raise ValueError(f"holds the same value twice: {list(value)}")
    return value


#: Numbers of labels, or all that the data has.
TrainSizes = Annotated[
    tuple[Annotated[int, Field(ge=2)] | Literal["all"], ...],
    Field(min_length=1),
    AfterValidator(refuse_repeats),
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
    #: The training sizes it is for; None for all of the study's.
    train_sizes: TrainSizes | None = None
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
        keys = ("kind", "learning_rate", "model", "model_revision", "train_sizes")
        own = {key: fields.pop(key) for key in keys if key in fields}
        strategy = STRATEGIES.get(own["kind"]) if isinstance(own.get("kind"), str) else None
        # A parameter of the strategy stands before a setting of the same name: pooling.
        params = set() if strategy is None else set(strategy.params.model_fields)
        recipe = {key: fields.pop(key) for key in Recipe.model_fields if key in fields and key not in params}
        axes = {key: recipe.pop(key) for key in TUNABLE if isinstance(recipe.get(key), (list, tuple))}
        if axes or "axes" in fields:
            stored = fields.pop("axes", {})
            own["axes"] = stored | axes if isinstance(stored, dict) else stored
        if recipe or "recipe" in fields:
            stored = fields.pop("recipe", {})
            own["recipe"] = stored | recipe if isinstance(stored, dict) else stored
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


#: Of a strategy; with its model behind the sign.
_LABEL = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,39}}({AT}[A-Za-z0-9_.-]{{1,60}})?")


def _by_label(value: Any) -> Any:
    """Accept a list of kinds, or a mapping from labels; what is odd of a single strategy its validators say."""
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


def _with_kind(label: str, raw: Any) -> Any:
    """Let the label be the kind where none is given."""
    if raw is None:
        return {"kind": label}
    return {"kind": label, **raw} if isinstance(raw, dict) else raw


#: The strategies of a study, by label.
Strategies = Annotated[dict[str, StrategyConfig], BeforeValidator(_by_label), Field(min_length=1)]
