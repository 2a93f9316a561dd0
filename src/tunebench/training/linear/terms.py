"""The terms that TF-IDF counts: runs of words or characters; of a pair, where they stand and how many are shared.

A term of a pair is in its first text only, in its second only, or in both, and counts as three different features.
Two more terms say which share of the first text's terms the second one has, and the reverse, in tenths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from tunebench.data.text import Text
from tunebench.strategies.tfidf import Analyzer, TfidfParams

#: Before a run of characters, where runs of words are terms too: no word begins with it.
MARK = "#"


@dataclass(frozen=True)
class Terms:
    """Gives the terms of a text; callable, as scikit-learn wants an analyzer.

    Attributes:
        ngrams: Longest run of words that is a term.
        analyzer: What is a term: runs of words, runs of 2 characters or more within a word, or both.
        char_ngrams: Longest run of characters that is a term.
    """

    ngrams: int
    analyzer: Analyzer = "word"
    char_ngrams: int = 5

    @classmethod
    def of(cls, params: TfidfParams) -> Terms:
        """Return those of a strategy's parameters."""
        return cls(params.ngrams, params.analyzer, params.char_ngrams)

    @property
    def settings(self) -> dict[str, Any]:
        """What an export says of them; of runs of words alone, as it was before there were others."""
        return {"ngrams": self.ngrams} if self.analyzer == "word" else asdict(self)

    @classmethod
    def stored(cls, settings: Mapping[str, Any]) -> Terms:
        """Return those of an export's :attr:`settings`.

        Raises:
            KeyError: The settings lack ``ngrams``.
            ValueError: They are damaged in another way.
        """
        return cls.of(TfidfParams.model_validate({"ngrams": settings["ngrams"]} | dict(settings)))

    @property
    def described(self) -> str:
        """What one of them is made of, for messages."""
        words = self.analyzer == "word"
        return "a word (two or more letters or digits in a row)" if words else "a word or character"

    @cached_property
    def _parts(self) -> list[tuple[str, Any]]:
        """What stands before the terms of each kind, and what gives them."""
        from sklearn.feature_extraction.text import CountVectorizer

        words = CountVectorizer(ngram_range=(1, self.ngrams))
        characters = CountVectorizer(analyzer="char_wb", ngram_range=(2, self.char_ngrams))
        both = self.analyzer == "both"
        wanted = [("", words)] if self.analyzer != "char_wb" else []
        if self.analyzer != "word":
            wanted.append((MARK if both else "", characters))
        return [(mark, vectorizer.build_analyzer()) for mark, vectorizer in wanted]

    def of_text(self, text: str) -> list[str]:
        """Return the terms of one text, repeated as they are in it."""
        return [mark + term for mark, terms in self._parts for term in terms(text)]

    def __call__(self, text: Text) -> list[str]:
        """Return the terms, repeated as they are in the text; those in both texts of a pair once."""
        if isinstance(text, str):
            return self.of_text(text)
        first, second = self.of_text(text.first), self.of_text(text.second)
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
