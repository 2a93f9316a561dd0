"""A study of two classes with a tuned threshold, from the records to exports."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from conftest import leave_report_out
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.api import run_study
from tunebench.errors import TunebenchError
from tunebench.execution.plan import make_plan
from tunebench.inference.export import export_run
from tunebench.inference.predictor import load
from tunebench.machine.settings import Execution
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig

TEXTS = ["the plain film was a story", "two odd men in paris", "the film"]


def config(model: Path, place: Path, **changes: Any) -> StudyConfig:
    raw = {
        "name": "threshold",
        "model": str(model),
        "data": str(place),
        "strategies": {"full": {"learning_rate": 1e-3}, "tfidf": {"c": [0.01]}},
        "train_sizes": [120],
        "seeds": [1],
        "max_length": 16,
        "epochs": 1,
        "batch_size": 16,
        "validation_fraction": 0.3,
        "precision": "fp32",
        "thresholds": "tuned",
        "calibration": "temperature",
    }
    return StudyConfig.model_validate(raw | changes)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path], uneven: Path) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "study"
    with pytest.MonkeyPatch.context() as patched:
        leave_report_out(patched)
        made = config(tiny_model("distilbert"), uneven)
        run_study(made, folder=folder, measure=False, execution=Execution(device="cpu", threads=1))
    return folder


def test_the_threshold_is_kept_scored_and_exported(study: Path, tmp_path: Path) -> None:
    analysis = analyse(load_comparison(study))
    assert any("A text is usual where the probability" in line for line in analysis.warnings)
    tuned = []
    for entry in analysis.entries:
        (cell,) = entry.cells
        record, stored = cell.record, cell.predictions() if cell.predictions else {}
        assert record is not None and record.scores is not None and record.thresholds is not None
        tuned.append(record.thresholds[0])
        given = expit(np.diff(stored["logits"].astype(np.float64))[:, 0]) > record.thresholds[0]
        assert (entry.predictions[0] == given).all()
        assert record.scores["accuracy"] == pytest.approx((given == stored["labels"]).mean())
        StudyStore.open(study).run_folder(cell.spec.run_id).check_results(record)
        out = tmp_path / cell.spec.kind
        export_run(study, out=out, run_id=cell.spec.run_id)
        for place in (StudyStore.open(study).run_folder(cell.spec.run_id).path, out):
            predictor = load(place)
            shares = predictor.predict_proba(TEXTS)[:, 1]
            expected = np.where(shares > record.thresholds[0], "usual", "rare")
            assert predictor.predict(TEXTS).tolist() == expected.tolist()
        card = (out / "README.md").read_text(encoding="utf-8")
        assert f"above {record.thresholds[0]}" in card
    assert any(threshold != 0.5 for threshold in tuned)
    code = card.partition("```python\n")[2].partition("```")[0].replace("PATH", str(out))
    if "a text" in code and entry.config.cells[0].spec.kind == "tfidf":
        space: dict[str, Any] = {}
        exec(code.replace("a text", TEXTS[1]), space)
        assert space["found"] == list(load(out).predict(TEXTS[1:2]))


def test_more_than_two_classes_are_refused(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    rows = "".join(f"a film {i},{'abc'[i % 3]}\n" for i in range(90))
    for name in ("train", "test"):
        (tmp_path / f"{name}.csv").write_text("text,label\n" + rows)
    made = config(tiny_model("distilbert"), tmp_path, train_sizes=[60])
    with pytest.raises(TunebenchError, match="tuned needs several labels a text, or two classes"):
        make_plan(made, execution=Execution(device="cpu"), measure=False)
