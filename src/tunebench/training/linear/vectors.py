"""Linear classifiers on vectors that something frozen gives texts: what their runs have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tunebench.data import Split, TextDataset
from tunebench.data.splits import Parts
from tunebench.data.text import Text
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.strategies.base import Head
from tunebench.study.spec import RunSpec
from tunebench.tasks.registry import TASKS
from tunebench.training.attempt import Attempt
from tunebench.training.backend import Predicted
from tunebench.training.imbalance import Weigh, weigher
from tunebench.training.linear.choose import Choice
from tunebench.training.linear.fit import fit_path
from tunebench.training.linear.heads import LinearHead, read_arrays, stored_head, write_arrays
from tunebench.training.linear.runs import LinearRun, cross_validated, fits_planned, labelled_parts, train_linear
from tunebench.training.parts import split_of_test

#: Iterations of the solver that an estimate assumes.
ITERATIONS = 60
#: Seconds of an iteration for each number of the features: reading it from memory, and its products with a row of
#: the weights. From 26 fits on a core of an EPYC: 18 s for 4,952 texts of 6 classes, 70 s for 9,000 of 77.
_READ, _PRODUCT = 5.5e-9, 1e-10


class Solving(NamedTuple):
    """What fitting linear functions is expected to take.

    Attributes:
        flops: Operations.
        seconds: Time.
    """

    flops: float
    seconds: float

    @classmethod
    def of(cls, texts: int, width: int, rows: int, fits: int) -> Solving:
        """Estimate ``fits`` fits of ``rows`` functions of ``width`` features."""
        numbers = float(texts * width * ITERATIONS * fits)
        return cls(4.0 * numbers * rows, 0.01 * fits + numbers * (_READ + _PRODUCT * rows))


#: Told how many are done and how many there are; may raise.
Look = Callable[[int, int], None]


@dataclass(frozen=True)
class Embedded:
    """Vectors of texts, and what they took.

    Attributes:
        vectors: fp32 ``(texts, width)``.
        computed: Texts that were computed now.
        seconds: Time that all the texts take, also where they were computed before.
    """

    vectors: np.ndarray
    computed: int
    seconds: float


@dataclass(frozen=True)
class Work:
    """What it took to get the vectors of a run's labelled texts.

    Attributes:
        tokens: Tokens of the texts.
        padded: The same with padding.
        flops: Operations.
        seconds: Time of what was made once for all texts.
    """

    tokens: int
    padded: int
    flops: float
    seconds: float = 0.0


class Vectors(Protocol):
    """Gives texts vectors, and knows what that takes."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""

    def embed(self, texts: Sequence[Text], rows: np.ndarray, look: Look, /) -> Embedded:
        """Return the features of some texts."""

    def work(self, texts: Sequence[Text], rows: np.ndarray, /) -> Work:
        """Say what the features of some texts took."""

    def said(self, found: Embedded, /) -> dict[str, Any]:
        """Return what the record's settings say of the vectors of the labelled texts."""


#: Makes them for a run; is told of the progress.
MakeVectors = Callable[[RunSpec, Look], Vectors]


class VectorLearner:
    """Fits on rows of one matrix; see :class:`~tunebench.training.linear.learner.Learner`."""

    def __init__(self, vectors: np.ndarray, labels: np.ndarray, classes: int, head: Head, weigh: Weigh) -> None:
        self.vectors, self.labels, self.classes, self.head, self.weigh = vectors, labels, classes, head, weigh

    def fits(self, rows: np.ndarray, grid: Sequence[float]) -> Iterator[Any]:
        """Fit one function a value of C on some of the texts."""
        vectors, labels = self.vectors[rows], self.labels[rows]
        for head in fit_path(vectors, labels, grid, self.weigh(labels), self.head):
            yield _Fitted(head)

    def features(self, model: Any, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of some of the texts."""
        return np.asarray(self.vectors[rows])


@dataclass(frozen=True, eq=False)
class _Fitted:
    """A function of vectors that are there."""

    head: LinearHead

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the fp32 logits of vectors."""
        return self.head.logits(features)


def train_on_vectors(attempt: Attempt, make: MakeVectors, *, device: str) -> RunRecord:
    """Embed, fit, choose C, score once, and describe; see :func:`tunebench.training.linear.runs.train_linear`.

    Time and operations of the vectors count for the labelled texts, each once, also where they were kept.

    Args:
        attempt: What to train.
        make: Makes what gives the vectors.
        device: Where they are computed.
    """
    parts, judged = labelled_parts(attempt.spec, attempt.dataset)
    fits = fits_planned(attempt.spec.strategy_params.c)
    run = partial(_VectorRun, judged=judged, make=make)
    return train_linear(attempt, parts, run, fits=fits, device=device)


class _VectorRun(LinearRun):
    """See :class:`~tunebench.training.linear.runs.LinearRun`."""

    def __init__(
        self,
        attempt: Attempt,
        parts: Parts,
        look: Callable[[str, int, int], None],
        *,
        judged: np.ndarray,
        make: MakeVectors,
    ) -> None:
        self.spec, self.dataset, self.parts, self.judged = attempt.spec, attempt.dataset, parts, judged
        self._look = partial(look, "prepare")
        self.source = make(self.spec, self._look)
        self.frozen, train = self.source.parameters, self.dataset.train
        found = self.source.embed(train.texts, parts.train, self._look)
        self.settings = self.source.said(found)
        labels, classes = train.labels[parts.train], len(self.spec.data.label_names)
        head = self.spec.strategy_params.head
        self.learner = VectorLearner(found.vectors, labels, classes, head, weigher(self.spec))
        self._work = self.source.work(train.texts, parts.train)
        self.flops, self.seconds = self._work.flops, found.seconds + self._work.seconds

    def choose(self, tick: Callable[[], None]) -> Choice:
        """Choose C by cross-validation."""
        return cross_validated(self.learner, self.spec, self.dataset, self.parts, self.judged, tick)

    def logits(self, model: Any, split: Split, rows: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the logits of some texts of a split, and their time as if none had been embedded before."""
        return logits_of(self.source, model.head, split, rows, self._look)

    def tokens(self, choice: Choice) -> tuple[int, int]:
        """Return the tokens that were read, each text once."""
        return self._work.tokens, self._work.padded

    def save(self, model: Any, folder: Path) -> Sequence[Path]:
        """Write the linear function; what gives the vectors is made from the study's encoder."""
        path = RunFolder(folder).weights
        write_arrays(path, model.head.arrays)
        return [path]


def logits_of(
    source: Vectors, head: LinearHead, split: Split, rows: np.ndarray, look: Look = lambda done, total: None
) -> tuple[np.ndarray, float]:
    """Return the logits of some texts of a split, and the seconds that vectors and linear function take."""
    found = source.embed(split.texts, rows, look)
    begin = time.monotonic()
    logits = head.logits(found.vectors)
    return logits, found.seconds + time.monotonic() - begin


def load_head(spec: RunSpec, folder: RunFolder) -> LinearHead:
    """Return the linear function that a run's folder holds."""
    return stored_head(read_arrays(folder.weights, ("coefficients", "intercepts")), TASKS[spec.task])


def predict_on_vectors(
    spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, source: Vectors
) -> Predicted:
    """Return the test part's logits and labels, and the seconds; with the stored linear function."""
    split = split_of_test(dataset, parts)
    logits, seconds = logits_of(source, load_head(spec, folder), split, parts.test)
    return logits, split.labels[parts.test], seconds
