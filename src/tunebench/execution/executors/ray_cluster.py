"""Joining a Ray cluster, or starting one on this machine; what its nodes offer."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tunebench.errors import ConfigError, MissingExtraError, PlanError, first_line

#: Bytes of the object store of a cluster of our own: texts, tokens, and results on their way back.
_STORE = 500 * 10**6
_ADDRESS = re.compile(r"(ray://)?([^:/\s]+):(\d{1,5})")
#: Seconds an address has to answer.
_PATIENCE = 5.0


def connect(address: str | None) -> bool:
    """Join the cluster at an address, or start one on this machine.

    Returns:
        Whether this call joined, and so has to leave; False where the process is in a cluster already.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: Nothing answers at the address.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("ray", "ray")
    if address is not None:
        _check(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray hides GPUs from a task that asks for none, and warns that it will stop doing so; no task of
    # ours without a GPU looks for one.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        return False
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _STORE} if address is None else {}
    try:
        with _deaf_to_hangups():
            ray.init(address=address or "local", log_to_driver=False, logging_level="WARNING", **own)
    except Exception as error:
        raise ConfigError(
            f"The Ray cluster cannot be joined: {first_line(error)}",
            value=address,
            allowed="host:port or ray://host:port of a running cluster with the same version of Ray",
            fix="check it with ray status --address HOST:PORT; without --ray-address a cluster is started here",
        ) from None
    return True


@contextmanager
def _deaf_to_hangups() -> Iterator[None]:
    """Let the processes of a cluster that is started here outlive the terminal: they save what runs on them."""
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _check(address: str) -> None:
    """Raise where nothing listens: Ray itself would try for minutes."""
    match = _ADDRESS.fullmatch(address)
    allowed = "host:port, or ray://host:port"
    if match is None or not 0 < int(match[3]) < 65536:
        raise ConfigError("This is not an address of a Ray cluster.", value=address, allowed=allowed)
    try:
        socket.create_connection((match[2], int(match[3])), timeout=_PATIENCE).close()
    except OSError as error:
        raise ConfigError(
            f"No Ray cluster answers at this address: {error.strerror or error}",
            value=address,
            allowed=allowed,
            fix="start one with: ray start --head",
        ) from None


def nodes() -> list[Mapping[str, float]]:
    """Return the resources of every live node that has CPUs."""
    import ray

    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [resources for resources in found if resources.get("CPU", 0) >= 1]


def threads_of_a_run(wanted: int | None) -> int:
    """Return the threads a run gets: what is asked for, else the cores of the smallest node.

    Raises:
        PlanError: The cluster has no CPUs.
    """
    cpus = [int(resources["CPU"]) for resources in nodes()]
    if not cpus:
        raise PlanError("No node of the Ray cluster has a CPU.", fix="add nodes, or start them with --num-cpus")
    return wanted or min(cpus)


def check_fits(need: Mapping[str, float]) -> None:
    """Raise unless some node could hold a run; Ray would wait for such a node for ever.

    Args:
        need: Amounts by Ray's names: CPU, GPU, memory (bytes).

    Raises:
        PlanError: None could.
    """
    offers = nodes()
    if any(all(offer.get(name, 0) >= amount for name, amount in need.items()) for offer in offers):
        return
    raise PlanError(
        "No node of the Ray cluster can hold a run.",
        value=_words(need),
        allowed="; ".join(dict.fromkeys(_words({k: o.get(k, 0) for k in need}) for o in offers)),
        fix="larger nodes, fewer --threads, a smaller batch_size or max_length",
    )


def slots(need: Mapping[str, float]) -> int:
    """Return how many runs fit on the cluster at once."""
    wanted = {name: amount for name, amount in need.items() if amount > 0}
    return sum(min(int(offer.get(name, 0) // amount) for name, amount in wanted.items()) for offer in nodes())


def _words(amounts: Mapping[str, float]) -> str:
    return ", ".join(
        f"{value / 1e9:.1f} GB memory" if name == "memory" else f"{value:g} {name}"
        for name, value in amounts.items()
    )
