"""Fake runs in worker processes, as a program: for a parent that gets killed."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

import fakes
from tunebench.data.types import Split, TextDataset
from tunebench.execution.display import PlainDisplay
from tunebench.execution.executors.processes import ProcessExecutor
from tunebench.execution.runner import Job
from tunebench.machine.settings import Execution

if __name__ == "__main__":
    target, seconds, changes = Path(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3])
    store, specs = fakes.make_store(target, fakes.make_study(**changes))
    execution = Execution(device="cpu", threads=1, workers=2)
    train = partial(fakes.train, seconds=seconds)
    texts = ["a text that is much the same as the others" * 4] * int(sys.argv[4]) if len(sys.argv) > 4 else []
    dataset = TextDataset("fake", None, ("no", "yes"), Split(texts, np.arange(len(texts)) % 2), None)
    job = Job(store, dataset, execution, PlainDisplay(interval=0.0), train)
    summary = ProcessExecutor(execution).run(specs, job)
    sys.exit(130 if summary.interrupted else 1 if summary.failed else 0)
