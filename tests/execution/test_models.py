"""A study of two models: checked, estimated, trained, compared and exported for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tunebench
from conftest import leave_report_out
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.api import run_study
from tunebench.errors import TunebenchError
from tunebench.execution.dry_run import dry_run_rows
from tunebench.inference.export import export_run
from tunebench.machine.settings import Execution
from tunebench.report.reproduce import study_of
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig

HERE = Execution(device="cpu", threads=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def study(tiny_model: Callable[[str], Path], reviews: Path, cache: None) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "two-models",
            "models": [str(tiny_model("bert")), f"{tiny_model('distilbert')}:1"],
            "data": {"source": str(reviews), "text_column": "text", "label_column": "label"},
            "strategies": {"full": {"learning_rate": 1e-3}, "tfidf": {}},
            "train_sizes": [40],
            "max_length": 16,
            "epochs": 1,
            "batch_size": 8,
            "validation_fraction": 0.3,
        }
    )


@pytest.fixture(scope="module")
def folder(study: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "study"
    with pytest.MonkeyPatch.context() as patch:
        leave_report_out(patch)
        run_study(study, folder=folder, measure=False, execution=HERE)
    return folder


def test_each_strategy_trained_each_model_and_tfidf_ran_once(folder: Path) -> None:
    cells = {cell.spec.label: cell for cell in StudyStore.open(folder).cells()}
    assert list(cells) == ["full@bert", "full@distilbert-1", "tfidf"]
    assert all(cell.status == "complete" for cell in cells.values())
    bert, distilbert = (cells[label].row["trainable_params"] for label in ("full@bert", "full@distilbert-1"))
    assert bert > distilbert
    assert cells["full@bert"].spec.model.fingerprint != cells["full@distilbert-1"].spec.model.fingerprint


def test_the_first_layers_are_read_by_their_mean_and_a_whole_model_by_its_first_token(folder: Path) -> None:
    store = StudyStore.open(folder)
    specs = {cell.spec.label: cell.spec for cell in store.cells()}
    assert (specs["full@bert"].pooling, specs["full@distilbert-1"].pooling) == ("first", "mean")
    predictor = tunebench.load(store.run_folder(specs["full@distilbert-1"].run_id).path, precision="fp32")
    model: Any = predictor.model
    states: dict[str, torch.Tensor] = {}
    model.distilbert.transformer.layer[-1].register_forward_hook(lambda *args: states.update(last=args[2]))
    model.pre_classifier.register_forward_pre_hook(lambda module, args: states.update(read=args[0]))
    for row in predictor.encode(["a lovely film", "dull " * 9]):
        ids = torch.from_numpy(row)[None]
        with torch.inference_mode():
            model(input_ids=ids, attention_mask=torch.ones_like(ids))
        torch.testing.assert_close(states["read"], states["last"].mean(dim=1))


def test_models_are_compared_as_strategies_are(folder: Path) -> None:
    comparison = load_comparison(folder)
    pairs = {frozenset((pair.first.label, pair.second.label)) for pair in analyse(comparison).pairs}
    assert {"full@bert", "full@distilbert-1"} in pairs
    again = study_of(comparison)
    assert again is not None
    assert [s.model for s in again.strategies.values()] == [None, comparison.cells[1].spec.model.source, None]


@pytest.mark.usefixtures("no_report")
def test_it_resumes_with_nothing_to_do(study: StudyConfig, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")}
    run_study(StudyStore.open(folder).study(), folder=folder, measure=False, execution=HERE)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")} == before


def test_the_first_layers_of_a_model_are_exported_and_predict(folder: Path, tmp_path: Path) -> None:
    (spec,) = [cell.spec for cell in StudyStore.open(folder).cells() if cell.spec.label == "full@distilbert-1"]
    pytest.importorskip("onnxruntime")
    exported = export_run(folder, out=tmp_path / "out", run_id=spec.run_id)
    assert exported.facts["format"] == "onnx", "no Transformers configuration states the mean"
    assert tunebench.load(exported.folder).predict_proba(["a lovely film"]).shape == (1, 2)


def test_what_is_wrong_with_each_model_is_said_together(study: StudyConfig, tmp_path: Path) -> None:
    raw = study.model_dump(mode="json")
    raw["strategies"]["full@bert"]["model"] = str(tmp_path / "none")
    raw["model"] = str(tmp_path / "nothing")
    with pytest.raises(TunebenchError) as refused:
        dry_run_rows(
            StudyConfig.model_validate(raw), execution=HERE, folder=tmp_path, budget_seconds=None, measure=False
        )
    assert str(tmp_path / "none") in str(refused.value) and str(tmp_path / "nothing") in str(refused.value)
