"""What a run leaves behind: one versioned JSON record, and the flat row made from it.

Undefined is ``None``, never 0 or a sentinel. What may be ``None`` only because a run was imported is always
there in a run of our own.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator

from tunebench.imported import Provenance, is_imported, parse_spec
from tunebench.spec import SCHEMA_VERSION, RunSpec

#: ``complete`` is trained to the end, and scored unless the test part is still locked; ``pruned`` was
#: stopped by the search for a learning rate; ``failed`` and ``out_of_memory`` have an error. A planned run
#: without a record is ``pending``, ``running`` or ``left_out`` (the budget did not reach it).
Status = Literal["complete", "pruned", "failed", "out_of_memory", "pending", "running", "left_out"]


class Part(BaseModel):
    """Base of the record's parts; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


#: Why some fields may be None.
_IMPORTED = "None where an imported folder does not tell"


class Failure(Part):
    """Why a run did not end."""

    type: str
    message: str
    traceback: str


class Parameters(Part):
    """Parameter counts; ``adapter + head = trainable`` (for full fine-tuning the encoder is the adapter)."""

    total: int | None = Field(description=_IMPORTED)
    trainable: int
    adapter: int | None = Field(description=_IMPORTED)
    head: int | None = Field(description=_IMPORTED)


class Examples(Part):
    """How many examples each part held, and where the parts came from."""

    train: int | None = Field(description=_IMPORTED)
    validation: int | None = Field(description=_IMPORTED)
    test: int | None = Field(description=_IMPORTED)
    train_per_class: list[int] = Field(description="empty where not known")
    validation_per_class: list[int]
    test_per_class: list[int]
    test_held_out: bool = Field(description="no test split was given; one was held out of the training data")
    validation_in_train: int | None = Field(
        default=None, description="validation examples whose text trains too; None in older records"
    )
    test_in_train: int | None = Field(default=None, description="test examples whose text trains or validates too")
    copies_left_out: int = Field(default=0, description="copies of test texts that neither train nor test")


class ClassScore(Part):
    """Scores of one class on the test split."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class Scores(Part):
    """Scores on the test split, with the selected weights."""

    macro_f1: float | None = Field(description=_IMPORTED)
    accuracy: float | None = Field(description=_IMPORTED)
    log_loss: float | None = Field(description=_IMPORTED)
    per_class: list[ClassScore]
    confusion: list[list[int]] = Field(description="rows: true class, columns: predicted class")


class Selected(Part):
    """Which checkpoint was scored, and why."""

    by: str = Field(description="'validation', 'last', 'test', or 'not known' of an imported run")
    step: int
    epoch: float | None = Field(description=_IMPORTED)
    macro_f1: float | None = Field(description="on the selection split; None when nothing selected")


class Timing(Part):
    """Seconds of one run, summed over its resumptions."""

    train_seconds: float | None = Field(description="training steps only: no evaluation, no checkpoints")
    eval_seconds: float | None = Field(description="evaluations during training")
    test_seconds: float | None = Field(description="the one scoring of the test split; None while it is locked")
    wall_seconds: float | None = Field(description="of an imported run: the Trainer's train_runtime")
    cpu_seconds: float | None = Field(description=_IMPORTED)
    seconds_per_step: float | None = Field(description="median after the warm-up steps")
    warmup_steps: int = Field(description="steps left out of seconds_per_step")
    step_seconds: list[float]
    workers: int | None = Field(description="runs side by side on this machine while this one ran")
    contended: bool | None = Field(description="CPU time shows that the machine was busy with something else")
    resumed: int = Field(description="times the run was resumed")
    prefix_seconds: float | None = Field(
        default=None,
        description="computing frozen layers' outputs for this run and those after it, in none of the parts "
        "above but wall_seconds; 0 where all were there; None where every step computes them",
    )


class TestAccess(Part):
    """One scoring of the test split."""

    __test__ = False  # no test class, whatever its name begins with

    time: str
    why: str


class Cost(Part):
    """What the run consumed."""

    tokens: int | None = Field(description="real tokens trained on, padding left out")
    tokens_padded: int | None = Field(description=_IMPORTED)
    train_flops: float | None = Field(description="own count: engine/flops.py")
    trainer_total_flos: float | None = Field(description="the Trainer's count: frozen weights and padding included")
    peak_memory_bytes: int | None = Field(description=_IMPORTED)
    artifact_bytes: int | None = Field(description=_IMPORTED)


class Environment(Part):
    """Where the run took place."""

    versions: dict[str, str]
    machine: dict[str, Any]
    device: str | None = Field(description=_IMPORTED)
    threads: int | None = Field(description=_IMPORTED)
    world_size: int | None = Field(
        default=1, description="processes that trained the run together, each with its threads; " + _IMPORTED
    )


class StoredFile(Part):
    """A file beside the record, by which damage is found."""

    bytes: int
    sha256: str


class RunRecord(Part):
    """Everything known about one run."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    status: Status
    spec: SerializeAsAny[RunSpec]
    started: str | None = Field(description=_IMPORTED)
    finished: str | None = Field(description=_IMPORTED)
    environment: Environment
    error: Failure | None = None
    parameters: Parameters | None = None
    examples: Examples | None = None
    scores: Scores | None = None
    selected: Selected | None = None
    timing: Timing | None = None
    cost: Cost | None = None
    log_history: list[dict[str, Any]] = Field(default_factory=list)
    files: dict[str, StoredFile] = Field(default_factory=dict)
    test_access: list[TestAccess] = Field(default_factory=list)
    imported: Provenance | None = Field(default=None, description="only of a run that was imported")

    @field_validator("spec", mode="before")
    @classmethod
    def _imported_or_not(cls, value: Any) -> Any:
        return parse_spec(value) if isinstance(value, dict) else value


def to_row(spec: RunSpec, *, status: Status, record: RunRecord | None = None) -> dict[str, Any]:
    """Flatten a planned run and its record, if there is one, into a row of plain values.

    Args:
        spec: The planned run.
        status: Its state.
        record: Its record; ``None`` when it has none yet.

    Returns:
        The columns that ``tunebench results`` prints; what is not known is ``None``.
    """
    parameters, scores = (record.parameters, record.scores) if record else (None, None)
    timing, cost = (record.timing, record.cost) if record else (None, None)
    trainable, macro_f1 = _get(parameters, "trainable"), _get(scores, "macro_f1")
    return {
        "run_id": spec.run_id,
        "status": status,
        "strategy": spec.label,
        "kind": spec.kind,
        "params": spec.params,
        "train_size": spec.train_size,
        "seed": spec.seed,
        "learning_rate": spec.shown_learning_rate,
        "selection": spec.selection,
        "engine": spec.engine,
        "precision": spec.precision,
        "attention_dropout": spec.attention_dropout,
        "truncation": spec.truncation,
        "head_share": spec.head_share if spec.truncation == "head_tail" else None,
        "trainable_params": trainable,
        "adapter_params": _get(parameters, "adapter"),
        "head_params": _get(parameters, "head"),
        "total_params": _get(parameters, "total"),
        "macro_f1": macro_f1,
        "accuracy": _get(scores, "accuracy"),
        "test_loss": _get(scores, "log_loss"),
        "selection_macro_f1": _get(record.selected, "macro_f1") if record else None,
        "selected_step": _get(record.selected, "step") if record else None,
        "train_seconds": _get(timing, "train_seconds"),
        "eval_seconds": _get(timing, "eval_seconds"),
        "test_seconds": _get(timing, "test_seconds"),
        "wall_seconds": _get(timing, "wall_seconds"),
        "cpu_seconds": _get(timing, "cpu_seconds"),
        "seconds_per_step": _get(timing, "seconds_per_step"),
        "contended": _get(timing, "contended"),
        "prefix_seconds": _get(timing, "prefix_seconds"),
        "tokens": _get(cost, "tokens"),
        "tokens_padded": _get(cost, "tokens_padded"),
        "train_flops": _get(cost, "train_flops"),
        "trainer_total_flos": _get(cost, "trainer_total_flos"),
        "peak_memory_bytes": _get(cost, "peak_memory_bytes"),
        "artifact_bytes": _get(cost, "artifact_bytes"),
        "origin": "imported" if is_imported(spec) else "tunebench",
        "f1_per_million": None if macro_f1 is None or not trainable else macro_f1 / (trainable / 1e6),
        "error": record.error.message if record and record.error else None,
    }


def _get(part: BaseModel | None, name: str) -> Any:
    return None if part is None else getattr(part, name)


def now() -> str:
    """Return the time in UTC, as records have it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
