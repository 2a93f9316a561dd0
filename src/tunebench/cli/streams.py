"""Standard streams as a program finds them: closed, or of an encoding that lacks what is printed."""

from __future__ import annotations

import codecs
import io
import os
import sys

#: Name of the way in which :func:`prepare_streams` has characters replaced.
_REPLACE = "tunebench.replace"


class _Replaced:
    """Whether a character was replaced in this process."""

    any = False


def is_terminal() -> bool:
    """Tell whether standard output is a terminal; it may be missing."""
    return sys.stdout is not None and sys.stdout.isatty()


def prepare_streams() -> None:
    """Make every standard stream usable.

    What is closed becomes the null device: otherwise the next file that is opened would take its number, and get
    what is printed. What an encoding lacks is replaced, which :func:`finish_streams` says.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one. Child processes must find it open as well.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")
    codecs.register_error(_REPLACE, _replace)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_REPLACE)


def finish_streams() -> None:
    """Write what is still to be written, and say if characters were replaced.

    Raises:
        OSError: Standard output cannot be written.
    """
    sys.stdout.flush()
    if _Replaced.any:
        _Replaced.any = False
        sys.stderr.write(
            f"note: standard output is {sys.stdout.encoding}; characters that it lacks were replaced by '?'. "
            "Set PYTHONIOENCODING=utf-8 to keep them.\n"
        )


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    _Replaced.any = True
    return "?" * (error.end - error.start), error.end
