"""Child processes of this machine: how they start, and how they are given their work."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

#: What a child sends first; the parent answers with its work.
READY = "ready"
#: A child starts as a new Python: a fork would break the threads and the devices of its parent.
CONTEXT = multiprocessing.get_context("spawn")


def start_child(
    target: Callable[..., None], *arguments: Any, name: str, daemon: bool = False
) -> tuple[BaseProcess, Connection]:
    """Start a process that runs ``target(connection, *arguments)``, and return it with the other end.

    A child that dies at any moment of its start must not hold up its parent. Python sends a new process its
    arguments through a pipe of which the parent holds both ends. Once that pipe is full, the parent waits for
    ever for a child that is dead. So the arguments must be small, and what is large goes over the connection: the
    child asks for it with :func:`ask_for_work`, and a dead child's connection fails instead of filling up.

    Args:
        target: A function of a module; it gets a connection first.
        arguments: A few hundred bytes at most.
        name: Of the process.
        daemon: Whether it is ended with its parent. One that is not watches its parent itself.
    """
    ours, theirs = CONTEXT.Pipe()
    try:
        process = CONTEXT.Process(target=target, args=(theirs, *arguments), name=name, daemon=daemon)
        with _may_have_children():
            process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def ask_for_work(connection: Connection) -> Any:
    """Tell the parent that this child has started, and return what it answers.

    Raises:
        EOFError: The parent has ended.
        OSError: The same, noticed elsewhere.
    """
    connection.send((READY, None))
    return connection.recv()


def tell_child(connection: Connection, value: Any) -> bool:
    """Send a child something; False if it no longer listens."""
    try:
        connection.send(value)
    except OSError:
        return False
    return True


def hear_child(connection: Connection) -> tuple[str, Any] | None:
    """Return the next message of a child; None when there will be no more, also where one was cut off."""
    try:
        kind, value = connection.recv()
    except (EOFError, OSError):
        return None
    return kind, value


def leave_terminal() -> None:
    """Let no Ctrl-C in the terminal reach this child, and end it with its parent.

    The parent, which a Ctrl-C reaches, asks its children to stop once.
    """
    if hasattr(os, "setsid"):
        os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _may_have_children() -> Iterator[None]:
    """Let a daemonic worker process start processes: these watch it, and so do not outlive it."""
    current: Any = multiprocessing.current_process()
    daemon = current._config.pop("daemon", None)
    try:
        yield
    finally:
        if daemon is not None:
            current._config["daemon"] = daemon
