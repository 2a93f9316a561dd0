"""Files written by rename and read with a clear error: what everything on disk goes through.

A study's folder, a cache or a model may come from somebody else. A file there may be a link to a private file, a
pipe that nobody writes to, a device without an end, or larger than memory. None of these is read:
see :func:`open_regular`.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import psutil
from filelock import FileLock, Timeout

from tunebench.errors import StoreError
from tunebench.schema import Part

#: Most bytes of a JSON file. A record of ten million steps has fewer.
JSON_BYTES = 2**28
#: Neither waits for the other end of a pipe nor makes a terminal the process's own; no such flags on Windows.
_CALMLY = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
#: Tells machines apart that share a folder: each has process numbers of its own.
_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


class StoredFile(Part):
    """A file beside the record, by which damage is found."""

    bytes: int
    sha256: str


def local_path(text: str | Path) -> Path:
    """Return a path a user named, with ``~`` resolved; ``~nobody`` stays as it is, and is then not found."""
    return Path(os.path.expanduser(text))


def open_regular(path: Path, *, links: bool = False, limit: int | None = None) -> BinaryIO:
    """Open a regular file for reading.

    Args:
        path: The file.
        links: Follow links wherever they lead. Otherwise a link may only name another file of its own folder.
        limit: Most bytes it may have.

    Raises:
        FileNotFoundError: There is none.
        StoreError: It is something else, leads out of its folder, or is too large.
    """
    handle = _open(path, os.O_RDONLY, links=links)
    found = os.fstat(handle)
    if limit is not None and found.st_size > limit:
        os.close(handle)
        raise StoreError(
            "The file is too large to be what it should be.",
            value=f"{path}: {found.st_size:,} bytes",
            allowed=f"at most {limit:,} bytes",
        )
    return os.fdopen(handle, "rb")


def read_regular(path: Path, *, links: bool = False, limit: int = JSON_BYTES) -> bytes:
    """Return the bytes of a regular file, never more than ``limit``; see :func:`open_regular`."""
    with open_regular(path, links=links, limit=limit) as file:
        return file.read(limit)


def is_regular(path: Path) -> bool:
    """Tell whether :func:`open_regular` would open a file: for code that has to open it by its path."""
    try:
        os.close(_open(path, os.O_RDONLY, links=False))
    except (OSError, StoreError):
        return False
    return True


def append_line(path: Path, line: str) -> None:
    """Append a line to a regular file, which is made if there is none.

    Raises:
        OSError: It cannot be written.
        StoreError: It is something else, or leads out of its folder.
    """
    handle = _open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, links=False)
    with os.fdopen(handle, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def _open(path: Path, flags: int, *, links: bool) -> int:
    """Open a file, look at what was opened, and return its handle."""
    if not links and path.is_symlink():
        target = path.resolve()
        if target.parent != path.parent.resolve():
            raise StoreError("The file is a link that leads out of its folder.", value=f"{path} -> {target}")
        path = target
    try:
        handle = os.open(path, flags | _CALMLY | (0 if links else _NO_LINK), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise StoreError("This is no regular file.", value=str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StoreError("This is no regular file.", value=str(path))
    return handle


def stored_file(path: Path) -> StoredFile:
    """Return size and hash of a file, read in pieces.

    Raises:
        OSError: It cannot be read.
        StoreError: It is no regular file, or leads out of its folder.
    """
    digest, size = hashlib.sha256(), 0
    with open_regular(path) as file:
        while block := file.read(2**20):
            digest.update(block)
            size += len(block)
    return StoredFile(bytes=size, sha256=digest.hexdigest())


def of_bytes(raw: bytes) -> StoredFile:
    """Return size and hash of the bytes of a file."""
    return StoredFile(bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())


def temporary_beside(path: Path) -> Path:
    """Return a hidden name in the same folder, to write to and then to rename.

    It tells which process writes, so that :func:`remove_abandoned` knows what a kill has left.
    """
    return path.with_name(f".{path.name}.{_MACHINE}.{os.getpid()}.tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file to write, which then takes the place of another; after an error it is removed."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Remove the files in a folder that processes of this machine were writing when they were killed."""
    for path in _abandoned(folder, ".*"):
        if is_regular(path):
            path.unlink(missing_ok=True)


def remove_abandoned_folders(place: Path) -> None:
    """Remove the folders that would have taken a place, had the processes of this machine not been killed."""
    for path in _abandoned(place.parent, f".{glob.escape(place.name)}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _abandoned(folder: Path, names: str) -> Iterator[Path]:
    for path in folder.glob(f"{names}.{_MACHINE}.*.tmp"):
        writer = path.name.split(".")[-2]
        if writer.isdecimal() and not psutil.pid_exists(int(writer)):
            yield path


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file by rename, so that nobody ever reads half of it.

    Args:
        path: The file; its folder is made.
        text: What it will hold.
        durable: Wait until it is on the disk; False for what a power cut may take.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    if durable:
        sync(path.parent)


def sync(path: Path) -> None:
    """Force a file, or a folder's entries, onto the disk; some systems cannot for folders."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Write JSON by rename; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON of our own.

    Raises:
        StoreError: Missing, damaged, no regular file, or one outside its folder.
    """
    return _read_json(path, links=False, limit=JSON_BYTES)


def read_foreign_json(path: Path, *, limit: int = 2**26) -> Any:
    """Read JSON of a model's folder, whose files may be links to a cache.

    Raises:
        StoreError: Missing, damaged, no regular file, or too large.
    """
    return _read_json(path, links=True, limit=limit)


def read_foreign_object(path: Path, *, limit: int = 2**26) -> dict[str, Any]:
    """Read a JSON object of a model's folder; see :func:`read_foreign_json`.

    Raises:
        StoreError: As there, or it is another value.
    """
    found = read_foreign_json(path, limit=limit)
    if not isinstance(found, dict):
        raise StoreError(
            "The file holds no JSON object.", value=f"{path}: {type(found).__name__}", allowed="an object: {...}"
        )
    return found


def _read_json(path: Path, *, links: bool, limit: int) -> Any:
    try:
        return json.loads(read_regular(path, links=links, limit=limit).decode("utf-8"))
    except RecursionError:
        raise StoreError("The file cannot be read: it is nested too deeply.", value=str(path)) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"The file cannot be read: {error}", value=str(path)) from None


def is_held(path: Path) -> bool:
    """Tell whether a process holds a lock file, without writing to it or needing the right to.

    A shared lock is asked for and let go at once; a process that wants the lock in that instant finds it
    held, and has to ask again.
    """
    try:
        handle = _open(path, os.O_RDONLY, links=False)
    except (OSError, StoreError):
        return False
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except ImportError:  # Windows, where an open lock file tells nothing
        return _cannot_lock(path)
    except OSError:
        return True
    finally:
        os.close(handle)


def _cannot_lock(path: Path) -> bool:
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def set_aside(path: Path, why: str = "damaged") -> Path:
    """Rename a file or folder, so that nothing reads it again, and return where it went; its new name says why."""
    number = 1
    while (target := path.with_name(f"{path.name}.{why}-{number}")).exists():
        number += 1
    os.replace(path, target)
    return target


def default_cache_dir() -> Path:
    """Return where tokenised texts are kept: ``TUNEBENCH_CACHE``, or ``tunebench`` in the user's cache."""
    chosen = os.environ.get("TUNEBENCH_CACHE")
    if chosen:
        return local_path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunebench"
