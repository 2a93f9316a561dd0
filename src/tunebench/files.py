"""Files written by rename and read with a clear error: what everything on disk goes through."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tunebench.errors import StoreError
from tunebench.recipe import Part


class StoredFile(Part):
    """A file beside the record, by which damage is found."""

    bytes: int
    sha256: str


def local_path(text: str | Path) -> Path:
    """Return a path a user named, with ``~`` resolved; ``~nobody`` stays as it is, and is then not found."""
    return Path(os.path.expanduser(text))


def stored_file(path: Path) -> StoredFile:
    """Return size and hash of a file, read in pieces."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
            size += len(block)
    return StoredFile(bytes=size, sha256=digest.hexdigest())


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a file by rename, so that nobody ever reads half of it.

    Args:
        path: The file; its folder is made.
        text: What it will hold.
        durable: Wait until it is on the disk; False for what a power cut may take.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
    """Read JSON.

    Raises:
        StoreError: Missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
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
        handle = os.open(path, os.O_RDONLY)
    except OSError:
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


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder, so that nothing reads it again, and return where it went."""
    number = 1
    while (target := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    os.replace(path, target)
    return target


def default_cache_dir() -> Path:
    """Return where tokenised texts are kept: ``TUNEBENCH_CACHE``, or ``tunebench`` in the user's cache."""
    chosen = os.environ.get("TUNEBENCH_CACHE")
    if chosen:
        return local_path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunebench"
