"""What ``choose`` gives: the answer, the exported model and the next commands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.analysis.answer import Answer
from tunebench.analysis.recommend import Recommendation
from tunebench.choosing.words import next_commands
from tunebench.errors import StoreError
from tunebench.formatting import file_size, listed

if TYPE_CHECKING:
    from tunebench.inference.predictor import Predictor


@dataclass(frozen=True)
class Chosen:
    """The answer, and what was made of it.

    Attributes:
        folder: The study with everything.
        report: Its report.
        recommendation: The answer with reasons and doubts; None where the study was interrupted before one.
        model: The exported classifier; None where there is none yet.
        refit: What was trained last, and what score to expect, in a sentence or two.
        interrupted: Whether it was stopped; the same call resumes it.
        failed: Runs that failed.
        left_out: Candidates that were not compared.
        unfinished: Candidates whose runs the end of the budget stopped.
        pairs: Whether the classifier reads pairs of texts.
        answer: The recommendation in a few sentences; None with it.
    """

    folder: Path
    report: Path
    recommendation: Recommendation | None
    model: Path | None
    refit: str = ""
    interrupted: bool = False
    failed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    pairs: bool = False
    answer: Answer | None = None

    @property
    def lines(self) -> list[str]:
        """The answer, its trust, and the next commands, in about ten lines."""
        found = [] if self.answer is None else self.answer.lines
        if self.left_out:
            found.append(
                f"Not compared, as the budget had no room: {listed(self.left_out)}. A larger --budget in a new "
                "folder (--out) would tell."
            )
        if self.unfinished:
            found.append(f"Stopped at the end of the budget: {listed(self.unfinished)}. The same command resumes.")
        if self.refit:
            found.append(self.refit)
        if self.model is not None:
            size = sum(path.stat().st_size for path in self.model.iterdir() if path.is_file())
            found.append(f"Model: {self.model} ({file_size(size)})")
        return [
            *found,
            f"Report: {self.report}",
            "Next:",
            *next_commands(self.folder, self.model, pairs=self.pairs),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "folder": str(self.folder),
            "report": str(self.report),
            "model": None if self.model is None else str(self.model),
            "refit": self.refit or None,
            "more_labels": None if self.answer is None else self.answer.more_labels,
            "interrupted": self.interrupted,
            "failed": list(self.failed),
            "left_out": list(self.left_out),
            "unfinished": list(self.unfinished),
            "recommendation": None if self.recommendation is None else self.recommendation.to_dict(),
        }

    def predictor(self) -> Predictor:
        """Return the exported classifier, loaded.

        Raises:
            StoreError: There is none.
        """
        from tunebench.inference.predictor import load

        if self.model is None:
            raise StoreError("No classifier was exported.", value=str(self.folder), fix="call choose again")
        return load(self.model)
