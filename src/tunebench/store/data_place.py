"""The data of a stored study, read again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.data.reference import DataConfig, DataRef
from tunebench.errors import DataError
from tunebench.files import local_path

if TYPE_CHECKING:
    from tunebench.data import TextDataset


def read_again(folder: Path, data: DataConfig, recorded: Any) -> TextDataset:
    """Return a study's data as its runs were trained on.

    Args:
        folder: The study's.
        data: As the study names it.
        recorded: The data of a run's spec.

    Raises:
        DataError: The data cannot be read, or has changed.
    """
    from tunebench.data import load_dataset

    dataset = load_dataset(found_from(folder, data), recorded=recorded if isinstance(recorded, DataRef) else None)
    if dataset.fingerprint != recorded.fingerprint:
        raise DataError(
            "The data has changed since the study was run.",
            value=f"{data.source}: {dataset.fingerprint}",
            allowed=recorded.fingerprint,
            fix="put the data back as it was, or run the study again in a new folder",
        )
    return dataset


def found_from(folder: Path, data: DataConfig) -> DataConfig:
    """Return a study's data with a path that is there, from wherever the study is read.

    A study names its data as the user did, mostly by a path from the folder in which the study was run. That folder
    mostly lies above the study's own. So a path that is not found from the working directory is looked up from the
    study's folder upwards.

    Args:
        folder: The study's.
        data: As the study names it.

    Returns:
        The data with another path, or as it is if there is nothing to find.
    """
    from tunebench.data import DATASETS

    path = local_path(data.source)
    if data.source in DATASETS or path.is_absolute() or path.exists():
        return data
    places = (parent / path for parent in folder.absolute().parents)
    found = next((place for place in places if place.exists()), None)
    return data if found is None else data.model_copy(update={"source": str(found)})
