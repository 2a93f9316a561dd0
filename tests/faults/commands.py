"""The whole command line in this process, and what a folder holds before and after."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock


@dataclass(frozen=True)
class Ended:
    """How a command ended; ``crash`` is the traceback of what it let through."""

    code: int
    out: str
    err: str
    crash: str = ""


def tunebench(*args: object, stdin: bytes = b"") -> Ended:
    """Run ``tunebench ARGS`` with the real ``main``, without a new process."""
    from tunebench.cli import main

    out, err, crash, code = io.StringIO(), io.StringIO(), "", 0
    source = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    with (
        mock.patch.object(sys, "argv", ["tunebench", *map(str, args)]),
        mock.patch.object(sys, "stdin", source),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        warnings.catch_warnings(),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except Exception:
            code, crash = 1, traceback.format_exc()
    return Ended(code, out.getvalue(), err.getvalue(), crash)


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder (and its folders and links), by path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "link"
        if path.is_symlink()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def refused(ended: Ended, words: Sequence[str] = ()) -> str:
    """Return what is wrong with a refusal: it must be exit code 2, a message, and no traceback."""
    if ended.crash:
        return f"it crashed: {ended.crash.strip().splitlines()[-1]}\n{ended.crash}"
    if ended.code != 2:
        return f"exit code {ended.code}, not 2: {ended.out[-300:]} {ended.err[-300:]}"
    if not ended.err.strip():
        return "it says nothing on standard error"
    if "Traceback" in ended.err + ended.out:
        return f"a traceback is shown: {ended.err[-2000:]}"
    missing = [word for word in words if word.lower() not in ended.err.lower()]
    return f"it does not say {missing}: {ended.err}" if missing else ""
