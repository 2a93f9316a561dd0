"""Kill a study with SIGKILL again and again, resume it each time, and compare with an undisturbed one.

``python -m faults.kills --kills 100 --out docs/results/reliability.json`` is ``make faults``.

To find every moment often, and not only the long start of Python, a process that has been warmed up is
forked for each attempt: the child runs the study, and the parent kills it after a seeded random time. The
times are drawn over the whole length of an undisturbed run of what is left, with extra weight on the moments
right after files appear (a checkpoint, a commit).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults import study as faulty


@dataclass
class Tally:
    """What was done, and what was wrong at the end.

    Attributes:
        kills: SIGKILLs that hit a living process.
        studies: Studies that were run to their end.
        moments: What the killed process was doing, by what lay on the disk.
        resumed: Runs that ended after going on from a checkpoint.
        wrong: What differed from the undisturbed study; empty when all is well.
    """

    kills: int = 0
    studies: int = 0
    runs_compared: int = 0
    resumed: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def fork_run(study: Path, out: Path) -> int:
    """Start the study in a fork of this process, and return its process id."""
    process = os.fork()
    if process:
        return process
    # Only the child gets here, and it never returns.
    code = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        with (out.parent / f"{out.name}.err").open("w") as errors:
            os.dup2(errors.fileno(), 2)
        code = _run(study, out)
        (out.parent / "modules.json").write_text(json.dumps(sorted(sys.modules)))
    finally:
        os._exit(code)


def _run(study: Path, out: Path) -> int:
    import tunebench.api
    from tunebench.api import run_study
    from tunebench.execution.display import PlainDisplay
    from tunebench.machine.settings import Execution
    from tunebench.study.yaml_file import load_study

    faulty.often()
    # Figures take longer than the runs, and are made from the records whenever they are asked for.
    tunebench.api._write_report = lambda comparison, folder, **options: folder
    result = run_study(
        load_study(str(study)),
        folder=out,
        execution=Execution(device="cpu", threads=1),
        display=PlainDisplay(open(os.devnull, "w"), interval=60.0),
        measure=False,
    )
    return 130 if result.summary.interrupted else int(bool(result.summary.failed))


def wait(process: int) -> int:
    """Wait for a child, and return its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def moment(out: Path) -> str:
    """Tell from the disk what a process was doing when it was killed."""
    runs = out / "runs"
    if not (out / "plan.json").exists():
        return "planning"
    if list(runs.glob("*/checkpoint/.tmp-*")):
        return "writing a checkpoint"
    if (
        list(runs.glob("*/.*.tmp"))
        or list(runs.glob("*/.predictions*"))
        or list(runs.glob("*/.trainer_state.json"))
    ):
        return "writing a file"
    begun = [path.parent for path in runs.glob("*/spec.json")]
    committed = [path for path in begun if (path / "record.json").exists()]
    if any((path / "checkpoint").exists() or list(path.glob("best*.safetensors")) for path in committed):
        return "between commit and tidying"
    if any((path / "predictions.npz").exists() and path not in committed for path in begun):
        return "between results and commit"
    if any(list(path.glob("checkpoint/step-*")) for path in begun):
        return "training, with a checkpoint"
    if len(begun) > len(committed):
        return "training, without a checkpoint"
    return "between runs, or writing the report"


def kill_often(
    study: Path, out: Path, *, kills: int, seconds: float, generator: random.Random, tally: Tally
) -> None:
    """Run one study to its end through a number of kills, each at a random moment.

    Args:
        study: The study's file.
        out: Its folder.
        kills: How many.
        seconds: How long the undisturbed study took.
        generator: Draws the moments.
        tally: Counts.
    """
    done = 0
    while done < kills:
        process = fork_run(study, out)
        if generator.random() < 0.5:
            time.sleep(generator.uniform(0.0, seconds))
        else:
            _wait_for_something_new(out, process, generator)
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:  # it was through before the moment came
            code = os.waitstatus_to_exitcode(status)
            if code:
                tally.wrong.append(f"{out.name}: it ended by itself with exit code {code}: {_errors(out)}")
                return
            return
        os.kill(process, signal.SIGKILL)
        wait(process)
        tally.moments[moment(out)] += 1
        tally.kills += 1
        done += 1
    if code := wait(fork_run(study, out)):
        tally.wrong.append(f"{out.name}: the last resumption ended with exit code {code}: {_errors(out)}")


def _wait_for_something_new(out: Path, process: int, generator: random.Random) -> None:
    """Wait until a chosen kind of file appears anew, and a little longer."""
    pattern = generator.choice(
        ["*/checkpoint/.tmp-*", "*/checkpoint/step-*", "*/predictions.npz", "*/record.json", "*/best-*.safetensors"]
    )
    before = set((out / "runs").glob(pattern))
    limit = time.monotonic() + 20
    while not set((out / "runs").glob(pattern)) - before and time.monotonic() < limit:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.0005)
    time.sleep(generator.choice([0.0, generator.uniform(0, 0.005), generator.uniform(0, 0.05)]))


def _errors(out: Path) -> str:
    with contextlib.suppress(OSError):
        return (out.parent / f"{out.name}.err").read_text()[-1500:]
    return ""


def compare(whole: dict[str, dict[str, Any]], out: Path, tally: Tally) -> None:
    """Note every difference between a disturbed study and the undisturbed one."""
    from tunebench.store.study_folder import StudyStore

    tally.studies += 1
    found = faulty.results(out)
    if found.keys() != whole.keys():
        tally.wrong.append(
            f"{out.name}: runs lost {whole.keys() - found.keys()}, too many {found.keys() - whole.keys()}"
        )
    for run_id in whole.keys() & found.keys():
        tally.runs_compared += 1
        for part, value in whole[run_id].items():
            if found[run_id][part] != value:
                tally.wrong.append(f"{out.name}: {run_id}: other {part}")
        record = StudyStore.open(out).run_folder(run_id).read()
        tally.resumed += bool(record and record.timing and record.timing.resumed)
    if odd := faulty.leftovers(out):
        tally.wrong.append(f"{out.name}: left behind: {odd}")


def run_kills(root: Path, *, kills: int, per_study: int, seed: int, **changes: Any) -> tuple[Tally, list[str]]:
    """Run studies through kills until so many have hit.

    Args:
        root: A folder for everything.
        kills: SIGKILLs in all, at least.
        per_study: Of these, on one study.
        seed: Of the moments.
        changes: Keys of the study to set.

    Returns:
        What came of it, and the ids of the undisturbed runs.
    """
    os.environ["TUNEBENCH_CACHE"] = str(root / "cache")
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # before the forks: a pool of threads does not survive one
    path = faulty.make(root / "input", **changes)
    if wait(fork_run(path, root / "warm")):  # fills the cache, so that the time below is what the others take
        raise RuntimeError(f"the undisturbed study failed: {_errors(root / 'warm')}")
    for module in json.loads((root / "modules.json").read_text()):
        with contextlib.suppress(Exception):
            importlib.import_module(module)  # once, so that a fork begins with the study and not with imports
    begin = time.monotonic()
    if wait(fork_run(path, root / "whole")):
        raise RuntimeError(f"the undisturbed study failed: {_errors(root / 'whole')}")
    seconds = time.monotonic() - begin
    tally, generator = Tally(), random.Random(seed)
    whole = faulty.results(root / "whole")
    number = 0
    while tally.kills < kills and not tally.wrong:
        number += 1
        out = root / f"cut-{number}"
        some = min(per_study, kills - tally.kills)
        kill_often(path, out, kills=some, seconds=seconds, generator=generator, tally=tally)
        if not tally.wrong:
            compare(whole, out, tally)
        shutil.rmtree(out)
        sys.stderr.write(f"study {number}: {tally.kills} kills so far, {len(tally.wrong)} wrong\n")
    return tally, sorted(whole)


def main() -> None:
    """Run the long form and write its summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--per-study", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    summary: dict[str, Any] = {
        "command": f"python -m faults.kills --kills {options.kills} --per-study {options.per_study} "
        f"--seed {options.seed}",
        "engines": {},
    }
    engines = ("fast", "reference")
    for number, engine in enumerate(engines):
        with tempfile.TemporaryDirectory(prefix="tunebench-faults-") as root:
            share = -(-options.kills // len(engines))
            tally, runs = run_kills(
                Path(root),
                kills=share,
                per_study=options.per_study,
                seed=options.seed + number,
                engine=engine,
            )
        summary["engines"][engine] = {
            "kills": tally.kills,
            "studies": tally.studies,
            "runs_a_study": len(runs),
            "runs_compared": tally.runs_compared,
            "runs_resumed_from_a_checkpoint": tally.resumed,
            "moments": dict(sorted(tally.moments.items())),
            "wrong": tally.wrong,
        }
        summary["kills"] = sum(part["kills"] for part in summary["engines"].values())
        summary["wrong"] = sum(len(part["wrong"]) for part in summary["engines"].values())
        text = json.dumps(summary, indent=1) + "\n"
        if options.out is not None:
            options.out.write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    sys.exit(int(summary["wrong"] > 0 or summary["kills"] < options.kills))


if __name__ == "__main__":
    main()
