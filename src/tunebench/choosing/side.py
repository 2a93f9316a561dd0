"""``choose`` as one side of ``tunebench bench --choose``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tunebench.choosing.job import choose
from tunebench.execution.display import SilentDisplay
from tunebench.machine.settings import Execution


class Exam(Protocol):
    """What every side gets; :class:`tunebench.benchmarks.others.Exam` is one."""

    @property
    def texts(self) -> Sequence[Any]:
        """Labelled texts."""

    @property
    def labels(self) -> Sequence[Any]:
        """Their labels."""

    @property
    def unseen(self) -> Sequence[Any]:
        """Texts to predict."""

    @property
    def model(self) -> Path:
        """Folder of the encoder."""

    @property
    def seconds(self) -> float:
        """Time limit."""

    @property
    def threads(self) -> int:
        """Compute threads."""

    @property
    def folder(self) -> Path:
        """Where to write."""


def choose_side(exam: Exam) -> Sequence[Any]:
    """``choose`` within the limit, with all else at its default."""
    found = choose(
        exam.texts,
        exam.labels,
        budget=exam.seconds,
        model=str(exam.model),
        out=exam.folder / "choose",
        execution=Execution(threads=exam.threads),
        display=SilentDisplay(),
    )
    if found.interrupted:
        raise KeyboardInterrupt
    return list(found.predictor().predict(exam.unseen))
