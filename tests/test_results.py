"""The results in docs/results: they load, their studies give the same runs again, and their reports are current."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.report.figures import figures_of
from tunebench.report.markdown import render_report
from tunebench.report.source import Source
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.spec import expand

RESULTS = Path(__file__).parents[1] / "docs" / "results"
STUDIES = sorted(path.parent.name for path in RESULTS.glob("*/study.yaml"))


@pytest.mark.parametrize("name", STUDIES)
def test_a_stored_study_gives_its_runs_again(name: str) -> None:
    store = StudyStore.open(RESULTS / name)
    study, planned = store.study(), [run.spec for run in store.planned()]
    assert isinstance(study, StudyConfig)
    first = planned[0]
    again = expand(
        study,
        model=first.model,
        data=first.data,
        train_examples=25_000,
        test_examples=first.test_size,
        precision={spec.engine: spec.precision for spec in planned} | {"reference": "fp32"},
    )
    assert {spec.run_id for spec in planned} <= {spec.run_id for spec in again}


def test_the_committed_report_is_what_is_written_today() -> None:
    comparison = load_comparison(RESULTS / "quickstart")
    titles = {name: maker.title for name, maker in figures_of(analyse(comparison)).items()}
    written = (RESULTS / "quickstart" / "report.md").read_text(encoding="utf-8")
    assert render_report(Source(analyse(comparison), RESULTS / "quickstart"), figures=titles) == written
