"""A planned suite, run: the study of each data set, one after the other, within a budget for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tunebench.execution.known import Known
from tunebench.execution.study import StudyResult
from tunebench.execution.suite_plan import PlannedStudy
from tunebench.store.suite_folder import SuiteStore
from tunebench.study.config import StudyConfig


class RunStudy(Protocol):
    """Runs or resumes one study; :func:`tunebench.api.run_study` is one."""

    def __call__(
        self,
        study: StudyConfig,
        folder: Path | str,
        *,
        budget_seconds: float | None,
        measure: bool,
        tell: Callable[[str], None],
        known: Known | None,
    ) -> StudyResult:
        """See there."""


@dataclass
class SuiteResult:
    """What became of a suite.

    Attributes:
        studies: What each data set's study gave, by name.
        failed: Data sets whose study did not end, with the reason's first line.
        interrupted: Whether it was stopped; the same command resumes it.
        report: The written report over data sets; None before it is written.
    """

    studies: dict[str, StudyResult] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    report: Path | None = None

    @property
    def failed_runs(self) -> int:
        """How many runs failed in studies that ended."""
        return sum(len(result.summary.failed) for result in self.studies.values())


def shares(planned: Sequence[PlannedStudy], budget: float | None) -> dict[str, float | None]:
    """Return the part of a budget that each study may take; None where there is no budget.

    It is what its chosen runs are estimated to take. A study that chooses settings, or has folds, plans more runs
    when these have ended, so what is left of the budget goes to such studies, by what all their runs take.
    """
    if budget is None:
        return {one.name: None for one in planned}
    total = sum(one.seconds for one in planned)
    later = {one.name: one.whole for one in planned if one.study.plans_twice or one.study.folds}
    spare, weight = max(0.0, budget - total), sum(later.values())
    return {
        # A millionth more: sums of the same numbers in another order differ in their last digits.
        one.name: one.seconds * (1 + 1e-6) + (spare * later.get(one.name, 0.0) / weight if weight else 0.0)
        for one in planned
    }


def run_planned(
    planned: Sequence[PlannedStudy],
    store: SuiteStore,
    run: RunStudy,
    *,
    budget_seconds: float | None,
    measure: bool,
    tell: Callable[[str], None],
) -> SuiteResult:
    """Run or resume the study of each data set, one after the other.

    What goes wrong with a data set is written down, and the next one begins. A stop ends all.

    Args:
        planned: From :func:`~tunebench.execution.suite_plan.plan_suite`.
        store: The suite's folder, with its index.
        run: Runs one study.
        budget_seconds: Of all data sets together.
        measure: Measure the speed for estimates that are made during a search.
        tell: Told what is being done.
    """
    result, budgets = SuiteResult(), shares(planned, budget_seconds)
    for number, one in enumerate(planned, start=1):
        tell(f"data set {number} of {len(planned)}: {one.name}")
        try:
            found = run(
                one.study,
                store.study_folder(one.name),
                budget_seconds=budgets[one.name],
                measure=measure and bool(one.to_do),
                tell=lambda line, one=one: None if line in one.told else tell(line),  # type: ignore[misc]
                known=one.request.known,
            )
        except Exception as error:
            store.fail(one.name, error)
            result.failed[one.name] = str(error).splitlines()[0] if str(error) else type(error).__name__
            tell(f"{one.name} failed: {result.failed[one.name]}")
            continue
        store.forget_failure(one.name)
        result.studies[one.name] = found
        if found.summary.interrupted:
            result.interrupted = True
            break
    return result
