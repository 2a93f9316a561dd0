"""Checkpoints inside a run: what was trained, the optimiser, and the random state; no pickle.

A checkpoint holds the trained parameters only. Everything frozen is rebuilt from the pretrained
weights and the seed, which makes checkpoints of adapters small and the format the same for every
strategy.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tunebench.errors import StoreError
from tunebench.files import is_regular, read_json, replacing, stored_file

if TYPE_CHECKING:
    from tunebench.engine.trained_rows import TrainedRows

_PREFIX = "step-"
#: What a strategy remembers from step to step; only where it remembers anything.
_HOOK = "hook.safetensors"
#: Sizes and hashes of a checkpoint's other files, written last.
_FILES = "files.json"
#: The files that every checkpoint has besides.
_PARTS = frozenset(
    {
        *("weights.safetensors", "optimizer.safetensors", "random.safetensors"),
        *("trainer_state.json", "state.json"),
    }
)
#: Key of the hash in a safetensors file's metadata.
_DIGEST = "sha256"


def trained_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that are trained, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def save_weights(path: Path, model: nn.Module, *, checked: bool = False) -> None:
    """Write the trained parameters to a safetensors file, atomically.

    Args:
        path: The file.
        model: The model.
        checked: Write a hash of the tensors into the file, by which :func:`load_weights` finds damage;
            for files whose hash stands nowhere else.

    Raises:
        OSError: It cannot be written.
    """
    tensors = {name: p.detach().cpu().contiguous() for name, p in trained_parameters(model).items()}
    write_tensors(path, tensors, {_DIGEST: digest(tensors)} if checked else None)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write contiguous tensors on the CPU to a safetensors file, atomically.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(path) as temporary:
        _save(tensors, temporary, metadata)


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        # Its only cause here is the file system, and callers tell that from a run's own errors.
        number = errno.ENOSPC if "os error 28" in str(error) else errno.EIO
        raise OSError(number, str(error), str(path)) from None


def digest(tensors: dict[str, Tensor]) -> str:
    """Return sha256 over names, shapes, types and values of contiguous tensors on the CPU."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(f"{name}|{tuple(tensors[name].shape)}|{tensors[name].dtype}".encode())
        found.update(tensors[name].view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def is_sound(path: Path) -> bool:
    """Tell whether a file that :func:`save_weights` wrote ``checked`` is there and undamaged."""
    try:
        _read_checked(path)
    except (OSError, ValueError, SafetensorError):
        return False
    return True


def _read_checked(path: Path) -> dict[str, Tensor]:
    if not is_regular(path):
        raise FileNotFoundError(errno.ENOENT, "there is no such regular file", str(path))
    with safe_open(path, framework="pt") as file:
        expected = (file.metadata() or {}).get(_DIGEST)
    tensors: dict[str, Tensor] = load_file(path)
    if expected is not None and digest(tensors) != expected:
        raise ValueError(f"{path.name} is damaged: it does not hold what was written")
    return tensors


@torch.no_grad()
def load_weights(path: Path, model: nn.Module) -> None:
    """Read the trained parameters back.

    Raises:
        ValueError: If names or shapes are not exactly those of the model's trained parameters, or the
            tensors are not those that were written.
        SafetensorError: If the file is damaged.
    """
    stored = _read_checked(path)
    wanted = trained_parameters(model)
    if stored.keys() != wanted.keys():
        odd = sorted(stored.keys() ^ wanted.keys())
        raise ValueError(f"{path.name} holds other parameters than the model trains: {odd[:5]}")
    for name, parameter in wanted.items():
        if stored[name].shape != parameter.shape:
            raise ValueError(f"{path.name}: {name} has shape {tuple(stored[name].shape)}")
        parameter.copy_(stored[name])


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    state: dict[str, Any],
    trainer_state: str,
    hook: dict[str, Tensor] | None = None,
    rows: TrainedRows | None = None,
    scaler: dict[str, Any] | None = None,
) -> Path:
    """Write a checkpoint and remove older ones; a kill at any time leaves the last whole one.

    Args:
        folder: Where the run's checkpoints lie.
        step: Optimisation steps done.
        model: The model.
        optimizer: Its optimiser.
        scheduler: Its learning-rate schedule.
        state: Anything else, as JSON.
        trainer_state: The Trainer's own state, as JSON text.
        hook: What the strategy's step hook remembers; None where it has none.
        rows: The rows of the word embeddings that are trained, if not all are. A checkpoint holds all rows.
        scaler: What scales the loss in fp16; None where nothing does.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: It cannot be written; the last one is still there.
    """
    final = folder / f"{_PREFIX}{step:08d}"
    temporary = folder / f".tmp-{os.getpid()}-{step}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        with nullcontext() if rows is None else rows.whole():
            save_weights(temporary / "weights.safetensors", model)
        _save(_optimizer_tensors(model, optimizer, rows), temporary / "optimizer.safetensors")
        _save(_random_state(), temporary / "random.safetensors")
        if hook is not None:
            _save({name: value.detach().cpu().contiguous() for name, value in hook.items()}, temporary / _HOOK)
        (temporary / "trainer_state.json").write_text(trainer_state, encoding="utf-8")
        payload = {"step": step, "scheduler": scheduler.state_dict(), "state": state, "scaler": scaler}
        (temporary / "state.json").write_text(json.dumps(payload), encoding="utf-8")
        files = {path.name: stored_file(path).model_dump() for path in sorted(temporary.iterdir())}
        (temporary / _FILES).write_text(json.dumps(files), encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
    except BaseException:
        # On a full disk the half of a checkpoint would take the room of whatever comes next.
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for other in folder.iterdir():
        if other != final:
            shutil.rmtree(other, ignore_errors=True)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint, removing damaged ones; ``None`` when there is none."""
    if not folder.is_dir():
        return None
    for path in sorted(folder.glob(f"{_PREFIX}*"), reverse=True):
        if _is_whole(path):
            return path
        shutil.rmtree(path, ignore_errors=True)
    return None


def _is_whole(checkpoint: Path) -> bool:
    """Tell whether every file of a checkpoint is what was written."""
    try:
        files = read_json(checkpoint / _FILES)
        sound = {name: stored_file(checkpoint / Path(name).name).model_dump() for name in files} == files
    except (OSError, StoreError, ValueError, TypeError):
        return False
    return bool(sound and _PARTS <= files.keys())


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return what was stored as ``state``."""
    state: dict[str, Any] = _payload(checkpoint)["state"]
    return state


def read_scaler(checkpoint: Path) -> dict[str, Any] | None:
    """Return what was stored as ``scaler``; None where nothing was."""
    found: dict[str, Any] | None = _payload(checkpoint).get("scaler")
    return found


def _payload(checkpoint: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    return found


def read_hook(checkpoint: Path) -> dict[str, Tensor] | None:
    """Return what was stored as ``hook``; None where nothing was."""
    tensors: dict[str, Tensor] | None = load_file(checkpoint / _HOOK) if (checkpoint / _HOOK).exists() else None
    return tensors


def load_optimizer(
    checkpoint: Path,
    *,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    rows: TrainedRows | None = None,
) -> None:
    """Restore optimiser and schedule in place; the arguments are those of :func:`save_checkpoint`."""
    stored = load_file(checkpoint / "optimizer.safetensors")
    names = {parameter: name for name, parameter in trained_parameters(model).items()}
    current = optimizer.state_dict()
    index = 0
    state: dict[int, dict[str, Tensor]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            prefix = f"{names[parameter]}|"
            entries = {k[len(prefix) :]: v for k, v in stored.items() if k.startswith(prefix)}
            if rows is not None:
                entries = {key: rows.cut(parameter, value) for key, value in entries.items()}
            if entries:
                state[index] = entries
            index += 1
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})
    scheduler.load_state_dict(_payload(checkpoint)["scheduler"])
    for group, rate in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group["lr"] = rate


def load_random_state(checkpoint: Path) -> None:
    """Restore torch's generators."""
    stored = load_file(checkpoint / "random.safetensors")
    torch.random.set_rng_state(stored["cpu"])
    if "cuda" in stored and torch.cuda.is_available():
        torch.cuda.set_rng_state(stored["cuda"])
    if "mps" in stored and torch.backends.mps.is_available():
        torch.mps.set_rng_state(stored["mps"])


def _optimizer_tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer, rows: TrainedRows | None
) -> dict[str, Tensor]:
    names = {parameter: name for name, parameter in trained_parameters(model).items()}
    found: dict[str, Tensor] = {}
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            state = torch.as_tensor(value).detach().cpu().contiguous()
            found[f"{names[parameter]}|{key}"] = state if rows is None else rows.expanded(parameter, state)
    return found


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state
