"""The results in docs/results: they load, their studies give the same runs again, and their reports are current."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.data import load_dataset
from tunebench.data.reference import DataConfig
from tunebench.data.rules import split_ref
from tunebench.execution.begun import begun_ids
from tunebench.execution.checks import available
from tunebench.report.figures import figures_of
from tunebench.report.markdown import render_report
from tunebench.report.source import Source
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand
from tunebench.training.parts import describe_parts, run_parts

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
        kernels={spec.precision: spec.kernels for spec in planned if spec.engine == "fast"},
    )
    cells = begun_ids(list(again), planned)
    assert {spec.run_id for spec in planned} <= {spec.run_id for spec in cells}
    kept = [spec for spec in cells if spec in planned]
    assert len(kept) == len(planned) and StudyStore.check(RESULTS / name, cells).folder == RESULTS / name
    assert all(store.run_folder(spec.run_id).complete for spec in kept), "a committed study has nothing to do"


def test_committed_runs_have_the_parts_that_they_were_made_with() -> None:
    dataset = load_dataset(DataConfig(source="imdb-reviews"))
    seen = set()
    for name in STUDIES:
        store = StudyStore.open(RESULTS / name)
        study, cells = store.study(), store.cells()
        assert isinstance(study, StudyConfig)
        if study.data.source != "imdb-reviews":
            continue
        for cell in cells:
            spec = cell.spec
            cut = (spec.train_size, spec.subset_seed, spec.test_seed, spec.test_size, spec.validation_fraction)
            if cell.predictions is None or cell.record is None or (*cut, spec.copies) in seen:
                continue
            seen.add((*cut, spec.copies))
            splits = split_ref(dataset, validates=study.held_out_fraction > 0)
            assert splits is None and available(study, dataset, splits)[1] == spec.test_size
            parts = run_parts(spec, dataset)
            stored, examples = cell.predictions(), cell.record.examples
            assert np.array_equal(stored["indices"], parts.test)
            assert np.array_equal(stored["labels"], dataset.train.labels[parts.test])
            found = describe_parts(dataset, parts)
            assert examples is not None
            assert found.train_per_class == examples.train_per_class
            assert found.validation_per_class == examples.validation_per_class
    assert len(seen) > 3


def test_the_committed_report_is_what_is_written_today() -> None:
    comparison = load_comparison(RESULTS / "quickstart")
    titles = {name: maker.title for name, maker in figures_of(analyse(comparison)).items()}
    written = (RESULTS / "quickstart" / "report.md").read_text(encoding="utf-8")
    assert render_report(Source(analyse(comparison), RESULTS / "quickstart"), figures=titles) == written
