"""Stopping on a signal: the current run saves a checkpoint first."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tunebench.execution.display import Display

#: What asks for a stop: Ctrl-C, a kill, and the end of the terminal, which Windows does not signal.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def stop_on_signals(display: Display) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C, SIGTERM or end of the terminal ask for a stop, and another of the former force it."""
    asked = False
    heard: queue.SimpleQueue[bool] = queue.SimpleQueue()
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def handle(signum: int, frame: Any) -> None:
        nonlocal asked
        if hung_up := signum not in (signal.SIGINT, signal.SIGTERM):
            _leave(terminals)
        if not asked:
            asked = True
            heard.put(True)
        # A terminal that closes may say so several times.
        elif not hung_up:
            raise KeyboardInterrupt

    def say() -> None:
        if heard.get():
            display.message("stopping after this step, with a checkpoint (a second Ctrl-C stops at once)")

    # Said by a thread: a signal may come in the middle of another message, whose locks its handler would wait for
    # forever. To put into a SimpleQueue is safe there.
    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    previous = {}
    for number in STOP_SIGNALS:
        if number not in (signal.SIGINT, signal.SIGTERM) and signal.getsignal(number) is signal.SIG_IGN:
            continue  # under nohup
        try:
            previous[number] = signal.signal(number, handle)
        except ValueError:
            pass  # not in the main thread: whoever runs us handles signals
    try:
        yield lambda: asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        heard.put(False)
        speaker.join()


def _leave(terminals: Sequence[int]) -> None:
    """Discard what is still printed: to write to a terminal that has closed is an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in terminals:
        os.dup2(nowhere, number)
    os.close(nowhere)
