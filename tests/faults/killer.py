"""Kills one study after the other at random moments, and compares each with an undisturbed one."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults import forks, kinds
from faults import study as faulty
from faults.kinds import Kind


@dataclass
class Tally:
    """What was done with one kind of study, and what was wrong at the end.

    Attributes:
        kills: Moments at which a living process got a SIGKILL.
        victims: What was killed at them.
        studies: Studies that were run to their end.
        runs_compared: With those of an undisturbed study.
        resumed: Runs that ended after going on from a checkpoint.
        looks: At a locked test part.
        moments: What the killed process was doing, by what lay on the disk.
        wrong: What differed from the undisturbed study; empty when all is well.
    """

    kills: int = 0
    victims: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    runs_compared: int = 0
    resumed: int = 0
    looks: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Return it as JSON."""
        return vars(self) | {
            "victims": dict(sorted(self.victims.items())),
            "moments": dict(sorted(self.moments.items())),
        }

    @classmethod
    def of(cls, told: dict[str, Any]) -> Tally:
        """Return what :meth:`told` told."""
        counted = {name: Counter(told[name]) for name in ("victims", "moments")}
        return cls(**(told | counted))


class Killer:
    """Kills studies of one kind.

    Args:
        root: A folder for everything.
        kind: The kind.
        changes: More keys of the study to set.
    """

    def __init__(self, root: Path, kind: Kind, **changes: Any) -> None:
        self._root, self._kind = root, kind
        self._study = faulty.make(root / "input", **kind.study, **changes)
        begin = time.monotonic()
        self._undisturbed("whole")
        self._seconds = time.monotonic() - begin
        self.whole = faulty.results(root / "whole")
        self._trained: Path | None = None
        if kind.trained:
            begin = time.monotonic()
            self._trained = self._undisturbed("trained", only_train=True)
            self._seconds = max(0.5, self._seconds - (time.monotonic() - begin) + 0.5)

    def _undisturbed(self, name: str, **options: bool) -> Path:
        out = self._root / name
        kinds.begin(out, None)
        driver = forks.Driver(name, self._root, kinds.job(self._study, out, self._kind, **options))
        if not driver.wait() or driver.code:
            raise RuntimeError(f"the undisturbed study failed: {driver.said}")
        if self._kind.has_children and not driver.had_children:
            raise RuntimeError("the processes of the study are not known, so they could not be killed")
        return out

    def study(self, number: int, kills: int, generator: random.Random, tally: Tally) -> None:
        """Run one study to its end through a number of kills, and compare.

        Args:
            number: Names it.
            kills: How many.
            generator: Draws the moments and the victims.
            tally: Counts.
        """
        out = self._root / f"cut-{number}"
        kinds.begin(out, self._trained)
        most = tally.kills + kills
        while tally.kills < most and not tally.wrong:
            if self._start(out, most, generator, tally):
                break
        if not tally.wrong:
            # Also where one came to its end: it may have left what another process held at that moment.
            last = forks.Driver(out.name, self._root, kinds.job(self._study, out, self._kind))
            if not last.wait():
                tally.wrong.append(f"{out.name}: the last start hangs: {last.said}")
            elif last.code:
                tally.wrong.append(f"{out.name}: the last start ended with exit code {last.code}: {last.said}")
        if not tally.wrong:
            self._compare(out, tally)
        if not tally.wrong:
            shutil.rmtree(out)

    def _start(self, out: Path, most: int, generator: random.Random, tally: Tally) -> bool:
        """Start the study, kill what belongs to it until nothing is left, and tell whether it came to its end."""
        drivers = [
            forks.Driver(f"{out.name}-{number}", self._root, kinds.job(self._study, out, self._kind))
            for number in range(self._kind.starts)
        ]
        killed_child = False
        while any([driver.alive for driver in drivers]) and tally.kills < most:
            self._wait_for_a_moment(out, drivers, generator)
            living = [driver for driver in drivers if driver.alive]
            children = [pid for driver in living for pid in driver.children()]
            if not living:
                break
            victim = generator.choice(["driver", "child", "child", "all"] if children else ["driver"])
            if victim == "child":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(generator.choice(children), signal.SIGKILL)
                killed_child = True
            elif victim == "driver":
                generator.choice(living).kill()
            else:
                for pid in [driver.pid for driver in living] + children:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            tally.moments[moment(out)] += 1
            tally.victims[victim] += 1
            tally.kills += 1
        return self._end(out, drivers, tally, killed_child=killed_child)

    def _end(self, out: Path, drivers: list[forks.Driver], tally: Tally, *, killed_child: bool) -> bool:
        """See to it that nothing of a start is left, and tell whether one of its processes did the study."""
        done = False
        for driver in drivers:
            # One that lives has lost a child, or the other driver; it must come to its end without it.
            if driver.alive and not driver.wait():
                tally.wrong.append(f"{out.name}: it hangs: {driver.said}")
            if not driver.bury():
                tally.wrong.append(f"{out.name}: children that outlive it")
            failed = self._kind.may_fail and killed_child and driver.code == 1
            if driver.code not in (0, -signal.SIGKILL) and not failed:
                tally.wrong.append(f"{out.name}: it ended with exit code {driver.code}: {driver.said}")
            done = done or driver.code == 0
        return done

    def _wait_for_a_moment(self, out: Path, drivers: list[forks.Driver], generator: random.Random) -> None:
        """Wait for a random time, or until a chosen kind of file appears anew and a little longer."""
        if generator.random() < 0.5:
            deadline = time.monotonic() + generator.uniform(0.0, self._seconds)
            while time.monotonic() < deadline and any([driver.alive for driver in drivers]):
                time.sleep(0.005)
            return
        pattern = generator.choice(self._kind.waits_for)
        before, deadline = _files(out, pattern), time.monotonic() + 2 * self._seconds + 5
        while not _files(out, pattern) - before and time.monotonic() < deadline:
            if not any([driver.alive for driver in drivers]):
                return
            time.sleep(0.0005)
        time.sleep(generator.choice([0.0, generator.uniform(0, 0.005), generator.uniform(0, 0.05)]))

    def _compare(self, out: Path, tally: Tally) -> None:
        """Note every difference between a disturbed study and the undisturbed one."""
        from tunebench.store.study_folder import StudyStore

        tally.studies += 1
        found = faulty.results(out)
        if found.keys() != self.whole.keys():
            tally.wrong.append(
                f"{out.name}: runs lost {self.whole.keys() - found.keys()}, "
                f"too many {found.keys() - self.whole.keys()}"
            )
        for run_id in self.whole.keys() & found.keys():
            tally.runs_compared += 1
            for part, value in self.whole[run_id].items():
                if found[run_id][part] != value:
                    tally.wrong.append(f"{out.name}: {run_id}: other {part}")
            record = StudyStore.open(out).run_folder(run_id).read()
            tally.resumed += bool(record and record.timing and record.timing.resumed)
        tally.looks += len(kinds.looks_of(out).read_text().splitlines())
        tally.wrong += [f"{out.name}: {line}" for line in kinds.wrong_looks(out)]
        tally.wrong += [f"{out.name}: {run_id}: done twice" for run_id in kinds.done_twice(out)]
        if odd := faulty.leftovers(out):
            tally.wrong.append(f"{out.name}: left behind: {odd}")


def _files(out: Path, pattern: str) -> set[tuple[str, int]]:
    found = set()
    for path in (out / "runs").glob(pattern):
        with contextlib.suppress(OSError):
            found.add((str(path), path.stat().st_mtime_ns))
    return found


def moment(out: Path) -> str:
    """Tell from the disk what a process was doing when it was killed."""
    runs = out / "runs"
    if not (out / "plan.json").exists():
        return "planning"
    if list(runs.glob("*/checkpoint/.tmp-*")):
        return "writing a checkpoint"
    if any(list(runs.glob(name)) for name in ("*/.*.tmp", "*/.predictions*", "*/.trainer_state.json")):
        return "writing a file"
    begun = [path.parent for path in runs.glob("*/spec.json")]
    committed = [path for path in begun if (path / "record.json").exists()]
    if any((path / "checkpoint").exists() or list(path.glob("best*.safetensors")) for path in committed):
        return "between commit and tidying"
    if any("test part opened" in _last_line(path / "run.log") for path in committed):
        return "the test part is open"
    if any((path / "predictions.npz").exists() and path not in committed for path in begun):
        return "between results and commit"
    if any(list(path.glob("checkpoint/step-*")) for path in begun):
        return "training, with a checkpoint"
    if len(begun) > len(committed):
        return "training, without a checkpoint"
    return "between runs, or before or after them"


def _last_line(path: Path) -> str:
    with contextlib.suppress(OSError, IndexError):
        return path.read_text().splitlines()[-1]
    return ""
