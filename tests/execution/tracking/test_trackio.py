"""Trackio's real client, writing its database into a folder."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import pytest

import warm
from tunebench import api
from tunebench.execution import runner
from tunebench.execution.display import PlainDisplay
from tunebench.execution.tracking.base import metrics
from tunebench.machine.settings import Execution
from tunebench.study.config import StudyConfig

# Not imported here: it reads TRACKIO_DIR once, and the processes below import this file before that is set.
if find_spec("trackio") is None:
    pytest.skip("trackio is not installed", allow_module_level=True)


def _run(model: Path, data: Path, out: Path, stops: int) -> None:
    """Run a study of two seeds; the first attempt is stopped after a few steps."""
    settings = {
        "name": "films",
        "model": str(model),
        "data": str(data),
        "strategies": {"lora": {"learning_rate": 3e-3}},
        "train_sizes": [40],
        "max_length": 24,
        "epochs": 1,
        "batch_size": 8,
        "seeds": [1, 2],
    }
    asked = itertools.chain([False] * stops, itertools.repeat(stops > 0))
    runner.stop_on_signals = lambda display: nullcontext(lambda: next(asked))  # type: ignore[assignment]
    api._write_report = lambda comparison, folder, **options: folder  # figures take longer than the runs
    told = io.StringIO()
    api.run_study(
        StudyConfig.model_validate(settings),
        folder=out,
        measure=False,
        execution=Execution(device="cpu", threads=1, trackers=("trackio",)),
        display=PlainDisplay(told, interval=0.0),
    )
    assert "tracker trackio failed" not in told.getvalue()


def test_a_project_holds_every_run_once_and_prints_nothing(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    from tunebench.store.study_folder import StudyStore

    place, told = tmp_path / "trackio", tmp_path / "told.txt"
    environment = os.environ | {"TRACKIO_DIR": str(place)}
    for stops in (4, 0):
        # In processes of their own: Trackio keeps its folder and its project for as long as one lives.
        model, out = tiny_model("distilbert"), tmp_path / "s"
        process = warm.start(_run, model, reviews, out, stops, environment=environment, told=told)
        process.join()
        assert (process.exitcode, told.read_text()) == (0, "")
    (database,) = place.glob("films*.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SQLiteStorage, "get_project_db_path", staticmethod(lambda project: database))
        cells = StudyStore.open(tmp_path / "s").cells()
        assert set(SQLiteStorage.get_runs("films")) == {cell.spec.run_id for cell in cells}
        for cell in cells:
            assert cell.record is not None and cell.record.scores is not None
            logs = SQLiteStorage.get_logs("films", run=cell.spec.run_id)
            found = [
                (name, entry["step"], value)
                for entry in logs
                for name, value in entry.items()
                if name not in ("step", "timestamp", "epoch") and not name.startswith("final/")
            ]
            expected = [
                (name, entry["step"], value)
                for entry in cell.record.log_history
                for name, value in metrics(entry).items()
                if name != "epoch"
            ]
            assert sorted(found) == sorted(expected)
            (final,) = [entry for entry in logs if "final/macro_f1" in entry]
            assert final["final/macro_f1"] == cell.record.scores["macro_f1"]
