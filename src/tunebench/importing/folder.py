"""Which files of a folder describe a run, and what each of them holds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.errors import StoreError
from tunebench.importing.files import (
    checked_file,
    is_not_finite,
    is_number,
    number,
    parameter_shapes,
    read_arrays,
    read_json_file,
    read_object,
)
from tunebench.importing.log import Log, checked_log
from tunebench.importing.notes import Notes
from tunebench.importing.stated import SIDECARS

_METRICS = (
    *("metrics.json", "all_results.json", "train_results.json", "eval_results.json"),
    *("test_results.json", "predict_results.json"),
)
_ARGUMENTS = ("training_args.json", "training_arguments.json", "train_args.json", "args.json", "run_args.json")
#: Written by AutoTrain beside the model it trained.
_AUTOTRAIN = ("training_params.json",)
_CHECKPOINT = re.compile(r"checkpoint-(\d{1,12})")
#: What arrays are usually called, by what they hold; `predictions` may hold classes or logits.
_ARRAYS = {
    "labels": ("labels", "label_ids", "y_true", "label", "targets", "references"),
    "logits": ("logits", "y_logits"),
    "probabilities": ("probabilities", "probs", "y_prob", "y_proba"),
    "predictions": ("predictions", "preds", "pred", "y_pred", "predicted", "prediction"),
}


class NothingHereError(StoreError):
    """A folder holds nothing of a run."""


@dataclass
class Contents:
    """Everything a folder tells; what it does not hold is None or empty.

    Attributes:
        path: The folder as given.
        files: The files that were read, in the order of reading.
        notes: What was passed over.
        log: The Trainer's log.
        state: ``trainer_state.json`` without its log.
        metrics: Scalars of the files of metrics, None where NaN or infinity stands; ``metrics_from`` names the
            file of each.
        arguments: Training arguments.
        autotrain: What AutoTrain was asked to do.
        config: ``config.json`` of the model.
        adapter: ``adapter_config.json``.
        shapes: Shapes of the tensors of the trained weights; ``weights_from`` names their file.
        arrays: Arrays of predictions by what their name says they are, each with its place.
        labels: True classes or numbers, shape ``(n,)``; of several labels a text 0 and 1, shape ``(n, labels)``.
            This and what follows is None until the task is known (:mod:`~tunebench.importing.predictions`).
        predictions: The same as predicted.
        logits: Shape ``(n, classes)``, if they are logits and not probabilities.
        probabilities: Shape ``(n, classes)``.
        sidecar: The user's ``tunebench.yaml``, as text.
    """

    path: Path
    files: list[Path] = field(default_factory=list)
    log: Log | None = None
    log_from: str = ""
    state: dict[str, Any] = field(default_factory=dict)
    state_path: Path = Path()
    metrics: dict[str, float | None] = field(default_factory=dict)
    metrics_from: dict[str, str] = field(default_factory=dict)
    script_label: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    arguments_path: Path = Path()
    autotrain: dict[str, Any] = field(default_factory=dict)
    autotrain_path: Path = Path()
    config: dict[str, Any] = field(default_factory=dict)
    config_path: Path = Path()
    adapter: dict[str, Any] = field(default_factory=dict)
    adapter_path: Path = Path()
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    weights_from: str = ""
    weight_bytes: int | None = None
    arrays: dict[str, tuple[np.ndarray, str]] = field(default_factory=dict)
    labels: np.ndarray | None = None
    predictions: np.ndarray | None = None
    logits: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    arrays_from: str = ""
    sidecar: str | None = None
    sidecar_path: Path = Path("tunebench.yaml")
    notes: Notes = field(init=False)

    def __post_init__(self) -> None:
        self.notes = Notes(self.path)

    @property
    def counts(self) -> dict[str, int]:
        """Values that each tensor of the trained weights holds."""
        return {name: math.prod(shape) for name, shape in self.shapes.items()}

    @property
    def has_predictions(self) -> bool:
        """Whether there are labels, and something that was predicted."""
        return "labels" in self.arrays and len(self.arrays) > 1

    def number(self, raw: dict[str, Any], key: str, path: Path, *, whole: bool = False) -> Any:
        """Return a number of an object that was read; see :func:`~tunebench.importing.files.number`."""
        return number(raw, key, path, self.notes, whole=whole)

    def take(self, path: Path) -> Path:
        """Note that a file is read."""
        self.files.append(path)
        return path

    def object_in(self, path: Path) -> dict[str, Any]:
        """Return the object in a file whose name other tools use too; empty where it holds something else."""
        try:
            raw = read_object(path)
        except StoreError as error:
            self.notes.passed_over(path, _clause(error))
            return {}
        self.take(path)
        return raw


def read_folder(path: Path) -> Contents:
    """Read what a Trainer script left in a folder.

    Raises:
        StoreError: The folder is none, holds nothing of a Trainer, or a file of it is damaged; the file is named.
    """
    if not path.is_dir():
        raise StoreError("There is no such folder.", value=str(path))
    try:
        names = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise StoreError(f"The folder cannot be read: {error.strerror}.", value=str(path)) from None
    found = Contents(path)
    checkpoint = _last_checkpoint(path, names)
    places = [path, *_subfolders(path, names), *([checkpoint] if checkpoint else [])]
    _read_log(found, path, checkpoint)
    _read_metrics(found)
    _read_arrays(found, [path / name for name in sorted(names) if name.lower().endswith(".npz")])
    own = [path, *([checkpoint] if checkpoint else [])]
    if file := _first([path], _ARGUMENTS):
        found.arguments, found.arguments_path = found.object_in(file), file
    if file := _first([path], _AUTOTRAIN):
        found.autotrain, found.autotrain_path = found.object_in(file), file
    if file := _first(own, ("config.json",)):
        found.config, found.config_path = found.object_in(file), file
    if file := _first(places, ("adapter_config.json",)):
        found.adapter, found.adapter_path = _adapter(found, file), file
    _read_weights(found, places if found.adapter else own)
    if file := _first([path], SIDECARS):
        checked_file(file, 2**20)
        try:
            found.sidecar, found.sidecar_path = found.take(file).read_text(encoding="utf-8-sig"), file
        except (UnicodeDecodeError, OSError) as error:
            raise StoreError("The file is not text in UTF-8.", value=f"{file}: {error}") from None
    if found.log is None and not found.metrics and not found.has_predictions:
        noted = "".join(f"\n           {sentence}" for sentence in found.notes.sentences)
        raise NothingHereError(
            f"This folder holds no files of a Trainer script: {path}{noted}",
            allowed=f"trainer_state.json, log_history.json, {', '.join(_METRICS)}, or labels and predictions in "
            "an .npz file",
            fix="give the folder that holds one of these",
        )
    return found


def _there(path: Path) -> bool:
    # A link that leads nowhere is there, and an error when it is read.
    return path.exists() or path.is_symlink()


def _first(places: Sequence[Path], names: Sequence[str]) -> Path | None:
    return next((place / name for place in places for name in names if _there(place / name)), None)


def _last_checkpoint(path: Path, names: set[str]) -> Path | None:
    steps = {int(match[1]): name for name in names if (match := _CHECKPOINT.fullmatch(name))}
    folders = [path / steps[step] for step in sorted(steps) if (path / steps[step]).is_dir()]
    return folders[-1] if folders else None


def _subfolders(path: Path, names: set[str]) -> Iterator[Path]:
    """Yield folders of an adapter: scripts often save it into a folder of its own."""
    for name in sorted(names):
        if not _CHECKPOINT.fullmatch(name) and _there(path / name / "adapter_config.json"):
            yield path / name


def _read_log(found: Contents, path: Path, checkpoint: Path | None) -> None:
    state = _first([path, *([checkpoint] if checkpoint else [])], ("trainer_state.json",))
    if state is not None:
        raw = read_object(found.take(state))
        history = raw.pop("log_history", None)
        if history is not None:
            found.log, found.log_from = checked_log(history, state, found.notes), _inside(path, state)
        found.state, found.state_path = raw, state
        for key, whole in (("num_train_epochs", True), ("max_steps", True), ("best_global_step", True)):
            raw[key] = found.number(raw, key, state, whole=whole)
        for key in ("best_metric", "total_flos"):
            raw[key] = found.number(raw, key, state)
    whole_log = _first([path], ("log_history.json",))
    # A checkpoint's log ends with the checkpoint; the one that the script wrote at its end is whole.
    if whole_log is not None and (found.log is None or (state is not None and state.parent != path)):
        raw = read_json_file(found.take(whole_log))
        if isinstance(raw, dict) and set(raw) == {"log_history"}:
            raw = raw["log_history"]
        found.log, found.log_from = checked_log(raw, whole_log, found.notes), whole_log.name


def _read_metrics(found: Contents) -> None:
    for name in _METRICS:
        file = found.path / name
        if not _there(file):
            continue
        raw = found.object_in(file)
        label = raw.get("strategy")
        if isinstance(label, str) and found.script_label is None:
            found.script_label = label
        if raw and not any(is_number(value) or is_not_finite(value) for value in raw.values()):
            found.notes.passed_over(file, "it holds no metric, only nested values or text")
        for key, value in raw.items():
            if is_number(value) or is_not_finite(value):
                _add_metric(found, key, found.number(raw, key, file), name)


def _add_metric(found: Contents, key: str, value: float | None, name: str) -> None:
    known = found.metrics.get(key)
    if known is not None and value is not None and known != value:
        raise StoreError(
            f"Two files contradict each other about {key}.",
            value=f"{found.path / found.metrics_from[key]}: {known!r}; {found.path / name}: {value!r}",
            fix="remove the one that does not belong to this run",
        )
    if known is None:
        found.metrics[key], found.metrics_from[key] = value, name


def _adapter(found: Contents, file: Path) -> dict[str, Any]:
    raw = found.object_in(file)
    if raw and not (isinstance(raw.get("peft_type"), str) and raw["peft_type"]):
        found.notes.passed_over(file, "it names no peft_type, so PEFT did not write it")
        return {}
    return raw


def _clause(error: StoreError) -> str:
    """Return what is wrong with a file, without its path, for use inside a sentence."""
    what = (
        error.what.rstrip(".").replace("This file ", "it ").replace("The file ", "it ").replace("This is", "it is")
    )
    return what[:1].lower() + what[1:]


def _read_weights(found: Contents, places: Sequence[Path]) -> None:
    name = "adapter_model.safetensors" if found.adapter else "model.safetensors"
    if file := _first(places, (name,)):
        try:
            found.shapes = parameter_shapes(file)
        except StoreError as error:
            found.notes.passed_over(file, _clause(error))
            return
        found.weights_from, found.weight_bytes = _inside(found.path, found.take(file)), file.stat().st_size


def _read_arrays(found: Contents, paths: Sequence[Path]) -> None:
    arrays: dict[str, tuple[np.ndarray, str]] = {}
    for path in paths:
        stored = read_arrays(found.take(path))
        lower = {name.lower(): name for name in stored}
        for kind, names in _ARRAYS.items():
            for name in (lower[n] for n in names if n in lower):
                where = f"{path}: {name}"
                if kind in arrays:
                    raise StoreError(
                        f"Two arrays could be the {kind}.",
                        value=f"{arrays[kind][1]}; {where}",
                        fix="keep one of them in the folder",
                    )
                arrays[kind] = (stored[name], where)
    found.arrays = arrays


def _inside(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
