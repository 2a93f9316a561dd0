"""The live view of a job on a terminal: its stage, its candidates, and the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TextIO, cast

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tunebench.execution.display_parts import MayGo, Outline, describe
from tunebench.execution.time_left import TimeLeft
from tunebench.formatting import duration
from tunebench.store.live import Progress

#: Frames a second; each takes a little of the processor that trains.
_FRAMES = 2


@dataclass
class Candidate:
    """A row of the view: one strategy, over all its sizes, rates and seeds.

    Attributes:
        runs: Ids of its runs that are not left out.
        left_out: Why each other run is left out.
        done: Its runs that have ended.
        failed: Those of them without a score.
        best: Best validation score so far.
        current: The run that trains now.
    """

    runs: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    best: float | None = None
    current: Progress | None = None

    @property
    def state(self) -> str:
        """What it does, in a few words."""
        total, ended = len(self.runs), len(self.done)
        failed = f", {len(self.failed)} failed" if self.failed else ""
        if not total:
            return self.left_out[0] if self.left_out else "left out"
        skipped = f", {len(self.left_out)} left out" if self.left_out else ""
        if self.current is not None:
            # The best score has a column of its own.
            doing = describe(replace(self.current, best=None), short=True)
            return f"training {min(ended + 1, total)} of {total}: {doing}{failed}"
        if ended >= total:
            return f"done{failed}{skipped}"
        waits = f"waiting, {ended} of {total} done" if ended else f"waiting, {total} to do"
        return f"{waits}{failed}{skipped}"


class LiveView:
    """Shows one view from the first stage of a job to its end; lines that are said scroll above it.

    Args:
        console: Where; by default standard error.
        budget: Seconds that the job may take; None for no limit.
    """

    def __init__(self, console: Console | None = None, *, budget: float | None = None) -> None:
        self._console = console or Console(file=cast("TextIO", MayGo(sys.stderr)))
        self._live: Live | None = None
        self._budget, self._began = budget, time.monotonic()
        self._stage = ""
        self._rows: dict[str, Candidate] = {}
        self._label: dict[str, str] = {}
        self._left = TimeLeft({})
        self._score_of: Callable[[str], float | None] = lambda run_id: None
        self._better: Callable[[float, float], float] = max

    def stage(self, line: str) -> None:
        """Say what the job does now."""
        self._stage = line
        self._show()

    def outline(self, plan: Outline) -> None:
        """Show the candidates of a plan."""
        self._score_of, self._better = plan.score_of, plan.better
        self._label |= {run.spec.run_id: run.spec.label for run in plan.runs}
        rows: dict[str, Candidate] = {}
        for run in plan.runs:
            row = rows.setdefault(run.spec.label, Candidate())
            if run.left_out is None:
                row.runs.add(run.spec.run_id)
            else:
                row.left_out.append(run.left_out)
        for label, before in self._rows.items():
            # Runs of a search that a later plan no longer holds have been done all the same.
            row = rows.setdefault(label, Candidate())
            row.runs |= before.done
            row.done, row.failed, row.best = before.done, before.failed, before.best
        self._rows = rows
        for run_id in plan.done:
            self._end(run_id, self._score_of(run_id))
        self._show()

    def start(self, estimates: Mapping[str, float], at_a_time: int = 1) -> None:
        """Begin with runs that are estimated to take so many seconds."""
        self._left = TimeLeft(estimates, at_a_time)
        self._show()

    def update(self, progress: Progress) -> None:
        """Show a run's progress in the row of its candidate."""
        self._left.see(progress)
        row = self._row(progress.run_id)
        row.current = progress
        self._score(row, progress.best)

    def finish(self, run_id: str, line: str) -> None:
        """Close a run; how it ended scrolls above the view."""
        self._left.end(run_id)
        self._end(run_id, self._score_of(run_id))
        self.message(line)

    def message(self, line: str) -> None:
        """Print above the view."""
        self._console.print(line, highlight=False, markup=False)

    def stop(self) -> None:
        """Take the view away; the next stage brings it back."""
        for row in self._rows.values():
            row.current = None
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw a frame."""
        yield Text(self._head(), style="bold", no_wrap=True, overflow="ellipsis")
        if self._rows:
            yield self._table()

    def _head(self) -> str:
        gone = duration(time.monotonic() - self._began)
        parts = [self._stage or "working", gone if self._budget is None else f"{gone} of {duration(self._budget)}"]
        if (left := self._left.seconds()) > 0:
            parts.append(f"about {duration(left)} of training left")
        return " · ".join(parts)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
        # Where the terminal is narrow, the state gives way first.
        longest = max(map(len, self._rows), default=0)
        table.add_column(
            "candidate", no_wrap=True, overflow="ellipsis", header_style="dim", min_width=min(max(9, longest), 16)
        )
        table.add_column("validation", justify="right", no_wrap=True, header_style="dim", min_width=10)
        table.add_column("state", no_wrap=True, overflow="ellipsis", ratio=1, header_style="dim")
        # A copy: the view is drawn by a thread of its own.
        rows = list(self._rows.items())
        scores = [row.best for _, row in rows if row.best is not None]
        best = reduce(self._better, scores) if scores else None
        for label, row in rows:
            shown = "-" if row.best is None else f"{row.best:.4f}"
            style = "bold" if row.current is not None else ("" if row.runs else "dim")
            mark = "bold green" if row.best is not None and row.best == best else ""
            table.add_row(Text(label), Text(shown, style=mark), Text(row.state), style=style)
        return table

    def _row(self, run_id: str) -> Candidate:
        """Return the row of a run; one that no plan told of stands under its own name."""
        label = self._label.setdefault(run_id, run_id.rsplit("-", 1)[0])
        row = self._rows.setdefault(label, Candidate())
        row.runs.add(run_id)
        return row

    def _end(self, run_id: str, score: float | None) -> None:
        row = self._row(run_id)
        row.done.add(run_id)
        if row.current is not None and row.current.run_id == run_id:
            row.current = None
        if score is None:
            row.failed.add(run_id)
        self._score(row, score)

    def _score(self, row: Candidate, score: float | None) -> None:
        if score is not None:
            row.best = score if row.best is None else self._better(row.best, score)

    def _show(self) -> None:
        if self._live is None:
            # Transient: what stays on the screen is what was said.
            self._live = Live(self, console=self._console, refresh_per_second=_FRAMES, transient=True)
            self._live.start()
        self._live.refresh()
