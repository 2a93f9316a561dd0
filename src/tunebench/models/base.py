"""A base model, and what becomes of a classification head that it has already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunebench.errors import ModelError
from tunebench.models.weights import SINGLE_LABEL, StoredWeights, few_of
from tunebench.tasks.registry import task_of

if TYPE_CHECKING:
    from tunebench.models.reference import BaseHead


@dataclass(frozen=True)
class Base:
    """A base model whose weights were checked: its encoder is complete.

    Attributes:
        stored: Its weights.
        head: Names of the classification head it has already; none where it has none.
        drawn: Parameters of the head that will be drawn, whatever becomes of :attr:`head`.
        lacking: Those of :attr:`drawn` that pretrained encoders of the family are saved with: BERT's pooler.
        label_names: Its classes, where it has a head.
        problem: The ``problem_type`` of its configuration.
        pickled_head: Whether it is a SetFit model, whose head is not read.
        source: Its folder.
    """

    stored: StoredWeights
    head: tuple[str, ...]
    drawn: tuple[str, ...]
    lacking: tuple[str, ...]
    label_names: tuple[str, ...]
    problem: str | None
    pickled_head: bool
    source: str

    def use_of_head(
        self, *, keep: bool, label_names: Sequence[str], problem_type: str = SINGLE_LABEL
    ) -> BaseHead | None:
        """Return what a run does with the head of the base; None where there is none and none is asked for.

        Args:
            keep: Whether the user asks to keep it.
            label_names: The classes of the data.
            problem_type: What Transformers calls the task.

        Raises:
            ModelError: It is to be kept, and cannot be.
        """
        if keep:
            self.rows(label_names, problem_type)
            return "kept"
        return "fresh" if self.head else None

    def rows(self, label_names: Sequence[str], problem_type: str = SINGLE_LABEL) -> list[int]:
        """Return which row of the stored head each class of the data is, matched by name.

        Raises:
            ModelError: There is no such head, or its classes are not those of the data.
        """
        what = None
        if not self.head:
            what = "The base has no classification head that could be kept."
        elif not task_of(problem_type).labelled:
            what = "A head that predicts numbers is trained on a scale of its own, so it is always a new one."
        elif (self.problem or SINGLE_LABEL) != problem_type:
            trained = {SINGLE_LABEL: "one class per text"}.get(problem_type, "several labels per text")
            what = f"The head of the base was not trained for {trained} ({self.problem or 'no problem_type'})."
        elif self.drawn:
            what = f"The head of the base is incomplete; missing: {few_of(self.drawn)}."
        if what is not None:
            raise ModelError(what, value=self.source, fix="remove keep_head; then a head is drawn from the seed")
        if sorted(self.label_names) != sorted(label_names) or len(set(label_names)) < len(label_names):
            raise ModelError(
                "The classes of the base's head are not those of the data, so it cannot be kept.",
                value=", ".join(self.label_names),
                allowed=", ".join(label_names),
                fix="remove keep_head; then a head is drawn from the seed. Or, if only the names differ, "
                "correct id2label in the base's config.json",
            )
        return [self.label_names.index(name) for name in label_names]

    def remarks(self, use: BaseHead | None) -> list[str]:
        """Say what is done to the base that its user may not expect.

        Args:
            use: From :meth:`use_of_head`.
        """
        lines = []
        if self.stored.prefix:
            lines.append(f"model: the prefix {self.stored.prefix!r} was removed from the names of its weights")
        classes = ", ".join(self.label_names)
        if use == "fresh":
            lines.append(
                f"model: it is already a classifier ({classes}); its head is replaced by a new one, drawn from "
                "the seed (keep_head: true keeps it)"
            )
        elif use == "kept":
            lines.append(f"model: its classification head ({classes}) is kept, its classes matched by name")
        if self.pickled_head:
            lines.append("model: it is a SetFit model; its pickled head is not read, only its encoder is used")
        if self.lacking:
            lines.append(
                f"model: it lacks {few_of(self.lacking)}, which encoders of its family are usually saved with; "
                "they are drawn with the head"
            )
        return lines
