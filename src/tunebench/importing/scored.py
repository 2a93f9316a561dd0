"""What is known of an imported run's scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tunebench.importing.sets import Sets
from tunebench.importing.tasks import VOCABULARIES, Vocabulary
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.scores import Scores


@dataclass
class Scored:
    """Scores, and where they come from.

    Attributes:
        task: What was learned.
        sets: The sets that were evaluated.
        plain_f1: The metric that is called just ``f1``; None where that is not known.
        classes: How many classes there are; None if not known.
        step: Step of the scored weights, where an evaluation of the log gave the same scores.
        selection_score: The task's default metric at this step, of the set that is shown.
        selection: What chose the scored weights, with the reason; None and no reason where no score shows it.
        seconds: The scoring took.
        test_sizes: Numbers of scored examples, each with its source.
        history: The log, its metrics under tunebench's names.
    """

    task: Task = CLASSIFICATION
    sets: Sets = field(default_factory=Sets)
    plain_f1: str | None = None
    scores: Scores | None = None
    classes: int | None = None
    step: int | None = None
    epoch: float | None = None
    selection_score: float | None = None
    selection: tuple[str | None, str] = (None, "")
    seconds: float | None = None
    test_sizes: list[tuple[int | None, str]] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def vocabulary(self) -> Vocabulary:
        """What scripts call the metrics of the task."""
        return VOCABULARIES[self.task.name]

    def values(self, logged: dict[str, Any], prefix: str = "") -> dict[str, float | None]:
        """Return metrics by tunebench's names; see :meth:`~tunebench.importing.tasks.Vocabulary.values`."""
        return self.vocabulary.values(logged, plain_f1=self.plain_f1, prefix=prefix)
