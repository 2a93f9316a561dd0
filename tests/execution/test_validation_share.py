"""A rare class enlarges the validation part of a study that leaves its share open."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import make_specs, make_study
from tunebench.data.rules import split_ref
from tunebench.data.types import Split, TextDataset
from tunebench.execution.checks import check_sizes
from tunebench.execution.validation_share import LARGER, with_validation_share


def data(rare: int) -> TextDataset:
    """Return 200 texts of two classes to train on, of which the second has so many."""
    labels = np.array([1] * rare + [0] * (200 - rare))
    texts = [f"text {i}" for i in range(300)]
    return TextDataset("d", None, ("often", "rare"), Split(texts[:200], labels), Split(texts[200:], labels[100:]))


@pytest.mark.parametrize("rare", range(1, 12))
def test_the_smallest_share_that_works_is_taken_and_said(rare: int) -> None:
    dataset, told = data(rare), list[str]()
    splits = split_ref(dataset, validates=True)
    study = make_study(train_sizes=[200], selection="validation")
    found = with_validation_share(study, dataset, splits, tell=told.append)
    fine = [
        share
        for share in (0.1, *LARGER)
        if not check_sizes(study.model_copy(update={"validation_fraction": share}), dataset, splits)
    ]
    assert found.held_out_fraction == (fine[0] if fine else 0.1)
    assert bool(told) == (found != study) == (bool(fine) and fine[0] > 0.1)
    assert all("class rare" in line and f"{rare} of 200" in line for line in told)


def test_a_share_that_is_stated_or_begun_with_stays() -> None:
    dataset, told = data(4), list[str]()
    splits = split_ref(dataset, validates=True)
    stated = make_study(train_sizes=[200], selection="validation", validation_fraction=0.1)
    assert with_validation_share(stated, dataset, splits, tell=told.append) == stated
    assert check_sizes(stated, dataset, splits), "and it is refused"
    open_ = make_study(train_sizes=[10], selection="validation")
    begun = make_specs(make_study(train_sizes=[10], selection="validation", validation_fraction=0.3))
    kept = with_validation_share(open_, dataset, splits, begun=begun, tell=told.append)
    assert kept.validation_fraction == 0.3 and not told
    none = make_study(train_sizes=[200], selection="last")
    assert with_validation_share(none, dataset, splits, tell=told.append) == none
