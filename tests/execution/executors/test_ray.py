"""The Ray executor on a real cluster of three nodes on this machine."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fakes
from execution.executors import ray_driver
from tunebench.api import run_study
from tunebench.errors import ConfigError, MissingExtraError, PlanError
from tunebench.execution.display import PlainDisplay
from tunebench.execution.executors import make_executor, ray_cluster, ray_files
from tunebench.execution.study import StudyResult
from tunebench.machine.settings import Execution
from tunebench.store.live import Progress
from tunebench.store.record import RunRecord
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.training.attempt import Attempt

pytestmark = [
    # Not imported, as ``importorskip`` does: each worker would do so to collect these tests.
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.usefixtures("no_report"),
]

STORE = 100 * 10**6


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and two nodes, with one CPU each."""
    import ray
    from ray.cluster_utils import Cluster

    tests, before = str(Path(__file__).parents[2]), dict(os.environ)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    # Tasks are found by name on the nodes, as an installed package is.
    os.environ["PYTHONPATH"] = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
    unused = {"include_dashboard": False, "no_monitor": True, "include_log_monitor": False}
    arguments = {"num_cpus": 1, "object_store_memory": STORE, **unused}
    found = Cluster(initialize_head=True, head_node_args=arguments)
    for _ in range(2):
        found.add_node(num_cpus=1, object_store_memory=STORE)
    found.wait_for_nodes()
    yield found
    ray.shutdown()
    found.shutdown()
    os.environ.clear()
    os.environ.update(before)


def nodes_of(cluster: Any) -> list[Any]:
    return [node for node in cluster.worker_nodes if node.any_processes_alive()]


class KillsANode(PlainDisplay):
    """Kills a node of the cluster, whose tasks are running, when it has heard of enough steps.

    Not the one that the driver joined, which on one machine may be any: with it the driver would be cut off.
    """

    def __init__(self, cluster: Any, after: int) -> None:
        super().__init__(io.StringIO(), interval=0.0)
        self._cluster, self._after = cluster, after
        self.killed = False

    def update(self, progress: Progress) -> None:
        super().update(progress)
        self._after -= progress.phase == "train"
        if self._after <= 0 and not self.killed:
            self.killed = True
            import ray

            here = ray.get_runtime_context().get_node_id()
            node = next(node for node in nodes_of(self._cluster) if node.node_id != here)
            self._cluster.remove_node(node, allow_graceful=False)


def statuses(folder: Path) -> Counter[str]:
    return Counter(cell.status for cell in StudyStore.open(folder).cells())


def logs(folder: Path) -> str:
    return "\n".join(path.read_text() for path in folder.glob("runs/*/run.log"))


def test_a_node_is_killed_and_its_runs_go_on_from_their_checkpoints(cluster: Any, tmp_path: Path) -> None:
    if len(nodes_of(cluster)) < 2:
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
    display = KillsANode(cluster, after=4)
    study = fakes.make_study(train_sizes=[10, 20, 30])  # 6 runs on 3 nodes
    summary = ray_driver.run(tmp_path, study, cluster.address, seconds=0.6, display=display)
    assert display.killed
    assert (len(summary.complete), summary.failed, summary.interrupted) == (6, [], False)
    assert statuses(tmp_path) == {"complete": 6}
    assert "tried again, attempt 2" in logs(tmp_path)
    assert "runs on " in logs(tmp_path)
    for cell in StudyStore.open(tmp_path).cells():
        assert cell.record is not None
        StudyStore.open(tmp_path).run_folder(cell.spec.run_id).verify(cell.record)
    taken = Counter((run_id, step) for run_id, step, _ in fakes.steps_taken(tmp_path))
    assert len(taken) == 6 * fakes.STEPS
    # What was killed began again at its last checkpoint that came back, not at its first step.
    repeated = Counter(run_id for (run_id, _), times in taken.items() if times > 1)
    assert all(times < fakes.STEPS for times in repeated.values())
    assert not list(tmp_path.glob("runs/*/checkpoint"))


def test_a_driver_dies_and_the_next_one_goes_on(cluster: Any, tmp_path: Path) -> None:
    command = [sys.executable, ray_driver.__file__, str(tmp_path), cluster.address, "0.6"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not list(tmp_path.glob("runs/*/checkpoint/state.json")):
        assert time.monotonic() < deadline and process.poll() is None, "no checkpoint came back"
        time.sleep(0.1)
    assert statuses(tmp_path)["running"] > 0
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert statuses(tmp_path)["running"] == 0
    summary = ray_driver.run(tmp_path, fakes.make_study(), cluster.address)
    assert len(summary.complete) + len(summary.skipped) == 4
    assert statuses(tmp_path) == {"complete": 4}
    assert "resumed" in logs(tmp_path)
    assert all(line.count(" complete") == 1 for line in (p.read_text() for p in tmp_path.glob("runs/*/run.log")))


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminal says here that it closes")
def test_a_terminal_that_closes_brings_checkpoints_back_from_a_cluster_of_its_own(
    cluster: Any, tmp_path: Path
) -> None:
    # The environment of the fixture: tasks are found there.
    process, terminal = fakes.on_a_terminal(ray_driver.__file__, str(tmp_path), "", "0.6")
    deadline = time.monotonic() + 120
    try:
        while not (tmp_path / "steps.txt").exists():
            assert time.monotonic() < deadline and process.poll() is None, "no step was taken"
            time.sleep(0.1)
    finally:
        os.close(terminal)
    assert process.wait(timeout=60) == 130
    assert list(tmp_path.glob("runs/*/checkpoint/state.json"))
    assert not {"running", "failed"} & statuses(tmp_path).keys()


def test_ctrl_c_brings_checkpoints_back(cluster: Any, tmp_path: Path) -> None:
    command = [sys.executable, ray_driver.__file__, str(tmp_path), cluster.address, "0.6"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while not (tmp_path / "steps.txt").exists():
        assert time.monotonic() < deadline and process.poll() is None, "no step was taken"
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    states = [json.loads(p.read_text()) for p in tmp_path.glob("runs/*/checkpoint/state.json")]
    assert states
    assert "running" not in statuses(tmp_path)
    before = len(fakes.steps_taken(tmp_path))
    ray_driver.run(tmp_path, fakes.make_study(), cluster.address)
    assert statuses(tmp_path) == {"complete": 4}
    assert before < 4 * fakes.STEPS
    # A step is taken twice at most where its checkpoint was still on its way to the driver.
    taken = Counter((run_id, step) for run_id, step, _ in fakes.steps_taken(tmp_path))
    assert len(taken) == 4 * fakes.STEPS
    again = Counter(run_id for (run_id, _), times in taken.items() if times > 1)
    assert max(taken.values()) <= 2 and all(times == 1 for times in again.values())


def test_runs_that_another_process_holds_are_waited_for_and_told_of_once(cluster: Any, tmp_path: Path) -> None:
    store, specs = fakes.make_store(tmp_path, fakes.make_study())
    held, told, lines = threading.Event(), threading.Event(), []

    def hold() -> None:
        with ExitStack() as stack:
            assert all(stack.enter_context(store.locked(spec.run_id)) for spec in specs[:3])
            held.set()
            told.wait(180)
            time.sleep(1)  # in which the other two would say so too

    class Listens(PlainDisplay):
        def message(self, line: str) -> None:
            lines.append(line)
            told.set()

    other = threading.Thread(target=hold)
    other.start()
    held.wait(60)
    summary = ray_driver.run(tmp_path, fakes.make_study(), cluster.address, display=Listens(io.StringIO()))
    other.join()
    assert len(summary.complete) == 4
    assert [line for line in lines if "another process" in line] == ["another process trains some of the runs"]


def study(model: Path, data: Path, **changes: Any) -> StudyConfig:
    settings: dict[str, Any] = {
        "name": "s",
        "model": str(model),
        "data": str(data),
        "strategies": {"full": {"learning_rate": 1e-3}, "lora": {"learning_rate": 3e-3}},
        "train_sizes": [120],
        "seeds": [1],
        "max_length": 24,
        "epochs": 2,
        "batch_size": 8,
        "evaluations_per_epoch": 1,
    }
    return StudyConfig.model_validate(settings | changes)


def run(config: StudyConfig, folder: Path, **execution: Any) -> StudyResult:
    return run_study(
        config,
        folder=folder,
        execution=Execution(device="cpu", threads=1, **execution),
        display=PlainDisplay(io.StringIO(), interval=0.0),
        measure=False,
    )


def comparable(record: RunRecord) -> dict[str, Any]:
    """Return a record without times and place, which no two runs share."""
    raw = record.model_dump(mode="json", exclude={"started", "finished", "environment", "timing", "test_access"})
    raw["cost"].pop("peak_memory_bytes")
    raw["log_history"] = [
        {k: v for k, v in entry.items() if "runtime" not in k and "per_second" not in k}
        for entry in raw["log_history"]
    ]
    return raw


def test_records_equal_the_serial_executors(
    cluster: Any, tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path
) -> None:
    # A search on one strategy (trials stopped by the driver, a locked test part) beside plain runs.
    rates = [1e-6, 3e-3, 5e-3]
    config = study(
        tiny_model("distilbert"),
        reviews,
        strategies={"full": {"learning_rate": rates}, "lora": {"learning_rate": 3e-3}},
        train_sizes=[80],
        epochs=6,
        validation_fraction=0.3,
        search={"method": "halving", "reduction": 2},
    )
    serial = run(config, tmp_path / "serial").comparison.cells
    result = run(config, tmp_path / "ray", executor="ray", ray_address=cluster.address)
    assert Counter(cell.status for cell in serial)["pruned"] > 0
    for expected, found in zip(serial, result.comparison.cells, strict=True):
        assert expected.record is not None and found.record is not None
        assert comparable(found.record) == comparable(expected.record)
        assert found.scored == expected.scored
        if expected.scored:
            assert expected.predictions is not None and found.predictions is not None
            np.testing.assert_array_equal(found.predictions()["logits"], expected.predictions()["logits"])
    assert len(list((tmp_path / "ray").glob("runs/*/run.log"))) == logs(tmp_path / "ray").count("runs on ") == 4


def test_what_fails_there_is_recorded_as_if_it_failed_here(cluster: Any, tmp_path: Path) -> None:
    store, specs = fakes.make_store(tmp_path, fakes.make_study(strategies=["full"], train_sizes=[10]))
    folder = store.run_folder(specs[0].run_id)
    environment = fakes.make_record(specs[0], folder).environment.model_dump(mode="json")
    for names, kind in (
        (["OutOfMemoryError", "RuntimeError", "Exception"], "out_of_memory"),
        (["ValueError", "Exception"], "failed"),
        (["NonFiniteLossError", "TunebenchError", "Exception"], "failed"),
    ):

        def train(attempt: Attempt, names: list[str] = names) -> RunRecord:
            error = {"names": names, "message": "what happened", "traceback": "in there"}
            return ray_files.write_outcome({"error": error, "environment": environment}, folder)

        fakes.run(tmp_path, fakes.make_study(strategies=["full"], train_sizes=[10]), train)
        record = folder.read()
        assert record is not None and record.error is not None
        assert (record.status, record.error.type, record.error.message) == (kind, names[0], "what happened")
        assert "in there" in record.error.traceback
        assert record.environment.model_dump(mode="json") == environment


def test_a_run_that_fits_no_node_is_refused(cluster: Any) -> None:
    with make_executor(Execution(executor="ray", ray_address=cluster.address, threads=1)):
        ray_cluster.check_fits({"CPU": 1, "memory": 10**6})
        with pytest.raises(PlanError, match="can hold a run"):
            ray_cluster.check_fits({"CPU": 64, "memory": 0})
        with pytest.raises(PlanError, match="GB memory"):
            ray_cluster.check_fits({"CPU": 1, "memory": 10**15})


@pytest.mark.parametrize("address", ["nonsense", "host", "localhost:99999", "http://localhost:1", "ray://:1"])
def test_a_bad_address_is_refused_before_anything_is_written(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(address)):
        run(study(tmp_path, tmp_path), tmp_path / "out", executor="ray", ray_address=address)
    assert not (tmp_path / "out").exists()


def test_an_address_where_nothing_listens_is_refused_at_once(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    for prefix in ("", "ray://"):
        with pytest.raises(ConfigError, match="No Ray cluster answers"):
            run(study(tmp_path, tmp_path), tmp_path / "out", executor="ray", ray_address=prefix + address)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"tunebench\[ray\]"):
        make_executor(Execution(executor="ray")).__enter__()


@pytest.mark.parametrize("settings", [{"executor": "serial", "workers": 2}, {"ray_address": "localhost:1"}])
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make_executor(Execution(**settings))
