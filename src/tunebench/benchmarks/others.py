"""Sides of the benchmarks that need a package of somebody else: ``--against NAME`` or ``--against NAME=PYTHON``."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunebench.benchmarks.scripts import other_tools
from tunebench.benchmarks.scripts.other_tools import SIDES, Exam
from tunebench.errors import ConfigError, PlanError, TunebenchError

#: What is imported, and what pip calls it.
_PACKAGES = {"autogluon": "autogluon.multimodal", "setfit": "setfit"}
_INSTALL = {
    "autogluon": "pip install autogluon.multimodal in an environment of its own, as it needs another version of "
    "transformers, and give --against autogluon=ENVIRONMENT/bin/python",
    "setfit": "pip install 'tunebench[setfit]'",
}


@dataclass(frozen=True)
class Other:
    """A side that needs another package.

    Attributes:
        name: A key of :data:`~tunebench.benchmarks.scripts.other_tools.SIDES`.
        python: The Python that has the package; None for this one.
    """

    name: str
    python: str | None = None

    def __call__(self, exam: Exam) -> Sequence[Any]:
        """Learn, and answer; in a process of its own where it has another Python."""
        if self.python is None:
            return SIDES[self.name](exam)
        told, answers = exam.folder / "exam.json", exam.folder / "answers.json"
        exam.write(told)
        self._run(*self.arguments(told, answers))
        said: list[str] = json.loads(answers.read_text(encoding="utf-8"))
        return said

    def arguments(self, exam: Path, answers: Path) -> list[str]:
        """Return what a Python that runs it in a process of its own is given."""
        return [other_tools.__file__, self.name, str(exam), str(answers)]

    def check(self) -> None:
        """Refuse a side whose package is not there.

        Raises:
            PlanError: It is not, or the Python does not run.
        """
        package = _PACKAGES[self.name]
        try:
            if self.python is None:
                importlib.import_module(package)
            else:
                self._run("-c", f"import {package}")
        except (ImportError, TunebenchError) as error:
            where = "here" if self.python is None else f"for {self.python}"
            raise PlanError(
                f"{self.name} is not installed {where}, and --against {self.name} needs it.",
                value=error.value if isinstance(error, TunebenchError) else str(error),
                fix=f"{_INSTALL[self.name]}; or leave --against {self.name} out",
            ) from None

    def version(self) -> str:
        """Return the version of its package."""
        package = _PACKAGES[self.name]
        if self.python is None:
            try:
                return importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                return "unknown"
        return self._run("-c", f"import importlib.metadata as m; print(m.version('{package}'))").strip()

    def _run(self, *arguments: str) -> str:
        """Run the other Python, and return what it prints.

        Raises:
            TunebenchError: It failed.
        """
        assert self.python is not None
        try:
            ended = subprocess.run([self.python, *arguments], capture_output=True, text=True)
        except OSError as error:
            raise TunebenchError("This Python does not run.", value=f"{self.python}: {error.strerror}") from None
        if ended.returncode:
            last = (ended.stderr.strip() or ended.stdout.strip()).rsplit("\n", 1)[-1]
            raise TunebenchError(f"{self.name} failed.", value=last)
        return ended.stdout


def find_others(asked: Sequence[str]) -> list[Other]:
    """Return the sides of ``--against``, whose packages are there.

    Args:
        asked: Names; behind ``=`` the Python that has the package.

    Raises:
        ConfigError: There is no such side.
        PlanError: A package is not installed.
    """
    found = []
    for text in asked:
        name, _, python = text.partition("=")
        if name not in SIDES:
            raise ConfigError("There is no such side.", value=f"--against {name}", allowed=", ".join(SIDES))
        other = Other(name, str(Path(python).expanduser()) if python else None)
        other.check()
        found.append(other)
    return found


def versions_of(others: Sequence[Other]) -> dict[str, str]:
    """Return the versions of what some sides need."""
    return {other.name: other.version() for other in others}
