"""Give back the disk that weights take once a study has been read: what was measured stays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tunebench.store.study_folder import StudyStore


@dataclass(frozen=True)
class Discarded:
    """What was done.

    Attributes:
        runs: Ids of the runs whose weights are gone.
        bytes: What that gave back on disk.
        unscored: Ids of complete runs whose weights were left, since the test part may still be scored with them.
    """

    runs: tuple[str, ...]
    bytes: int
    unscored: tuple[str, ...]


def discard_weights(folder: Path, *, everything: bool = False) -> Discarded:
    """Remove the weights of a study's complete runs for good.

    Records, predictions, tables and reports stay. The runs stay complete: a study that resumes does not train them
    again. They can no longer be exported or served.

    Args:
        folder: The study's folder.
        everything: Also those of runs that were not scored on test; should one of them be chosen later on, its
            score would need training it again.

    Raises:
        StoreError: There is no study in the folder, or a record is damaged.
    """
    store = StudyStore.open(folder)
    runs, unscored, size = [], [], 0
    for planned in store.planned():
        run_id = planned.spec.run_id
        run = store.run_folder(run_id)
        if not run.complete:
            continue
        with store.locked(run_id) as mine:
            record = run.read() if mine else None
            if record is None or run.weights.name not in record.files:
                continue
            if record.scores is None and not everything:
                unscored.append(run_id)
                continue
            size += run.discard_weights(record)
            runs.append(run_id)
    return Discarded(tuple(runs), size, tuple(unscored))
