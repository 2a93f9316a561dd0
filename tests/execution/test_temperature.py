"""A study whose probabilities are scaled, from the records to what is served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import leave_report_out
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.api import run_study
from tunebench.errors import TunebenchError
from tunebench.execution.plan import make_plan
from tunebench.inference.export import export_run
from tunebench.inference.predictor import load
from tunebench.machine.settings import Execution
from tunebench.report.tables import make_tables
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.web.serving.models import load_models

TEXTS = ["the lovely film was a story", "two awful men in paris", "the film"]


def config(model: Path, data: Path, **changes: Any) -> StudyConfig:
    raw = {
        "name": "scaled",
        "model": str(model),
        "data": str(data),
        "strategies": {"lora": {"learning_rate": 2e-2}, "tfidf": {"c": [0.01]}},
        "train_sizes": [100],
        "seeds": [1],
        "max_length": 16,
        "epochs": 2,
        "batch_size": 8,
        "validation_fraction": 0.3,
        "precision": "fp32",
        "calibration": "temperature",
    }
    return StudyConfig.model_validate(raw | changes)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Path:
    """Write the reviews with some labels turned round: no classifier can be sure of them."""
    folder = tmp_path_factory.mktemp("noisy")
    for name in ("train.csv", "test.csv"):
        head, *lines = (reviews / name).read_text().splitlines()
        turned = [line if number % 6 else _turned(line) for number, line in enumerate(lines)]
        (folder / name).write_text("\n".join([head, *turned]) + "\n")
    return folder


def _turned(line: str) -> str:
    text, _, label = line.rpartition(",")
    return f"{text},{'neg' if label == 'pos' else 'pos'}"


@pytest.fixture(scope="module")
def studies(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path], noisy: Path
) -> tuple[Path, Path]:
    """Run one study with scaled probabilities, and the same without."""
    root, model = tmp_path_factory.mktemp("scaled"), tiny_model("distilbert")
    with pytest.MonkeyPatch.context() as patched:
        leave_report_out(patched)
        for name, changes in (("scaled", {}), ("plain", {"calibration": "none"})):
            made = config(model, noisy, **changes)
            run_study(made, folder=root / name, measure=False, execution=Execution(device="cpu", threads=1))
    return root / "scaled", root / "plain"


def test_probabilities_are_scaled_and_no_answer_changes(studies: tuple[Path, Path]) -> None:
    scaled, plain = (StudyStore.open(folder).cells() for folder in studies)
    for one, other in zip(scaled, plain, strict=True):
        assert one.record is not None and other.record is not None and one.spec.run_id != other.spec.run_id
        assert one.predictions is not None and other.predictions is not None
        temperature = one.record.temperature
        assert temperature is not None and temperature != 1 and other.record.temperature is None
        raw, found = other.predictions()["logits"], one.predictions()["logits"]
        np.testing.assert_allclose(found * temperature, raw, rtol=1e-5, atol=1e-6)
        assert (found.argmax(1) == raw.argmax(1)).all()
        assert one.record.scores is not None and other.record.scores is not None
        assert one.score("macro_f1") == other.score("macro_f1")
        assert one.record.scores["log_loss"] != other.record.scores["log_loss"]
        # What chose the checkpoint saw the logits as they were.
        assert one.record.selected == other.record.selected


def test_the_table_shows_calibration_before_and_after(studies: tuple[Path, Path]) -> None:
    after, before = (make_tables(analyse(load_comparison(folder)), ["calibration"])[0] for folder in studies)
    assert {"temperature", "ece_unscaled", "log_loss_unscaled"} <= {column.key for column in after.columns}
    assert "temperature" not in {column.key for column in before.columns}
    for row, plain in zip(after.rows, before.rows, strict=True):
        assert row["log_loss_unscaled"] == pytest.approx(plain["log_loss"], rel=1e-4)
        assert row["ece_unscaled"] == pytest.approx(plain["ece"], abs=1e-3)
        assert row["log_loss"] != plain["log_loss"]
    assert any("divided by a temperature" in line for line in analyse(load_comparison(studies[0])).warnings)


@pytest.mark.parametrize(("kind", "format_"), [("lora", "merged"), ("lora", "adapter"), ("tfidf", "linear")])
def test_exports_and_served_answers_have_the_scaled_probabilities(
    studies: tuple[Path, Path], tmp_path: Path, kind: str, format_: str
) -> None:
    runs = [next(c for c in StudyStore.open(folder).cells() if c.spec.kind == kind) for folder in studies]
    scaled, plain = (StudyStore.open(f).run_folder(c.spec.run_id).path for f, c in zip(studies, runs, strict=True))
    assert runs[0].record is not None
    export_run(studies[0], out=tmp_path / "out", format=format_, run_id=runs[0].spec.run_id)
    # In bf16, which this machine may have, one answer and several together round differently.
    raw = load(plain, precision="fp32").predict_logits(TEXTS)
    for place in (scaled, tmp_path / "out"):
        found = load(place, precision="fp32")
        assert found.artifact.temperature == runs[0].record.temperature
        np.testing.assert_allclose(found.predict_logits(TEXTS) * runs[0].record.temperature, raw, atol=1e-4)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "temperature scaling" in card and "not been calibrated" not in card
    if format_ == "adapter":
        # Two over one base are computed together.
        models = load_models([f"a={scaled}", f"b={tmp_path / 'out'}"], merge_lone=False, precision="fp32")
        rows = [model.predictor.encode(TEXTS[:1])[0] for model in models]
        for row in models[0].group.logits(rows, models):
            np.testing.assert_allclose(row * runs[0].record.temperature, raw[0], atol=1e-4)


def test_an_export_with_an_odd_temperature_is_refused(studies: tuple[Path, Path], tmp_path: Path) -> None:
    run = next(c.spec.run_id for c in StudyStore.open(studies[0]).cells() if c.spec.kind == "lora")
    export_run(studies[0], out=tmp_path / "out", format="adapter", run_id=run)
    facts = tmp_path / "out" / "export.json"
    text = facts.read_text()
    place = text.index('"temperature": ') + len('"temperature": ')
    for odd in ("-1", "0", '"hot"', "true"):
        facts.write_text(text[:place] + odd + text[text.index(",", place) :])
        with pytest.raises(TunebenchError, match="temperature that is none"):
            load(tmp_path / "out")


def test_scaling_needs_a_validation_part(tiny_model: Callable[[str], Path], reviews: Path) -> None:
    made = config(tiny_model("distilbert"), reviews, selection="last", validation_fraction=0)
    with pytest.raises(TunebenchError, match="temperature needs a validation part"):
        make_plan(made, execution=Execution(device="cpu"), measure=False)
