"""Backends by the names that strategies declare, imported when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tunebench.machine.devices import kept_threads
from tunebench.machine.random_state import kept_random_state
from tunebench.store.record import RunRecord
from tunebench.strategies import STRATEGIES
from tunebench.training.attempt import Attempt
from tunebench.training.backend import Backend

#: Modules with the functions of :class:`~tunebench.training.backend.Backend`.
BACKENDS = {
    "encoder": "tunebench.training.encoder.run",
    "linear": "tunebench.training.linear.run",
    "embeddings": "tunebench.training.embeddings.run",
    "static": "tunebench.training.static.run",
    "zero_shot": "tunebench.training.zero_shot.run",
    "setfit": "tunebench.training.setfit.run",
}


def backend_of(kind: str) -> Backend:
    """Return the backend that trains a kind of strategy."""
    return cast("Backend", import_module(BACKENDS[STRATEGIES[kind].backend]))


def run_one(attempt: Attempt) -> RunRecord:
    """Train one run with its strategy's backend, and return the record without committing it.

    In a group of processes (:mod:`tunebench.engine.process_group`) each calls this, and the first one writes.
    The global random generators and the number of compute threads are as before afterwards.

    Raises:
        Interrupted: ``attempt.stop`` turned true.
        TunebenchError: Training diverged, or data and spec do not go together.
    """
    with kept_random_state(), kept_threads():
        return backend_of(attempt.spec.kind).train(attempt)
