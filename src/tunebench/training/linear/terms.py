"""The terms that TF-IDF counts: words and runs of words; of a pair, where they stand and how many are shared.

A term of a pair is in its first text only, in its second only, or in both, and counts as three different features.
Two more terms say which share of the first text's terms the second one has, and the reverse, in tenths.
"""

from __future__ import annotations

from typing import Any

from tunebench.data.text import Text


class Terms:
    """Gives the terms of a text; callable, as scikit-learn wants an analyzer.

    Args:
        ngrams: Longest run of words that is a term.
    """

    def __init__(self, ngrams: int) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        self._words: Any = CountVectorizer(ngram_range=(1, ngrams)).build_analyzer()

    def __call__(self, text: Text) -> list[str]:
        """Return the terms, repeated as they are in the text; those in both texts of a pair once."""
        if isinstance(text, str):
            return list(self._words(text))
        first, second = self._words(text.first), self._words(text.second)
        in_first, in_second = set(first), set(second)
        if not in_first | in_second:
            return []
        shared = in_first & in_second
        return [
            *(f"1: {term}" for term in first if term not in in_second),
            *(f"2: {term}" for term in second if term not in in_first),
            *(f"1+2: {term}" for term in sorted(shared)),
            f"1 in 2: {_tenths(len(shared), len(in_first))}",
            f"2 in 1: {_tenths(len(shared), len(in_second))}",
        ]


def _tenths(some: int, every: int) -> int:
    return 10 * some // every if every else 0
