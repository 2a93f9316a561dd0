"""Trackers whose files lie in a run's folder, through the Trainer's own integrations."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from tunebench.store.run_folder import RunFolder

_LOG = logging.getLogger(__name__)


def run_callbacks(names: Sequence[str], folder: RunFolder) -> list[TrainerCallback]:
    """Return callbacks through which a Trainer sends trackers what it logs.

    To be called in the process that trains: what a tracker opens does not pickle.

    Args:
        names: The study's trackers. Those of whole studies are left to :mod:`~tunebench.execution.tracking.study`.
        folder: The run's folder: files go there, and notes of what failed.
    """
    found: list[TrainerCallback] = []
    for name in (name for name in names if name in _MAKERS):
        try:
            callback = _MAKERS[name](folder.path / name)
        except Exception as error:
            _warn(name, error, folder)
            continue
        found.append(_guarded(name, callback, folder))
    return found


def _tensorboard(folder: Path) -> TrainerCallback:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    writer: Any = SummaryWriter  # untyped
    return TensorBoardCallback(tb_writer=writer(log_dir=str(folder)))


_MAKERS: dict[str, Callable[[Path], Any]] = {"tensorboard": _tensorboard}


def _guarded(name: str, callback: Any, folder: RunFolder) -> Any:
    """Return a callback that passes every event on until one fails."""
    from transformers import TrainerCallback

    class Guarded(TrainerCallback):  # type: ignore[misc]
        broken = False

        def pass_on(self, event: str, *args: Any, **kwargs: Any) -> None:
            if self.broken:
                return
            try:
                getattr(callback, event)(*args, **kwargs)
            except Exception as error:
                self.broken = True
                _warn(name, error, folder)

        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            self.pass_on("on_train_begin", *args, **kwargs)

        def on_log(self, *args: Any, **kwargs: Any) -> None:
            self.pass_on("on_log", *args, **kwargs)

        def on_train_end(self, *args: Any, **kwargs: Any) -> None:
            self.pass_on("on_train_end", *args, **kwargs)

    return Guarded()


def _warn(name: str, error: Exception, folder: RunFolder) -> None:
    line = f"tracker {name} failed and is left out of the rest of this run: {type(error).__name__}: {error}"
    _LOG.warning(line)
    folder.note(line)
