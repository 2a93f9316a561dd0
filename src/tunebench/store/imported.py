"""What is known of a run that another script trained: a spec whose unknown values are ``None``.

Only ``tunebench import`` makes these. They are read, compared and shown like the project's own runs, and
never trained.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tunebench.data.reference import Copies, DataRef
from tunebench.models.reference import ModelRef
from tunebench.recipe import Engine, Frozen, Precision, Schedule, Selection, Truncation
from tunebench.study.spec import RunSpec
from tunebench.tasks.metrics import DEFAULT_METRIC

#: Recipe and protocol of an imported run that a folder may tell or a person may state.
DETAILS = (
    *("subset_seed", "test_size", "validation_fraction", "selection", "max_length", "epochs", "batch_size"),
    *("optimizer", "weight_decay", "schedule", "warmup_ratio", "max_grad_norm", "evaluations_per_epoch"),
    *("engine", "precision", "attention_dropout"),
)


class ImportedModel(ModelRef):
    """The model an imported run names; its files were not seen, so no fingerprint pins it."""

    source: str | None = None  # type: ignore[assignment]
    fingerprint: None = None  # type: ignore[assignment]


class ImportedData(DataRef):
    """The data of an imported run, told by what the folder holds of it.

    Attributes:
        label_names: Names of the classes, or their numbers where nothing names them; empty where not even
            how many there are is known.
        named: Whether they are names.
        test_labels: sha256 over the labels of the scored examples, in their order.
    """

    source: str | None = None  # type: ignore[assignment]
    fingerprint: None = None  # type: ignore[assignment]
    label_names: tuple[str, ...] = ()
    named: bool = False
    test_labels: str | None = None


class ImportedSpec(RunSpec):
    """A run that was not made here: ``None`` stands for "not known", and is never filled with a default.

    What a row of a table is about is always known: the label and the training size. Code that trains only
    meets :class:`~tunebench.study.spec.RunSpec`; code that shows runs must expect ``None`` in the fields below.

    Attributes:
        content: sha256 over the files it was read from; two imports of the same files are one run.
    """

    # These are wider than in RunSpec on purpose; nothing that trains is ever given one of these specs.
    origin: Literal["imported"] = "imported"
    content: str
    kind: str | None = None  # type: ignore[assignment]
    params: dict[str, Any] = Field(default_factory=dict)
    learning_rate: float | None = None  # type: ignore[assignment]
    seed: int | None = None  # type: ignore[assignment]
    model: ImportedModel = ImportedModel()
    data: ImportedData = ImportedData()
    subset_seed: int | None = None  # type: ignore[assignment]
    test_size: int | None = None  # type: ignore[assignment]
    validation_fraction: float | None = None  # type: ignore[assignment]
    copies: Copies | None = None  # type: ignore[assignment]
    selection: Selection | None = None  # type: ignore[assignment]
    max_length: int | None = None  # type: ignore[assignment]
    epochs: int | None = None  # type: ignore[assignment]
    batch_size: int | None = None  # type: ignore[assignment]
    optimizer: str | None = None  # type: ignore[assignment]
    weight_decay: float | None = None  # type: ignore[assignment]
    schedule: Schedule | None = None  # type: ignore[assignment]
    warmup_ratio: float | None = None  # type: ignore[assignment]
    max_grad_norm: float | None = None  # type: ignore[assignment]
    evaluations_per_epoch: int | None = None  # type: ignore[assignment]
    engine: Engine | None = None  # type: ignore[assignment]
    precision: Precision | None = None  # type: ignore[assignment]
    attention_dropout: float | None = None
    label_smoothing: float | None = None  # type: ignore[assignment]
    truncation: Truncation | None = None  # type: ignore[assignment]
    head_share: float | None = None  # type: ignore[assignment]
    frozen_dropout: bool | None = None  # type: ignore[assignment]
    min_steps: int | None = None  # type: ignore[assignment]
    patience: int | None = None  # type: ignore[assignment]
    metric: str | None = None  # type: ignore[assignment]
    batches: None = None  # type: ignore[assignment]

    @field_validator("batches", mode="before")
    @classmethod
    def _never_known(cls, value: Any) -> None:
        """Drop what imports used to claim: no folder tells how texts came together in batches."""

    @property
    def identity(self) -> dict[str, Any]:
        """What runs are compared by: all but the label and the files it was read from."""
        return self.model_dump(
            mode="json", exclude={"label", "content", "origin", "copies", "base_head", "metric", "splits"}
        )

    @property
    def run_id(self) -> str:
        """Readable prefix and 16 hex digits of sha256 over the fields it was imported with, files included."""
        # A field that came later is not in a stored spec, and must not change its id.
        known = {key: value for key, value in self.identity.items() if key in self.model_fields_set}
        if "batches" in known:
            known["batches"] = "by_length"  # what ids were made of while imports claimed it
        canonical = json.dumps({**known, "content": self.content}, sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:16]
        rate = "" if self.learning_rate is None else f"-lr{self.learning_rate:g}"
        seed = "" if self.seed is None else f"-s{self.seed}"
        return f"{self.label}-n{self.train_size}{rate}{seed}-{digest}"

    @property
    def unknown(self) -> list[str]:
        """Names of what is not known, in the words of a study file."""
        names = [name for name in ("kind", "learning_rate", "seed", *DETAILS) if getattr(self, name) is None]
        # Settings of tunebench's own engine, or "the model's own": other scripts do not have them.
        names = [name for name in names if name not in ("engine", "attention_dropout")]
        names += ["batches"]
        names += ["model"] if self.model.source is None else []
        names += ["data"] if self.data.source is None else []
        return names + ([] if self.data.named else ["label_names"])


def is_imported(spec: RunSpec) -> bool:
    """Tell whether a spec is of a run that was imported."""
    return isinstance(spec, ImportedSpec)


def parse_spec(raw: Any) -> RunSpec:
    """Validate a stored spec, imported or not.

    Raises:
        pydantic.ValidationError: It is neither.
    """
    imported = isinstance(raw, dict) and raw.get("origin") == "imported"
    return (ImportedSpec if imported else RunSpec).model_validate(raw)


class ImportedStudy(Frozen):
    """The ``study.yaml`` of imported runs: no grid gives them, so it holds only how to compare them."""

    origin: Literal["imported"] = "imported"
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    description: str = ""
    metric: str = DEFAULT_METRIC
    reference: Literal["paper"] | None = None
    margin: float = Field(default=0.5, gt=0, le=100)
    pairs: tuple[tuple[str, str], ...] | None = None


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
