"""Groups of rows that are drawn as a whole, and stratified by their rarest class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups along an order of rows, numbered as they appear in it.

    A group counts as the rarest of its classes, so that what is rare is spread evenly over the parts.

    Attributes:
        number: The group of each row of the order.
        rows: Rows of each group.
        present: Whether a group holds a class; of shape ``(groups, classes)``.
        stratum: The rarest class of each group; of equally rare ones the first.
        weight: Rows of that class in the group.
    """

    number: np.ndarray
    rows: np.ndarray
    present: np.ndarray
    stratum: np.ndarray
    weight: np.ndarray

    @classmethod
    def along(cls, order: np.ndarray, labels: np.ndarray, group_of: np.ndarray) -> Groups:
        """Return the groups of the rows of an order; ``labels`` and ``group_of`` are by row."""
        _, firsts, number = np.unique(group_of[order], return_index=True, return_inverse=True)
        rank = np.empty(len(firsts), dtype=np.int64)
        rank[np.argsort(firsts)] = np.arange(len(firsts))
        number = rank[number]
        if labels.ndim == 2:
            counts = np.zeros((len(firsts), labels.shape[1]), dtype=np.int64)
            np.add.at(counts, number, labels[order])
        else:
            classes = int(labels.max(initial=-1)) + 1
            counts = np.bincount(number * classes + labels[order], minlength=len(firsts) * classes)
            counts = counts.reshape(len(firsts), classes)
        rarity = np.where(counts > 0, counts.sum(axis=0), np.iinfo(np.int64).max)
        stratum = rarity.argmin(axis=1)
        weight = counts[np.arange(len(firsts)), stratum]
        return cls(number, np.bincount(number, minlength=len(firsts)), counts > 0, stratum, weight)

    def interleaved(self) -> np.ndarray:
        """Return the groups in an order in which their strata are evenly interleaved.

        A group stands in the middle of its rows among those of its stratum. For groups of one row this is the order
        that :func:`~tunebench.data.held_out.interleaved` gives rows.
        """
        place = np.empty(len(self.rows))
        for label in np.unique(self.stratum):
            members = np.flatnonzero(self.stratum == label)
            weight = self.weight[members]
            place[members] = (np.cumsum(weight) - weight / 2) / weight.sum()
        return np.argsort(place, kind="stable")
