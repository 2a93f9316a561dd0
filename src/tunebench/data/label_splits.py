"""Stratified splits of texts with several labels: what iterative stratification gives, for parts that are nested.

Iterative stratification (Sechidis et al. 2011) deals out the texts of the rarest label first, so that each part has
its share of them, then those of the next label, and so on. Here an order is dealt instead of parts, so every cut of
it is stratified, and smaller parts lie inside larger ones.

Labels are 0/1 matrices of shape ``(texts, labels)``, one of which says that a text has no other.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def spread_places(labels: np.ndarray) -> np.ndarray:
    """Return a place between 0 and 1 for each text, so that every label is spread evenly over them.

    Of a label with n texts, the k-th (from 0) stands near ``(k + 1/2) / n``. Labels are gone through from the
    rarest on. Texts that have a place from a rarer label keep it and take up the nearest of these positions; the
    others get the positions that are left, in the order in which the texts are given.
    """
    labels = np.asarray(labels, dtype=bool)
    place = np.full(len(labels), np.nan)
    for label in np.argsort(labels.sum(0), kind="stable"):
        members = np.flatnonzero(labels[:, label])
        given = np.isnan(place[members])
        taken = _nearest(np.sort(place[members[~given]]), len(members))
        left = np.delete(np.arange(len(members)), taken)
        place[members[given]] = (left + 0.5) / len(members)
    return place


def _nearest(places: np.ndarray, count: int) -> list[int]:
    """Match ascending places with distinct positions out of ``(k + 1/2) / count``, each near its own."""
    found: list[int] = []
    for number, place in enumerate(places):
        lowest = found[-1] + 1 if found else 0
        highest = count - (len(places) - number)
        found.append(int(min(max(int(place * count), lowest), highest)))
    return found


def choose_labelled(labels: np.ndarray, fraction: Fraction) -> np.ndarray:
    """Mark the texts that validate, going along them and looking back only; bool of shape ``(texts,)``.

    A text validates if validation is short of texts, and short of the text's label that is rarest so far. It also
    does if validation is short of two texts, whatever they are.
    """
    seen = np.zeros(labels.shape[1], dtype=np.int64)
    chosen = np.zeros(labels.shape[1], dtype=np.int64)
    mask = np.zeros(len(labels), dtype=bool)
    count = 0
    for row, own in enumerate(np.asarray(labels, dtype=bool)):
        seen += own
        short = (row + 1) * fraction.numerator // fraction.denominator - count
        if short < 1:
            continue
        having = np.flatnonzero(own)
        rarest = having[seen[having].argmin()]
        # Rounded, not cut off: of a rare label, a tenth would otherwise be none for a long time.
        share = (2 * seen[rarest] * fraction.numerator + fraction.denominator) // (2 * fraction.denominator)
        if short > 1 or share > chosen[rarest]:
            mask[row] = True
            chosen += own
            count += 1
    return mask
