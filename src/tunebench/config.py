"""What a user writes: a study as frozen pydantic models, and how to execute it.

Resolving a :class:`StudyConfig` gives the runs of its grid (:mod:`tunebench.spec`). What only says *how* to execute
(device, threads, folders) is :class:`Execution` and never part of a run's id.
"""

from __future__ import annotations

import codecs
import json
import re
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tunebench.strategies import STRATEGIES, family_of, is_classical
from tunebench.strategies.base import ADDED_LATER, without_neutral

Selection = Literal["validation", "last", "test"]
Precision = Literal["fp32", "bf16"]
Engine = Literal["fast", "reference"]
Schedule = Literal["linear", "cosine", "constant"]
#: What is kept of a text that is too long: its beginning, its end, or some of both.
Truncation = Literal["head", "tail", "head_tail"]
BatchOrder = Literal["random", "by_length"]
#: Where copies of a text may go: into one part of a run, or wherever the draw puts them.
Copies = Literal["together", "anywhere"]
#: What a run does with the classification head of a base that is a finished classifier.
BaseHead = Literal["fresh", "kept"]

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


class Frozen(BaseModel):
    """Base of all specs: frozen; unknown keys are refused, and numbers that JSON cannot hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _expand_learning_rates(value: Any) -> Any:
    """Accept a number, a list, or ``{multiples_of: base, values: [...]}``."""
    if isinstance(value, dict):
        if set(value) != {"multiples_of", "values"} or not isinstance(value["values"], list):
            raise ValueError("a mapping of learning rates needs exactly the keys multiples_of and values")
        try:
            base = float(value["multiples_of"])
            # 12 significant digits: 3 * 5e-5 is written 0.00015, not 0.00015000000000000001.
            return [float(f"{base * float(multiple):.12g}") for multiple in value["values"]]
        except (TypeError, OverflowError):
            raise ValueError("multiples_of is a number, and values is a list of numbers") from None
    return value if isinstance(value, (list, tuple)) else [value]


LearningRates = Annotated[
    tuple[Annotated[float, Field(gt=0, le=10)], ...],
    BeforeValidator(_expand_learning_rates),
    Field(min_length=1),
]


#: A setting that another one switches on; while that is off, this one enters no run's id.
ONLY_HEAD_TAIL: dict[str, Any] = ADDED_LATER | {"only_with": {"truncation": "head_tail"}}
ONLY_FAST: dict[str, Any] = ADDED_LATER | {"only_with": {"engine": "fast"}}


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
        description="dropout in the layers below the lowest trained one; without it they are computed once a text",
    )
    batches: BatchOrder = Field(
        default="random",
        json_schema_extra=ONLY_FAST,
        description="by_length groups texts of similar length, which pads less and may cost accuracy",
    )


#: Draws of the training subset: one, several, or one a seed, which is then the seed's own.
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
    #: What differs from the study's :class:`Recipe`.
    recipe: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _only_what_has_effect(self) -> StrategyConfig:
        strategy = STRATEGIES[self.kind]
        if strategy.family == "classical" and self.learning_rate != (strategy.default_learning_rate,):
            raise ValueError(f"{self.kind} has no learning rate; drop the key learning_rate")
        reaching = strategy.recipe_keys
        idle = [] if reaching is None else [key for key in self.recipe if key not in reaching]
        if idle:
            only = f" (only {', '.join(sorted(reaching))} do)" if reaching else ""
            raise ValueError(f"these have no effect on {self.kind}{only}; drop them: {', '.join(idle)}")
        return self

    @classmethod
    def from_mapping(cls, label: str, raw: Any) -> StrategyConfig:
        """Split a flat mapping into kind, learning rates and validated parameters.

        Args:
            label: The key in the study; also the kind when none is given.
            raw: A mapping or ``None``.

        Raises:
            ValueError: Unknown kind, or parameters the strategy refuses.
        """
        return cls.model_validate(_with_kind(label, raw))

    @model_validator(mode="before")
    @classmethod
    def _from_flat(cls, raw: Any) -> Any:
        """Gather what is no key of its own under ``params``, so that each error keeps its key."""
        if isinstance(raw, cls):
            return raw
        if not isinstance(raw, dict):
            raise ValueError(f"a strategy is a mapping of its parameters, got {raw!r}")
        fields = dict(raw)
        own = {key: fields.pop(key) for key in ("kind", "learning_rate") if key in fields}
        recipe = {key: fields.pop(key) for key in Recipe.model_fields if key in fields}
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


Separator = Literal["comma", "semicolon", "tab", "pipe"]


class ReadOptions(Frozen):
    """How files are read, where what is recognised of them is not right; unset is recognised."""

    encoding: str | None = Field(default=None, description="of text files, such as utf-8, cp1252, utf-16")
    separator: Separator | None = Field(default=None, description="between the fields of CSV and TSV")
    quotes: bool | None = Field(
        default=None, description='whether " around a field of CSV and TSV quotes it, or is part of the text'
    )
    header: bool | None = Field(default=None, description="whether the first row of CSV and TSV names the columns")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            # Python also calls "hex" and "zip" encodings; they decode to bytes.
            known = value is None or codecs.lookup(value)._is_text_encoding
        except (LookupError, ValueError):
            known = False
        if not known:
            raise ValueError(
                f"{value!r} is no encoding that Python knows; for example utf-8, cp1252, utf-16, shift_jis"
            )
        return value


#: A column's name; YAML reads names such as 0 as numbers.
ColumnName = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value)]


def _label_name(value: Any) -> Any:
    """Return a label as it is written; YAML reads a bare 1 as a number and a bare no as false."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is no label name; write true, false, yes, no, on and off in quotes")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (int, float)) else value


LabelName = Annotated[
    str, BeforeValidator(_label_name), Field(description="a label; write true, no and the like in quotes")
]


class LabelChoices(Frozen):
    """What becomes of labels that are not what they should be; by default they are kept, and noted.

    ``merge`` renames labels, and so makes one class of several; ``alike`` does it for all that differ only in case,
    blanks, invisible characters, quotation marks around them or Unicode normal form.
    """

    merge: Literal["alike"] | dict[LabelName, LabelName] | None = Field(
        default=None, description="alike, or a mapping from a label to the one it counts as"
    )
    drop: tuple[LabelName, ...] = Field(default=(), description="labels whose rows are left out")
    missing: Literal["refuse", "drop"] = Field(default="refuse", description="rows without a label")

    @field_validator("drop", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, (str, int, float)) else value

    @field_validator("merge", mode="before")
    @classmethod
    def _with_blanks(cls, value: Any) -> Any:
        if isinstance(value, dict) and any(":" in str(key) and to is None for key, to in value.items()):
            raise ValueError("write a blank after each colon, as in {Pos: pos}")
        return value

    @model_validator(mode="after")
    def _one_step(self) -> LabelChoices:
        merge = self.merge if isinstance(self.merge, dict) else {}
        twice = sorted(name for name in merge.values() if merge.get(name, name) != name)
        if twice:
            raise ValueError(f"merge names {', '.join(twice)} on both sides; name the last label of each chain")
        both = sorted(set(self.drop) & {*merge, *merge.values()})
        if both:
            raise ValueError(f"these labels are both dropped and merged: {', '.join(both)}")
        return self


class TextChoices(Frozen):
    """What becomes of rows without a text."""

    empty: Literal["refuse", "drop"] = Field(default="refuse", description="rows whose text shows nothing")


class DataConfig(ReadOptions):
    """Where texts and labels come from; columns are found by convention unless named."""

    source: str = Field(description="packaged name, Hub name, file or folder")
    revision: str | None = Field(default=None, description="Hub revision; the default branch when unset")
    subset: str | None = Field(default=None, description="Hub configuration name")
    text_column: ColumnName | None = None
    label_column: ColumnName | None = None
    labels: LabelChoices = Field(default_factory=LabelChoices)
    texts: TextChoices = Field(default_factory=TextChoices)


class Search(Frozen):
    """How the learning rate of each strategy is chosen, always on validation.

    ``grid`` runs every rate with every seed. ``halving`` runs every rate with the first seed, stops early
    those that fall behind at the ``first_look``-th evaluation, and at ``reduction`` times that, and so on
    (successive halving), and runs the other seeds at the chosen rate only.
    """

    method: Literal["grid", "halving"] = "grid"
    reduction: int = Field(default=3, ge=2, le=10, description="of so many at an evaluation, one goes on")
    first_look: int = Field(default=1, ge=1, le=100, description="evaluation at which runs are first compared")
    budget: Literal["trials", "compute"] | None = Field(
        default=None, description="what every strategy gets the same of; unset promises nothing"
    )


class StudyConfig(Recipe):
    """A whole study: its axes, its data, and the recipe its strategies share.

    Axes: ``strategies`` (with learning rates), ``train_sizes``, ``seeds``.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    description: str = ""
    model: str = Field(description="packaged name, Hub name or folder")
    model_revision: str | None = None
    keep_head: bool = Field(
        default=False,
        description="begin with the classification head of a model that is a classifier already, its classes "
        "matched by name; otherwise it is drawn from the seed",
    )
    data: DataConfig

    strategies: dict[str, StrategyConfig] = Field(min_length=1)
    train_sizes: tuple[Annotated[int, Field(ge=2)] | Literal["all"], ...] = Field(min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(default=(42,), min_length=1)

    subset_seed: SubsetSeeds = Field(
        default=(42,), description="draws of the training subset; one, several, or per_seed: another one a seed"
    )
    test_size: int | None = Field(default=None, ge=2)
    test_seed: int | None = Field(
        default=None, ge=0, lt=2**31, description="draws the test part; unset, the first subset's seed does"
    )
    validation_fraction: float | None = Field(default=None, ge=0, lt=0.9)
    copies: Copies = Field(
        default="together",
        description="together: a copy of a text that tests or validates never trains; anywhere: the draw decides",
    )
    selection: Selection = "validation"

    optimizer: Literal["adamw"] = "adamw"
    evaluations_per_epoch: int = Field(default=2, ge=1, le=100)

    search: Search = Field(default_factory=Search)
    margin: float = Field(default=0.5, gt=0, le=100, description="macro F1 points within which two are equal")
    pairs: tuple[tuple[str, str], ...] | None = Field(
        default=None, description="labels to compare two by two; all pairs when unset"
    )

    @field_validator("data", mode="before")
    @classmethod
    def _data_from_string(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

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
                raise ValueError(f"{label!r} is no strategy label: letters, digits, '_', '.', '-', at most 40")
        return {label: _with_kind(label, raw) for label, raw in value.items()}

    @field_validator("train_sizes", "seeds", "subset_seed")
    @classmethod
    def _no_duplicates(cls, value: Any) -> Any:
        if isinstance(value, tuple) and len(set(value)) != len(value):
            raise ValueError(f"holds the same value twice: {list(value)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        if self.selection == "test" and self.validation_fraction:
            raise ValueError("selection: test leaves no use for a validation part; drop validation_fraction")
        if self.selection == "validation" and self.validation_fraction == 0:
            raise ValueError("selection: validation needs a validation part; drop validation_fraction: 0")
        counts = {
            label: len(strategy.learning_rate)
            for label, strategy in self.strategies.items()
            if not is_classical(strategy.kind)
        }
        if self.search.budget == "trials" and len(set(counts.values())) > 1:
            raise ValueError(
                "search.budget: trials promises every strategy as many learning rates; they have "
                + ", ".join(f"{label} {count}" for label, count in counts.items())
            )
        if self.search.method == "halving" and self.selection != "validation":
            raise ValueError("search.method: halving chooses on validation; it needs selection: validation")
        unknown = sorted({label for pair in self.pairs or () for label in pair} - set(self.strategies))
        if unknown:
            known = ", ".join(self.strategies)
            raise ValueError(f"pairs names no strategy of the study: {', '.join(unknown)}; allowed: {known}")
        alone = [first for first, second in self.pairs or () if first == second]
        if alone:
            raise ValueError(f"pairs compares a strategy with itself: {', '.join(alone)}")
        self._check_head_share()
        few_shot = [label for label, strategy in self.strategies.items() if family_of(strategy.kind) == "few_shot"]
        if few_shot and len(self.draws) > 1 and len({subset for subset, _ in self.draws}) == 1:
            raise ValueError(
                f"{', '.join(few_shot)} learns from few labels, and which ones they are decides most: several "
                "seeds on one draw would hide it; set subset_seed: per_seed"
            )
        cells: dict[str, str] = {}
        for label, strategy in self.strategies.items():
            for rate in strategy.learning_rate:
                recipe = without_neutral(self.recipe_of(strategy).model_dump(mode="json"), Recipe)
                key = json.dumps([strategy.kind, rate, strategy.params, recipe], sort_keys=True)
                if key in cells:
                    raise ValueError(f"strategies {cells[key]!r} and {label!r} hold the same run twice")
                cells[key] = label
        return self

    def _check_head_share(self) -> None:
        """Refuse a share that no text is cut by."""
        kept = {label: self.recipe_of(strategy).truncation for label, strategy in self.strategies.items()}
        idle = [
            label for label, s in self.strategies.items() if "head_share" in s.recipe and kept[label] != "head_tail"
        ]
        everywhere = self.head_share != Recipe.model_fields["head_share"].default
        if idle or (everywhere and "head_tail" not in kept.values()):
            where = f" (strategy {', '.join(idle)})" if idle else ""
            raise ValueError(f"head_share{where} has no effect without truncation: head_tail; drop it, or set both")

    def recipe_of(self, strategy: StrategyConfig) -> Recipe:
        """Return the recipe of one strategy: the study's, with what the strategy sets itself."""
        return Recipe.model_validate(self.model_dump(include=set(Recipe.model_fields)) | strategy.recipe)

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
    def held_out_fraction(self) -> float:
        """Share of each training subset that is set aside for validation (0 when nothing selects on it)."""
        if self.validation_fraction is not None:
            return self.validation_fraction
        return 0.1 if self.selection == "validation" else 0.0


class Execution(Frozen):
    """How to execute; never part of a run's id."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    workers: int = Field(default=1, ge=1)
    processes: int = Field(
        default=1, ge=1, le=1024, description="that train each run together; threads are each one's"
    )
    executor: Literal["serial", "processes", "ray"] | None = Field(
        default=None, description="unset: processes where there are several workers"
    )
    ray_address: str | None = Field(default=None, description="host:port or ray://host:port; None starts a cluster")
    trackers: tuple[str, ...] = Field(default=(), description="told what is logged; see tunebench.tracking")
    #: Runs whose test part stays locked until a learning rate is chosen.
    locked: frozenset[str] = frozenset()
    prefix_cache: int | None = Field(
        default=2 * 10**9, ge=1, description="bytes a study may keep of frozen layers' outputs; None keeps nothing"
    )
    keep_memory: bool | None = Field(
        default=None,
        description="keep freed pages between steps; unset: with the fast engine only",
    )
