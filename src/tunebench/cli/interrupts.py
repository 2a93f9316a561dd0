"""Ctrl-C before there is anything to save: one line, and exit code 130."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

#: Exit code of a program that Ctrl-C ended.
INTERRUPTED = 130


class _Asked:
    """Whether Ctrl-C was pressed in this process."""

    any = False


def leave_while_importing() -> None:
    """Let Ctrl-C end the program at once while its modules are imported; a process that imports us is left alone.

    A library that is half imported cannot be used, and a traceback through it tells a user nothing.
    """
    # Python sets the name of a module that -m runs after its packages are imported.
    is_program = os.path.basename(sys.argv[0] if sys.argv else "").split(".")[0] in ("tunebench", "-m")
    if is_program and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def raise_from_now_on() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, and remember that it was pressed."""
    if signal.getsignal(signal.SIGINT) in (_leave, signal.default_int_handler):
        signal.signal(signal.SIGINT, _raise)


def was_interrupted(error: BaseException) -> bool:
    """Tell whether an error is no more than what Ctrl-C left behind.

    Libraries that are interrupted while they are imported raise errors of other types. Typer exits without a word.
    """
    if isinstance(error, SystemExit):
        cause = getattr(error.__context__, "__cause__", None)
        return error.code == INTERRUPTED and isinstance(cause, KeyboardInterrupt)
    return isinstance(error, KeyboardInterrupt) or _Asked.any


def _leave(number: int, frame: Any) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def _raise(number: int, frame: Any) -> None:
    _Asked.any = True
    raise KeyboardInterrupt


# When it is imported, which the command line does before anything else.
leave_while_importing()
