"""Trackio's real client, writing its database into a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tunebench.execution.tracking.base import metrics

pytest.importorskip("trackio")

#: A study of two seeds, the first attempt of which is stopped after a few steps.
SCRIPT = """
import sys
from pathlib import Path
from tunebench.execution import runner
from tunebench import api
from tunebench.machine.settings import Execution; from tunebench.study.config import StudyConfig
from tunebench.execution.display import PlainDisplay

model, data, out, stops = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
settings = {"name": "films", "model": model, "data": data, "strategies": {"lora": {"learning_rate": 3e-3}},
            "train_sizes": [40], "max_length": 24, "epochs": 1, "batch_size": 8, "seeds": [1, 2]}
if stops:
    class Stopping:
        asked = iter([False] * stops + [True] * 50)
        def __init__(self, display): pass
        def __enter__(self): return lambda: next(self.asked)
        def __exit__(self, *_): pass
    runner.stop_on_signals = Stopping
api._write_report = lambda comparison, folder, **options: folder / "study.yaml"  # figures take longer than the runs
api.run_study(StudyConfig.model_validate(settings), folder=out, measure=False,
          execution=Execution(device="cpu", threads=1, trackers=("trackio",)), display=PlainDisplay(interval=0.0))
"""


def test_a_project_holds_every_run_once_and_prints_nothing(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    from tunebench.store.study_folder import StudyStore

    place, model = tmp_path / "trackio", tiny_model("distilbert")
    for stops in ("4", "0"):
        words = [sys.executable, "-c", SCRIPT, str(model), str(reviews), str(tmp_path / "s"), stops]
        done = subprocess.run(
            words, env=os.environ | {"TRACKIO_DIR": str(place)}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "" and "tracker trackio failed" not in done.stderr
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
