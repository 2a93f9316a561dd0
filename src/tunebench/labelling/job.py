"""The whole of ``tunebench labels``: read the study's texts, judge their labels, and write files to go through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.analysis.analysis import analyse
from tunebench.analysis.doubling import doublings
from tunebench.analysis.load import load_comparison
from tunebench.data import TextDataset
from tunebench.data.columns import is_empty
from tunebench.data.readers import read_table
from tunebench.data.reference import ReadOptions
from tunebench.data.text import Text, sides_of
from tunebench.errors import DataError
from tunebench.files import write_text
from tunebench.formatting import csv_text
from tunebench.inference.columns import columns_of
from tunebench.labelling.found import LabelsFound, NextText, Suspect
from tunebench.labelling.next_texts import choose_next, margins_of
from tunebench.labelling.page import suspects_page
from tunebench.labelling.probabilities import OutOfFold, embed, out_of_fold, predict
from tunebench.labelling.suspects import find_suspects
from tunebench.machine import devices
from tunebench.machine.settings import Execution
from tunebench.store.data_place import read_again
from tunebench.store.imported import ImportedStudy
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig

#: Texts that are proposed to be labelled next.
NEXT_TEXTS = 100


@dataclass(frozen=True)
class _Labelled:
    """All labelled texts with their embeddings, and what a regression on them says."""

    dataset: TextDataset
    places: list[tuple[str, int]]
    texts: list[Text]
    labels: np.ndarray
    vectors: np.ndarray
    judged: OutOfFold
    embed: Callable[[list[Text]], np.ndarray]


@dataclass(frozen=True)
class _Unlabelled:
    """The texts of a table with their rows, which count from 1; what was passed over, and what was recognised."""

    rows: list[tuple[int, Text]]
    passed_over: tuple[str, ...]
    reading: tuple[str, ...]


def study_labels(
    folder: Path | str,
    *,
    unlabelled: Path | None = None,
    columns: Sequence[str] | None = None,
    options: ReadOptions | None = None,
    count: int = NEXT_TEXTS,
    out: Path | None = None,
    execution: Execution | None = None,
    doing: Callable[[str], None] = lambda line: None,
) -> LabelsFound:
    """Say what more labels would bring, which labels are likely wrong, and which texts to label next.

    Args:
        folder: A study's folder, of ``run`` or ``choose``.
        unlabelled: A table of texts without labels.
        columns: Its columns of texts; by default those of the study, or a usual name.
        options: How it is read, where what is recognised is not right.
        count: Texts to propose.
        out: Where the files go; by default ``labels`` in the study's folder.
        execution: Device and threads.
        doing: Told what is being done.

    Raises:
        TunebenchError: The study or its data cannot be read, or the data has changed since.
    """
    folder, execution = Path(folder), execution or Execution()
    comparison = load_comparison(folder)
    found = LabelsFound(comparison.name, doublings(analyse(comparison)))
    study = StudyStore.open(folder).study()
    place = out or folder / "labels"
    if isinstance(study, ImportedStudy):
        return _not_judged(found, "the runs were imported, so their texts are not known", unlabelled)
    dataset = read_again(folder, study.data, StudyStore.open(folder).trainable()[0].data)
    if not dataset.task.exclusive:
        why = f"confident learning is for one label a text, and the task is {dataset.task.label}"
        return _not_judged(found, why, unlabelled)
    others = None if unlabelled is None else _read_unlabelled(unlabelled, options, columns, dataset, study)
    labelled = _judge(study, dataset, execution, doing)
    suspects = _suspects(labelled)
    files = place / "suspects.csv", place / "suspects.html"
    write_text(files[0], _csv(suspects, Suspect))
    write_text(files[1], suspects_page(comparison.name, suspects, dataset.label_names, len(labelled.texts)))
    found = replace(found, texts=len(labelled.texts), suspects=suspects, files=files)
    if others is None:
        return found
    proposed, passed_over = _next(labelled, others, count)
    write_text(place / "next.csv", _csv(proposed, NextText))
    return replace(
        found,
        next_texts=proposed,
        passed_over=passed_over,
        files=(*files, place / "next.csv"),
        reading=others.reading,
    )


def _not_judged(found: LabelsFound, why: str, unlabelled: Path | None) -> LabelsFound:
    """Return what is known without looking at labels; without them, no texts can be proposed either."""
    if unlabelled is not None:
        raise DataError(
            "No texts can be proposed for labelling.",
            value=str(unlabelled),
            allowed=f"a study of texts with one label each; {why}",
            fix="leave --unlabelled out",
        )
    return replace(found, refused=why)


@devices.kept_threads()
def _judge(
    study: StudyConfig, dataset: TextDataset, execution: Execution, doing: Callable[[str], None]
) -> _Labelled:
    devices.set_threads(devices.threads_of(execution))

    def vectors_of(texts: list[Text]) -> np.ndarray:
        return embed(
            texts,
            model=study.model,
            revision=study.model_revision,
            max_length=study.max_length,
            label_names=dataset.label_names,
            device=devices.resolve_device(execution.device),
            doing=doing,
        )

    places = [(part, row + 1) for part, split in dataset.splits.items() for row in range(len(split))]
    texts = [text for split in dataset.splits.values() for text in split.texts]
    labels = np.concatenate([split.labels for split in dataset.splits.values()])
    vectors = vectors_of(texts)
    doing(f"judging {len(texts):,} labels by cross-validation")
    # Copies stay together, or a wrong label would vouch for its copy.
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    judged = out_of_fold(vectors, labels, np.array([numbers[text] for text in texts]))
    return _Labelled(dataset, places, texts, labels, vectors, judged, vectors_of)


def _suspects(labelled: _Labelled) -> tuple[Suspect, ...]:
    found = find_suspects(labelled.judged.probabilities, labelled.labels)
    names, suspects = labelled.dataset.label_names, []
    for row, likely in zip(map(int, found.rows), map(int, found.likely), strict=True):
        part, number = labelled.places[row]
        given, of_each = int(labelled.labels[row]), labelled.judged.probabilities[row]
        suspects.append(
            Suspect(
                part=part,
                row=number,
                text=_shown(labelled.texts[row]),
                label=names[given],
                likely=names[likely],
                probability=round(float(of_each[given]), 4),
                likely_probability=round(float(of_each[likely]), 4),
            )
        )
    return tuple(suspects)


def _read_unlabelled(
    path: Path,
    options: ReadOptions | None,
    named: Sequence[str] | None,
    dataset: TextDataset,
    study: StudyConfig,
) -> _Unlabelled:
    table = read_table(path, options)
    own = study.data.text_column
    wanted = [own] if named is None and own is not None and own in table.columns else named
    inputs = columns_of(dataset.inputs, table.columns, wanted)
    columns = [table.values(name) for name in inputs.columns]
    sound = [
        row
        for row in range(table.rows)
        if all(isinstance(each[row], str) and not is_empty(each[row]) for each in columns)
    ]
    texts = inputs.texts([[each[row] for row in sound] for each in columns])
    left = table.rows - len(sound)
    notes = (*map(str, table.passed_over), *([f"{left} of {table.rows} rows without a text"] if left else []))
    rows = [(row + 1, text) for row, text in zip(sound, texts, strict=True)]
    return _Unlabelled(rows, notes, table.notes)


def _next(labelled: _Labelled, others: _Unlabelled, count: int) -> tuple[tuple[NextText, ...], tuple[str, ...]]:
    """Return the texts to label next, and what was passed over."""
    seen = set(labelled.texts)
    kept: dict[Text, int] = {}
    known = sum(text in seen for _, text in others.rows)
    for row, text in others.rows:
        if text not in seen:
            kept.setdefault(text, row)
    copies = len(others.rows) - known - len(kept)
    notes = (*others.passed_over, *([f"{known} already labelled in the study"] if known else []))
    notes = (*notes, *([f"{copies} copies of others in the file"] if copies else []))
    if not kept:
        raise DataError("No text of the file is new.", value="; ".join(notes) or "it has no rows")
    texts = list(kept)
    vectors = labelled.embed(texts)
    probabilities = predict(labelled.vectors, labelled.labels, vectors, setting=labelled.judged.setting)
    margins, names = margins_of(probabilities), labelled.dataset.label_names
    chosen = choose_next(probabilities, vectors, count)
    return tuple(
        NextText(
            kept[texts[i]],
            _shown(texts[i]),
            names[int(probabilities[i].argmax())],
            round(float(probabilities[i].max()), 4),
            round(float(margins[i]), 4),
        )
        for i in chosen.tolist()
    ), notes


def _shown(text: Text) -> str:
    """Return a text as one value; the two of a pair one under the other."""
    return "\n".join(sides_of(text))


def _csv(rows: Sequence[Any], kind: Any) -> str:
    names = [field.name for field in fields(kind)]
    return csv_text(names, ([getattr(row, name) for name in names] for row in rows))
