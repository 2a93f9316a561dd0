"""Checkpoints inside a run: what was trained, the optimiser, and the random state; no pickle.

A checkpoint holds the trained parameters only. Everything frozen is rebuilt from the pretrained
weights and the seed, which makes checkpoints of adapters small and the format the same for every
strategy.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

_PREFIX = "step-"


def trained_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that are trained, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the trained parameters to a safetensors file, atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    tensors = {name: p.detach().cpu().contiguous() for name, p in trained_parameters(model).items()}
    save_file(tensors, temporary)
    os.replace(temporary, path)


@torch.no_grad()
def load_weights(path: Path, model: nn.Module) -> None:
    """Read the trained parameters back.

    Raises:
        ValueError: If names or shapes are not exactly those of the model's trained parameters.
        SafetensorError: If the file is damaged.
    """
    stored = load_file(path)
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

    Returns:
        The checkpoint's folder.
    """
    final = folder / f"{_PREFIX}{step:08d}"
    temporary = folder / f".tmp-{os.getpid()}-{step}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_weights(temporary / "weights.safetensors", model)
    save_file(_optimizer_tensors(model, optimizer), temporary / "optimizer.safetensors")
    save_file(_random_state(), temporary / "random.safetensors")
    (temporary / "trainer_state.json").write_text(trainer_state, encoding="utf-8")
    payload = {"step": step, "scheduler": scheduler.state_dict(), "state": state}
    (temporary / "state.json").write_text(json.dumps(payload), encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    for other in folder.iterdir():
        if other != final:
            shutil.rmtree(other, ignore_errors=True)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint, removing damaged ones; ``None`` when there is none."""
    if not folder.is_dir():
        return None
    for path in sorted(folder.glob(f"{_PREFIX}*"), reverse=True):
        try:
            json.loads((path / "state.json").read_text(encoding="utf-8"))
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
            for name in ("weights", "optimizer", "random"):
                load_file(path / f"{name}.safetensors")
        except (OSError, ValueError, SafetensorError):
            shutil.rmtree(path, ignore_errors=True)
            continue
        return path
    return None


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return what was stored as ``state``."""
    state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))["state"]
    return state


def load_optimizer(checkpoint: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
    """Restore optimiser and schedule in place."""
    stored = load_file(checkpoint / "optimizer.safetensors")
    names = {parameter: name for name, parameter in trained_parameters(model).items()}
    current = optimizer.state_dict()
    index = 0
    state: dict[int, dict[str, Tensor]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            prefix = f"{names[parameter]}|"
            entries = {k[len(prefix) :]: v for k, v in stored.items() if k.startswith(prefix)}
            if entries:
                state[index] = entries
            index += 1
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})
    scheduler.load_state_dict(json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))["scheduler"])
    for group, rate in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
        group["lr"] = rate


def load_random_state(checkpoint: Path) -> None:
    """Restore torch's generators."""
    stored = load_file(checkpoint / "random.safetensors")
    torch.random.set_rng_state(stored["cpu"])
    if "cuda" in stored and torch.cuda.is_available():
        torch.cuda.set_rng_state(stored["cuda"])


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names = {parameter: name for name, parameter in trained_parameters(model).items()}
    return {
        f"{names[parameter]}|{key}": torch.as_tensor(value).detach().cpu().contiguous()
        for parameter, entries in optimizer.state.items()
        for key, value in entries.items()
    }


def _random_state() -> dict[str, Tensor]:
    state = {"cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state
