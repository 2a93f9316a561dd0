"""The command line: parse, one library call, print."""

from __future__ import annotations

import os
import sys
import warnings

# isort: off
# First of all: from here on Ctrl-C ends the program without a traceback.
from tunebench.cli.interrupts import INTERRUPTED, raise_from_now_on, was_interrupted
# isort: on

from rich.markup import escape

from tunebench.cli.app import app
from tunebench.cli.console import err
from tunebench.cli.streams import finish_streams, prepare_streams
from tunebench.errors import TunebenchError

# isort: off
# Each module adds its commands to the tree, in the order that ``--help`` shows. What a command works with is
# imported when it runs, so that help and each command start as fast as they can.
from tunebench.cli import choose  # noqa: F401
from tunebench.cli import study  # noqa: F401
from tunebench.cli import results  # noqa: F401
from tunebench.cli import compare  # noqa: F401
from tunebench.cli import leaderboard  # noqa: F401
from tunebench.cli import labels  # noqa: F401
from tunebench.cli import test_part  # noqa: F401
from tunebench.cli import watch  # noqa: F401
from tunebench.cli import importing  # noqa: F401
from tunebench.cli import data  # noqa: F401
from tunebench.cli import strategies  # noqa: F401
from tunebench.cli import doctor  # noqa: F401
from tunebench.cli import bench  # noqa: F401
from tunebench.cli import version  # noqa: F401
from tunebench.cli import export  # noqa: F401
from tunebench.cli import serve  # noqa: F401
# isort: on


def main() -> None:
    """Run the command line; user errors become one message and exit code 2."""
    # Deprecations between the libraries below are not the user's to mend, in this process and in those it starts.
    warnings.filterwarnings("ignore", category=FutureWarning)
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    raise_from_now_on()
    prepare_streams()
    try:
        _run()
    except BaseException as error:
        if not was_interrupted(error):
            raise
        err.print("interrupted")
        sys.exit(INTERRUPTED)


def _run() -> None:
    try:
        try:
            app()
        finally:
            finish_streams()
    except TunebenchError as error:
        err.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except OSError as error:
        # A full disk, a missing permission: nothing of ours to mend, and nothing a traceback explains.
        place = "" if error.filename is None else f"\n  value:   {str(error.filename)!r}"
        err.print(f"[bold red]error:[/bold red] {escape(f'{error.strerror or error}{place}')}", soft_wrap=True)
        sys.exit(TunebenchError.exit_code)
