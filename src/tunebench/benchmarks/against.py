"""``tunebench bench --choose``: what ``choose`` gives for its time, beside plain baselines and other tools.

All sides get the same texts and labels, the same model folder, machine and time limit, and are scored on the same
test texts. Each round draws other labels, and runs all sides one after the other, so that what the machine does to
one it does to the others. No side finds embeddings of an earlier one: each has a cache folder of its own.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.benchmarks.others import find_others, versions_of
from tunebench.benchmarks.rounds import take_rounds
from tunebench.benchmarks.scripts.other_tools import MAX_LENGTH, Exam, Side
from tunebench.data import TextDataset, load_dataset
from tunebench.data.reference import DataConfig
from tunebench.errors import DataError, TunebenchError
from tunebench.formatting import counted
from tunebench.labelling.probabilities import embed
from tunebench.machine import devices, environment
from tunebench.models.sources import model_folder
from tunebench.stats import Interval, example_interval
from tunebench.tasks.base import Task

#: C of the baselines' regressions.
_C = 10.0
#: Share of the texts that tests where the data has no test part.
_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Entry:
    """How one side did in all rounds.

    Attributes:
        name: Of the side.
        scores: Mean over rounds with its interval over test texts, by metric.
        seconds: Of each round, from texts to answers.
    """

    name: str
    scores: dict[str, Interval]
    seconds: list[float]


@dataclass(frozen=True)
class Against:
    """The benchmark's result.

    Attributes:
        labels: Labelled texts of each round.
        test: Texts that scored.
        versions: Of what a side was made with.
    """

    data: str
    model: str
    labels: int
    test: int
    limit: float
    rounds: int
    threads: int
    entries: list[Entry]
    machine: dict[str, Any]
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def tfidf_side(exam: Exam) -> Sequence[Any]:
    """TF-IDF of words and pairs of words, and a logistic regression, as scikit-learn has them."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    terms = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    fitted = make_pipeline(terms, LogisticRegression(C=_C, max_iter=1000)).fit(exam.texts, exam.labels)
    return list(fitted.predict(exam.unseen))


def embeddings_side(exam: Exam) -> Sequence[Any]:
    """Mean-pooled embeddings of the frozen encoder, and a logistic regression of scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    vectors = embed(
        [*exam.texts, *exam.unseen],
        model=str(exam.model),
        revision=None,
        max_length=MAX_LENGTH,
        label_names=sorted(set(exam.labels)),
        device="cpu",
        doing=lambda line: None,
    )
    count = len(exam.texts)
    fitted = LogisticRegression(C=_C, max_iter=1000).fit(vectors[:count], exam.labels)
    return list(fitted.predict(vectors[count:]))


#: What plain scikit-learn gives, beside ours.
SIDES: dict[str, Side] = {
    "TF-IDF + regression": tfidf_side,
    "embeddings + regression": embeddings_side,
}


def run_against(
    data: str,
    ours: Side,
    *,
    others: Sequence[str] = (),
    model: str = "minilm",
    labels: int | None = None,
    seconds: float = 300.0,
    rounds: int = 1,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Against:
    """Run all sides, and score them on the same test texts. Ctrl-C ends with the rounds that are whole.

    Args:
        data: Where the data is.
        ours: What ``tunebench choose`` does; :func:`tunebench.choosing.side.choose_side`.
        others: Sides that need another package; see :func:`~tunebench.benchmarks.others.find_others`.
        model: The encoder of all sides that have one.
        labels: Labelled texts of each round; by default all.
        seconds: Time limit of each side.
        rounds: How often; each round draws other labels where not all are taken.
        threads: Compute threads; by default all cores.
        tell: Told what is being done.

    Raises:
        PlanError: A package is missing.
        TunebenchError: Data or model cannot be read.
    """
    rivals = find_others(others)
    sides: dict[str, Side] = {"tunebench choose": ours} | SIDES | {other.name: other for other in rivals}
    dataset = load_texts(data)
    folder, threads = model_folder(model), devices.usable_cores() if threads is None else threads
    learned, unseen = _parts(dataset)
    count = _count(labels, len(learned[0]), data)

    def take(number: int) -> dict[str, tuple[np.ndarray, float]]:
        """Draw labels, and let each side learn from them; return its answers, and the seconds it took."""
        rows = np.random.default_rng(number - 1).permutation(len(learned[0]))[:count].tolist()
        names = [dataset.label_names[learned[1][row]] for row in rows]
        found = {}
        for name, side in sides.items():
            tell(f"round {number} of {rounds}: {name}")
            with tempfile.TemporaryDirectory() as place, _own_cache(Path(place) / "cache"):
                devices.set_threads(threads)
                texts = [learned[0][row] for row in rows]
                exam = Exam(texts, names, list(unseen[0]), folder, seconds, threads, Path(place))
                began = time.monotonic()
                said = side(exam)
                took = time.monotonic() - began
            found[name] = _positions(said, dataset.label_names), took
        return found

    taken = take_rounds(take, fewest=rounds, tell=tell)
    score = partial(_score, truth=unseen[1], classes=len(dataset.label_names), task=dataset.task)
    entries = []
    for name in sides:
        answers, spent = zip(*(each[name] for each in taken), strict=True)
        entries.append(Entry(name, score(np.stack(answers)), list(spent)))
    return Against(
        data,
        model,
        count,
        len(unseen[0]),
        seconds,
        len(taken),
        threads,
        entries,
        environment.describe(),
        versions_of(rivals),
    )


def load_texts(source: str) -> TextDataset:
    """Load the data of a benchmark.

    Raises:
        TunebenchError: It cannot be read, or has other examples than single texts with one label each.
    """
    dataset = load_dataset(DataConfig(source=source))
    if not dataset.task.exclusive or not all(isinstance(text, str) for text in dataset.train.texts):
        raise DataError(
            "The benchmark is for single texts with one label each.", value=source, allowed="one of several classes"
        )
    return dataset


def _count(labels: int | None, there: int, data: str) -> int:
    if labels is not None and labels > there:
        raise DataError("There are fewer labelled texts.", value=labels, allowed=f"at most {there:,}, of {data}")
    return there if labels is None else labels


_Part = tuple[Sequence[Any], np.ndarray]


def _parts(dataset: TextDataset) -> tuple[_Part, _Part]:
    """Return texts and labels to learn from, and to test on: the data's own parts, or a draw."""
    train, test = dataset.train, dataset.test
    if test is not None:
        return (train.texts, train.labels), (test.texts, test.labels)
    rows = np.random.default_rng(0).permutation(len(train))
    cut = round(_TEST_SHARE * len(train))
    held, kept = rows[:cut], rows[cut:]
    return (
        ([train.texts[i] for i in kept], train.labels[kept]),
        ([train.texts[i] for i in held], train.labels[held]),
    )


def _positions(said: Sequence[Any], names: Sequence[str]) -> np.ndarray:
    """Return answers as positions of classes; -1 for one that is none."""
    index = {name: position for position, name in enumerate(names)}
    return np.array([index.get(str(answer), -1) for answer in said], dtype=np.int64)


def _score(answers: np.ndarray, *, truth: np.ndarray, classes: int, task: Task) -> dict[str, Interval]:
    if (answers < 0).any():
        raise TunebenchError("A side answered what is no label of the data.")
    return {
        metric.name: example_interval(truth, answers, classes=classes, rng=np.random.default_rng(0), metric=metric)
        for metric in (task.metrics[task.default_metric], task.metrics["accuracy"])
    }


@contextmanager
def _own_cache(folder: Path) -> Iterator[None]:
    """Let what is cached go into a folder, and nothing be found that another side left."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before


def render_against(found: Against) -> str:
    """Return the result as text."""
    info = found.machine
    lines = [
        f"{found.data}: {found.labels:,} labels, {found.test:,} test texts, {found.model}, at most "
        f"{found.limit:.0f} s a side, {counted(found.rounds, 'round')}; {info['cpu']}, "
        f"{found.threads} threads",
        "",
        f"{'side':<26}{'macro F1':<28}{'accuracy':<28}{'seconds':>8}",
    ]
    for entry in found.entries:
        shown = [f"{one.estimate:.4f} [{one.low:.4f}, {one.high:.4f}]" for one in entry.scores.values()]
        name = f"{entry.name} {found.versions.get(entry.name, '')}".strip()
        lines.append(f"{name:<26}{shown[0]:<28}{shown[1]:<28}{statistics.median(entry.seconds):>8.0f}")
    lines += ["", "Intervals: 95 %, over test texts, of the mean of all rounds."]
    return "\n".join(lines) + "\n"
