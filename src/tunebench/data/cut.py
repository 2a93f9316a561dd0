"""The parts of a data set, cut as a study or one of its runs asks."""

from __future__ import annotations

from dataclasses import dataclass

from tunebench.data.held_out import held_out_count
from tunebench.data.reference import Copies, SplitRef
from tunebench.data.rules import split_rules
from tunebench.data.splits import Draw, Parts, draw_parts
from tunebench.data.types import TextDataset


@dataclass(frozen=True)
class Cut:
    """How the parts of one draw are cut, whatever the training size.

    Attributes:
        splits: What they rest on besides texts and labels.
        copies: What happens to copies of a text.
        subset_seed: Draws the training subset.
        test_seed: Draws the test part; None: the subset's seed does.
        validation_fraction: Share of each class of the training subset that validates.
        test_size: Texts to score.
        folds: Parts that the training subset is cut into for a cross-validation; 0 for none.
        fold: The one that validates, from 1; 0 for none.
    """

    splits: SplitRef | None
    copies: Copies
    subset_seed: int
    test_seed: int | None
    validation_fraction: float
    test_size: int
    folds: int = 0
    fold: int = 0

    def parts(self, dataset: TextDataset, train_size: int) -> Parts:
        """Return the parts of a training size; see :meth:`~tunebench.data.splits.Draw.cut`.

        Raises:
            DataError: A size does not fit the data.
        """
        own = dataset.validation if self.splits is not None and self.splits.validation is not None else None
        return self._draw(dataset).cut(
            train_size, None if own is None else len(own), folds=self.folds, fold=self.fold
        )

    def most(self, dataset: TextDataset) -> int:
        """Return the largest training size.

        Raises:
            DataError: The parts cannot be drawn at any size.
        """
        return len(self._draw(dataset).order)

    def _draw(self, dataset: TextDataset) -> Draw:
        return draw_parts(
            train_labels=dataset.strata["train"],
            test_labels=dataset.strata.get("test"),
            subset_seed=self.subset_seed,
            test_seed=self.test_seed,
            validation_fraction=self.validation_fraction,
            test_size=self.test_size,
            label_names=dataset.label_names,
            rules=split_rules(dataset, self.splits, self.copies),
        )


def test_count(
    dataset: TextDataset, *, size: int | None, limit: int | None, seed: int, splits: SplitRef | None, copies: Copies
) -> int:
    """Return how many texts are scored.

    Args:
        dataset: The data.
        size: What the user asks for.
        limit: The most to score where nothing is asked for.
        seed: Draws a test part that is held out.
        splits: What the parts rest on.
        copies: What happens to copies of a text.
    """
    if size is not None:
        return size
    if dataset.test is not None:
        found = len(dataset.test)
    else:
        found = held_out_count(dataset.strata["train"], None, seed=seed, rules=split_rules(dataset, splits, copies))
    return found if limit is None else min(found, limit)
