"""The test texts of a study, for somebody else to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tunebench.data import TextDataset
from tunebench.data.reference import DataConfig
from tunebench.data.text import Text
from tunebench.errors import StoreError
from tunebench.formatting import command
from tunebench.store.cell import Cell
from tunebench.store.data_place import read_again
from tunebench.store.imported import ImportedStudy, is_imported, trained_here
from tunebench.store.study_folder import StudyStore
from tunebench.study.spec import RunSpec
from tunebench.tasks.base import Task
from tunebench.tasks.registry import TASKS

#: Column of a text's row number, counted from 1, in the part of the data that the test texts came from.
ROW = "row"


@dataclass(frozen=True, eq=False)
class StudyTexts:
    """What the runs of a study are scored on.

    Attributes:
        store: The study.
        config: How its data is read.
        spec: One of its runs, for what all of them share.
        sizes: Training sizes of the study, ascending.
        labels_of: Labels of strategies that were trained here.
        columns: The columns of a text in a file: one, or two of a pair.
        rows: Row of each text, from 0, in the order in which runs are scored.
        texts: The texts, in the same order.
        labels: Their true labels, as stored.
    """

    store: StudyStore
    config: DataConfig
    spec: RunSpec
    sizes: tuple[int, ...]
    labels_of: frozenset[str]
    columns: tuple[str, ...]
    rows: np.ndarray
    texts: Sequence[Text]
    labels: np.ndarray

    @property
    def task(self) -> Task:
        """What is to be predicted."""
        return TASKS[self.spec.task]


def study_texts(folder: Path) -> StudyTexts:
    """Return the test texts of a study, as its own runs were scored on them.

    Raises:
        StoreError: The study has no run with predictions yet, was imported, or holds those of other labels.
        DataError: The data cannot be read, or is not what the study was made with.
    """
    store = StudyStore.open(folder)
    study = store.study()
    if isinstance(study, ImportedStudy):
        raise StoreError("The runs of this study were imported, without their texts.", value=str(folder))
    own = [cell for cell in store.cells() if not is_imported(cell.spec)]
    scored = next((cell for cell in own if cell.scored and cell.predictions is not None), None)
    if scored is None:
        raise StoreError(
            "No run of this study was scored on its test part yet, and the scored runs say which texts that holds.",
            value=str(folder),
            fix=f"{command('run', folder)} goes on with the study",
        )
    spec, rows, labels = trained_here(scored.spec), *_stored(scored)
    dataset = read_again(folder, study.data, spec.data)
    split = dataset.train if dataset.test is None else dataset.test
    if not np.array_equal(split.labels[rows], labels):
        raise StoreError("The stored predictions do not belong to this data.", value=scored.spec.run_id)
    return StudyTexts(
        store=store,
        config=study.data,
        spec=spec,
        sizes=tuple(sorted({cell.spec.train_size for cell in own})),
        labels_of=frozenset(cell.spec.label for cell in own),
        columns=_columns(dataset),
        rows=rows,
        texts=[split.texts[row] for row in rows],
        labels=labels,
    )


def _columns(dataset: TextDataset) -> tuple[str, ...]:
    """Return the columns of a text; texts that a template joined have one."""
    inputs = dataset.inputs
    if inputs is not None:
        return inputs.columns if inputs.join is None else ("text",)
    return (dataset.reading.columns.get("text", "text"),)


def _stored(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
    assert cell.predictions is not None
    found = cell.predictions()
    return found["indices"], found["labels"]
