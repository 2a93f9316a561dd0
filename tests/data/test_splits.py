"""Parts: nested, disjoint, stratified, and the very subsets of the report."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tunebench.data.held_out import held_out_count, hold_out, shuffled
from tunebench.data.rules import SplitRules
from tunebench.data.splits import Parts, draw_parts
from tunebench.errors import DataError

FRACTIONS = st.sampled_from([0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 1 / 3, 0.5, 0.7, 0.89])


@st.composite
def label_arrays(draw: st.DrawFn, max_class: int = 60) -> np.ndarray:
    """Labels of two to five classes, balanced or not, in any order."""
    counts = draw(st.lists(st.integers(1, max_class), min_size=2, max_size=5))
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(draw(st.integers(0, 99))).permutation(labels)


def _cut(labels: np.ndarray, size: int, **options: Any) -> Parts:
    defaults = {"test_labels": np.array([0, 1]), "subset_seed": 42, "validation_fraction": 0.1, "test_size": None}
    options = defaults | options
    rules = SplitRules(copies_of=options.pop("copies_of", None))
    if options["test_size"] is None:
        test = options["test_labels"]
        options["test_size"] = held_out_count(labels, None) if test is None else len(test)
    return draw_parts(train_labels=labels, rules=rules, **options).cut(size)


def available_train(examples: int, *, has_test: bool, test_size: int | None, left_out: int = 0) -> int:
    """How many examples there are to train on: those neither held out for testing nor left out."""
    return examples if has_test else examples - held_out_count(np.zeros(examples), test_size) - left_out


def _try_cut(labels: np.ndarray, size: int, **options: Any) -> Parts | None:
    try:
        return _cut(labels, size, **options)
    except DataError:
        return None


def _valid_cut(labels: np.ndarray, size: int, **options: Any) -> Parts:
    parts = _try_cut(labels, size, **options)
    assume(parts is not None)
    assert parts is not None
    return parts


# --- the shuffled order -------------------------------------------------------------------------


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 3000), st.integers(0, 2**31 - 1))
def test_order_is_that_of_datasets(count: int, seed: int) -> None:
    import datasets

    theirs = datasets.Dataset.from_dict({"i": range(count)}).shuffle(seed=seed)
    assert shuffled(count, seed).tolist() == list(theirs["i"])


def test_order_of_the_report_is_pinned() -> None:
    assert shuffled(25_000, 42)[:5].tolist() == [19923, 18453, 12236, 16941, 8218]


@settings(deadline=None)
@given(label_arrays(), st.data(), FRACTIONS, st.integers(0, 9))
def test_subset_is_the_beginning_of_the_order(
    labels: np.ndarray, data: st.DataObject, fraction: float, seed: int
) -> None:
    size = data.draw(st.integers(1, len(labels)))
    parts = _valid_cut(labels, size, validation_fraction=fraction, subset_seed=seed)
    together = np.concatenate([parts.train, parts.validation])
    assert sorted(together.tolist()) == sorted(shuffled(len(labels), seed)[:size].tolist())
    # Each part keeps the order.
    place = np.argsort(shuffled(len(labels), seed))
    assert (np.diff(place[parts.train]) > 0).all() and (np.diff(place[parts.validation]) > 0).all()


# --- training and validation --------------------------------------------------------------------


@settings(deadline=None)
@given(label_arrays(), st.data(), FRACTIONS)
def test_sizes_are_nested_part_by_part(labels: np.ndarray, data: st.DataObject, fraction: float) -> None:
    small = data.draw(st.integers(1, len(labels)))
    large = data.draw(st.integers(small, len(labels)))
    inner = _valid_cut(labels, small, validation_fraction=fraction)
    outer = _cut(labels, large, validation_fraction=fraction)
    assert inner.train.tolist() == outer.train[: len(inner.train)].tolist()
    assert inner.validation.tolist() == outer.validation[: len(inner.validation)].tolist()


@settings(deadline=None)
@given(label_arrays(), st.data(), st.integers(1, 89))
def test_validation_is_the_floor_of_its_share_in_every_class(
    labels: np.ndarray, data: st.DataObject, percent: int
) -> None:
    size = data.draw(st.integers(1, len(labels)))
    parts = _valid_cut(labels, size, validation_fraction=percent / 100)
    subset = np.concatenate([parts.train, parts.validation])
    for label in np.unique(labels):
        count = int((labels[subset] == label).sum())
        # Decimal: 0.29 * 100 is 28.999999999999996 in floating point.
        expected = int(Decimal(count) * Decimal(percent) / 100)
        assert (labels[parts.validation] == label).sum() == expected
        assert 1 <= expected < count


def test_thirds_are_thirds() -> None:
    labels = np.tile([0, 1], 300)
    parts = _cut(labels, 600, validation_fraction=1 / 3)
    assert np.bincount(labels[parts.validation]).tolist() == [100, 100]


def test_without_a_fraction_nothing_is_set_aside() -> None:
    assert len(_cut(np.tile([0, 1], 9), 18, validation_fraction=0.0).validation) == 0


@settings(deadline=None)
@given(label_arrays(max_class=25), FRACTIONS)
def test_smallest_size_named_in_the_error_is_the_smallest_that_works(labels: np.ndarray, fraction: float) -> None:
    works = [
        size
        for size in range(1, len(labels) + 1)
        if _try_cut(labels, size, validation_fraction=fraction) is not None
    ]
    # Either no size works, or every one from the smallest on does.
    assert works == (list(range(works[0], len(labels) + 1)) if works else [])
    for size in {1, (works or [len(labels) + 1])[0] - 1} - {0}:
        if size in works:
            continue
        with pytest.raises(DataError, match="stratif") as caught:
            _cut(labels, size, validation_fraction=fraction)
        found = re.search(r"allowed: at least (\d+)\n", str(caught.value))
        assert (int(found[1]) if found else None) == (works[0] if works else None)


@settings(deadline=None)
@given(label_arrays(max_class=25), st.data(), FRACTIONS)
def test_size_is_accepted_exactly_when_every_part_has_every_class(
    labels: np.ndarray, data: st.DataObject, fraction: float
) -> None:
    size = data.draw(st.integers(1, len(labels)))
    # The slow definition: walk along the order, and count.
    exact = Decimal(1) / 3 if fraction == 1 / 3 else Decimal(str(fraction))
    seen = dict.fromkeys(np.unique(labels).tolist(), 0)
    trained, validated = set(), set()
    for label in labels[shuffled(len(labels), 42)[:size]].tolist():
        before, seen[label] = seen[label], seen[label] + 1
        # The nudge is for the third, which no decimal is.
        grows = int(exact * seen[label] + Decimal("1e-12")) > int(exact * before + Decimal("1e-12"))
        (validated if grows else trained).add(label)
    possible = trained == set(seen) and (validated == set(seen) or not fraction)
    assert (_try_cut(labels, size, validation_fraction=fraction) is not None) == possible


@settings(deadline=None)
@given(label_arrays(max_class=40), st.data(), FRACTIONS, st.booleans())
def test_the_fraction_in_the_error_is_the_smallest_offered_that_works(
    labels: np.ndarray, data: st.DataObject, fraction: float, held_out: bool
) -> None:
    size = data.draw(st.integers(1, len(labels)))
    options: dict[str, Any] = {"test_labels": None} if held_out else {}
    try:
        _cut(labels, size, validation_fraction=fraction, **options)
    except DataError as error:
        offered = re.search(r"set validation_fraction: ([\d.]+)", str(error.fix))
        smaller = [percent / 100 for percent in (*range(5, 50, 5), *range(50, 90, 10)) if percent / 100 > fraction]
        if "too small to stratify: " in error.what and "training size" in error.what and fraction:
            works = [f for f in smaller if _try_cut(labels, size, validation_fraction=f, **options)]
            assert (float(offered[1]) if offered else None) == (works[0] if works else None)
        elif offered is not None and "for every part" in error.what:
            # Enough for every class; whether a size is too small is said next.
            try:
                _cut(labels, size, validation_fraction=float(offered[1]), **options)
            except DataError as again:
                assert "for every part" not in again.what


def test_size_larger_than_the_data_names_the_largest() -> None:
    with pytest.raises(DataError, match="larger than the data") as caught:
        _cut(np.tile([0, 1], 50), 101)
    assert "at most 100" in str(caught.value)
    assert len(_cut(np.tile([0, 1], 50), 100).train) == 90


# --- the test part ------------------------------------------------------------------------------


def test_whole_test_split_in_its_order() -> None:
    for size in (None, 30):
        parts = _cut(np.tile([0, 1], 50), 100, test_labels=np.tile([0, 0, 1], 10), test_size=size)
        assert parts.test.tolist() == list(range(30))
        assert parts.test_from == "test" and not parts.test_held_out


def test_test_split_may_lack_a_class() -> None:
    assert len(_cut(np.tile([0, 1], 50), 100, test_labels=np.zeros(9, dtype=int)).test) == 9


@settings(deadline=None)
@given(label_arrays(), st.data(), st.booleans())
def test_smaller_test_parts_are_nested_sorted_and_stratified(
    labels: np.ndarray, data: st.DataObject, held_out: bool
) -> None:
    options: dict[str, Any] = {"validation_fraction": 0.0}
    if held_out:
        train, options["test_labels"] = labels, None
    else:
        train, options["test_labels"] = np.tile([0, 1], 20), labels
    small = data.draw(st.integers(1, len(labels) - 1))
    large = data.draw(st.integers(small, len(labels) - 1))

    def cut(test_size: int) -> Parts | None:
        # As much training data as there is: how large it may be is not the question here.
        size = available_train(len(train), has_test=not held_out, test_size=test_size)
        return _try_cut(train, size, test_size=test_size, **options)

    inner, outer = cut(small), cut(large)
    assume(inner is not None and outer is not None)
    assert inner is not None and outer is not None
    assert set(inner.test) <= set(outer.test)
    classes, counts = np.unique(labels, return_counts=True)
    for part, size in ((inner.test, small), (outer.test, large)):
        assert len(part) == size and (np.diff(part) > 0).all()
        for label, count in zip(classes, counts, strict=True):
            share = count / len(labels)
            off = abs((labels[part] == label).sum() - size * share)
            assert off <= (1 + len(classes) * share) / 2 + 1e-9


def test_balanced_test_parts_are_balanced() -> None:
    labels = np.repeat([0, 1], 500)
    for size in (2, 10, 400, 998):
        parts = _cut(labels, 1000, test_labels=labels, test_size=size)
        assert np.bincount(labels[parts.test]).tolist() == [size // 2, size // 2]


def test_test_part_depends_on_the_seed() -> None:
    labels = np.repeat([0, 1], 500)
    first, second = (
        _cut(labels, 1000, test_labels=labels, test_size=100, subset_seed=seed).test.tolist() for seed in (1, 2)
    )
    assert first != second


def test_test_size_larger_than_the_split() -> None:
    with pytest.raises(DataError, match="larger than the test split") as caught:
        _cut(np.tile([0, 1], 50), 100, test_labels=np.tile([0, 1], 10), test_size=21)
    assert "at most 20" in str(caught.value)


@pytest.mark.parametrize("held_out", [False, True])
def test_test_size_too_small_names_the_smallest(held_out: bool) -> None:
    labels = np.repeat([0, 1], [90, 10])
    options: dict[str, Any] = {"test_labels": None if held_out else labels, "validation_fraction": 0.0}
    with pytest.raises(DataError, match="test size is too small to stratify") as caught:
        _cut(labels, 50, test_size=2, **options)
    found = re.search(r"at least (\d+)", str(caught.value))
    assert found is not None
    smallest = int(found[1])
    assert set(labels[_cut(labels, 50, test_size=smallest, **options).test]) == {0, 1}
    with pytest.raises(DataError, match="too small"):
        _cut(labels, 50, test_size=smallest - 1, **options)


# --- a test part held out of training -----------------------------------------------------------


@settings(deadline=None)
@given(label_arrays(), st.data(), FRACTIONS)
def test_held_out_part_never_meets_training(labels: np.ndarray, data: st.DataObject, fraction: float) -> None:
    test_size = data.draw(st.none() | st.integers(1, len(labels) - 1))
    most = available_train(len(labels), has_test=False, test_size=test_size)
    size = data.draw(st.integers(1, most))
    parts = _valid_cut(labels, size, test_labels=None, test_size=test_size, validation_fraction=fraction)
    assert parts.test_from == "train" and parts.test_held_out
    assert len(parts.test) == held_out_count(labels, test_size)
    used = np.concatenate([parts.train, parts.validation, parts.test])
    assert len(used) == len(set(used.tolist())) == size + len(parts.test)
    # From the end: what comes before the first held-out example is the beginning of the order.
    order = shuffled(len(labels), 42)
    first = int(np.flatnonzero(np.isin(order, parts.test))[0])
    trained = set(np.concatenate([parts.train, parts.validation]).tolist())
    assert trained == set(order[~np.isin(order, parts.test)][:size].tolist())
    if size <= first:
        assert trained == set(order[:size].tolist())
    # No training size changes it.
    again = _try_cut(labels, most, test_labels=None, test_size=test_size, validation_fraction=fraction)
    assert again is not None and again.test.tolist() == parts.test.tolist()


@settings(deadline=None)
@given(label_arrays(), st.data())
def test_held_out_part_is_the_end_of_every_class(labels: np.ndarray, data: st.DataObject) -> None:
    test_size = data.draw(st.integers(1, len(labels) - 1))
    size = available_train(len(labels), has_test=False, test_size=test_size)
    parts = _valid_cut(labels, size, test_labels=None, test_size=test_size, validation_fraction=0.0)
    order = shuffled(len(labels), 42)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        count = int((labels[parts.test] == label).sum())
        assert set(members[len(members) - count :]) == set(parts.test[labels[parts.test] == label])


def test_a_fifth_is_held_out_and_the_largest_size_is_named() -> None:
    labels = np.tile([0, 1], 500)
    assert available_train(1000, has_test=False, test_size=None) == 800
    assert available_train(1000, has_test=False, test_size=300) == 700
    assert available_train(1000, has_test=True, test_size=300) == 1000
    parts = _cut(labels, 800, test_labels=None)
    assert np.bincount(labels[parts.test]).tolist() == [100, 100]
    with pytest.raises(DataError, match="larger than the data") as caught:
        _cut(labels, 801, test_labels=None)
    assert "at most 800 (200 of 1000 are held out for testing)" in str(caught.value)


@pytest.mark.parametrize(("count", "test_size"), [(10, 10), (10, 11), (2, None)])
def test_nothing_left_to_train_on_or_to_test(count: int, test_size: int | None) -> None:
    with pytest.raises(DataError, match=r"leaves nothing to train on|too little data"):
        _cut(np.arange(count) % 2, 1, test_labels=None, test_size=test_size)


def test_class_that_only_the_held_out_part_would_have_is_an_error() -> None:
    labels = np.repeat([0, 1], [50, 1])
    with pytest.raises(DataError, match="class has too few examples"):
        _cut(labels, 5, test_labels=None, test_size=40, validation_fraction=0.0)


@pytest.mark.parametrize(
    ("rare", "held_out", "fraction", "least", "selection_last"),
    [(1, True, 0.1, 11, False), (1, False, 0.1, 10, True), (10, True, 0.1, 11, True), (1, True, 0.0, 2, False)],
)
def test_a_class_too_rare_for_every_part_is_named_first(
    rare: int, held_out: bool, fraction: float, least: int, selection_last: bool
) -> None:
    labels = np.repeat([0, 1, 2], [54, 66, rare])
    options = {"test_labels": None if held_out else labels, "label_names": ("neg", "pos", "zeldom")}
    # Not that the test part is too small: with a larger one the class would lack elsewhere.
    with pytest.raises(DataError, match="too few examples for every part") as caught:
        _cut(labels, 40, validation_fraction=fraction, **options)
    assert caught.value.value == f"class zeldom: {rare} of {120 + rare} examples"
    assert str(caught.value.allowed).startswith(f"at least {least} examples of each class")
    assert ("selection: last" in str(caught.value.fix)) == selection_last


@settings(deadline=None)
@given(label_arrays(), st.integers(1, 120), FRACTIONS)
def test_what_is_advised_about_a_held_out_part_leads_into_no_other_error(
    labels: np.ndarray, test_size: int, fraction: float
) -> None:
    def error(test_size: int) -> DataError | None:
        most = available_train(len(labels), has_test=False, test_size=test_size)
        try:
            _cut(labels, most, test_labels=None, test_size=test_size, validation_fraction=fraction)
        except DataError as found:
            return found
        return None

    first = error(test_size)
    assume(first is not None)
    assert first is not None
    if "test size is too small" in first.what:
        larger = re.search(r"at least (\d+)", str(first.allowed))
        assert larger is not None and error(int(larger[1])) is None
    elif "No training size" in first.what:
        assert "smaller test_size" in str(first.fix)
        assert any(error(smaller) is None for smaller in range(1, test_size))


def test_the_same_cut_twice_and_the_global_generator_left_alone() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 300)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first, second = (_cut(labels, 200, test_labels=None) for _ in range(2))
    for name in ("train", "validation", "test"):
        assert getattr(first, name).tolist() == getattr(second, name).tolist()
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("has_test", [True, False])
def test_subsets_drawn_with_different_seeds_share_the_test_part(has_test: bool) -> None:
    labels = np.arange(400) % 2
    options = {"test_labels": labels if has_test else None, "test_size": 60, "test_seed": 5}
    first, second = (_cut(labels, 100, subset_seed=seed, **options) for seed in (5, 6))
    assert np.array_equal(first.test, second.test)
    assert not np.array_equal(np.sort(first.train), np.sort(second.train))
    alone = _cut(labels, 100, subset_seed=5, **(options | {"test_seed": None}))
    assert np.array_equal(alone.test, first.test) and np.array_equal(alone.train, first.train)
    if not has_test:
        for parts in (first, second):
            assert not set(parts.test) & (set(parts.train) | set(parts.validation))


# --- copies of a text ---------------------------------------------------------------------------


@st.composite
def copied(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and for each row the first one that holds the same text; a copy may have another label."""
    labels = draw(label_arrays(max_class=30))
    texts = draw(st.integers(1, len(labels)))
    groups = np.random.default_rng(draw(st.integers(0, 99))).integers(0, texts, len(labels))
    if draw(st.booleans()):
        groups = groups * 10 + labels
    _, first, text = np.unique(groups, return_index=True, return_inverse=True)
    return labels, first[text]


def _most(labels: np.ndarray, test_size: int | None, copies_of: np.ndarray) -> int | None:
    try:
        count = held_out_count(labels, test_size)
        _, left_out = hold_out(labels, seed=42, count=count, rules=SplitRules(copies_of=copies_of))
    except DataError:
        return None
    return available_train(len(labels), has_test=False, test_size=test_size, left_out=len(left_out))


# Many draws of sizes cannot hold every class.
@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(copied(), st.data(), FRACTIONS, st.booleans())
def test_copies_are_in_one_part(
    data_: tuple[np.ndarray, np.ndarray], data: st.DataObject, fraction: float, held_out: bool
) -> None:
    labels, copies_of = data_
    options: dict[str, Any] = {"copies_of": copies_of, "validation_fraction": fraction}
    most: int | None = len(labels)
    if held_out:
        options |= {"test_labels": None, "test_size": data.draw(st.none() | st.integers(1, len(labels) - 1))}
        most = _most(labels, options["test_size"], copies_of)
    assume(most)
    assert most
    parts = _valid_cut(labels, data.draw(st.integers(1, most)), **options)
    texts = [set(copies_of[part]) for part in (parts.train, parts.validation)]
    assert not texts[0] & texts[1]
    if not held_out:
        return
    tested = set(copies_of[parts.test])
    assert not tested & (texts[0] | texts[1])
    assert len(parts.test) == held_out_count(labels, options["test_size"])
    # Rows read are rows used and rows left out; only one text can be cut, and its copies are left out.
    assert set(copies_of[parts.left_out]) <= tested and len(set(copies_of[parts.left_out])) <= 1
    whole = _try_cut(labels, most, **options)
    if whole is not None:
        rows = np.concatenate([whole.train, whole.validation, whole.test, whole.left_out])
        assert sorted(rows.tolist()) == list(range(len(labels)))


# Many draws of sizes cannot hold every class.
@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(copied(), st.data(), FRACTIONS)
def test_sizes_are_nested_with_copies(
    data_: tuple[np.ndarray, np.ndarray], data: st.DataObject, fraction: float
) -> None:
    labels, copies_of = data_
    test_size = data.draw(st.integers(1, len(labels) - 1))
    most = _most(labels, test_size, copies_of)
    assume(most)
    assert most
    small = data.draw(st.integers(1, most))
    options: dict[str, Any] = {"copies_of": copies_of, "test_labels": None, "validation_fraction": fraction}
    inner = _valid_cut(labels, small, test_size=test_size, **options)
    outer = _cut(labels, data.draw(st.integers(small, most)), test_size=test_size, **options)
    assert inner.train.tolist() == outer.train[: len(inner.train)].tolist()
    assert inner.validation.tolist() == outer.validation[: len(inner.validation)].tolist()
    assert inner.test.tolist() == outer.test.tolist()
    larger, _ = hold_out(
        labels,
        seed=42,
        count=data.draw(st.integers(test_size, len(labels) - 1)),
        rules=SplitRules(copies_of=copies_of),
    )
    assert set(inner.test) <= set(larger)


@settings(deadline=None)
@given(copied(), st.data(), st.integers(1, 89))
def test_validation_is_the_floor_of_its_share_of_every_class_s_texts(
    data_: tuple[np.ndarray, np.ndarray], data: st.DataObject, percent: int
) -> None:
    labels, copies_of = data_
    size = data.draw(st.integers(1, len(labels)))
    parts = _valid_cut(labels, size, validation_fraction=percent / 100, copies_of=copies_of)
    # The slow definition: walk along the order; a new text joins validation when its class is owed one.
    side: dict[int, bool] = {}
    seen: dict[int, int] = {}
    for row in shuffled(len(labels), 42)[:size].tolist():
        text, label = int(copies_of[row]), int(labels[row])
        if text not in side:
            before, seen[label] = seen.get(label, 0), seen.get(label, 0) + 1
            side[text] = seen[label] * percent // 100 > before * percent // 100
        assert (row in parts.validation) == side[text] and (row in parts.train) != side[text]


@settings(deadline=None)
@given(copied(), st.data())
def test_test_texts_are_stratified_whatever_their_copies(
    data_: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    labels, copies_of = data_
    firsts = np.flatnonzero(copies_of == np.arange(len(labels)))
    count = data.draw(st.integers(1, len(labels) - 1))
    try:
        test, _ = hold_out(labels, seed=3, count=count, rules=SplitRules(copies_of=copies_of))
    except DataError:
        return
    drawn = np.unique(copies_of[test])
    classes, counts = np.unique(labels[firsts], return_counts=True)
    for label, n in zip(classes, counts, strict=True):
        share = n / len(firsts)
        off = abs((labels[drawn] == label).sum() - len(drawn) * share)
        assert off <= (1 + len(classes) * share) / 2 + 1e-9


@settings(deadline=None)
@given(label_arrays(), st.data(), FRACTIONS, st.booleans())
def test_without_copies_nothing_changes(
    labels: np.ndarray, data: st.DataObject, fraction: float, held_out: bool
) -> None:
    size = data.draw(st.integers(1, len(labels)))
    options = {"test_labels": None} if held_out else {}
    plain = _try_cut(labels, size, validation_fraction=fraction, **options)
    together = _try_cut(labels, size, validation_fraction=fraction, copies_of=np.arange(len(labels)), **options)
    assert (plain is None) == (together is None)
    if plain is not None and together is not None:
        for name in ("train", "validation", "test", "left_out"):
            assert getattr(plain, name).tolist() == getattr(together, name).tolist()


@settings(deadline=None)
@given(copied(), st.data(), FRACTIONS)
def test_smallest_size_with_copies_is_the_smallest_that_works(
    data_: tuple[np.ndarray, np.ndarray], data: st.DataObject, fraction: float
) -> None:
    labels, copies_of = data_
    size = data.draw(st.integers(1, len(labels)))
    try:
        parts = _cut(labels, size, validation_fraction=fraction, copies_of=copies_of)
    except DataError as error:
        found = re.search(r"at least (\d+)$", str(error.allowed))
        if "too small to stratify" in error.what and found is not None:
            assert _try_cut(labels, int(found[1]), validation_fraction=fraction, copies_of=copies_of)
            assert not _try_cut(labels, int(found[1]) - 1, validation_fraction=fraction, copies_of=copies_of)
        return
    for part in (parts.train, *([parts.validation] if fraction else [])):
        assert set(labels[part]) == set(labels)


def test_a_class_that_is_one_text_cannot_be_in_every_part() -> None:
    labels = np.repeat([0, 1], [50, 50])
    copies_of = np.where(labels == 1, 50, np.arange(100))
    with pytest.raises(DataError, match="too few examples for every part") as caught:
        _cut(labels, 50, test_labels=None, copies_of=copies_of, label_names=("neg", "pos"))
    assert caught.value.value == "class pos: 1 of 51 different texts"
    assert "copies: anywhere" in str(caught.value.fix)
    assert len(_cut(labels, 50, test_labels=None).train)
