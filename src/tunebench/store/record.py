"""What a run leaves behind: one versioned JSON record, and the flat row made from it.

Undefined is ``None``, never 0 or a sentinel. What may be ``None`` only because a run was imported is always
there in a run of our own.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import AliasChoices, Field, field_validator

from tunebench.files import StoredFile
from tunebench.schema import Part
from tunebench.store.imported import AnyRun, Provenance, parse_spec
from tunebench.tasks.base import Task
from tunebench.tasks.registry import TASKS
from tunebench.tasks.scores import Scores

#: Format of a record. 1 held three scores as fields; 2 holds all metrics by name. Both are read.
RECORD_VERSION = 2
#: Formats that can be read.
READABLE = (1, RECORD_VERSION)
#: Why some fields may be None.
NONE_WHERE_IMPORTED = "None if an imported folder does not tell"

#: ``complete`` is trained to the end, and scored unless the test part is still locked; ``pruned`` was
#: stopped by the search for a learning rate; ``failed`` and ``out_of_memory`` have an error. A planned run
#: without a record is ``pending``, ``running`` or ``left_out`` (the budget did not reach it).
Status = Literal["complete", "pruned", "failed", "out_of_memory", "pending", "running", "left_out"]


class Failure(Part):
    """Why a run did not end."""

    type: str
    message: str
    traceback: str


class Parameters(Part):
    """Parameter counts; ``adapter + head = trainable`` (for full fine-tuning the encoder is the adapter)."""

    total: int | None = Field(description=NONE_WHERE_IMPORTED)
    trainable: int
    adapter: int | None = Field(description=NONE_WHERE_IMPORTED)
    head: int | None = Field(description=NONE_WHERE_IMPORTED)


class Examples(Part):
    """How many examples each part held, and where the parts came from."""

    train: int | None = Field(description=NONE_WHERE_IMPORTED)
    validation: int | None = Field(description=NONE_WHERE_IMPORTED)
    test: int | None = Field(description=NONE_WHERE_IMPORTED)
    train_per_class: list[int] = Field(description="empty where not known, and where texts have no labels")
    validation_per_class: list[int]
    test_per_class: list[int]
    test_held_out: bool = Field(description="no test split was given; one was held out of the training data")
    validation_in_train: int | None = Field(
        default=None, description="validation examples whose text trains too; None in older records"
    )
    test_in_train: int | None = Field(default=None, description="test examples whose text trains or validates too")
    numbers: dict[str, dict[str, float]] = Field(
        default_factory=dict,
        description="of numbers to predict, by part: mean, sd, minimum, median, maximum; empty of labels",
    )
    copies_left_out: int = Field(
        default=0, description="rows that share a text or a group with another part, and are used nowhere"
    )


class Selected(Part):
    """Which checkpoint was scored, and why."""

    by: str = Field(description="'validation', 'last', 'test', 'folds', or 'not known' of an imported run")
    step: int
    epoch: float | None = Field(description=NONE_WHERE_IMPORTED)
    score: float | None = Field(
        validation_alias=AliasChoices("score", "macro_f1"),
        description="the study's metric on the selection split; None when nothing selected. Called macro_f1 in "
        "records of format 1",
    )


class Timing(Part):
    """Seconds of one run, summed over its resumptions."""

    train_seconds: float | None = Field(description="training steps only: no evaluation, no checkpoints")
    eval_seconds: float | None = Field(description="evaluations during training")
    test_seconds: float | None = Field(description="the one scoring of the test split; None while it is locked")
    wall_seconds: float | None = Field(description="of an imported run: the Trainer's train_runtime")
    cpu_seconds: float | None = Field(description=NONE_WHERE_IMPORTED)
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
    tokens_padded: int | None = Field(description=NONE_WHERE_IMPORTED)
    train_flops: float | None = Field(description="own count: engine/flops.py")
    trainer_total_flos: float | None = Field(description="the Trainer's count: frozen weights and padding included")
    peak_memory_bytes: int | None = Field(description=NONE_WHERE_IMPORTED)
    artifact_bytes: int | None = Field(description=NONE_WHERE_IMPORTED)
    price: float | None = Field(
        default=None, description="of answering the test part, as whoever imported the answers stated it"
    )
    currency: str | None = Field(default=None, description="of the price, as stated")


class Environment(Part):
    """Where the run took place."""

    versions: dict[str, str]
    machine: dict[str, Any]
    device: str | None = Field(description=NONE_WHERE_IMPORTED)
    threads: int | None = Field(description=NONE_WHERE_IMPORTED)
    world_size: int | None = Field(
        default=1,
        description="processes that trained the run together, each with its threads; " + NONE_WHERE_IMPORTED,
    )


class RunRecord(Part):
    """Everything known about one run."""

    schema_version: int = RECORD_VERSION
    run_id: str
    status: Status
    spec: AnyRun
    started: str | None = Field(description=NONE_WHERE_IMPORTED)
    finished: str | None = Field(description=NONE_WHERE_IMPORTED)
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
    thresholds: tuple[float, ...] | None = Field(
        default=None,
        description="chosen on validation, one a label, above which it is given; None: 0.5, or a task without any",
    )
    temperature: float | None = Field(
        default=None,
        description="chosen on validation; stored predictions and all probabilities are of logits divided by it. "
        "None: of the logits as they are",
    )
    imported: Provenance | None = Field(default=None, description="only of a run that was imported")

    @property
    def task(self) -> Task:
        """What was learned, with the thresholds of this run."""
        return TASKS[self.spec.task].at(self.thresholds)

    @field_validator("schema_version")
    @classmethod
    def _as_of_today(cls, value: int) -> int:
        """A record of an older format becomes one of today's as it is read."""
        return RECORD_VERSION

    @field_validator("spec", mode="before")
    @classmethod
    def _imported_or_not(cls, value: Any) -> Any:
        return parse_spec(value) if isinstance(value, dict) else value


def now() -> str:
    """Return the time in UTC, as records have it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
