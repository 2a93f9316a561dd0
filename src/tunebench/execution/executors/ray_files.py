"""What travels between the driver and the cluster: data and models there, checkpoints and results back."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunebench.data import TextDataset
from tunebench.execution.executors.remote import as_error
from tunebench.store.best_files import BestFiles
from tunebench.store.record import RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.training.attempt import Interrupted

if TYPE_CHECKING:
    from tunebench.models.reference import ModelRef

#: Files of a model that are sent with it.
_MODEL_FILES = (".json", ".txt", ".model", ".jinja", ".safetensors")


@dataclass(frozen=True)
class Shared:
    """What all runs of a plan take from the object store.

    Attributes:
        dataset: The texts.
        tokens: What :func:`tunebench.data.tokens.preload` takes.
        models: By source, the files of each model that is a folder, which other machines need not have.
    """

    dataset: TextDataset
    tokens: Mapping[str, tuple[np.ndarray, np.ndarray]]
    models: Mapping[str, Mapping[str, bytes]]


def shared_inputs(dataset: TextDataset, models: Sequence[ModelRef]) -> Shared:
    """Collect what every run of a plan needs: one data set, and the plan's models."""
    from tunebench.data.text import by_side
    from tunebench.data.tokenizer import tokenizer_fingerprint
    from tunebench.data.tokens import texts_key, whole_tokens
    from tunebench.files import default_cache_dir
    from tunebench.models.sources import is_local, model_folder
    from tunebench.models.tokenizer import load_tokenizer

    tokens, files = {}, {}
    for model in models:
        folder = model_folder(model.source, model.revision)
        tokenizer = load_tokenizer(folder)
        fingerprint = tokenizer_fingerprint(tokenizer)
        for texts in (side for split in dataset.splits.values() for side in by_side(split.texts)):
            whole = whole_tokens(texts, tokenizer, fingerprint, default_cache_dir())
            tokens[texts_key(texts, fingerprint)] = whole.arrays
        if is_local(model.source):
            kept = (path for path in folder.iterdir() if path.suffix in _MODEL_FILES)
            files[model.source] = {path.name: path.read_bytes() for path in kept}
    return Shared(dataset, tokens, files)


def unfinished(folder: RunFolder) -> dict[str, bytes]:
    """Return what a run needs to resume elsewhere: checkpoint, best weights, and the test texts scored so far."""
    paths = [path for path in folder.checkpoint.rglob("*") if path.is_file()]
    if not paths:
        return {}
    scored = [folder.partial_logits] if folder.partial_logits.exists() else []
    return pack([*paths, *folder.best.present(), *scored], folder.path)


def pack(paths: list[Path], root: Path) -> dict[str, bytes]:
    """Return files' bytes by their path below ``root``."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def unpack(files: Mapping[str, bytes], root: Path) -> None:
    """Write files back below ``root``.

    Raises:
        ValueError: A path leads elsewhere.
    """
    for name, content in files.items():
        path = root / name
        if not path.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{name!r} is no path below the run's folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def keep_checkpoint(files: Mapping[str, bytes], folder: RunFolder) -> None:
    """Put a checkpoint that came back in the place of the one before; a kill in between leaves no half."""
    if not files:
        return
    beside = folder.path / ".incoming"
    shutil.rmtree(beside, ignore_errors=True)
    unpack(files, beside)
    # First what the new checkpoint names; what the old one names goes last.
    before = folder.best.present()
    came = [path.replace(folder.path / path.name) for path in BestFiles(beside).present()]
    shutil.rmtree(folder.checkpoint, ignore_errors=True)
    (beside / folder.checkpoint.name).replace(folder.checkpoint)
    scored = beside / folder.partial_logits.name
    if scored.exists():
        scored.replace(folder.partial_logits)
    for path in set(before) - set(came):
        path.unlink(missing_ok=True)
    shutil.rmtree(beside, ignore_errors=True)


def write_outcome(outcome: dict[str, Any], folder: RunFolder) -> RunRecord:
    """Write a task's files into the run's folder, or raise its error."""
    if "interrupted" in outcome:
        keep_checkpoint(outcome["files"], folder)
        raise Interrupted(outcome["interrupted"])
    if "error" in outcome:
        raise as_error(outcome["error"], outcome["environment"])
    # Beside and then by rename: a run that was complete once may be done again.
    beside = folder.path / ".incoming"
    shutil.rmtree(beside, ignore_errors=True)
    unpack(outcome["files"], beside)
    for name in outcome["files"]:
        (folder.path / name).parent.mkdir(exist_ok=True)
        (beside / name).replace(folder.path / name)
    shutil.rmtree(beside, ignore_errors=True)
    return RunRecord.model_validate(outcome["record"])
