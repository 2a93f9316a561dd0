"""Data sets of the Hugging Face Hub, pinned to a commit."""

from __future__ import annotations

from typing import Any

from tunebench.data.arrow_tables import dataset_table
from tunebench.data.sources import RawData, from_splits
from tunebench.errors import DataError, first_line

_INSTEAD = "use a local folder or file (--data PATH), or packaged data (--data imdb-reviews)"


def read_hub(name: str, *, revision: str | None, subset: str | None, validation: bool = True) -> RawData:
    """Read the ``train`` and, where there are any, the validation and ``test`` splits of a data set.

    The revision is resolved to a commit first and that commit is read, so that what is recorded is
    what was used. Code of the repository is never run.

    Args:
        name: ``owner/name``.
        revision: Branch, tag or commit; the default branch when ``None``.
        subset: Configuration name; the default one when ``None``.
        validation: Whether a validation split is wanted.

    Raises:
        DataError: The Hub cannot be reached, it has no such data set, revision or configuration, or
            the data set has no ``train`` split.
    """
    commit = _resolve(name, revision)
    loaded = _load(name, subset, commit)
    if "train" not in loaded:
        raise DataError(
            "The data set on the Hub has no 'train' split.",
            value=f"{name}: {', '.join(map(str, loaded))}",
            fix=f"choose another configuration (data.subset), or {_INSTEAD}",
        )
    splits = {str(split): dataset_table(loaded[split]) for split in loaded}
    return from_splits(splits, name, revision=commit, validation=validation)


def _resolve(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        commit = HfApi().dataset_info(name, revision=revision, timeout=30).sha
    except RevisionNotFoundError as error:
        raise DataError(
            f"The data set {name} on the Hub has no such revision.",
            value=revision,
            allowed="a branch, a tag or a commit",
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise DataError(
            "There is no such file or folder here, and no such data set on the Hub (or it is not public).",
            value=name,
            fix=f"check the name, or {_INSTEAD}",
        ) from error
    except Exception as error:
        # Which types "no network" takes depends on the HTTP library under the client.
        raise _out_of_reach(name, error) from error
    if commit is None:
        raise DataError("The Hub names no commit for this data set, so it cannot be pinned.", value=name)
    return str(commit)


def _load(name: str, subset: str | None, commit: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(name, subset, revision=commit)
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        # An unknown configuration, files of another kind, or a data set that is code.
        raise DataError(
            f"The data set on the Hub cannot be read: {first_line(error)}",
            value=name if subset is None else f"{name}, configuration {subset}",
            fix=f"check data.subset, or {_INSTEAD}",
        ) from error
    except Exception as error:
        raise _out_of_reach(name, error) from error


def _out_of_reach(name: str, error: Exception) -> DataError:
    return DataError(
        f"There is no such file or folder here, and the Hub is out of reach: {first_line(error)}",
        value=name,
        fix=f"check the path and the network, or {_INSTEAD}",
    )
