"""What is exported: a run of a study, its model as trained, and the texts it was tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tunebench.analysis.analysis import analyse
from tunebench.analysis.answer import answer_of
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import recommend
from tunebench.errors import ExportError, StoreError
from tunebench.formatting import command
from tunebench.inference.artifacts import Artifact, describe
from tunebench.inference.export.check import chosen_texts
from tunebench.store.cell import Cell
from tunebench.store.data_place import read_again
from tunebench.store.imported import ImportedStudy, is_imported
from tunebench.store.study_folder import StudyStore
from tunebench.strategies import capabilities_of
from tunebench.tasks.registry import TASKS

if TYPE_CHECKING:
    from tunebench.data import TextDataset
    from tunebench.data.text import Text
    from tunebench.store.record import RunRecord
    from tunebench.store.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class ExportSource:
    """A complete run, and what it is compared on.

    Attributes:
        artifact: Its folder.
        record: Its record.
        study: The name of the study.
        labels: Of the whole test part, as the task has them.
        logits: What the run predicted there, ``(n, classes)``.
        chosen: Positions in the test part of the texts that the export is checked on.
        texts: Those texts.
        recommended_among: Strategies that the study compared on the test part to recommend this one, itself
            included; none where it was not taken for that.
        said: The recommendation in two sentences: what to choose, and how sure that is; none likewise.
        measured: The run whose scores stand for this one, which was trained again on all labels; None where the
            run has scores of its own.
        judged: Whether the test part judges the run. What an estimator was fitted on does not: no score is shown.
    """

    artifact: Artifact
    record: RunRecord
    study: str
    labels: np.ndarray
    logits: np.ndarray
    chosen: np.ndarray
    texts: list[Text]
    recommended_among: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    measured: ExportSource | None = None
    judged: bool = True


def open_source(folder: Path, *, run_id: str | None, recommended: bool, texts: int) -> ExportSource:
    """Choose a run and read its data.

    Args:
        folder: The study.
        run_id: The run; None for the best on validation.
        recommended: Take what the study recommends instead.
        texts: How many texts to check on; all of a smaller test part.

    Raises:
        StoreError: The run or its files are not there or damaged.
        ExportError: Nothing says which run is best.
        DataError: The data set is not what the study was run on.
    """
    store = StudyStore.open(folder)
    study = store.study()
    if isinstance(study, ImportedStudy):
        raise ExportError("The runs of this study were imported, without their weights.", value=str(folder))
    among, said = (), ()  # type: tuple[str, ...], tuple[str, ...]
    if run_id is None:
        comparison = load_comparison(folder)
        run_id, among, said = recommended_run(comparison) if recommended else (best_run(comparison), (), ())
    run = store.run_folder(run_id)
    if not run.path.is_dir():
        known = [cell.spec.run_id for cell in store.cells() if cell.scored]
        raise StoreError(
            "The study has no such run.",
            value=run_id,
            allowed=", ".join(known[:6]) or "none is complete",
            fix=f"{command('status', folder)} lists them",
        )
    artifact = describe(run.path)
    record = run.read()
    assert record is not None and artifact.run is not None
    strategy = capabilities_of(record.spec.kind)
    if record.scores is None or not strategy.exportable:
        raise ExportError(
            "The run has no scores on the test part, which an export is checked with."
            if record.scores is None
            else "What this strategy trains cannot be exported.",
            value=f"{run_id}: {'not scored' if record.scores is None else strategy.trains}",
            fix="choose another --run",
        )
    predictions = run.read_predictions()
    chosen = chosen_texts(len(predictions["labels"]), texts)
    tested = _test_texts(read_again(folder, study.data, record.spec.data), record, predictions, chosen)
    source = _as_trained(artifact, record, predictions, study=study.name, chosen=chosen, texts=tested)
    return replace(source, recommended_among=among, said=said)


def fitted_source(run: RunFolder, study: str, texts: Sequence[Text]) -> ExportSource:
    """Return what is exported of a run that an estimator made: nothing judges it.

    Args:
        run: Its folder.
        study: What the export calls its study.
        texts: The test part, of which the run stored predictions.
    """
    artifact, record, predictions = describe(run.path), run.read(), run.read_predictions()
    assert record is not None
    tested, chosen = [texts[i] for i in predictions["indices"]], np.arange(len(texts))
    source = _as_trained(artifact, record, predictions, study=study, chosen=chosen, texts=tested)
    return replace(source, judged=False)


def _as_trained(
    artifact: Artifact,
    record: RunRecord,
    predictions: dict[str, np.ndarray],
    *,
    study: str,
    chosen: np.ndarray,
    texts: list[Text],
) -> ExportSource:
    """Return a run as its folder has it; see :class:`ExportSource`."""
    return ExportSource(
        artifact=artifact,
        record=record,
        study=study,
        labels=record.task.outputs.truth(predictions["labels"]),
        logits=predictions["logits"],
        chosen=chosen,
        texts=texts,
    )


def best_run(comparison: Comparison) -> str:
    """Return the complete run with the best score on validation; the earlier in the plan wins a tie.

    The test part is never looked at: what it chose, it could no longer judge.

    Raises:
        ExportError: No run was selected on validation, and there are several.
    """
    return _best(tuple(cell for cell in comparison.scored if not is_imported(cell.spec)), comparison.name)


def recommended_run(comparison: Comparison) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the run that a study recommends, the strategies among which its own was, and the answer in words.

    The strategy is chosen by scores on the test part, which can then judge it no longer without flattery; among
    the strategy's seeds validation chooses.

    Raises:
        ExportError: As :func:`best_run`.
        StoreError: There is nothing to recommend from.
    """
    analysis = analyse(comparison)
    found = recommend(analysis)
    if found.not_exported is not None:
        raise ExportError(found.not_exported, value=f"{comparison.name}, recommended", fix="choose a run: --run ID")
    answer = answer_of(analysis, found)
    group = comparison.group(found.strategy, found.train_size)
    assert group is not None and group.selected is not None
    among = tuple(one.label for one in found.alternatives)
    return _best(group.selected.scored, comparison.name), among, (answer.verdict, answer.trust)


def _best(cells: tuple[Cell, ...], name: str) -> str:
    if not cells:
        raise StoreError("The study has no complete run.", value=name, fix="tunebench run STUDY goes on with it")
    judged = [
        cell for cell in cells if cell.spec.selection == "validation" and cell.row["selection_score"] is not None
    ]
    if judged:
        spec = judged[0].spec
        metric = TASKS[spec.task].metrics[spec.selects_by]
        return max(judged, key=lambda cell: metric.merit(cell.row["selection_score"])).spec.run_id
    if len(cells) == 1:
        return cells[0].spec.run_id
    raise ExportError(
        "No run can be chosen: none was scored on a validation part, and the test part must not choose.",
        value=f"selection: {cells[0].spec.selection}",
        allowed=", ".join(cell.spec.run_id for cell in cells[:6]),
        fix="name one: --run ID",
    )


def _test_texts(
    dataset: TextDataset, record: RunRecord, predictions: dict[str, np.ndarray], chosen: np.ndarray
) -> list[Text]:
    split = dataset.train if dataset.test is None else dataset.test
    rows = predictions["indices"][chosen]
    if not np.array_equal(split.labels[rows], predictions["labels"][chosen]):
        raise StoreError("The stored predictions do not belong to this data.", value=record.run_id)
    return [split.texts[row] for row in rows]
