"""MLflow, against a real server with a database, one that is not there, and one that stays silent."""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

import warm
from thorough import thorough
from tunebench.api import run_study
from tunebench.execution.display import PlainDisplay
from tunebench.execution.study import StudyResult
from tunebench.execution.tracking import study as tracking_study
from tunebench.execution.tracking.base import metrics, without_secrets
from tunebench.machine.settings import Execution
from tunebench.store.record import RunRecord
from tunebench.study.config import StudyConfig
from tunebench.training import registry as train
from tunebench.training.attempt import Attempt

pytestmark = [
    # Not imported, as ``importorskip`` does: each worker would take seconds to collect these tests.
    pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed"),
    pytest.mark.skipif(find_spec("flask_cors") is None, reason="the server's own dependencies are not installed"),
    # What MLflow's own database asks of SQLAlchemy.
    pytest.mark.filterwarnings("ignore:The .*noload.* loader strategy:DeprecationWarning"),
]


def serve(folder: Path, port: int) -> None:
    """Be MLflow's own application over a database. ``mlflow server`` takes twenty seconds to start."""
    from mlflow.server import app, constants
    from werkzeug.serving import make_server

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{folder / 'mlflow.db'}"
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = str(folder / "a")
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    make_server("127.0.0.1", port, app, threaded=True).serve_forever()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    process = warm.start(serve, folder, port, environment=quiet, told=folder / "log")
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert process.is_alive(), (folder / "log").read_text()
            try:
                httpx.get(f"{address}/health")
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield address
    finally:
        process.kill()
        process.join()


@pytest.fixture
def client(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return MlflowClient(tracking_uri=server)


def study(name: str, model: Path, data: Path, **more: Any) -> StudyConfig:
    settings: dict[str, Any] = {
        "name": name,
        "model": str(model),
        "data": str(data),
        "strategies": {"lora": {"learning_rate": 3e-3}},
        "train_sizes": [40],
        "max_length": 24,
        "epochs": 1,
        "batch_size": 8,
    }
    return StudyConfig.model_validate(settings | more)


def run(config: StudyConfig, folder: Path, *trackers: str, **more: Any) -> tuple[StudyResult, str]:
    told = io.StringIO()
    result = run_study(
        config,
        folder=folder,
        execution=Execution(device="cpu", threads=1, trackers=trackers, **more),
        display=PlainDisplay(told, interval=0.0),
        measure=False,
    )
    return result, told.getvalue()


def runs(client: Any, name: str) -> tuple[Any, dict[str, Any]]:
    """The parent, and the children by run id."""
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in found if run is not parent}
    assert len(children) == len(found) - 1
    assert all(child.data.tags["mlflow.parentRunId"] == parent.info.run_id for child in children.values())
    return parent, children


def history(client: Any, child: Any) -> list[tuple[str, int, float]]:
    found = [m for name in child.data.metrics for m in client.get_metric_history(child.info.run_id, name)]
    return sorted((metric.key, metric.step, metric.value) for metric in found)


def expected(record: RunRecord) -> list[tuple[str, int, float]]:
    # Two entries of one step hold the same epoch.
    return sorted(
        {(name, entry["step"], value) for entry in record.log_history for name, value in metrics(entry).items()}
    )


def test_the_server_holds_every_runs_recipe_curves_scores_and_record(
    client: Any, tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    config = study("whole", tiny_model("distilbert"), reviews, seeds=[1, 2])
    result, _ = run(config, tmp_path / "s", "mlflow")
    parent, children = runs(client, "whole")
    assert parent.info.status == "FINISHED"
    assert {"study.yaml", "plan.json", "report.html"} == {
        file.path for file in client.list_artifacts(parent.info.run_id)
    }
    assert set(children) == {cell.spec.run_id for cell in result.comparison.cells}
    for cell in result.comparison.cells:
        child, record = children[cell.spec.run_id], cell.record
        assert record is not None and record.scores is not None and record.timing is not None
        assert child.info.status == "FINISHED" and child.data.tags["tunebench.status"] == "complete"
        assert child.data.params["learning_rate"] == "0.003" and child.data.params["seed"] == str(cell.spec.seed)
        assert child.data.params["batch_size"] == "8" and child.data.params["data.fingerprint"]
        logged = history(client, child)
        curves = expected(record)
        assert {"loss", "learning_rate", "eval_macro_f1"} <= {name for name, _, _ in curves}
        final = [entry for entry in logged if entry not in curves]
        assert sorted(set(logged) - set(final)) == curves and len(logged) == len(curves) + len(final)
        assert len({(name, step) for name, step, _ in logged}) == len(logged)
        values = {name: value for name, _, value in final}
        assert values["macro_f1"] == record.scores["macro_f1"]
        assert values["train_seconds"] == record.timing.train_seconds
        assert {"record.json", "run.log"} == {file.path for file in client.list_artifacts(child.info.run_id)}
    # Going on with a complete study adds nothing.
    before = {name: history(client, child) for name, child in children.items()}
    run(config, tmp_path / "s", "mlflow")
    _, again = runs(client, "whole")
    assert {name: history(client, child) for name, child in again.items()} == before


@pytest.mark.usefixtures("no_report")
def test_a_resumed_run_goes_on_in_its_own(
    client: Any,
    tiny_model: Callable[[str], Path],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tunebench.execution import runner

    config = study("resumed", tiny_model("distilbert"), reviews)
    asked = iter([False] * 4 + [True] * 50)

    class Stopping:
        def __init__(self, display: Any) -> None:
            pass

        def __enter__(self) -> Callable[[], bool]:
            return lambda: next(asked)

        def __exit__(self, *_: Any) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(runner, "stop_on_signals", Stopping)
        result, _ = run(config, tmp_path, "mlflow")
    assert result.summary.interrupted
    parent, children = runs(client, "resumed")
    (child,) = children.values()
    assert (parent.info.status, child.info.status) == ("KILLED", "KILLED")
    assert child.data.metrics["loss"] > 0
    result, _ = run(config, tmp_path, "mlflow")
    (cell,) = result.comparison.cells
    assert cell.record is not None and cell.record.timing is not None and cell.record.timing.resumed == 1
    again, children = runs(client, "resumed")
    (same,) = children.values()
    assert (again.info.run_id, same.info.run_id) == (parent.info.run_id, child.info.run_id)
    assert (again.info.status, same.info.status) == ("FINISHED", "FINISHED")
    logged = history(client, same)
    assert [entry for entry in logged if entry in expected(cell.record)] == expected(cell.record)
    assert len({(name, step) for name, step, _ in logged}) == len(logged)


@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    "elsewhere",
    [pytest.param({"workers": 2}, id="workers"), pytest.param({"executor": "ray"}, id="ray", marks=thorough)],
)
def test_runs_in_other_processes_are_children_of_one_parent(
    client: Any,
    tiny_model: Callable[[str], Path],
    reviews: Path,
    tmp_path: Path,
    elsewhere: dict[str, Any],
    request: pytest.FixtureRequest,
    warm_children: None,
) -> None:
    name = request.node.callspec.id
    result, _ = run(study(name, tiny_model("distilbert"), reviews, seeds=[1, 2]), tmp_path, "mlflow", **elsewhere)
    parent, children = runs(client, name)
    assert len(result.comparison.cells) == len(children) == 2
    assert parent.info.status == "FINISHED"
    for cell in result.comparison.cells:
        assert cell.record is not None
        child = children[cell.spec.run_id]
        assert set(expected(cell.record)) <= set(history(client, child)) and child.info.status == "FINISHED"


@pytest.mark.usefixtures("no_report")
def test_failures_are_there_and_named(
    client: Any,
    tiny_model: Callable[[str], Path],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = train.run_one

    def fails(attempt: Attempt) -> RunRecord:
        if attempt.spec.seed == 2:
            raise RuntimeError("training diverged")
        return real(attempt)

    monkeypatch.setattr(train, "run_one", fails)
    config = study("failing", tiny_model("distilbert"), reviews, seeds=[1, 2])
    result, _ = run(config, tmp_path, "mlflow")
    (failed,) = result.summary.failed
    parent, children = runs(client, "failing")
    assert parent.info.status == "FAILED"
    assert {child.info.status for child in children.values()} == {"FAILED", "FINISHED"}
    assert "diverged" in children[failed].data.tags["tunebench.error"]
    assert "failure.json" in {file.path for file in client.list_artifacts(children[failed].info.run_id)}


@pytest.mark.usefixtures("no_report")
def test_without_an_address_it_is_a_database_in_the_studys_folder(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    # Without it first: what was complete before the tracker came is there as well.
    config = study("local", tiny_model("distilbert"), reviews)
    run(config, tmp_path / "s")
    result, _ = run(config, tmp_path / "s", "mlflow")
    (cell,) = result.comparison.cells
    local = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 's' / 'mlflow.db'}")
    _, children = runs(local, "local")
    assert cell.record is not None
    assert set(expected(cell.record)) <= set(history(local, children[cell.spec.run_id]))
    assert (tmp_path / "s" / "mlartifacts").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]
    local._tracking_client.store.engine.dispose()


@pytest.mark.usefixtures("no_report")
def test_a_server_that_is_down_is_told_once_and_stops_nothing(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{probe.getsockname()[1]}")
        result, told = run(study("down", tiny_model("distilbert"), reviews, seeds=[1, 2]), tmp_path, "mlflow")
    assert [cell.status for cell in result.comparison.cells] == ["complete", "complete"]
    assert told.count("tracker mlflow failed") == 1 and "secret" not in told


@pytest.mark.usefixtures("no_report")
def test_a_server_that_falls_silent_is_not_waited_for(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threading import Event

    silent = Event()

    class Silent:
        def log(self, *args: Any) -> None:
            silent.wait()

        end = close = log

    monkeypatch.setattr(tracking_study, "_PATIENCE", 0.2)
    monkeypatch.setitem(tracking_study._MAKERS, "mlflow", lambda study, store: Silent())
    try:
        result, told = run(study("silent", tiny_model("distilbert"), reviews), tmp_path, "mlflow")
    finally:
        silent.set()
    assert [cell.status for cell in result.comparison.cells] == ["complete"]
    assert told.count("tracker mlflow failed") == 1 and "no answer" in told


@pytest.mark.usefixtures("no_report")
def test_a_server_that_dies_during_the_study_ends_only_the_tracking(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    class Dying:
        def log(self, *args: Any) -> None:
            calls.append("log")
            if len(calls) == 3:
                raise ConnectionError("gone")

        end = close = log

    monkeypatch.setitem(tracking_study._MAKERS, "mlflow", lambda study, store: Dying())
    result, told = run(study("dying", tiny_model("distilbert"), reviews), tmp_path, "mlflow")
    assert [cell.status for cell in result.comparison.cells] == ["complete"]
    assert len(calls) == 3 and told.count("gone") == 1


def test_names_and_passwords_are_not_repeated() -> None:
    assert without_secrets("to http://me:pw@host:1/x and https://host") == "to http://***@host:1/x and https://host"
