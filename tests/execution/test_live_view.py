"""The live view: what each row says while a job goes on, at any width, and that nothing stays on the screen."""

from __future__ import annotations

import io
import os

import pytest
from rich.console import Console

from fakes import make_specs, make_study
from tunebench.execution.display import SilentDisplay, make_display
from tunebench.execution.display_parts import Outline
from tunebench.execution.live_view import LiveView
from tunebench.machine import load
from tunebench.machine.settings import Execution
from tunebench.store.live import Progress
from tunebench.store.plan_file import PlannedRun


def view_of(
    width: int = 100, *, terminal: bool = False, budget: float | None = 600.0
) -> tuple[LiveView, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, height=24, force_terminal=terminal, color_system=None)
    return LiveView(console, budget=budget), stream


def frame(view: LiveView, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=24, color_system=None)
    with console.capture() as captured:
        console.print(view)
    return captured.get().splitlines()


def row(view: LiveView, label: str) -> str:
    (line,) = [line for line in frame(view) if line.startswith(label)]
    return " ".join(line.split())


def test_each_row_says_what_its_candidate_does_and_how_good_it_is_so_far() -> None:
    specs = make_specs(
        make_study(strategies={"full": {"learning_rate": [1e-4, 2e-4]}, "lora": None, "tfidf": None})
    )
    runs = [PlannedRun(s, "left out by the budget of 60 s" if s.label == "lora" else None) for s in specs]
    full = [s.run_id for s in specs if s.label == "full"]
    (tfidf,) = [s.run_id for s in specs if s.label == "tfidf"][:1]
    scores = {full[0]: 0.71, full[1]: None, tfidf: 0.8}
    view, _ = view_of()
    view.outline(Outline(runs, [tfidf], scores.__getitem__, max))
    assert row(view, "tfidf").startswith("tfidf 0.8000 ")
    assert "waiting" in row(view, "full") and row(view, "lora") == "lora - left out by the budget of 60 s"
    view.start(dict.fromkeys(full, 30.0))
    view.update(Progress(full[0], "train", 3, 40, 0.5, 0.69))
    assert f"training 1 of {len(full)}: train 3/40, loss 0.500" in row(view, "full")
    assert row(view, "full").startswith("full 0.6900 ")
    view.update(Progress(full[0], "train", 9, 40, 0.4, 0.6))
    assert row(view, "full").startswith("full 0.6900 "), "the best so far, and not the last"
    view.finish(full[0], "ended")
    assert row(view, "full").startswith("full 0.7100 ") and f"1 of {len(full)} done" in row(view, "full")
    for run_id in full[1:]:
        scores.setdefault(run_id, 0.7)
        view.finish(run_id, "ended")
    assert row(view, "full").endswith("done, 1 failed")
    view.stop()
    assert "about" not in frame(view)[0] and "of 10 min" in frame(view)[0]


def test_a_later_plan_keeps_what_a_search_has_done_and_where_less_is_better_the_least_is_best() -> None:
    specs = make_specs(make_study(strategies={"full": {"learning_rate": [1e-4, 2e-4]}}))
    view, _ = view_of()
    scores = {spec.run_id: float(number) for number, spec in enumerate(specs, start=1)}
    view.outline(Outline([PlannedRun(s) for s in specs], [], scores.__getitem__, min))
    for spec in specs[:2]:
        view.finish(spec.run_id, "ended")
    view.outline(Outline([PlannedRun(s) for s in specs[1:]], [specs[1].run_id], scores.__getitem__, min))
    assert row(view, "full").startswith("full 1.0000 ")
    assert f"2 of {len(specs)} done" in row(view, "full") or row(view, "full").endswith("done")
    view.stop()


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_it_fits_any_width_and_leaves_no_colour_and_no_view_behind(width: int) -> None:
    specs = make_specs(
        make_study(strategies={"full": None, "lora": None, "a-label-that-is-rather-long": {"kind": "ia3"}})
    )
    view, stream = view_of(width, terminal=True)
    view.outline(Outline([PlannedRun(s) for s in specs], [], lambda run_id: 0.5, max))
    view.stage("training the candidates")
    view.update(Progress(specs[0].run_id, "train", 3, 40, 0.5, 0.69))
    lines = frame(view, width)
    assert all(len(line.rstrip()) <= width for line in lines) and len(lines) == 2 + 3
    view.message("said above it")
    view.stop()
    written = stream.getvalue()
    assert "said above it" in written and "\x1b[3" not in written, "no colour where there is none"
    assert written.endswith("\x1b[2K") or "\x1b[?25h" in written, "the cursor is back"


def test_nothing_is_shown_where_a_program_reads(capsys: pytest.CaptureFixture[str]) -> None:
    display = make_display(silent=True)
    assert isinstance(display, SilentDisplay)
    display.start({"a-0": 1.0})
    display.stage("reading")
    display.update(Progress("a-0", "train", 1, 2, None, None))
    display.finish("a-0", "a: macro F1 0.5")
    display.stop()
    assert capsys.readouterr() == ("", "")
    display.message("stopping")
    assert capsys.readouterr().err == "stopping\n"


def test_fewer_threads_are_proposed_where_others_keep_the_cores_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunebench.machine.devices.usable_cores", lambda: 8)
    loads = iter([0.3, 5.1, 20.0, 20.0])
    monkeypatch.setattr(os, "getloadavg", lambda: (next(loads), 0.0, 0.0), raising=False)
    assert load.load_remark(Execution(threads=4)) is None
    assert "5.1 of 8 cores" in str(found := load.load_remark(Execution())) and "--threads 3" in str(found)
    assert "8.0 of 8 cores" in str(found := load.load_remark(Execution())) and "--threads 1" in str(found)
    assert load.load_remark(Execution(threads=1)) is None
