"""Studies that several tests look at, and how their processes start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import warm
from conftest import leave_report_out
from execution.task_studies import TaskStudy
from tunebench.api import run_study
from tunebench.execution.executors import children
from tunebench.machine.settings import Execution


@pytest.fixture
def warm_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children start warm; ``test_processes.py`` and ``make thorough`` show how they start otherwise."""
    monkeypatch.setattr(children, "CONTEXT", warm.WARM)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> Callable[..., Path]:
    """Return a function that runs a study of a task, with changes of settings, and gives its folder; once each.

    The reports are left out.
    """
    made: dict[str, Path] = {}

    def run(study: TaskStudy, **changes: Any) -> Path:
        key = f"{study.name} {changes!r}"
        if key not in made:
            root = tmp_path_factory.mktemp(study.name)
            data = root / "data"
            data.mkdir()
            config = study.config(tiny_model("distilbert"), study.write_data(data), **changes)
            with pytest.MonkeyPatch.context() as patch:
                leave_report_out(patch)
                run_study(
                    config, folder=root / "study", measure=False, execution=Execution(device="cpu", threads=1)
                )
            made[key] = root / "study"
        return made[key]

    return run
