"""Fake runs on a Ray cluster; also a program, for a driver that gets killed."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import fakes
from tunebench.execution.display import Display, PlainDisplay
from tunebench.execution.executors import ray_executor
from tunebench.execution.executors.ray_files import Shared
from tunebench.execution.runner import Job, Summary
from tunebench.machine.settings import Execution
from tunebench.study.config import StudyConfig


def run(
    folder: Path, study: StudyConfig, address: str | None, *, seconds: float = 0.0, display: Display | None = None
) -> Summary:
    """Run a study of fake runs on the cluster at an address, or on one of its own."""
    store, specs = fakes.make_store(folder, study)
    execution = Execution(device="cpu", threads=1, executor="ray", ray_address=address)
    ray_executor.shared_inputs = lambda dataset, models: Shared(dataset, {}, {})
    with ray_executor.RayExecutor(execution) as executor:
        executor.remote_train = partial(fakes.train, seconds=seconds, log=folder / "steps.txt")
        executor.prepare(fakes.DATASET, specs, {})
        shown = display or PlainDisplay(interval=0.0)
        return executor.run(specs, Job(store, fakes.DATASET, execution, shown, executor.train))


if __name__ == "__main__":
    target, address, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    changes = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    summary = run(target, fakes.make_study(**changes), address or None, seconds=seconds)
    sys.exit(130 if summary.interrupted else 1 if summary.failed else 0)
