"""Study folders in every state a run can be in, and of every size; nothing here was trained."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factories import HONEST, make_record, make_spec
from fakes import make_study
from tunebench.store.live import LiveFile, Progress
from tunebench.store.plan_file import PlannedRun
from tunebench.store.record import Failure, RunRecord
from tunebench.store.study_folder import StudyStore
from tunebench.study.spec import RunSpec

SCRIPT = "<script>document.title = 'planted'</script><img src=x onerror=\"document.title = 'planted'\">"


def make_specs(count: int) -> list[RunSpec]:
    """Return the specs of a study: two strategies, two sizes, and as many seeds as it takes."""
    cells = [(label, size) for size in (1_000, 2_000) for label in ("full", "lora")]
    made = ((*cells[i % 4], i // 4) for i in range(count))
    return [make_spec(label, size=size, seed=seed, **HONEST) for label, size, seed in made]


def make_store(folder: Path, specs: Sequence[RunSpec], *, left_out: Sequence[RunSpec] = ()) -> StudyStore:
    """Make a study's folder with a plan and no runs."""
    planned = [
        PlannedRun(spec, "left out by the budget of 60 s" if spec in left_out else None, seconds=100.0)
        for spec in specs
    ]
    return StudyStore.create(folder, make_study(name="watched"), planned)


def complete(store: StudyStore, spec: RunSpec, **changes: Any) -> RunRecord:
    """Put a complete run there."""
    folder = store.run_folder(spec.run_id)
    folder.begin(spec)
    folder.note("started")
    record = make_record(spec).model_copy(update=changes)
    folder.commit(record)
    folder.note("complete")
    return record


def fail(store: StudyStore, spec: RunSpec, message: str, *, status: str = "failed") -> None:
    """Put a failed run there, with the curve up to its failure."""
    folder = store.run_folder(spec.run_id)
    folder.begin(spec)
    advance(store, spec, 30)
    failure = Failure(type="Error", message=message, traceback=f"Traceback\n  {message}")
    record = make_record(spec, status="failed").model_copy(update={"status": status, "error": failure})
    folder.fail(record)
    folder.note(f"{status}: {message}")


def advance(store: StudyStore, spec: RunSpec, step: int, *, total: int = 100) -> None:
    """Write down that a run has come to a step."""
    folder = store.run_folder(spec.run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    live = LiveFile(folder.live, passed_on=lambda progress: None, interval=1e9)
    for i in range(1, step + 1):
        entry: dict[str, Any] = {"step": i, "epoch": i / 50, "loss": 0.7 - i / 200}
        if i % 10 == 0:
            live.update(Progress(spec.run_id, "train", i, total, None, None, (entry,)))
            entry = {"step": i, "epoch": i / 50, "eval_loss": 0.7 - i / 300, "eval_macro_f1": 0.5 + i / 300}
        live.update(Progress(spec.run_id, "train", i, total, 0.7 - i / 200, 0.5 + i / 300, (entry,)))
    live.write()


def every_state(folder: Path) -> tuple[StudyStore, dict[str, RunSpec]]:
    """Make a study with a run in each state but those that need a process or an import.

    Returns:
        The store, and the specs by state; ``resumable`` is pending with a checkpoint, ``script`` failed with
        markup in its message.
    """
    names = (
        "complete",
        "failed",
        "out_of_memory",
        "pruned",
        "left_out",
        "pending",
        "resumable",
        "script",
        "running",
    )
    specs = dict(zip(names, make_specs(len(names)), strict=True))
    store = make_store(folder, list(specs.values()), left_out=[specs["left_out"]])
    complete(store, specs["complete"])
    fail(store, specs["failed"], "the loss is not finite")
    fail(store, specs["out_of_memory"], "unable to allocate 9.1 GiB", status="out_of_memory")
    fail(store, specs["script"], SCRIPT)
    store.run_folder(specs["script"].run_id).note(SCRIPT)
    complete(store, specs["pruned"], status="pruned", scores=None)
    for name in ("resumable", "running"):
        run = store.run_folder(specs[name].run_id)
        run.begin(specs[name])
        advance(store, specs[name], 40)
        run.checkpoint.mkdir()
    return store, specs


def finished(folder: Path, count: int) -> StudyStore:
    """Make a study of so many complete runs."""
    specs = make_specs(count)
    store = make_store(folder, specs)
    for spec in specs:
        complete(store, spec)
    return store


def fingerprint(folder: Path) -> str:
    """Return a hash of all names, contents, rights and times below a folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        at = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found.append([str(path.relative_to(folder)), content, at.st_mode, at.st_mtime_ns, at.st_ctime_ns])
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def rewrite(path: Path, content: bytes) -> None:
    """Replace a file, with a time of its own."""
    path.write_bytes(content)
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000_000))
