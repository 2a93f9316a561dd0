"""Groups and times in the draw of parts: nothing on two sides, nested sizes, and rules as defined slowly."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tunebench.data.held_out import held_out_count, hold_out, shuffled
from tunebench.data.rules import SplitRules
from tunebench.data.splits import Parts, draw_parts
from tunebench.data.validation_part import choose_validation, exact
from tunebench.errors import DataError

FRACTIONS = st.sampled_from([0.0, 0.1, 0.2, 1 / 3, 0.5, 0.7])
# Many draws have a class in too few groups.
SETTINGS = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)


def _first_of(names: np.ndarray) -> np.ndarray:
    _, first, number = np.unique(names, return_index=True, return_inverse=True)
    return first[number]


@st.composite
def grouped(draw: st.DrawFn) -> tuple[np.ndarray, SplitRules]:
    """Labels of two or three classes in up to twelve groups; with copies, times, or neither."""
    rows, classes = draw(st.integers(6, 60)), draw(st.integers(2, 3))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    rules = SplitRules(
        group_of=_first_of(rng.integers(0, draw(st.integers(2, 12)), rows)),
        copies_of=_first_of(rng.integers(0, rows, rows)) if draw(st.booleans()) else None,
        times=rng.integers(0, rows, rows) if draw(st.booleans()) else None,
    )
    return labels, rules


def _cut(labels: np.ndarray, size: int, rules: SplitRules, **options: Any) -> Parts | None:
    defaults: dict[str, Any] = {"test_labels": None, "subset_seed": 3, "validation_fraction": 0.2, "test_size": 5}
    try:
        own = options.pop("own_validation", None)
        return draw_parts(train_labels=labels, rules=rules, **(defaults | options)).cut(size, own)
    except DataError:
        return None


@SETTINGS
@given(grouped(), st.data(), FRACTIONS, st.booleans())
def test_a_group_and_a_text_are_in_one_part(
    data_: tuple[np.ndarray, SplitRules], data: st.DataObject, fraction: float, held_out: bool
) -> None:
    labels, rules = data_
    options: dict[str, Any] = {"validation_fraction": fraction}
    if not held_out:
        options |= {"test_labels": np.array([0, 1]), "test_size": 2}
    else:
        options["test_size"] = data.draw(st.integers(1, len(labels) - 1))
    parts = _cut(labels, data.draw(st.integers(1, len(labels))), rules, **options)
    assume(parts is not None)
    assert parts is not None and rules.group_of is not None
    sides = [parts.train, parts.validation, *([parts.test] if held_out else [])]
    for unit_of in [rules.group_of] + ([] if rules.copies_of is None else [rules.copies_of]):
        units = [set(unit_of[side]) for side in sides]
        assert all(not a & b for i, a in enumerate(units) for b in units[i + 1 :])
    used = np.concatenate([*sides, parts.left_out])
    assert len(used) == len(set(used.tolist()))
    for side in sides[: 1 + bool(fraction)]:
        assert set(labels[side]) == set(labels)
    if held_out and rules.times is not None:
        rest = np.setdiff1d(np.concatenate(sides[:2]), parts.test)
        assert rules.times[rest].max() <= rules.times[parts.test].min()
    elif held_out:
        assert set(labels[parts.test]) == set(labels)


@SETTINGS
@given(grouped(), st.data(), FRACTIONS)
def test_sizes_are_nested_and_all_rows_are_accounted_for(
    data_: tuple[np.ndarray, SplitRules], data: st.DataObject, fraction: float
) -> None:
    labels, rules = data_
    test_size = data.draw(st.integers(1, len(labels) - 1))
    options: dict[str, Any] = {"validation_fraction": fraction, "test_size": test_size}
    try:
        draw = draw_parts(train_labels=labels, test_labels=None, subset_seed=3, rules=rules, **options)
    except DataError:
        assume(False)
    most = len(draw.order)
    outer = _cut(labels, most, rules, **options)
    assume(outer is not None)
    assert outer is not None
    rows = np.concatenate([outer.train, outer.validation, outer.test, outer.left_out])
    assert sorted(rows.tolist()) == list(range(len(labels))) and len(outer.test) == test_size
    assert _cut(labels, most + 1, rules, **options) is None
    for small in range(1, most):
        inner = _cut(labels, small, rules, **options)
        if inner is None:
            continue
        # Exactly n labels, and each part of them inside that of a larger size.
        assert len(inner.train) + len(inner.validation) == small
        assert inner.train.tolist() == outer.train[: len(inner.train)].tolist()
        assert inner.validation.tolist() == outer.validation[: len(inner.validation)].tolist()
        assert inner.test.tolist() == outer.test.tolist()
    if test_size < len(labels) - 1:
        try:
            larger, _ = hold_out(labels, seed=3, count=test_size + 1, rules=rules)
        except DataError:
            return
        assert set(outer.test) <= set(larger)


@SETTINGS
@given(st.integers(4, 50), st.integers(2, 4), st.integers(0, 99), FRACTIONS, st.data())
def test_groups_of_one_row_change_nothing(
    rows: int, classes: int, seed: int, fraction: float, data: st.DataObject
) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, rows)
    options: dict[str, Any] = {
        "validation_fraction": fraction,
        "test_size": data.draw(st.integers(1, rows - 1)),
        "subset_seed": seed,
    }
    size = data.draw(st.integers(1, rows))
    plain = _cut(labels, size, SplitRules(), **options)
    assume(plain is not None)
    alone = _cut(labels, size, SplitRules(group_of=np.arange(rows)), **options)
    assert plain is not None and alone is not None
    for name in ("train", "validation", "test", "left_out"):
        assert getattr(plain, name).tolist() == getattr(alone, name).tolist()


@SETTINGS
@given(grouped(), st.sampled_from([Fraction(1, 10), Fraction(1, 5), Fraction(1, 3), Fraction(1, 2)]))
def test_groups_validate_by_the_rule_as_defined_slowly(
    data_: tuple[np.ndarray, SplitRules], fraction: Fraction
) -> None:
    labels, rules = data_
    assert rules.group_of is not None
    order = shuffled(len(labels), 5)
    totals = {label: int((labels == label).sum()) for label in set(labels.tolist())}
    seen, reached, sides = dict.fromkeys(totals, 0), dict.fromkeys(totals, 0), dict[int, bool]()
    for row in order.tolist():
        group = int(rules.group_of[row])
        if group in sides:
            continue
        inside = labels[rules.group_of == group].tolist()
        stratum = min(set(inside), key=lambda label: (totals[label], label))
        weight = inside.count(stratum)
        seen[stratum] += weight
        share = int(seen[stratum] * fraction)
        # Nearer to the share with the group than without it.
        sides[group] = abs(reached[stratum] + weight - share) < abs(reached[stratum] - share)
        reached[stratum] += weight * sides[group]
    covered = all({sides[int(g)] for g in rules.group_of[labels == label]} == {True, False} for label in totals)
    mask = choose_validation(labels, order, fraction, SplitRules(group_of=rules.group_of))
    chosen = {int(g): bool(m) for g, m in zip(rules.group_of[order], mask, strict=True)}
    assert len(set(zip(rules.group_of[order].tolist(), mask.tolist(), strict=True))) == len(chosen)
    if covered:
        assert chosen == sides
    else:
        # Only what was lacking is mended, and nothing is lost by it.
        for side in (True, False):
            before = {label for label in totals if side in {sides[int(g)] for g in rules.group_of[labels == label]}}
            after = {label for label in totals if side in {chosen[int(g)] for g in rules.group_of[labels == label]}}
            assert before <= after


@SETTINGS
@given(grouped(), st.floats(0.05, 0.6))
def test_each_side_has_every_class_where_a_single_move_allows_it(
    data_: tuple[np.ndarray, SplitRules], fraction: float
) -> None:
    labels, rules = data_
    assert rules.group_of is not None
    order = np.arange(len(labels))
    mask = choose_validation(labels, order, exact(fraction), SplitRules(group_of=rules.group_of))
    for side in (True, False):
        for label in set(labels.tolist()) - set(labels[mask == side].tolist()):
            # Then every group that could mend it is the last of some class on the other side.
            for group in set(rules.group_of[labels == label].tolist()):
                others = (mask != side) & (rules.group_of != group)
                assert not set(labels[rules.group_of == group].tolist()) <= set(labels[others].tolist())


@SETTINGS
@given(grouped())
def test_groups_held_out_are_the_beginning_of_an_even_order(data_: tuple[np.ndarray, SplitRules]) -> None:
    labels, rules = data_
    assert rules.group_of is not None
    rules = SplitRules(group_of=rules.group_of)
    drawn = shuffled(len(labels), 7)[::-1].tolist()
    totals = {label: int((labels == label).sum()) for label in set(labels.tolist())}
    groups = list(dict.fromkeys(int(rules.group_of[row]) for row in drawn))
    place, seen, strata = dict[int, Fraction](), dict.fromkeys(totals, 0), dict[int, tuple[int, int]]()
    for group in groups:
        inside = labels[rules.group_of == group].tolist()
        stratum = min(set(inside), key=lambda label: (totals[label], label))
        strata[group] = stratum, inside.count(stratum)
    weights = {label: sum(w for s, w in strata.values() if s == label) for label in totals}
    for group in groups:
        stratum, weight = strata[group]
        place[group] = Fraction(2 * seen[stratum] + weight, 2 * weights[stratum])
        seen[stratum] += weight
    expected = [
        row for group in sorted(groups, key=place.__getitem__) for row in drawn if rules.group_of[row] == group
    ]
    for count in range(1, len(labels)):
        if set(labels[expected[:count]].tolist()) == set(totals):
            test, left_out = hold_out(labels, seed=7, count=count, rules=rules)
            assert test.tolist() == sorted(expected[:count])
            rest = [row for row in expected[count:] if rules.group_of[row] in rules.group_of[test]]
            assert left_out.tolist() == sorted(rest)
        else:
            with pytest.raises(DataError, match="too small to stratify"):
                hold_out(labels, seed=7, count=count, rules=rules)


@SETTINGS
@given(grouped())
def test_by_default_whole_groups_next_to_a_fifth_are_held_out(data_: tuple[np.ndarray, SplitRules]) -> None:
    labels, rules = data_
    rules = SplitRules(group_of=rules.group_of)
    count = held_out_count(labels, None, seed=7, rules=rules)
    whole = {}
    for other in range(1, len(labels)):
        try:
            _, left_out = hold_out(labels, seed=7, count=other, rules=rules)
        except DataError:
            continue
        if not len(left_out):
            whole[other] = abs(other - len(labels) / 5)
    if whole:
        assert count in whole and whole[count] == min(whole.values())
    else:
        assert count == round(len(labels) / 5)
    assert held_out_count(labels, 4, seed=7, rules=rules) == 4


# --- times --------------------------------------------------------------------------------------


@SETTINGS
@given(st.integers(3, 40), st.integers(0, 99), st.data())
def test_the_latest_rows_are_held_out(rows: int, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    labels, times = rng.integers(0, 2, rows), rng.integers(0, data.draw(st.integers(1, rows)), rows)
    count = data.draw(st.integers(1, rows - 1))
    copies_of = _first_of(rng.integers(0, rows, rows)) if data.draw(st.booleans()) else None
    rules = SplitRules(times=times, copies_of=copies_of)
    test, left_out = hold_out(labels, seed=seed, count=count, rules=rules)
    assert len(test) == count and sorted(times[test].tolist()) == sorted(times.tolist())[rows - count :]
    expected = [] if copies_of is None else np.flatnonzero(np.isin(copies_of, copies_of[test])).tolist()
    assert left_out.tolist() == sorted(set(expected) - set(test.tolist()))


def test_of_equal_times_the_seed_draws() -> None:
    labels, times = np.tile([0, 1], 20), np.repeat([0, 1], [10, 30])
    found = {tuple(hold_out(labels, seed=seed, count=5, rules=SplitRules(times=times))[0]) for seed in range(4)}
    assert len(found) > 1 and all(min(test) >= 10 for test in found)


def test_the_latest_part_may_lack_a_class_but_training_may_not() -> None:
    rules = SplitRules(times=np.arange(30))
    early = np.where(np.arange(30) < 15, 1, 0)
    parts = _cut(early, 20, rules, test_size=10)
    assert parts is not None and set(early[parts.test]) == {0}
    late = np.where(np.arange(30) >= 22, 1, 0)
    with pytest.raises(DataError, match="leaves a class too few") as caught:
        draw_parts(
            train_labels=late,
            test_labels=None,
            subset_seed=0,
            validation_fraction=0.0,
            test_size=10,
            rules=rules,
            label_names=("old", "new"),
        ).cut(10)
    assert caught.value.value == "class new: 0 examples are left, none of them for training"
    assert "data.labels.drop" in str(caught.value.fix)


# --- what cannot be drawn -----------------------------------------------------------------------


def _error(labels: np.ndarray, rules: SplitRules, **options: Any) -> DataError:
    defaults: dict[str, Any] = {"test_labels": None, "subset_seed": 3, "validation_fraction": 0.2, "test_size": 5}
    with pytest.raises(DataError) as caught:
        draw_parts(train_labels=labels, rules=rules, **(defaults | options)).cut(10)
    return caught.value


def test_too_few_groups_for_the_parts_are_counted() -> None:
    labels = np.tile([0, 1], 20)
    rules = SplitRules(group_of=np.repeat([0, 20], 20))
    error = _error(labels, rules)
    assert error.value == "2 groups in 40 rows" and str(error.allowed).startswith(
        "at least 3: training, validation"
    )
    assert "selection: last" in str(error.fix)
    assert _cut(labels, 10, rules, validation_fraction=0.0) is not None
    assert _error(labels, SplitRules(group_of=np.zeros(40, dtype=int)), validation_fraction=0.0).value == (
        "1 group in 40 rows"
    )


def test_a_class_in_too_few_groups_is_named() -> None:
    labels = np.array([0, 1] * 20 + [2] * 5)
    rules = SplitRules(group_of=np.array([i // 4 * 4 for i in range(40)] + [40] * 5))
    error = _error(labels, rules, label_names=("a", "b", "rare"))
    assert error.value == "class rare: in 1 of 11 groups"
    assert error.allowed == "at least 3 groups with each class: 1 to test, 1 to train on, 1 to select on"
    assert "drop data.group_column" in str(error.fix) and "validation_fraction" not in str(error.fix)


def test_late_rows_of_every_group_leave_nothing_to_train_on() -> None:
    labels = np.tile([0, 1], 20)
    rules = SplitRules(group_of=np.tile([0, 1, 2, 3], 10), times=np.arange(40))
    error = _error(labels, rules, test_size=8)
    assert "leaves nothing to train on" in error.what and "same groups" in error.what
    assert error.value == "8 rows held out for testing, 32 left out"


# --- an own validation part ---------------------------------------------------------------------


@SETTINGS
@given(grouped(), st.data())
def test_what_stands_in_the_own_validation_part_is_not_held_out(
    data_: tuple[np.ndarray, SplitRules], data: st.DataObject
) -> None:
    labels, rules = data_
    stays = np.random.default_rng(data.draw(st.integers(0, 99))).random(len(labels)) < 0.3
    kind = data.draw(st.sampled_from(["plain", "copies", "groups", "times"]))
    if kind == "copies":
        copies_of = _first_of(np.arange(len(labels)) // 2)
        rules = SplitRules(copies_of=copies_of, stays=stays[copies_of])
    elif kind == "plain":
        rules = SplitRules(stays=stays)
    else:
        rules = SplitRules(
            group_of=rules.group_of if kind == "groups" else None,
            times=np.arange(len(labels)) if kind == "times" else None,
            stays=stays,
        )
    parts = _cut(
        labels,
        data.draw(st.integers(1, len(labels))),
        rules,
        validation_fraction=0.0,
        test_size=4,
        own_validation=7,
    )
    assume(parts is not None)
    assert parts is not None and rules.stays is not None
    assert not rules.stays[parts.test].any() and len(parts.test) == 4
    assert parts.validation.tolist() == list(range(7)) and parts.validation_from == "validation"
    if rules.times is not None:
        assert rules.times[parts.train].max() <= rules.times[parts.test].min()


def test_an_own_validation_part_takes_no_labels_of_the_subset() -> None:
    labels = np.tile([0, 1], 50)
    options: dict[str, Any] = {"validation_fraction": 0.0, "test_size": 2, "own_validation": 9}
    parts = _cut(labels, 30, SplitRules(), test_labels=np.array([0, 1]), subset_seed=42, **options)
    assert parts is not None
    assert parts.train.tolist() == shuffled(100, 42)[:30].tolist() and len(parts.validation) == 9
