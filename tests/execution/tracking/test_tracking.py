from __future__ import annotations

import io
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tunebench.api import run_study
from tunebench.errors import ConfigError, MissingExtraError
from tunebench.execution import tracking
from tunebench.execution.display import PlainDisplay
from tunebench.execution.study import StudyResult
from tunebench.execution.tracking import in_run
from tunebench.machine.settings import Execution
from tunebench.study.config import StudyConfig

pytestmark = [
    pytest.mark.skipif(find_spec("tensorboard") is None, reason="TensorBoard is not installed"),
    pytest.mark.usefixtures("no_report"),
]


def run(model: Path, data: Path, folder: Path, *trackers: str) -> StudyResult:
    settings: dict[str, Any] = {
        "name": "s",
        "model": str(model),
        "data": str(data),
        "strategies": {"lora": {"learning_rate": 3e-3}},
        "train_sizes": [60],
        "max_length": 24,
        "epochs": 1,
        "batch_size": 8,
    }
    return run_study(
        StudyConfig.model_validate(settings),
        folder=folder,
        execution=Execution(device="cpu", threads=1, trackers=trackers),
        display=PlainDisplay(io.StringIO(), interval=0.0),
        measure=False,
    )


def test_tensorboard_holds_what_the_record_holds_and_changes_nothing(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

    model = tiny_model("distilbert")
    (plain,) = run(model, reviews, tmp_path / "plain").comparison.cells
    (tracked,) = run(model, reviews, tmp_path / "tracked", "tensorboard").comparison.cells
    assert plain.record is not None and tracked.record is not None
    assert tracked.spec.run_id == plain.spec.run_id
    assert tracked.record.files == plain.record.files
    # One folder of the study shows every run by its id.
    shown = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "tracked"))
    shown.Reload()
    assert f"runs/{tracked.spec.run_id}/tensorboard" in shown.Runs()
    events = EventAccumulator(str(tmp_path / "tracked" / "runs" / tracked.spec.run_id / "tensorboard"))
    events.Reload()
    history = tracked.record.log_history
    for tag, key in (("train/loss", "loss"), ("eval/macro_f1", "eval_macro_f1")):
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        expected = [(entry["step"], entry[key]) for entry in history if key in entry]
        assert expected
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-5)


def test_a_tracker_that_fails_is_told_once_and_stops_no_run(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Down:
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            pass

        def on_log(self, *args: Any, **kwargs: Any) -> None:
            raise ConnectionError("the server is down")

        on_train_end = on_log

    monkeypatch.setitem(in_run._MAKERS, "tensorboard", lambda folder: Down())
    (cell,) = run(tiny_model("distilbert"), reviews, tmp_path, "tensorboard").comparison.cells
    assert cell.status == "complete"
    log = (tmp_path / "runs" / cell.spec.run_id / "run.log").read_text()
    assert len(re.findall("tracker tensorboard failed.*the server is down", log)) == 1


def test_a_tracker_that_cannot_begin_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunebench.store.run_folder import RunFolder

    def broken(folder: Path) -> None:
        raise OSError("no room")

    monkeypatch.setitem(in_run._MAKERS, "tensorboard", broken)
    folder = RunFolder(tmp_path / ("run-" + "0" * 16))
    folder.path.mkdir()
    assert in_run.run_callbacks(["tensorboard"], folder) == []
    assert "no room" in folder.log.read_text()


def test_unknown_and_missing_trackers_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="tensorboard"):
        run(tmp_path, tmp_path, tmp_path / "out", "nonsense")
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="trackers"):
        run(tmp_path, tmp_path, tmp_path / "out", "tensorboard")
    assert not (tmp_path / "out").exists()


def test_every_tracker_that_is_offered_is_there_once() -> None:
    from tunebench.execution.tracking import study

    assert sorted(tracking.TRACKERS) == sorted([*in_run._MAKERS, *study._MAKERS])
    with pytest.raises(ConfigError, match="no such tracker"):
        tracking.check_trackers(["wandb"])
