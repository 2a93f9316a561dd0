"""Kill what a study on a Ray cluster consists of: its driver, a node with the runs on it, a single run's process.

The cluster has three nodes on this machine and lasts for all studies. A node that was killed is replaced. The runs
are fake: they count steps and train nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import fakes
from faults import worker_kills
from faults.killer import Tally
from faults.worker_kills import count

DRIVER = Path(__file__).parents[1] / "execution" / "executors" / "ray_driver.py"
NODES, STORE = 2, 100 * 10**6
#: Kills of one study, before it may end; longest wait for the first step of a start.
KILLS, FIRST_STEP = 4, 600.0
#: Seconds a step takes: long enough that a checkpoint comes back between two kills.
STEP = 0.4
SIZES = [10, 20, 30]


def run_study(folder: Path, generator: random.Random, tally: Tally) -> None:
    """Run one study through kills, and count what was hit and what was wrong."""
    cluster, before = _cluster(), tally.kills
    process = _start(folder, cluster.address)
    while tally.kills - before < KILLS:
        if not _wait_for_a_step(folder, process, generator):
            break
        victim = generator.choice(["driver", "driver", "node", "a run's process"])
        if victim == "driver":
            process.kill()
            process.wait()
        elif victim == "node":
            _kill_a_node(cluster, generator)
        elif not _kill_a_run(folder):
            continue
        count(tally, victim)
        if process.poll() is not None:
            process = _start(folder, cluster.address)
    worker_kills.end(process, tally)
    # Of each run at most the step under way is lost, and the one whose checkpoint is on its way to the driver.
    worker_kills.compare(folder, tally, most=(tally.kills - before) * 2 * (NODES + 1))


def _kill_a_node(cluster: Any, generator: random.Random) -> None:
    """Kill a node with all that runs on it, and add another. It may be the one that the driver has joined."""
    living = [node for node in cluster.worker_nodes if node.any_processes_alive()]
    cluster.remove_node(generator.choice(living), allow_graceful=False)
    cluster.add_node(num_cpus=1, object_store_memory=STORE)


def _kill_a_run(folder: Path) -> bool:
    """Kill the process that took the last step; False where it has ended."""
    last = fakes.steps_taken(folder)[-1][2]
    with contextlib.suppress(ProcessLookupError):
        os.kill(last, signal.SIGKILL)
        return True
    return False


def _wait_for_a_step(folder: Path, process: subprocess.Popen[bytes], generator: random.Random) -> bool:
    """Wait until this start has taken some steps, and a little longer; False where the study has ended."""
    begin, deadline = _steps(folder), time.monotonic() + FIRST_STEP
    some = generator.randint(1, 4)
    while _steps(folder) < begin + some and time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        time.sleep(0.02)
    time.sleep(generator.uniform(0, STEP))
    return process.poll() is None


def _steps(folder: Path) -> int:
    return len(fakes.steps_taken(folder)) if (folder / "steps.txt").exists() else 0


def _start(folder: Path, address: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(DRIVER), str(folder), address, str(STEP), json.dumps({"train_sizes": SIZES})]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@lru_cache(maxsize=1)
def _cluster() -> Any:
    """Start the cluster, which ends with this process."""
    import atexit

    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    # Tasks are found by name on the nodes, as an installed package is.
    tests = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
    arguments = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=arguments)
    for _ in range(NODES):
        found.add_node(num_cpus=1, object_store_memory=STORE)
    found.wait_for_nodes()
    shutdown: Callable[[], None] = found.shutdown
    atexit.register(shutdown)
    return found
