"""Runs that train nothing, on a real store with real locks; also a program, for processes that get killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.data.reference import DataRef
from tunebench.data.types import Split, TextDataset
from tunebench.execution.display import PlainDisplay
from tunebench.execution.runner import Job, Summary, run_plan
from tunebench.files import stored_file
from tunebench.machine.settings import Execution
from tunebench.models.reference import ModelRef
from tunebench.recipe import Kernels
from tunebench.store.live import Progress
from tunebench.store.plan_file import PlannedRun
from tunebench.store.record import Environment, RunRecord
from tunebench.store.run_folder import RunFolder
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand
from tunebench.study.spec import RunSpec
from tunebench.training.attempt import Attempt, Interrupted

DATASET = TextDataset("fake", None, ("no", "yes"), Split(["a", "b"], np.array([0, 1])), None)
STEPS = 5


def make_study(**changes: Any) -> StudyConfig:
    study = {
        "name": "fake",
        "model": "m",
        "data": "d",
        "strategies": {"full": None, "lora": None},
        "train_sizes": [10, 20],
        "seeds": [1],
        "precision": "fp32",
    }
    return StudyConfig.model_validate(study | changes)


def make_specs(
    study: StudyConfig, *, data: str = "b" * 32, train_examples: int = 1000, kernels: Kernels = "torch"
) -> list[RunSpec]:
    return list(
        expand(
            study,
            model=ModelRef(source="m", fingerprint="a" * 32),
            data=DataRef(source="d", fingerprint=data, label_names=("no", "yes")),
            train_examples=train_examples,
            test_examples=4,
            precision={"fast": "fp32", "reference": "fp32"},
            kernels={study.precision: kernels},
        )
    )


def make_store(folder: Path, study: StudyConfig) -> tuple[StudyStore, list[RunSpec]]:
    specs = make_specs(study)
    return StudyStore.create(folder, study, [PlannedRun(spec) for spec in specs]), specs


def make_record(spec: RunSpec, folder: RunFolder, **changes: Any) -> RunRecord:
    record = {
        "run_id": spec.run_id,
        "status": "complete",
        "spec": spec,
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:00:01+00:00",
        "environment": Environment(versions={}, machine={}, device="cpu", threads=1),
        "files": {p.name: stored_file(p) for p in (folder.weights, folder.predictions) if p.exists()},
    }
    return RunRecord.model_validate(record | changes)


def train(attempt: Attempt, *, seconds: float = 0.0, log: Path | None = None) -> RunRecord:
    """Count to STEPS, with a checkpoint a step; the steps taken are logged, to see what was repeated."""
    spec, folder = attempt.spec, attempt.folder
    folder.checkpoint.mkdir(exist_ok=True)
    state = folder.checkpoint / "state.json"
    done = json.loads(state.read_text()) if state.exists() else 0
    for step in range(done + 1, STEPS + 1):
        half = folder.path / f".half-written.{os.getpid()}.tmp"
        half.write_text("partial")
        with (log or folder.path.parent.parent / "steps.txt").open("a") as file:
            file.write(f"{spec.run_id} {step} {os.getpid()}\n")
        time.sleep(seconds)
        temporary = state.with_suffix(".tmp")
        temporary.write_text(json.dumps(step))
        os.replace(temporary, state)
        half.unlink()
        attempt.report(Progress(spec.run_id, "train", step, STEPS, 0.5, None))
        if attempt.stop() and step < STEPS:
            raise Interrupted(f"stopped at step {step} of {STEPS}")
    folder.weights.write_bytes(spec.run_id.encode())
    folder.write_predictions(
        logits=np.zeros((4, 2), np.float32), labels=np.zeros(4, np.int64), indices=np.arange(4)
    )
    return make_record(spec, folder)


def train_for_search(attempt: Attempt, *, fatal: str = "") -> RunRecord:
    """Score 0.5, 0.6 and so on, less for a rate further from 1e-4, and end where the search says so.

    The first run of a strategy whose name is ``fatal`` ends its process without a word, once.
    """
    spec, died = attempt.spec, attempt.folder.path.parent.parent / "died.txt"
    assert attempt.prune is not None
    if spec.label == fatal and not died.exists():
        died.write_text(str(os.getpid()))
        os._exit(9)
    distance, scores = abs(np.log(spec.learning_rate / 1e-4)), []
    while len(scores) < STEPS:
        scores.append(0.5 + 0.1 * len(scores) - 0.05 * float(distance))
        with (attempt.folder.path.parent.parent / "steps.txt").open("a") as file:
            file.write(f"{spec.run_id} {len(scores)} {os.getpid()}\n")
        attempt.report(Progress(spec.run_id, "train", len(scores), STEPS, 0.5, None))
        if attempt.prune(scores):
            break
    return make_record(
        spec,
        attempt.folder,
        status="complete" if len(scores) == STEPS else "pruned",
        selected={"by": "validation", "step": len(scores), "epoch": 1.0, "score": scores[-1]},
        log_history=[{"eval_macro_f1": value, "step": i} for i, value in enumerate(scores)],
    )


def run(folder: Path, study: StudyConfig, train_function: Any = train, **options: Any) -> Summary:
    """Run a whole study with fake runs in this process."""
    store, specs = make_store(folder, study)
    display, deadline = PlainDisplay(options.pop("stream", None), interval=0.0), options.pop("deadline", None)
    seconds = {spec.run_id: 1.0 for spec in specs}
    return run_plan(
        specs,
        Job(store, DATASET, Execution(), display, train_function, seconds, deadline=deadline),
        poll_seconds=0.05,
        **options,
    )


#: Makes standard error the terminal of its process, and then becomes the program that follows.
_ON_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def on_a_terminal(*program: str, **options: Any) -> tuple[subprocess.Popen[bytes], int]:
    """Start a Python program on a terminal of its own, which closes when the descriptor that is returned does."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", _ON_A_TERMINAL, *program]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, start_new_session=True, **options
    )
    os.close(theirs)
    return process, ours


def steps_taken(folder: Path) -> list[tuple[str, int, int]]:
    """Return ``(run_id, step, process)`` of every step that any process took."""
    lines = (line.split() for line in (folder / "steps.txt").read_text().splitlines())
    return [(run_id, int(step), int(process)) for run_id, step, process in lines]


if __name__ == "__main__":
    target, seconds, changes = Path(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3])

    def slow(attempt: Attempt) -> RunRecord:
        return train(attempt, seconds=seconds)

    summary = run(target, make_study(**changes), slow)
    sys.exit(130 if summary.interrupted else 1 if summary.failed else 0)
