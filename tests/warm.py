"""Processes that begin warm: forked from one that has imported what training needs, which takes eight seconds.

It has no threads and trains nothing itself. It starts when a first process is asked for, and ends with pytest.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

_SERVER = multiprocessing.get_context("forkserver")
# Not the command line, whose console looks at the environment when it is imported.
_SERVER.set_forkserver_preload(
    [
        "peft",
        "sklearn.metrics",
        "transformers.trainer",
        "transformers.models.bert.modeling_bert",
        "transformers.models.distilbert.modeling_distilbert",
        "tunebench.training.encoder.run",
    ]
)


def start(
    target: Callable[..., Any],
    *arguments: Any,
    environment: Mapping[str, str] | None = None,
    told: Path | None = None,
    **options: Any,
) -> BaseProcess:
    """Start a process that runs a function of a module.

    Args:
        target: The function.
        arguments: Its arguments.
        environment: All variables that the process has; this process's by default.
        told: A file for what it writes to standard output and standard error.
        options: ``name`` and ``daemon``.
    """
    process = WARM.Process(
        target=_alone, args=(told, target, *arguments), environment=environment or os.environ, **options
    )
    process.start()
    return process


def command(words: Sequence[object]) -> None:
    """Be ``tunebench WORDS``."""
    from tunebench.cli import main

    sys.argv = ["tunebench", *map(str, words)]
    main()


def children_of(process: BaseProcess) -> list[psutil.Process]:
    """Return the processes that a warm one has started: its younger siblings, as the server forks for all."""
    begun = psutil.Process(process.pid)
    server = begun.parent()
    assert server is not None
    return [child for child in server.children() if child.create_time() > begun.create_time()]


class _Warm:
    """What :mod:`tunebench.execution.executors.children` asks of a context."""

    Pipe = staticmethod(_SERVER.Pipe)

    @staticmethod
    def Process(
        *,
        target: Callable[..., Any],
        args: Sequence[Any],
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> BaseProcess:
        given = dict(os.environ if environment is None else environment)
        return _SERVER.Process(target=_with, args=(given, target, *args), **options)


WARM = _Warm()


def _with(environment: Mapping[str, str], target: Callable[..., Any], *arguments: Any) -> None:
    os.environ.clear()
    os.environ.update(environment)
    # Its own processes come from the same server, instead of a server that it would start.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    target(*arguments)


def _alone(told: Path | None, target: Callable[..., Any], *arguments: Any) -> None:
    """Run in a session of its own, as a command in another terminal does."""
    from tunebench.execution.executors import children

    os.setsid()
    warnings.simplefilter("ignore")  # what libraries deprecate is shown elsewhere
    children.CONTEXT = WARM  # type: ignore[assignment]
    if told is not None:
        with told.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    target(*arguments)
