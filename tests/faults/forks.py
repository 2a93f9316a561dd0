"""Processes of studies that start in milliseconds: everything is imported once, and each process is a fork of that.

To start Python and import torch takes several seconds of a core; a study of these tests takes one. The process that
runs a study is forked from this one, and its workers from a fork server that has imported the same. So a kill costs
little, and hits a study instead of an import. Workers that start as they do for a user are
:mod:`faults.worker_kills`'s.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from multiprocessing import connection, forkserver, popen_forkserver, resource_tracker
from pathlib import Path
from typing import Any

import psutil

from faults import study

#: Seconds after which a study that should end by itself hangs, and those its children have to end after it.
LIMIT, FAREWELL = 900.0, 120.0


class Driver:
    """A process that runs something, as the process that forked it sees it.

    Args:
        name: Of its files in the folder.
        folder: Where its messages and the ids of its children are written.
        job: What it does; returns its exit code.
    """

    def __init__(self, name: str, folder: Path, job: Callable[[], int]) -> None:
        self._errors, self._children = folder / f"{name}.err", folder / f"{name}.children"
        self._errors.write_bytes(b"")
        self._children.write_bytes(b"")
        self.code: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _live(self._errors, self._children, job)  # never returns

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        if self.code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is None

    @property
    def said(self) -> str:
        """The end of what it wrote to standard error."""
        return self._errors.read_text()[-3000:]

    @property
    def had_children(self) -> bool:
        """Whether any process was its child."""
        return bool(self._children.read_text())

    def children(self) -> list[int]:
        """Return the ids of its children that have not ended."""
        return [pid for pid in map(int, self._children.read_text().split()) if _is_alive(pid)]

    def kill(self) -> bool:
        """Kill it, and tell whether it was alive."""
        if not self.alive:
            return False
        os.kill(self.pid, signal.SIGKILL)
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code == -signal.SIGKILL

    def wait(self, limit: float = LIMIT) -> bool:
        """Wait for its end and for that of its children; False where one of them hangs. It is killed then."""
        deadline = time.monotonic() + limit
        while self.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        if self.alive:
            os.kill(self.pid, signal.SIGUSR1)  # where it hangs
            time.sleep(1.0)
            self.kill()
            self.bury()
            return False
        return self.bury()

    def bury(self) -> bool:
        """Wait for its children, which end with it; False where one did not, which is killed then."""
        deadline = time.monotonic() + FAREWELL
        while (left := self.children()) and time.monotonic() < deadline:
            time.sleep(0.005)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _live(errors: Path, children: Path, job: Callable[[], int]) -> None:
    """Do a driver's work, in it, and end."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        with errors.open("w") as file:
            os.dup2(file.fileno(), 2)
        faulthandler.register(signal.SIGUSR1, all_threads=True)
        _note_children(children)
        code = job()
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _note_children(children: Path) -> None:
    """Have this process take its children from the fork server, and write down their ids."""
    from tunebench.execution.executors import children as package

    server: Any = forkserver._forkserver
    server.ensure_running = lambda: None  # it is another process's child, which is no reason to start a second one
    launch = popen_forkserver.Popen._launch

    def noted(self: Any, process: Any) -> None:
        launch(self, process)
        with children.open("a") as file:
            file.write(f"{self.pid}\n")

    popen_forkserver.Popen._launch = noted  # type: ignore[method-assign]
    package.CONTEXT = multiprocessing.get_context("forkserver")  # type: ignore[assignment]


def warm_up(modules: Iterable[str]) -> None:
    """Import what studies need, here and in the fork server that their workers come from."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # before the forks: a pool of threads does not survive one
    for name in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    study.often()
    gc.freeze()  # what is imported is never garbage: a collection need not look at it
    _serve_forks()


def _serve_forks() -> None:
    """Start a fork server that is itself a fork of this process, so that it need not import anything again."""
    server: Any = forkserver._forkserver
    resource_tracker.ensure_running()
    listener, (alive, ours) = socket.socket(socket.AF_UNIX), os.pipe()
    address = connection.arbitrary_address("AF_UNIX")  # type: ignore[attr-defined]
    listener.bind(address)
    listener.listen()
    pid = os.fork()
    if not pid:
        os.close(ours)
        try:
            forkserver.main(listener.fileno(), alive, [])  # never returns
        finally:
            os._exit(1)
    os.close(alive)
    listener.close()
    server._forkserver_address, server._forkserver_alive_fd, server._forkserver_pid = address, ours, pid


def loaded_modules(path: Path) -> list[str]:
    """Return the modules that a driver had imported at its end; see :func:`write_modules`."""
    names: list[str] = json.loads(path.read_text())
    return [name for name in names if not name.startswith(("__", "faults"))]


def write_modules(path: Path) -> None:
    """Write down what this process has imported."""
    path.write_text(json.dumps(sorted(sys.modules)))
