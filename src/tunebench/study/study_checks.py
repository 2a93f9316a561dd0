"""Settings that a study must not combine; each refusal names the change that mends it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tunebench.formatting import counted
from tunebench.recipe import Selection
from tunebench.study.parts import Search
from tunebench.study.strategy_config import TrainSizes


def check_parts(
    selection: Selection, validation_fraction: float | None, *, test_size: int | None, test_limit: int | None
) -> None:
    """Refuse sizes of the test and validation parts that contradict each other or the selection.

    Raises:
        ValueError: They do.
    """
    if test_size is not None and test_limit is not None:
        raise ValueError("test_size is exact, and test_limit the most: drop one of them")
    if selection == "test" and validation_fraction:
        raise ValueError("selection: test does not use a validation part; remove validation_fraction")
    if selection == "validation" and validation_fraction == 0:
        raise ValueError("selection: validation needs a validation part; remove validation_fraction: 0")


def check_folds(
    selection: Selection,
    validation_fraction: float | None,
    *,
    after_training: Mapping[str, str],
    choosing: Sequence[str],
) -> None:
    """Refuse folds beside another validation part, and what would need one after the last training.

    Args:
        selection: How checkpoints are selected.
        validation_fraction: Of the other validation part.
        after_training: Keys of what is chosen on validation after training, with their values.
        choosing: Labels of strategies that choose by the selection's part.

    Raises:
        ValueError: They cannot be together.
    """
    if selection != "validation":
        raise ValueError(
            f"validation.folds selects by cross-validation, and selection: {selection} does not; remove one of them"
        )
    if validation_fraction:
        raise ValueError("validation_fraction and validation.folds are two validation parts; remove one of them")
    for name, value in after_training.items():
        raise ValueError(
            f"{name}: {value} is chosen on validation texts after training, and with validation.folds the last "
            f"training takes all texts; remove {name} or validation"
        )
    if choosing:
        raise ValueError(
            f"choose_by: selection (strategy {choosing[0]}) needs a validation part, and with validation.folds "
            "there is none; remove it: C is then chosen by cross-validation"
        )


def check_sizes(sizes: TrainSizes, own: Mapping[str, TrainSizes | None]) -> None:
    """Refuse sizes of a strategy that the study does not have, and sizes of the study that no strategy has.

    Args:
        sizes: Of the study.
        own: Of each strategy, by label; None for all.

    Raises:
        ValueError: There are such sizes.
    """
    for label, given in own.items():
        if unknown := [size for size in given or () if size not in sizes]:
            raise ValueError(
                f"strategies.{label}.train_sizes names sizes that are not the study's: {_listed(unknown)}; "
                f"allowed: {_listed(sizes)}"
            )
    if idle := [size for size in sizes if not any(given is None or size in given for given in own.values())]:
        raise ValueError(f"train_sizes: no strategy trains with {_listed(idle)} labels; remove it")


def check_search(search: Search, counts: Mapping[str, int], searched: str, selection: Selection) -> None:
    """Refuse a search that cannot keep what it promises, or has nothing to choose on.

    Args:
        search: The search.
        counts: Settings of each strategy, by label.
        searched: What is searched, in words.
        selection: How checkpoints are selected.

    Raises:
        ValueError: It cannot.
    """
    if search.budget == "trials" and len(set(counts.values())) > 1:
        raise ValueError(
            f"search.budget: trials promises every strategy the same number of {searched}; they have "
            + ", ".join(f"{label} {count}" for label, count in counts.items())
        )
    if search.method == "halving" and selection != "validation":
        raise ValueError("search.method: halving chooses on validation; it needs selection: validation")


def check_search_seeds(search: Search, selection: Selection, *, seeds: int, first_read: int, folds: bool) -> None:
    """Refuse a number of seeds that cannot choose the settings.

    Args:
        search: The search.
        selection: How checkpoints are selected.
        seeds: How many seeds the study lists.
        first_read: After how many seeds the study is read for the first time.
        folds: Whether it validates by cross-validation.

    Raises:
        ValueError: They cannot.
    """
    if search.seeds is None:
        return
    if search.method == "halving":
        raise ValueError("search.seeds is for method: grid; halving chooses with the first seed")
    if selection != "validation":
        raise ValueError("search.seeds chooses on validation; it needs selection: validation")
    if search.seeds == "each":
        if folds:
            raise ValueError(
                "search.seeds: each chooses on a validation part, and validation.folds has none; remove one of them"
            )
        return
    if search.seeds > seeds:
        raise ValueError(f"search.seeds is {search.seeds}, but the study has {counted(seeds, 'seed')}")
    if search.seeds > first_read:
        raise ValueError(
            f"search.seeds is {search.seeds}, but the study is first read after {counted(first_read, 'seed')}, and "
            "the settings are chosen before that"
        )


def check_pairs(pairs: Sequence[tuple[str, str]], labels: Collection[str]) -> None:
    """Refuse pairs of anything but two strategies of the study.

    Raises:
        ValueError: There are such pairs.
    """
    unknown = sorted({label for pair in pairs for label in pair} - set(labels))
    if unknown:
        known = ", ".join(labels)
        raise ValueError(f"pairs names no strategy of the study: {', '.join(unknown)}; allowed: {known}")
    alone = [first for first, second in pairs if first == second]
    if alone:
        raise ValueError(f"pairs compares a strategy with itself: {', '.join(alone)}")


def _listed(sizes: Sequence[int | str]) -> str:
    return ", ".join(map(str, sizes))
