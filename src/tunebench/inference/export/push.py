"""Upload an export to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunebench.errors import HubError, first_line

#: Files of exports: one of another format that stayed would be read in place of the new model.
_OF_EXPORTS = [
    "*.onnx*",
    "*.safetensors*",
    *(f"{name}.json" for name in ("adapter_config", "config", "export", "linear", "vocabulary")),
]


def check_repository(repository: str) -> None:
    """Refuse what cannot be a repository's name.

    Raises:
        HubError: It is not ``NAME`` or ``OWNER/NAME``.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise HubError(
            f"This is not a repository on the Hub: {first_line(error)}", value=repository, allowed="OWNER/NAME"
        ) from None


def upload_list(folder: Path) -> list[dict[str, Any]]:
    """Return ``file`` and ``bytes`` of everything an upload would send, by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [{"file": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size} for path in files]


def push(folder: Path, repository: str) -> str:
    """Create the repository if it is not there, upload a folder, and return its address.

    A new repository is private; its owner publishes it. What an earlier export left there is removed in the same
    commit, and stays in the repository's history.

    Args:
        folder: A finished export.
        repository: ``OWNER/NAME``.

    Raises:
        HubError: The Hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi

    check_repository(repository)
    api = HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Upload of an export by tunebench",
            delete_patterns=_OF_EXPORTS,
        )
    except Exception as error:
        # The client raises types of several HTTP libraries for "no network", "no token" and "not yours".
        raise HubError(
            f"The upload failed: {first_line(error)}",
            value=repository,
            fix=f"check the network and `hf auth login`; the export itself is complete in {folder}",
        ) from None
    return str(commit.repo_url)
