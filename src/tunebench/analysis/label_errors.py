"""Several labels a text: which labels are missed, what is given in their place, and which go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunebench.analysis.evidence import Entry
from tunebench.analysis.quality import answer_of, mean_probabilities


@dataclass(frozen=True)
class LabelErrors:
    """How one label is decided on the test part; counts of texts, means over seeds.

    Attributes:
        texts: Texts that have the label.
        found: Of these, those that are given it.
        missed: Of these, those that are not.
        wrong: Texts that are given it and do not have it.
        instead: The label that is wrongly given most often where this one is missed; None where none is.
        instead_texts: To how many texts.
    """

    texts: int
    found: float
    missed: float
    wrong: float
    instead: int | None
    instead_texts: float


def label_errors(entry: Entry) -> list[LabelErrors]:
    """Return the errors of each label."""
    truth, given = entry.labels[None] == 1, entry.predictions == 1
    missed, wrong = truth & ~given, ~truth & given
    seeds = len(given)
    # For each pair: texts where the first is missed and the second wrongly given.
    swapped = np.einsum("stl,stm->lm", missed.astype(np.int64), wrong.astype(np.int64)) / seeds
    counts = [(part.sum((0, 1)) / seeds).tolist() for part in (truth & given, missed, wrong)]
    return [
        LabelErrors(
            texts=int(entry.labels[:, label].sum()),
            found=found,
            missed=lost,
            wrong=extra,
            instead=int(row.argmax()) if row.any() else None,
            instead_texts=float(row.max()),
        )
        for label, (found, lost, extra, row) in enumerate(zip(*counts, swapped, strict=True))
    ]


def worst_texts(entries: Sequence[Entry], count: int) -> tuple[np.ndarray, int]:
    """Return the positions of the test texts with the largest errors, and how many have one.

    Texts that all strategies get right in all labels are left out. The others are in order of the largest log loss
    that a strategy has on them, by its mean probabilities; strategies without any have no say in the order.
    """
    truth = entries[0].labels == 1
    losses, wrong = [], np.zeros(len(truth), dtype=bool)
    for entry in entries:
        mine = (answer_of(entry) != truth).any(1)
        of_truth = np.where(truth, shares := mean_probabilities(entry), 1 - shares)
        known = mine & (entry.logits is not None)
        losses.append(np.where(known, -np.log(np.maximum(of_truth, np.finfo(float).tiny)).mean(1), 0.0))
        wrong |= mine
    order = np.argsort(-np.max(losses, axis=0), kind="stable")
    return order[wrong[order]][:count], int(wrong.sum())


def together(entry: Entry) -> tuple[np.ndarray, np.ndarray]:
    """Count the texts that have, and that are given, both of two labels.

    Returns:
        Two symmetric matrices ``(labels, labels)``; the second is the mean over seeds.
    """
    truth, given = entry.labels.astype(np.int64), entry.predictions.astype(np.int64)
    return truth.T @ truth, np.einsum("stl,stm->lm", given, given) / len(given)
