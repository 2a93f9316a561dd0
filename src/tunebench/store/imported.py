"""What is known of a run that another script trained; what is not known is ``None``.

Only ``tunebench import`` makes these. They are read, compared and shown like the project's own runs, and
never trained.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tunebench.errors import StoreError
from tunebench.recipe import Engine, Precision, Recipe, Schedule, Selection, Truncation
from tunebench.schema import Frozen
from tunebench.strategies import capabilities_of
from tunebench.study.spec import RunSpec, Setting
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.metrics import DEFAULT_METRIC
from tunebench.tasks.registry import TASKS

if TYPE_CHECKING:
    from typing_extensions import TypeIs

#: Raised whenever the meaning of an imported run's spec changes. In schema 1 an id was made of all fields of the
#: time; in schema 2 it is made of those that are known, so that a new field changes no id. Both are read.
IMPORTED_SCHEMA = 2

#: Kind of a run of which only answers are known: another model was asked, and nothing was trained here.
ANSWERS = "answers"

#: Recipe and protocol of an imported run that a folder may tell or a person may state.
DETAILS = (
    *("subset_seed", "test_size", "validation_fraction", "selection", "max_length", "epochs", "batch_size"),
    *("optimizer", "weight_decay", "schedule", "warmup_ratio", "max_grad_norm", "evaluations_per_epoch"),
    *("engine", "precision", "attention_dropout"),
)


class ImportedModel(Frozen):
    """The model an imported run names; its files were not seen, so no fingerprint pins it."""

    source: str | None = None
    revision: str | None = None
    fingerprint: None = None


class ImportedData(Frozen):
    """The data of an imported run, told by what the folder holds of it.

    Attributes:
        label_names: Names of the classes, or their numbers where nothing names them; empty where not even
            how many there are is known.
        named: Whether they are names.
        test_labels: sha256 over the labels of the scored examples, in their order.
    """

    source: str | None = None
    revision: str | None = None
    fingerprint: None = None
    label_names: tuple[str, ...] = ()
    named: bool = False
    test_labels: str | None = None


class ImportedRun(Frozen):
    """A run that was not made here: ``None`` stands for "not known", and is never filled with a default.

    What a row of a table is about is always known: the label and the training size. What shows runs takes
    :data:`AnyRun`, and must expect ``None``; what trains takes a :class:`~tunebench.study.spec.RunSpec`.

    Attributes:
        content: sha256 over the files it was read from; two imports of the same files are one run.
        not_in_id: Of a run of schema 1, the fields that came after its import, of which its id was not made.
    """

    origin: Literal["imported"] = "imported"
    schema_version: int = IMPORTED_SCHEMA
    not_in_id: tuple[str, ...] = ()
    label: str
    content: str
    kind: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    learning_rate: float | None = None
    train_size: int
    seed: int | None = None
    model: ImportedModel = ImportedModel()
    data: ImportedData = ImportedData()
    subset_seed: int | None = None
    test_size: int | None = None
    validation_fraction: float | None = None
    selection: Selection | None = None
    max_length: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    weight_decay: float | None = None
    schedule: Schedule | None = None
    warmup_ratio: float | None = None
    max_grad_norm: float | None = None
    evaluations_per_epoch: int | None = None
    engine: Engine | None = None
    precision: Precision | None = None
    attention_dropout: float | None = None
    label_smoothing: float | None = None
    truncation: Truncation | None = None
    head_share: float | None = None
    frozen_dropout: bool | None = None
    min_steps: int | None = None
    patience: int | None = None
    metric: str | None = None
    task: str = CLASSIFICATION.name
    # No folder tells these.
    test_seed: None = None
    copies: None = None
    splits: None = None
    base_head: None = None
    batches: None = None
    pooling: None = None
    thresholds: None = None
    class_weights: None = None
    focal_gamma: None = None
    oversampling: None = None
    randomness: None = None
    kernels: None = None
    gradient_accumulation: None = None
    gradient_checkpointing: None = None
    max_steps: None = None
    warmup_steps: None = None
    restarts: None = None
    calibration: None = None
    folds: None = None
    sealed: None = None
    fold: None = None
    tuned: tuple[()] = ()

    @model_validator(mode="before")
    @classmethod
    def _of_schema_1(cls, raw: Any) -> Any:
        """Say which fields the id of an older import was not made of: those that its spec does not have."""
        if not isinstance(raw, dict) or raw.get("schema_version") != 1 or "not_in_id" in raw:
            return raw
        return raw | {"not_in_id": tuple(sorted(_IN_ID - raw.keys()))}

    @field_validator("batches", mode="before")
    @classmethod
    def _never_known(cls, value: Any) -> None:
        """Drop what imports used to claim: no folder tells how texts came together in batches."""

    @property
    def identity(self) -> dict[str, Any]:
        """What runs are compared by: all but the label and the files it was read from."""
        return self.model_dump(mode="json", include=set(_IN_ID))

    @property
    def effective(self) -> dict[str, Any]:
        """The identity, whatever the schema."""
        return {key: value for key, value in self.identity.items() if key != "schema_version"}

    @property
    def run_id(self) -> str:
        """Readable prefix and 16 hex digits of sha256 over what is known of the run, files included."""
        if self.schema_version == 1:
            # Made of unknown fields too, and of what imports used to claim.
            known = {key: value for key, value in self.identity.items() if key not in self.not_in_id}
            known |= {"batches": "by_length"} if "batches" in known else {}
        else:
            known = {key: value for key, value in self.identity.items() if value is not None}
        canonical = json.dumps({**known, "content": self.content}, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        rate = "" if self.learning_rate is None else f"-lr{self.learning_rate:g}"
        seed = "" if self.seed is None else f"-s{self.seed}"
        return f"{self.label}-n{self.train_size}{rate}{seed}-{digest}"

    @property
    def unknown(self) -> list[str]:
        """Names of what is not known, in the words of a study file; of answers no setting is asked for."""
        if self.kind == ANSWERS:
            return []
        names = [name for name in ("kind", "learning_rate", "seed", *DETAILS) if getattr(self, name) is None]
        # Settings of tunebench's own engine, or "the model's own": other scripts do not have them.
        names = [name for name in names if name not in ("engine", "attention_dropout")]
        names += ["batches"]
        names += ["model"] if self.model.source is None else []
        names += ["data"] if self.data.source is None else []
        return names + ([] if self.data.named else ["label_names"])

    @property
    def full_params(self) -> dict[str, Any]:
        """The strategy's parameters, as far as they are told."""
        return self.params

    @property
    def selects_by(self) -> str:
        """The metric of the selection scores: the task's default where none is told, since that was read."""
        return self.metric or TASKS[self.task].default_metric

    @property
    def setting(self) -> Setting:
        """What a search chooses; of an imported run no more than the learning rate."""
        return (self.learning_rate,)

    @property
    def takes_fast_draws(self) -> bool:
        """Whether the reference engine takes the fast engine's randomness: no other script does."""
        return False

    @property
    def own_validation(self) -> bool:
        """Whether the data's own validation part selects: that is not known."""
        return False

    @property
    def test_draw(self) -> int | None:
        """The seed that draws the test part."""
        return self.subset_seed

    @property
    def shown_learning_rate(self) -> float | None:
        """The learning rate; None if the strategy has none, or it is not known."""
        return self.learning_rate if capabilities_of(self.kind).tunes_learning_rate else None

    @property
    def without_effect(self) -> tuple[str, ...]:
        """What does not reach the run: of answers no setting does; else that is not known."""
        return (*Recipe.model_fields, "model") if self.kind == ANSWERS else ()


#: Fields that an id is made of, besides the content, and that runs are compared by.
_IN_ID = frozenset(ImportedRun.model_fields) - {
    *("origin", "not_in_id", "label", "content"),
    *("copies", "base_head", "metric", "splits", "task", "thresholds"),
    *("class_weights", "focal_gamma", "oversampling", "calibration"),
    *("gradient_accumulation", "max_steps", "warmup_steps", "restarts", "randomness", "kernels"),
}


#: What tables, figures and pages read, whoever trained it: the type checker allows only what both kinds have.
AnyRun = RunSpec | ImportedRun


def is_imported(run: AnyRun) -> TypeIs[ImportedRun]:
    """Tell whether a run was imported."""
    return isinstance(run, ImportedRun)


def is_answers(run: AnyRun) -> bool:
    """Tell whether a run is the answers of another model, asked elsewhere."""
    return isinstance(run, ImportedRun) and run.kind == ANSWERS


def trained_here(run: AnyRun) -> RunSpec:
    """Return a run of ours.

    Raises:
        StoreError: It was imported; there are no weights of it.
    """
    if isinstance(run, ImportedRun):
        raise StoreError("This run was imported; it has no weights to load.", value=run.run_id)
    return run


def parse_spec(raw: Any) -> AnyRun:
    """Validate a stored spec, imported or not.

    Raises:
        pydantic.ValidationError: It is neither.
    """
    imported = isinstance(raw, dict) and raw.get("origin") == "imported"
    return (ImportedRun if imported else RunSpec).model_validate(raw)


class ImportedStudy(Frozen):
    """The ``study.yaml`` of imported runs: no grid gives them, so it holds only how to compare them."""

    origin: Literal["imported"] = "imported"
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    description: str = ""
    metric: str = DEFAULT_METRIC
    reference: Literal["paper"] | None = None
    margin: float = Field(default=0.5, gt=0)
    pairs: tuple[tuple[str, str], ...] | None = None
    alpha: float = Field(default=0.05, gt=0, lt=0.5)


class Provenance(BaseModel):
    """Where the values of an imported record come from.

    Attributes:
        folder: Name of the folder.
        files: sha256 of every file that was read, by its path in the folder.
        found: What a value was taken or derived from, by the name of the value.
        stated: What the person who imported it stated.
        remarks: What a reader must know, one sentence each.
    """

    model_config = ConfigDict(extra="forbid")

    folder: str
    files: dict[str, str]
    found: dict[str, str]
    stated: dict[str, Any]
    remarks: list[str]
