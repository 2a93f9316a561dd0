"""A leaderboard: entries made of a study, and the scores that the predictions of entries really give."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from tunebench import __version__
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration
from tunebench.analysis.costs import cost_of_config
from tunebench.analysis.evidence import SEED
from tunebench.analysis.load import load_comparison
from tunebench.errors import ConfigError, StoreError
from tunebench.stats import Interval, Refusal, crossed_interval, example_interval
from tunebench.store.board_folder import BoardEntry, BoardFolder, BoardProvenance, BoardRun, test_part_of
from tunebench.store.cell import Cell
from tunebench.store.imported import is_imported, trained_here
from tunebench.store.record import now
from tunebench.tasks.metric import Metric
from tunebench.tasks.registry import TASKS

#: A stated score further from the recomputed one than this is said to differ.
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Row:
    """An entry with the score it is placed by.

    Attributes:
        score: Mean over runs.
        interval: Of the score; only where all runs have predictions.
        recomputed: Whether the score comes from predictions. Otherwise it is what the entry says.
        remark: What a reader must know of the score; empty if nothing.
    """

    name: str
    entry: BoardEntry
    score: float
    interval: Interval | None
    recomputed: bool
    remark: str = ""


@dataclass(frozen=True)
class Board:
    """Entries that were scored on the same test part by the same metric, the best first."""

    data: str
    fingerprint: str
    test_part: str
    test_texts: int
    metric: Metric
    rows: tuple[Row, ...]


def add_study(study: Path, board: Path, *, by: str, url: str | None = None, note: str = "") -> list[str]:
    """Add the selected runs of every strategy and size of a study to a leaderboard.

    Args:
        study: Folder of the study.
        board: Folder of the leaderboard; made if there is none.
        by: Who adds it.
        url: Where more is to be read.
        note: What a reader should know.

    Returns:
        Names of the entries.

    Raises:
        StoreError: No run has predictions on the test part, or the runs were imported.
    """
    comparison = load_comparison(study)
    if all(is_imported(cell.spec) for cell in comparison.cells):
        raise StoreError(
            "Imported runs have no place on a leaderboard: what their scores rest on is not known.",
            value=str(study),
        )
    try:
        provenance = BoardProvenance(
            by=by, added=now(), tunebench=__version__, study=comparison.name, url=url, note=note
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"--{first['loc'][0]}: {first['msg']}",
            value=first["input"],
            allowed="by: 1 to 200 characters; url: http or https; note: at most 1,000 characters",
        ) from None
    # Answers of other models stay in their study.
    own = [one for one in analyse(comparison).entries if not is_imported(one.cells[0].spec)]
    entries = [_entry(one.config, comparison, provenance) for one in own]
    if not entries:
        raise StoreError(
            "No selected run of this study has predictions on the test part.",
            value=str(study),
            fix="finish the study (tunebench run), or see tunebench status",
        )
    folder = BoardFolder(board)
    return [folder.add(entry, predictions) for entry, predictions in entries]


def load_boards(folder: Path) -> tuple[list[Board], dict[str, str]]:
    """Load a leaderboard, and compute the scores of all entries that have predictions.

    Returns:
        The boards, those with the most entries first, and why entries are left out.

    Raises:
        StoreError: There is no leaderboard.
    """
    store = BoardFolder(folder)
    entries, refused = store.entries()
    rows: dict[tuple[str, str, str, str], list[Row]] = {}
    for name, entry in entries.items():
        try:
            row = _row(name, entry, store)
        except StoreError as error:
            refused[name] = error.what
        else:
            rows.setdefault((entry.data_fingerprint, entry.test_part, entry.task, entry.metric), []).append(row)
    boards = [_board(found) for found in rows.values()]
    return sorted(boards, key=lambda one: (-len(one.rows), one.data, one.metric.name)), refused


def _entry(
    config: Configuration, comparison: Comparison, provenance: BoardProvenance
) -> tuple[BoardEntry, list[dict[str, np.ndarray] | None]]:
    cells = [cell for cell in config.scored if cell.predictions is not None]
    predictions = [cell.predictions() for cell in cells if cell.predictions is not None]
    spec = trained_here(cells[0].spec)
    entry = BoardEntry(
        strategy=config.label,
        kind=spec.kind,
        model="none" if "model" in spec.without_effect else _public(spec.model.source),
        data=_public(spec.data.source),
        data_fingerprint=spec.data.fingerprint,
        test_part=test_part_of(predictions[0]),
        test_texts=len(predictions[0]["indices"]),
        labels=spec.data.label_names,
        task=spec.task,
        metric=comparison.metric,
        selection=spec.selection,
        train_size=config.train_size,
        learning_rate=config.shown_learning_rate,
        trainable_params=cells[0].row["trainable_params"],
        train_seconds=cost_of_config(config, "train_seconds"),
        artifact_bytes=cost_of_config(config, "artifact_bytes"),
        runs=tuple(_run(cell) for cell in cells),
        provenance=provenance,
    )
    return entry, list(predictions)


def _run(cell: Cell) -> BoardRun:
    assert cell.record is not None and cell.record.scores is not None
    return BoardRun(seed=cell.spec.seed, scores=cell.record.scores.values, thresholds=cell.record.thresholds)


def _public(source: str) -> str:
    """Return a source without the folders of the machine it lay on."""
    plain = source.replace("\\", "/").rstrip("/")
    local = plain.startswith(("/", "~", ".")) or re.match(r"^[A-Za-z]:/", plain)
    return plain.rsplit("/", 1)[-1] if local else plain


def _row(name: str, entry: BoardEntry, store: BoardFolder) -> Row:
    """Return an entry with its score: computed where all runs have predictions, else as it is stated.

    Raises:
        StoreError: The predictions are not what the entry says they are.
    """
    metric = TASKS[entry.task].metrics[entry.metric]
    stated = [run.scores.get(entry.metric) for run in entry.runs]
    predictions = store.predictions(name, entry)
    found = [one for one in predictions if one is not None]
    if len(found) < len(predictions):
        known = [score for score in stated if score is not None]
        if not known:
            raise StoreError("It states no score, and its predictions are not all there.")
        return Row(name, entry, float(np.mean(known)), None, recomputed=False)
    scores, interval = _recomputed(entry, found, metric)
    differ = [
        (said, score)
        for said, score in zip(stated, scores, strict=True)
        if said is not None and abs(said - score) > _TOLERANCE
    ]
    remark = f"states {differ[0][0]:.4f} where its predictions give {differ[0][1]:.4f}" if differ else ""
    return Row(name, entry, float(np.mean(scores)), interval, recomputed=True, remark=remark)


def _recomputed(
    entry: BoardEntry, predictions: list[dict[str, np.ndarray]], metric: Metric
) -> tuple[list[float], Interval | None]:
    """Return the score of each run, and the interval of their mean.

    Raises:
        StoreError: Shapes, test part or values do not fit.
    """
    values: list[np.ndarray] = []
    scores: list[float] = []
    for run, found in zip(entry.runs, predictions, strict=True):
        task = TASKS[entry.task].at(run.thresholds)
        try:
            same = test_part_of(found) == entry.test_part and len(found["indices"]) == entry.test_texts
            if not same or len(np.unique(found["indices"])) != entry.test_texts:
                raise StoreError("Its predictions are of another test part than it states.")
            labels, logits = task.outputs.checked(found["labels"], found["logits"])
            if logits.shape[1] != max(len(entry.labels), 1):
                raise StoreError("Its predictions have another number of classes than it has labels.")
            scores.append(float(task.metric(entry.metric)(labels, logits)))
            values.append(task.outputs.predicted(logits) if metric.needs == "labels" else metric.decode(logits))
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise StoreError(f"Its predictions give no scores: {error}") from None
    if not np.isfinite(scores).all():
        raise StoreError(f"{metric.heading} is not defined for its predictions.")
    classes = predictions[0]["logits"].shape[1]
    truth = TASKS[entry.task].outputs.truth(predictions[0]["labels"])
    stacked = np.stack(values)
    interval = crossed_interval(truth, stacked, classes=classes, metric=metric)
    if isinstance(interval, Refusal):
        rng = np.random.default_rng(SEED)
        interval = example_interval(truth, stacked, classes=classes, rng=rng, metric=metric)
    return scores, interval


def _board(rows: Iterable[Row]) -> Board:
    found = list(rows)
    entry = found[0].entry
    metric = TASKS[entry.task].metrics[entry.metric]
    found.sort(key=lambda row: (-metric.merit(row.score), row.name))
    return Board(entry.data, entry.data_fingerprint, entry.test_part, entry.test_texts, metric, tuple(found))
