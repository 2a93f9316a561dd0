"""How many runs train at a time: which split is taken, and that it is measured once."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from execution.test_search import study
from tunebench.api import run_study
from tunebench.errors import ConfigError
from tunebench.execution import split
from tunebench.execution.display import PlainDisplay
from tunebench.execution.dry_run import dry_run_rows
from tunebench.execution.resolve import Request
from tunebench.execution.split import settle_workers
from tunebench.machine.cores import Split
from tunebench.machine.settings import Execution
from tunebench.store.study_folder import StudyStore

pytestmark = pytest.mark.usefixtures("no_report")
AUTO = Execution(device="cpu", workers="auto")


@pytest.fixture
def settle(
    tiny_model: Callable[[str], Path], reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Request, str, list[int]]]:
    """Return a function that settles a study of four runs on eight cores, given runs an hour by runs at a time."""

    def settled(rates: dict[int, float], *, memory: float = 1e9, **changes: Any) -> tuple[Request, str, list[int]]:
        measured, told = [], []

        def measure(spec: Any, dataset: Any, one: Split, request: Request) -> dict[str, float]:
            measured.append(one.workers)
            return {"runs_an_hour": rates[one.workers], "memory_bytes": memory} if one.workers in rates else {}

        monkeypatch.setattr(split, "measure_split", measure)
        monkeypatch.setattr("tunebench.machine.devices.usable_cores", lambda: 8)
        monkeypatch.setattr(split.psutil, "virtual_memory", lambda: SimpleNamespace(available=10e9))
        config = study(tiny_model("distilbert"), reviews, search={"method": "grid"}, **changes)
        request = settle_workers(config, Request(execution=AUTO, tell=told.append))
        return request, told[-1], measured

    return settled


def test_the_split_that_does_most_in_an_hour_is_taken(settle: Callable[..., Any]) -> None:
    request, line, measured = settle({1: 100, 2: 150, 4: 160})
    assert (request.execution.workers, request.execution.threads) == (4, 2) and measured == [1, 2, 4]
    assert not request.known.profiles, "speeds that were derived would be taken for measured ones"
    assert line == (
        "4 runs at a time, 2 threads each: runs an hour of full on 120 labels: 100 with 1 at a time, "
        "150 with 2 at a time, 160 with 4 at a time"
    )


@pytest.mark.parametrize(("rates", "taken"), [({1: 100, 2: 104}, 1), ({1: 100, 2: 120, 4: 124}, 2), ({1: 9}, 1)])
def test_more_at_a_time_must_do_clearly_more(
    settle: Callable[..., Any], rates: dict[int, float], taken: int
) -> None:
    request, line, _ = settle(rates)
    assert request.execution.workers == taken
    assert ("a process ended" in line) == (len(rates) == 1)


def test_what_has_no_memory_is_not_tried(settle: Callable[..., Any]) -> None:
    request, line, measured = settle({1: 100, 2: 150}, memory=3e9)
    assert request.execution.workers == 2 and measured == [1, 2]
    assert line.endswith("; 4 would need 12.0 of 10.0 GB that are free")


def test_a_study_without_an_encoder_measures_nothing(settle: Callable[..., Any]) -> None:
    request, line, measured = settle({}, strategies={"tfidf": {}})
    assert request.execution.workers == 1 and not measured and "run of an encoder" in line


@pytest.mark.parametrize(
    ("changes", "measure", "message"),
    [
        ({"executor": "ray"}, True, "remove --executor"),
        ({"executor": "serial"}, True, "remove --executor"),
        ({}, False, "remove --no-measure"),
    ],
)
def test_what_auto_cannot_do_is_said(
    tiny_model: Callable[[str], Path], reviews: Path, changes: dict[str, Any], measure: bool, message: str
) -> None:
    request = Request(execution=AUTO.model_copy(update=changes), measure=measure)
    with pytest.raises(ConfigError, match=message):
        settle_workers(study(tiny_model("distilbert"), reviews), request)


def test_a_study_is_measured_once_and_trains_as_with_one_worker(
    tiny_model: Callable[[str], Path],
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    warm_children: None,
) -> None:
    monkeypatch.setattr("tunebench.machine.devices.usable_cores", lambda: 2)
    # Any gain will do: what is taken on a tiny model does not matter here.
    monkeypatch.setattr(split, "_GAIN", 0.0)
    short = {"seeds": [1], "epochs": 1, "train_sizes": [60], "search": {"method": "grid"}}
    config = study(tiny_model("distilbert"), reviews, **short)
    told: list[str] = []

    def run(execution: Execution, folder: Path) -> dict[str, float]:
        display = PlainDisplay(io.StringIO(), interval=0.0)
        run_study(config, folder=folder, execution=execution, display=display, tell=told.append)
        cells = StudyStore.open(folder).cells()
        return {cell.spec.run_id: cell.record.selected.score for cell in cells if cell.record}  # type: ignore[union-attr]

    shared = run(AUTO, tmp_path / "auto")
    said = "2 runs at a time, 1 thread each: runs an hour of full on 60 labels: "
    assert any(line.startswith(said) for line in told)
    assert shared == run(Execution(device="cpu", threads=1), tmp_path / "one")
    records = [cell.record for cell in StudyStore.open(tmp_path / "auto").cells()]
    assert {record.timing.workers for record in records if record and record.timing} == {2}
    for record in (tmp_path / "auto").glob("runs/*/record.json"):
        record.unlink()
    monkeypatch.setattr(split, "_measure", pytest.fail)
    found = dry_run_rows(
        config, execution=AUTO, folder=tmp_path / "auto", budget_seconds=None, measure=True, tell=told.append
    )
    assert found.at_a_time == 2 and len(found.rows) == 2 and sum(line.startswith(said) for line in told) == 2
