"""``tunebench bench --wall``: a small study from the first import to the report, beside a plain Trainer script.

Every side is a process of its own, started as a user starts it, in turn with the others. Script and study train the
same strategies on the same texts with the same recipe, evaluate after each epoch on the same validation texts, and
predict the same test texts. No process finds anything that an earlier one cached.

Sides that need another package train one model on the same texts, their own way, and predict the same test texts.
All others then train one model too.
"""

from __future__ import annotations

import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn.metrics import f1_score

from tunebench.analysis.load import load_comparison
from tunebench.benchmarks.against import load_texts
from tunebench.benchmarks.others import Other, find_others, versions_of
from tunebench.benchmarks.rounds import take_rounds
from tunebench.benchmarks.scripts import trainer_script
from tunebench.benchmarks.scripts.other_tools import Exam
from tunebench.benchmarks.wall_result import STAGES, Process, WallResult
from tunebench.errors import DataError, TunebenchError
from tunebench.machine import devices, environment
from tunebench.models.sources import model_folder
from tunebench.tasks.metrics import DEFAULT_METRIC

#: Texts that select, and texts that test.
VALIDATION, TEST = 100, 500


@dataclass(frozen=True)
class _Task:
    """What every process gets.

    Attributes:
        data: Folder of train.csv, validation.csv and test.csv.
        model: Folder of the encoder.
        bf16: Whether products in bf16 are faster here.
    """

    data: Path
    model: Path
    strategies: tuple[str, ...]
    epochs: int
    threads: int
    bf16: bool


#: Runs once, in an empty folder, and adds what it measured.
_Side = Callable[[_Task, Path, Process], None]


def run_wall(
    model: str = "minilm",
    *,
    others: Sequence[str] = (),
    data: str = "imdb-reviews",
    labels: int = 500,
    validation: int = VALIDATION,
    test: int = TEST,
    epochs: int = 1,
    rounds: int = 3,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> WallResult:
    """Run every side in turn, and time it. Ctrl-C ends with the rounds that are whole.

    Args:
        model: A packaged name or a folder.
        others: Sides that need another package; see :func:`~tunebench.benchmarks.others.find_others`.
        data: Where the texts are; single texts with one label each.
        labels: Texts that train.
        validation: Texts that select.
        test: Texts that are predicted.
        epochs: Of each training.
        rounds: How often each side runs.
        threads: Compute threads; by default all cores.
        tell: Told what is being run.

    Raises:
        TunebenchError: A package is missing, model or data cannot be read, or a process failed.
    """
    rivals = find_others(others)
    threads = devices.usable_cores() if threads is None else threads
    precision = devices.default_precision(devices.resolve_device("auto"), "fast")
    sides: dict[str, _Side] = {"paper": _paper, "careful": _careful}
    sides |= {other.name: partial(_other, other) for other in rivals} | {"ours": _ours}
    strategies = ("full",) if others else tuple(trainer_script.LEARNING_RATE)
    with tempfile.TemporaryDirectory() as place:
        parts = Path(place) / "data"
        _write_parts(data, parts, {"train": labels, "validation": validation, "test": test})
        task = _Task(parts, model_folder(model), strategies, epochs, threads, precision == "bf16")

        def take(number: int) -> dict[str, Process]:
            found = {name: Process() for name in sides}
            for name, side in sides.items():
                tell(f"round {number} of {rounds}: {name}")
                folder = Path(place) / f"{number}-{name}"
                folder.mkdir()
                side(task, folder, found[name])
            return found

        taken = take_rounds(take, fewest=rounds, tell=tell)
    return WallResult(
        model=model,
        data=data,
        labels=labels,
        validation=validation,
        test=test,
        epochs=epochs,
        threads=threads,
        rounds=len(taken),
        precision=precision,
        strategies=list(strategies),
        machine=environment.describe(),
        versions=environment.versions() | versions_of(rivals),
        sides={name: Process.of([each[name] for each in taken]) for name in sides},
    )


def _write_parts(source: str, folder: Path, sizes: dict[str, int]) -> None:
    """Draw texts that differ from each other, and write them as the parts of a data set."""
    dataset = load_texts(source)
    train = dataset.train
    first = {text: row for row, text in reversed(list(enumerate(train.texts)))}
    rows = np.random.default_rng(0).permutation(sorted(first.values()))
    if sum(sizes.values()) > len(rows):
        wanted = ", ".join(f"{size:,} for {part}" for part, size in sizes.items())
        raise DataError(
            "There are fewer different texts.", value=wanted, allowed=f"{len(rows):,} in all, of {source}"
        )
    folder.mkdir()
    start = 0
    for part, size in sizes.items():
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(("text", "label"))
            for row in rows[start : start + size].tolist():
                lines.writerow((train.texts[row], dataset.label_names[int(train.labels[row])]))
        start += size


def _paper(task: _Task, folder: Path, found: Process, *options: str) -> None:
    """Run the plain script."""
    command = [trainer_script.__file__, "--data", str(task.data), "--model", str(task.model), "--out", str(folder)]
    settings = ["--epochs", str(task.epochs), "--strategies", *task.strategies]
    start, end = _timed([*command, *settings, *options], task, folder)
    told = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    found.add(end - start, _stages(start, end, told["times"]), told["scores"])


def _careful(task: _Task, folder: Path, found: Process) -> None:
    """Run the plain script as a careful user does."""
    _paper(task, folder, found, "--careful", *(["--bf16"] if task.bf16 else []))


def _other(other: Other, task: _Task, folder: Path, found: Process) -> None:
    """Run a side that needs another package."""
    train, test = (
        pd.read_csv(task.data / f"{part}.csv", dtype=str, keep_default_na=False) for part in ("train", "test")
    )
    texts, labels, unseen = (list(column) for column in (train["text"], train["label"], test["text"]))
    exam, answers = folder / "exam.json", folder / "answers.json"
    Exam(texts, labels, unseen, task.model, math.inf, task.threads, folder, task.epochs).write(exam)
    start, end = _timed(other.arguments(exam, answers), task, folder, python=other.python)
    said = json.loads(answers.read_text(encoding="utf-8"))
    found.add(end - start, {}, {"own": float(f1_score(list(test["label"]), said, average="macro"))})


def _ours(task: _Task, folder: Path, found: Process) -> None:
    """Run the study, and read what its records and files say."""
    study, out = folder / "study.yaml", folder / "out"
    study.write_text(_study(task), encoding="utf-8")
    command = ["-m", "tunebench", "run", str(study), "--out", str(out), "--threads", str(task.threads)]
    start, end = _timed(command, task, folder)
    times, scores = dict.fromkeys(("training", "evaluation", "test"), 0.0), {}
    for row in load_comparison(out).rows():
        if row["status"] != "complete":
            raise TunebenchError("A run of the study failed.", value=f"{row['strategy']}: {row['error']}")
        scores[row["strategy"]] = row[DEFAULT_METRIC]
        for stage, column in (("training", "train"), ("evaluation", "eval"), ("test", "test")):
            times[stage] += row[f"{column}_seconds"]
    # A run begins with its spec and ends with its record.
    times["begun"] = min(path.stat().st_mtime for path in out.glob("runs/*/spec.json"))
    times["ended"] = max(path.stat().st_mtime for path in out.glob("runs/*/record.json"))
    found.add(end - start, _stages(start, end, times), scores)


def _study(task: _Task) -> str:
    """Return the study that trains and evaluates as the script does."""
    strategies = {way: {"learning_rate": trainer_script.LEARNING_RATE[way]} for way in task.strategies}
    settings = {
        "name": "wall",
        "model": str(task.model),
        "data": str(task.data),
        "strategies": strategies,
        "train_sizes": ["all"],
        "seeds": [42],
        "selection": "validation",
        "evaluations_per_epoch": 1,
        "epochs": task.epochs,
        "batch_size": 32,
        "max_length": 256,
    }
    return yaml.safe_dump(settings, sort_keys=False)


def _timed(command: Sequence[str], task: _Task, folder: Path, *, python: str | None = None) -> tuple[float, float]:
    """Run Python in a process of its own, and return when it started and when it ended.

    Raises:
        TunebenchError: It failed.
    """
    settings = {
        "OMP_NUM_THREADS": str(task.threads),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    start = time.time()
    ended = subprocess.run(
        [python or sys.executable, *command], capture_output=True, text=True, env=os.environ | settings
    )
    end = time.time()
    if ended.returncode:
        last = (ended.stderr.strip() or ended.stdout.strip()).rsplit("\n", 1)[-1]
        raise TunebenchError("A process of the benchmark failed.", value=f"{folder.name}: {last}")
    return start, end


def _stages(start: float, end: float, times: Mapping[str, float]) -> dict[str, float]:
    """Return the seconds of each stage; the first run began at ``begun``, the last one ended at ``ended``."""
    known = dict(times) | {"start": times["begun"] - start, "end": end - times["ended"]}
    return {stage: known[stage] for stage in STAGES}
