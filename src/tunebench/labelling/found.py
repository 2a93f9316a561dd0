"""What ``tunebench labels`` finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tunebench.analysis.doubling import Doubling


@dataclass(frozen=True)
class Suspect:
    """A label that is likely wrong; ``row`` counts from 1 in the part, as it was read."""

    part: str
    row: int
    text: str
    label: str
    likely: str
    probability: float
    likely_probability: float


@dataclass(frozen=True)
class NextText:
    """A text to label next; ``row`` counts from 1 in the file of unlabelled texts."""

    row: int
    text: str
    likely: str
    probability: float
    margin: float


@dataclass(frozen=True)
class LabelsFound:
    """What is known of the labels of a study.

    Attributes:
        study: Its name.
        doublings: What twice the labels would bring, by strategy.
        texts: Labelled texts that were looked at.
        suspects: Labels that are likely wrong, the most suspicious first.
        refused: Why labels were not looked at; empty where they were.
        next_texts: Texts to label next, the least certain first; None where no file was given.
        passed_over: Texts of that file that were passed over, and why.
        files: What was written.
        reading: What was recognised of the file of other texts, one sentence each.
    """

    study: str
    doublings: tuple[Doubling, ...]
    texts: int = 0
    suspects: tuple[Suspect, ...] = ()
    refused: str = ""
    next_texts: tuple[NextText, ...] | None = None
    passed_over: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    reading: tuple[str, ...] = ()
