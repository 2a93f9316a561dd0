"""Kill studies with SIGKILL again and again, resume them each time, and compare with undisturbed ones.

``python -m faults.kills --out docs/results/kills.json`` is ``make faults``. It takes each kind of
:mod:`faults.kinds` in turn, and then what needs programs of its own: workers that start as a user's do
(:mod:`faults.worker_kills`) and a Ray cluster (:mod:`faults.ray_kills`). The file is written after every study, and
the same command resumes from it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from faults import forks, kinds, ray_kills, worker_kills
from faults import study as faulty
from faults.killer import Killer, Tally
from faults.kinds import KINDS

#: Kills of one study, before it may end.
PER_STUDY = 10
#: Kinds that need programs of their own, with their kills. Ray comes last: after it, nothing can be forked.
PROGRAMS: dict[str, tuple[int, Callable[[Path, random.Random, Tally], None]]] = {
    "workers that start as a user's do": (30, worker_kills.run_study),
    "a Ray cluster": (40, ray_kills.run_study),
}


def warm_up(root: Path) -> None:
    """Import what studies of all kinds need, once."""
    os.environ["TUNEBENCH_CACHE"] = str(root / "cache")
    kind = KINDS["search by halving, test part locked"]
    out, modules = root / "warm-up", root / "modules.json"
    work = kinds.job(faulty.make(root / "input", **kind.study), out, kind)
    kinds.begin(out, None)

    def and_tell() -> int:
        code = work()
        forks.write_modules(modules)
        return code

    driver = forks.Driver("warm-up", root, and_tell)
    if not driver.wait() or driver.code:
        raise RuntimeError(f"the undisturbed study failed: {driver.said}")
    forks.warm_up(forks.loaded_modules(modules))


def run_kind(
    root: Path,
    name: str,
    *,
    kills: int,
    per_study: int = PER_STUDY,
    seed: int = 0,
    tally: Tally | None = None,
    write: Callable[[Tally], None] = lambda tally: None,
    deadline: float = math.inf,
    **changes: Any,
) -> Tally:
    """Run studies of a kind through kills until so many have hit; :func:`warm_up` comes first.

    Args:
        root: A folder for everything.
        name: Of the kind.
        kills: In all, at least.
        per_study: Of these, on one study.
        seed: Of the moments.
        tally: What was done before.
        write: Called with the counts after every study.
        deadline: No study begins after it, by the monotonic clock.
        changes: Keys of the study to set.
    """
    tally = tally or Tally()
    if tally.kills >= kills or tally.wrong or time.monotonic() >= deadline:
        return tally
    program = PROGRAMS.get(name)
    killer = None if program else Killer(root / name.replace(" ", "-"), KINDS[name], **changes)
    while tally.kills < kills and not tally.wrong and time.monotonic() < deadline:
        generator = random.Random(f"{seed} {name} {tally.studies}")
        if killer is not None:
            killer.study(tally.studies + 1, min(per_study, kills - tally.kills), generator, tally)
        elif program is not None:
            with tempfile.TemporaryDirectory(dir=root) as place:
                program[1](Path(place), generator, tally)
        write(tally)
    return tally


def main() -> None:
    """Run the long form and write its summary."""
    names = {name: kind.kills for name, kind in KINDS.items()} | {name: part[0] for name, part in PROGRAMS.items()}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the kills of every kind")
    parser.add_argument("--only", action="append", choices=list(names), help="a kind; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the summary; kinds it tells of are resumed")
    parser.add_argument("--root", type=Path, help="where studies are written; what is wrong stays there")
    parser.add_argument("--minutes", type=float, help="stop after the study that is under way by then")
    options = parser.parse_args()
    deadline = math.inf if options.minutes is None else time.monotonic() + 60 * options.minutes
    root = options.root or Path(tempfile.mkdtemp(prefix="tunebench-faults-"))
    command = f"python -m faults.kills --share {options.share:g} --seed {options.seed}"
    warm_up(root)
    for name in options.only or names:

        def write(tally: Tally, name: str = name) -> None:
            _write(options.out, command, name, tally)
            sys.stderr.write(f"{name}: {tally.kills} kills so far, {len(tally.wrong)} wrong\n")

        told = _read(options.out).get(name)
        tally = Tally() if told is None else Tally.of(told)
        kills = math.ceil(names[name] * options.share)
        run_kind(root, name, kills=kills, seed=options.seed, tally=tally, write=write, deadline=deadline)
    wrong = [line for part in _read(options.out).values() for line in part["wrong"]]
    sys.stderr.write("".join(f"{line}\n" for line in wrong))
    sys.exit(int(bool(wrong)))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Return what a summary tells of each kind."""
    found: dict[str, dict[str, Any]] = json.loads(path.read_text())["kinds"] if path.exists() else {}
    return found


def _write(path: Path, command: str, name: str, tally: Tally) -> None:
    """Write one kind into the summary; other calls may write other kinds at the same time."""
    with FileLock(path.with_suffix(".lock")):
        parts = _read(path) | {name: tally.told()}
        summary = {
            "command": command,
            **{key: sum(part[key] for part in parts.values()) for key in ("kills", "studies", "runs_compared")},
            "wrong": sum(len(part["wrong"]) for part in parts.values()),
            "kinds": parts,
        }
        path.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
