"""What a short study takes is derived from the arithmetic, so that it begins at once; longer ones are measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fakes import make_study
from tunebench.api import run_study
from tunebench.execution import plan as planning
from tunebench.execution.plan import Plan, plan_runs
from tunebench.execution.resolve import Request, resolve
from tunebench.machine.settings import Execution
from tunebench.training.encoder import cost
from tunebench.training.encoder.rates import Rates

HERE = Execution(device="cpu", threads=1)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The strategies that were measured."""
    found: list[str] = []

    def measure(spec: Any, *others: Any) -> Rates:
        found.append(spec.label)
        return Rates(1e-12, 1e-4, 10**9)

    monkeypatch.setattr(cost, "measure_rates", measure)
    return found


@pytest.fixture
def plan(tiny_model: Callable[[str], Path], reviews: Path) -> Callable[..., Plan]:
    study = make_study(model=str(tiny_model("bert")), data=str(reviews), train_sizes=[40])

    def make(**changes: Any) -> Plan:
        request = Request(**{"execution": HERE, "derive_short": True, **changes})
        return plan_runs(resolve(study, request), request)

    return make


def test_a_short_study_is_not_measured(plan: Callable[..., Plan], measured: list[str]) -> None:
    found = plan()
    assert not measured and not any(one.measured for one in found.estimates.values())
    assert found.seconds > 0


@pytest.mark.parametrize("changes", [{"derive_short": False}, {}])
def test_a_longer_one_is_and_one_that_is_to_be_measured(
    plan: Callable[..., Plan], measured: list[str], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    if not changes:
        monkeypatch.setattr(planning, "_SHORT", 0.0)
    found = plan(**changes)
    assert sorted(measured) == ["full", "lora"] and all(one.measured for one in found.estimates.values())


def test_a_later_plan_of_the_job_does_as_the_first(plan: Callable[..., Plan], measured: list[str]) -> None:
    request = Request(execution=HERE)
    first, second = plan(known=request.known), plan(known=request.known)
    assert not measured and first.estimates == second.estimates
    third = plan(known=request.known, derive_short=False)
    assert sorted(measured) == ["full", "lora"] and all(one.measured for one in third.estimates.values())


@pytest.mark.parametrize(("budget", "labels"), [(None, []), (3600.0, ["full"])])
def test_a_budget_goes_by_what_is_measured(
    tiny_model: Callable[[str], Path],
    reviews: Path,
    tmp_path: Path,
    measured: list[str],
    budget: float | None,
    labels: list[str],
) -> None:
    places = {"model": str(tiny_model("bert")), "data": str(reviews)}
    study = make_study(**places, train_sizes=[40], strategies={"full": None}, seeds=[1], epochs=1)
    run_study(study, tmp_path, execution=HERE, budget_seconds=budget)
    assert measured == labels


def test_speeds_of_one_number_of_threads_do_not_stand_for_those_of_another(
    plan: Callable[..., Plan], measured: list[str]
) -> None:
    known = Request(execution=HERE).known
    for threads, times in ((1, 1), (2, 2), (1, 2)):
        plan(known=known, derive_short=False, execution=HERE.model_copy(update={"threads": threads}))
        assert sorted(measured) == sorted(["full", "lora"] * times)
