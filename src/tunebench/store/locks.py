"""Who works on what of a study: locks between processes, which the kernel frees on a kill."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tunebench.errors import StoreError
from tunebench.files import is_held


class RunLocks:
    """The locks of a study.

    Args:
        folder: The study's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._study = folder
        self._folder = folder / "runs" / ".locks"

    @property
    def there(self) -> bool:
        """Whether the study has had locks."""
        return self._folder.is_dir()

    def make(self) -> None:
        """Make the folder of the locks."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def plan(self) -> FileLock:
        """Return the lock under which study and plan are written."""
        self.make()
        return FileLock(self._folder / "plan.lock")

    @contextmanager
    def run(self, run_id: str) -> Iterator[bool]:
        """Hold a run's lock, or yield False when another process does.

        Raises:
            StoreError: The study's folder was moved or removed meanwhile. A new one would hold no study.
        """
        if not self._study.is_dir():
            raise StoreError(
                "The study's folder is no longer there.",
                value=str(self._study),
                fix="run the same command with --out and the folder's new place; complete runs are kept",
            )
        self.make()
        lock = FileLock(self._folder / f"{run_id}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @contextmanager
    def test_part(self, waits: Callable[[], None]) -> Iterator[None]:
        """Hold the lock under which runs are chosen for the test part; wait for another process that has it.

        Args:
            waits: Called before waiting.
        """
        self.make()
        lock = FileLock(self._folder / "test.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waits()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def is_held(self, run_id: str) -> bool:
        """Tell whether a live process works on a run."""
        return is_held(self._folder / f"{run_id}.lock")
