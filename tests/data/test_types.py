"""Fingerprints: equal exactly for equal content."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tunebench.data import Split, TextDataset
from tunebench.data.types import texts_digest


def _split(texts: list[str], labels: list[int]) -> Split:
    return Split(texts, np.array(labels, dtype=np.int64))


BASE = TextDataset("here", None, ("no", "yes"), _split(["a", "bc"], [0, 1]), _split(["d"], [1]))

CHANGES = {
    "label name": replace(BASE, label_names=("no", "yeah")),
    "cut between label names": replace(BASE, label_names=("noy", "es")),
    "text": replace(BASE, train=_split(["a", "bd"], [0, 1])),
    "cut between texts": replace(BASE, train=_split(["ab", "c"], [0, 1])),
    "order": replace(BASE, train=_split(["bc", "a"], [0, 1])),
    "label": replace(BASE, train=_split(["a", "bc"], [1, 1])),
    "test text": replace(BASE, test=_split(["e"], [1])),
    "test label": replace(BASE, test=_split(["d"], [0])),
    "no test split": replace(BASE, test=None),
    "empty test split": replace(BASE, test=_split([], [])),
    "splits exchanged": replace(BASE, train=BASE.test, test=BASE.train),
    "text moved to the other split": replace(BASE, train=_split(["a"], [0]), test=_split(["bc", "d"], [1, 1])),
}


def test_every_change_of_content_changes_the_fingerprint() -> None:
    prints = [BASE.fingerprint, *(changed.fingerprint for changed in CHANGES.values())]
    assert len(set(prints)) == len(prints)


def test_where_it_came_from_does_not_change_the_fingerprint() -> None:
    moved = replace(BASE, source="there", revision="abc", train=_split(["a", "bc"], [0, 1]))
    assert moved.fingerprint == BASE.fingerprint


def test_fingerprint_is_pinned() -> None:
    # Part of every run id: a change here orphans every study there is.
    assert BASE.fingerprint == "90b70141a367f04d0fb519a0858820f7"


@settings(deadline=None)
@given(st.lists(st.text(max_size=3), max_size=4), st.lists(st.text(max_size=3), max_size=4))
def test_different_texts_have_different_digests(first: list[str], second: list[str]) -> None:
    assume(first != second)
    assert texts_digest(first) != texts_digest(second)


def test_labels_must_fit_texts() -> None:
    with pytest.raises(ValueError, match="2 texts"):
        _split(["a", "b"], [0])
