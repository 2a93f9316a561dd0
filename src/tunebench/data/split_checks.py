"""What is said of sizes and fractions that cannot give every part every class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tunebench.data.rules import SplitRules
from tunebench.errors import DataError
from tunebench.formatting import counted, listed

#: What errors call the classes, by number.
Names = Sequence[Any]

#: Validation fractions that are offered where the one asked for is too small.
_OFFERED = [Fraction(percent, 100) for percent in (*range(5, 50, 5), *range(50, 90, 10))]
_NO_VALIDATION = "select without a validation part: selection: last and validation_fraction: 0"


def needed(fraction: Fraction) -> int:
    """Return how many examples a class needs to be in training and in validation.

    ``floor(k * fraction)`` is 1 first at ``k = ceil(1 / fraction)``. Before that all examples train, and below a
    fraction of 1 that is one at least.
    """
    return -(-fraction.denominator // fraction.numerator) if fraction else 1


def check_classes(
    labels: np.ndarray, fraction: Fraction, names: Names, *, held_out: bool, rules: SplitRules
) -> None:
    """Refuse data with a class that no sizes could bring into every part.

    Args:
        labels: Labels of the training split.
        fraction: Share of each class that validates.
        names: Of the classes.
        held_out: Whether a test part that needs every class is held out.
        rules: What the draw respects.
    """
    unit_of = rules.copies_of if rules.group_of is None else rules.group_of
    what, counted = "examples", labels
    if unit_of is not None:
        # A text or a group with several labels counts for each; whether that suffices shows when parts are cut.
        pairs = np.unique(np.stack([unit_of, labels]), axis=1)
        what, counted = (rules.unit if pairs.shape[1] < len(labels) else what), pairs[1]
    grouped = what == "groups"
    # Of groups one is enough to select on; of examples, what gives the fraction a whole one.
    least = held_out + (1 + bool(fraction) if grouped else needed(fraction))
    found = _counts(counted, names)
    rare = {name: n for name, n in found.items() if n < least}
    if not rare:
        return
    fixes = [f"add {what}, or leave the class out"]
    if fraction and min(rare.values()) > held_out:
        fixes.append(_NO_VALIDATION)
        if not grouped and min(rare.values()) > 1 + held_out:
            enough = Fraction(1, min(rare.values()) - held_out)
            offered = next((f for f in _OFFERED if f >= enough), None)
            if offered is not None:
                fixes.append(f"set validation_fraction: {float(offered):g}")
    if grouped:
        fixes.append("drop data.group_column")
    elif what != "examples":
        fixes.append("set copies: anywhere")
    total = len(np.unique(unit_of)) if unit_of is not None and grouped else len(counted)
    to_select = f", {least - held_out - 1} to select on" if grouped and fraction else ""
    to_train = "1 to train on" if grouped else f"{least - held_out} to train{' and select' if fraction else ''} on"
    raise DataError(
        "The data cannot be stratified: a class has too few examples for every part.",
        value="; ".join(
            f"class {name}: {'in ' if grouped else ''}{n} of {total} {what}" for name, n in rare.items()
        ),
        allowed=f"at least {least} {what} {'with' if grouped else 'of'} each class: "
        f"{'1 to test, ' if held_out else ''}{to_train}{to_select}",
        fix="; or ".join(fixes),
    )


def check_train_size(
    labels: np.ndarray,
    chosen: np.ndarray,
    size: int,
    fraction: Fraction,
    names: Mapping[int, Any],
    *,
    rules: SplitRules,
    again: Callable[[Fraction], tuple[np.ndarray, np.ndarray]],
) -> None:
    """Refuse a size whose subset lacks a class, in training or in validation.

    Args:
        labels: Along the order of the subsets.
        chosen: Which of these examples would validate.
        size: The size of the subset.
        fraction: Share of each class that validates.
        names: Of the classes that every part needs.
        rules: What the draw respects.
        again: Returns labels and what validates for another fraction, to find one that works.
    """
    smallest, lacking = 0, {"training": list[int](), "validation": list[int]()}
    for label, name in names.items():
        own = labels == label
        parts = {"training": own & ~chosen} | ({"validation": own & chosen} if fraction else {})
        for part, rows in parts.items():
            if not rows.any():
                raise _no_size(name, part, own, fraction, rules)
            first = int(rows.argmax()) + 1
            smallest = max(smallest, first)
            if first > size:
                lacking[part].append(label)
    if size >= smallest:
        return
    parts_lacking = " and ".join(part for part, found in lacking.items() if found)
    in_groups = f", none in groups for {parts_lacking}" if rules.group_of is not None else ""
    share = f" at validation_fraction: {float(fraction):g}" if fraction else ""
    fixes = [f"raise train_sizes to {smallest} or more"]
    if fraction:
        offered = next((f for f in _OFFERED if f > fraction and _works(again(f), size, names)), None)
        if offered is not None:
            fixes.insert(0, f"set validation_fraction: {float(offered):g}, which is enough for {size} labels")
        if not lacking["training"]:
            fixes.append(_NO_VALIDATION)
    raise DataError(
        f"The training size is too small to stratify: {parts_lacking} would lack a class{share}.",
        value=_rarest(
            labels, size, {label: names[label] for found in lacking.values() for label in found}, in_groups
        ),
        allowed=f"at least {smallest}",
        fix="; or ".join(fixes),
    )


def _rarest(labels: np.ndarray, size: int, names: Mapping[int, Any], remark: str, limit: int = 3) -> str:
    """Say how many examples of some classes a subset has; of many classes, those with the fewest."""
    counts = {label: (int((labels[:size] == label).sum()), int((labels == label).sum())) for label in names}
    first = sorted(counts, key=counts.__getitem__)[:limit]
    found = [
        f"class {names[label]}: {inside} of {size} labels{remark} ({every} of {len(labels)} in all)"
        for label, (inside, every) in ((label, counts[label]) for label in first)
    ]
    return "; ".join(found) + (f"; and {len(names) - limit} more classes" if len(names) > limit else "")


def _works(cut: tuple[np.ndarray, np.ndarray], size: int, names: Mapping[int, Any]) -> bool:
    """Tell whether training and validation of a size have every class."""
    labels, chosen = (part[:size] for part in cut)
    wanted = set(names)
    return wanted <= set(labels[chosen].tolist()) and wanted <= set(labels[~chosen].tolist())


def _no_size(name: Any, part: str, own: np.ndarray, fraction: Fraction, rules: SplitRules) -> DataError:
    """Return the error for a class that is in no subset's training or validation part."""
    kept = {
        "groups": "a group stays in one part, and ",
        "different texts": "copies of a text stay in one part, and ",
    }
    fixes = ["leave the class out (data.labels.drop)"] if rules.times is not None else []
    fixes.append("set a smaller test_size")
    if fraction and rules.group_of is None:
        fixes.append("raise validation_fraction")
    if fraction and part == "validation":
        fixes.append(_NO_VALIDATION)
    if rules.group_of is not None:
        fixes.append("drop data.group_column")
    elif rules.copies_of is not None:
        fixes.append("set copies: anywhere")
    least = f"at least {needed(fraction)} {rules.unit} of each class"
    if rules.group_of is not None:
        least = f"at least {1 + bool(fraction)} groups with each class"
    return DataError(
        f"No training size can be stratified: {kept.get(rules.unit, '')}what is held out for testing leaves a "
        f"class too few {'groups' if rules.group_of is not None else 'examples'}.",
        value=f"class {name}: {own.sum()} examples are left, none of them for {part}",
        allowed=least,
        fix="; or ".join(fixes),
    )


def check_held_out(count: int, examples: int, *, drawable: int | None = None) -> None:
    """Refuse a test part that is nothing, or all there is.

    Args:
        count: Its size.
        examples: Rows of the training split.
        drawable: Of them, those that may be held out.
    """
    if not 0 < count < examples:
        raise DataError(
            "The test part to hold out leaves nothing to train on."
            if count
            else "There is too little data to hold a test part out.",
            value=count,
            allowed=f"1 to {examples - 1}" if examples > 1 else None,
            fix="lower test_size" if count else "add examples, or a test split",
        )
    if drawable is not None and count > drawable:
        raise DataError(
            "There are too few texts to hold a test part out: the others have their text or group in the data's "
            "own validation part.",
            value=count,
            allowed=f"at most {drawable}",
            fix="lower test_size; or set data.validation: drawn, which passes that part over" if drawable else None,
        )


def check_every_class(ordered: np.ndarray, count: int, names: Names | None = None) -> None:
    """Refuse a test part, the first ``count`` of these labels, that lacks a class."""
    classes, firsts = np.unique(ordered, return_index=True)
    if count > firsts.max(initial=-1):
        return
    counts = _counts(ordered, names or range(int(classes.max()) + 1))
    missing = [name for name, first in zip(counts, firsts, strict=True) if first >= count]
    raise DataError(
        "The test size is too small to stratify: the test part would lack a class.",
        value=f"test size {count}; {listed(f'class {name}: {counts[name]} of {len(ordered)}' for name in missing)}",
        allowed=f"at least {firsts.max() + 1}",
        fix="raise test_size",
    )


def check_groups(rules: SplitRules, fraction: Fraction, *, held_out: bool) -> None:
    """Refuse fewer groups than there are parts to draw."""
    if rules.group_of is None:
        return
    parts = ["training", *(["validation"] if fraction else []), *(["testing"] if held_out else [])]
    count = len(np.unique(rules.group_of))
    if count < len(parts):
        raise DataError(
            "There are too few groups to draw the parts from, as each group stays in one part.",
            value=f"{counted(count, 'group')} in {len(rules.group_of)} rows",
            allowed=f"at least {len(parts)}: {', '.join(parts)} each need one",
            fix="name another data.group_column, or drop it" + (f"; or {_NO_VALIDATION}" if fraction else ""),
        )


def check_left(order: np.ndarray, test: np.ndarray, left_out: np.ndarray, rules: SplitRules) -> None:
    """Refuse a test part beside which nothing is left to train on, since all the rest is left out."""
    if len(order):
        return
    why = "of the same groups" if rules.group_of is not None else "copies of its texts"
    fixes = ["set a smaller test_size"]
    if rules.group_of is not None:
        fixes.append("drop data.time_column or data.group_column" if rules.times is not None else "add groups")
    raise DataError(
        f"The test part leaves nothing to train on: all other rows are {why}.",
        value=f"{len(test)} rows held out for testing, {len(left_out)} left out",
        allowed=None,
        fix="; or ".join(fixes),
    )


def _counts(labels: np.ndarray, names: Names) -> dict[Any, int]:
    classes, counts = np.unique(labels, return_counts=True)
    return {names[label]: int(n) for label, n in zip(classes, counts, strict=True)}
