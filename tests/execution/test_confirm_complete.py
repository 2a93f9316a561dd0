"""When the sealed part opens, and which runs are scored on it; the runs are made up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fakes
from factories import store_run
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import recommend
from tunebench.data.splits import Parts
from tunebench.errors import StoreError
from tunebench.execution import confirm
from tunebench.execution.confirm import _confirm
from tunebench.files import write_json
from tunebench.machine.settings import Execution
from tunebench.store.confirmation import Confirmation, ConfirmationFile
from tunebench.store.plan_file import PlannedRun
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

TEXTS = 200
OPEN, SEALED = np.arange(TEXTS), np.arange(TEXTS, 2 * TEXTS)
LEFT_OUT = "left out by the budget of 60 s; needs about 90 s"
#: Chance that a run of a strategy errs.
ERRS = {"full": 0.1, "lora": 0.3}


def predicted(spec: RunSpec, rows: np.ndarray, errs: float) -> np.ndarray:
    wrong = np.random.default_rng([spec.seed, int(rows[0]), len(spec.label)]).random(len(rows)) < errs
    return np.where(wrong, 1 - rows % 2, rows % 2)


def collapsed(spec: RunSpec, rows: np.ndarray) -> np.ndarray:
    """One class alone, for which the correlation is not defined."""
    return np.zeros(len(rows), dtype=np.int64)


def made(
    folder: Path,
    *,
    left_out: Callable[[RunSpec], bool] = lambda spec: False,
    planned: Callable[[RunSpec], bool] = lambda spec: True,
    collapses: Callable[[RunSpec], bool] = lambda spec: False,
    errs: dict[str, float] = ERRS,
    **changes: Any,
) -> tuple[StudyStore, StudyConfig]:
    """Write a sealed study whose planned runs are complete, apart from those that a budget left out."""
    settings = {"train_sizes": [100], "seeds": [1, 2, 3], "sealed": True, "test_size": 2 * TEXTS}
    study = fakes.make_study(**settings | changes)
    specs = [spec for spec in fakes.make_specs(study) if planned(spec)]
    runs = [PlannedRun(spec, LEFT_OUT if left_out(spec) else None) for spec in specs]
    store = StudyStore.create(folder, study, runs)
    for run in runs:
        if run.left_out is None:
            made_up = (
                collapsed(run.spec, OPEN)
                if collapses(run.spec)
                else predicted(run.spec, OPEN, errs[run.spec.label])
            )
            store_run(store, run.spec, made_up, OPEN)
    return store, study


@pytest.fixture
def confirmed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Confirmation]:
    """Open the sealed part, without a model: ``on_sealed`` gives what a run predicts there."""

    def opened(
        store: StudyStore,
        study: StudyConfig,
        on_sealed: Callable[[RunSpec], np.ndarray] = lambda spec: predicted(spec, SEALED, ERRS[spec.label]),
    ) -> Confirmation:
        def predict_test(spec: RunSpec, *_: Any) -> tuple[np.ndarray, np.ndarray, None]:
            return 2 * np.eye(2, dtype=np.float32)[on_sealed(spec)], SEALED % 2, None

        nothing = np.arange(0)
        parts = Parts(train=nothing, validation=nothing, test=OPEN, test_from="train", sealed=SEALED)
        monkeypatch.setattr(confirm, "run_parts", lambda *_: parts)
        monkeypatch.setattr(confirm, "backend_of", lambda _: SimpleNamespace(predict_test=predict_test))
        return _confirm(store, study, fakes.DATASET, Execution(device="cpu", threads=1), lambda _: None)

    return opened


def said(store: StudyStore) -> str:
    found = recommend(analyse(load_comparison(store.folder))).confirmed
    assert found is not None
    return found


def test_a_run_that_the_recommendation_leaves_out_is_not_confirmed(
    confirmed: Callable[..., Confirmation], tmp_path: Path
) -> None:
    store, study = made(tmp_path, metric="mcc", collapses=lambda spec: (spec.label, spec.seed) == ("full", 3))
    (entry, _) = analyse(load_comparison(tmp_path)).entries
    assert entry.seeds == (1, 2) and tuple(cell.spec.seed for cell in entry.cells) == (1, 2)
    found = confirmed(store, study)
    assert found.runs == tuple(cell.spec.run_id for cell in entry.cells) and found.undefined == 0
    slow = [np.corrcoef(SEALED % 2, predicted(cell.spec, SEALED, ERRS["full"]))[0, 1] for cell in entry.cells]  # type: ignore[arg-type]
    assert found.score == pytest.approx(np.mean(slow))
    assert found.on_test == pytest.approx(entry.interval().estimate)
    assert "not defined" not in said(store)


def test_what_collapses_on_the_sealed_texts_is_left_out_and_named(
    confirmed: Callable[..., Confirmation], tmp_path: Path
) -> None:
    store, study = made(tmp_path, metric="mcc")

    def on_sealed(spec: RunSpec) -> np.ndarray:
        return collapsed(spec, SEALED) if spec.seed == 2 else predicted(spec, SEALED, ERRS[spec.label])

    found = confirmed(store, study, on_sealed)
    assert len(found.runs) == 3 and found.undefined == 1 and found.over == "seeds and test examples"
    entry = analyse(load_comparison(tmp_path)).entries[0]
    assert found.on_test == pytest.approx(entry.seed_scores(entry.metric)[[0, 2]].mean())
    assert "Matthews correlation is not defined on the sealed texts for 1 of the 3 runs" in said(store)
    with np.load(ConfirmationFile(tmp_path).predictions) as stored:
        assert stored["logits"].shape == (3, TEXTS, 2)


def test_a_metric_that_no_run_defines_on_the_sealed_texts_ends_the_opening(
    confirmed: Callable[..., Confirmation], tmp_path: Path
) -> None:
    store, study = made(tmp_path, metric="mcc")
    found = confirmed(store, study, lambda spec: collapsed(spec, SEALED))
    assert found.score is None and found.ended and found.undefined == 3
    assert "confirm nothing: Matthews correlation is not defined on them for any run of full" in said(store)
    with pytest.raises(StoreError, match="opened before"):
        confirmed(store, study)


EQUAL = {"full": 0.2, "lora": 0.2}
UNFINISHED: dict[str, dict[str, Any]] = {
    "a seed that the budget left out": {"left_out": lambda spec: spec.seed == 3},
    "a seed of one strategy": {"left_out": lambda spec: spec.seed == 3 and spec.label == "lora"},
    "a size": {"left_out": lambda spec: spec.train_size == 200, "train_sizes": [100, 200]},
    "before the first look": {
        "left_out": lambda spec: spec.seed == 3,
        "planned": lambda spec: spec.seed < 4,
        "looks": (3, 4),
        "seeds": (1, 2, 3, 4),
    },
    "after a look that went on": {
        "planned": lambda spec: spec.seed < 4,
        "looks": (3, 4),
        "seeds": (1, 2, 3, 4),
        "errs": EQUAL,
    },
    "after seeds that show nothing at any time": {
        "planned": lambda spec: spec.seed < 5,
        "design": "anytime",
        "seeds": (1, 2, 3, 4, 5, 6),
        "errs": EQUAL,
    },
    "when the settings are chosen": {
        "planned": lambda spec: spec.seed < 3,
        "search": {"seeds": 2},
        "strategies": {"full": {"learning_rate": [1e-5, 1e-4]}, "lora": None},
    },
}
FINISHED: dict[str, dict[str, Any]] = {
    "all seeds": {},
    "at the last look": {"looks": (3, 4), "seeds": (1, 2, 3, 4), "errs": EQUAL},
    "at a look that decided": {"planned": lambda spec: spec.seed < 4, "looks": (3, 4), "seeds": (1, 2, 3, 4)},
    "at a rate that was not chosen": {
        "left_out": lambda spec: spec.learning_rate == 1e-5,
        "strategies": {"full": {"learning_rate": [1e-5, 1e-4]}, "lora": None},
    },
}


@pytest.mark.parametrize("case", UNFINISHED)
def test_a_study_that_goes_on_stays_sealed(
    case: str, confirmed: Callable[..., Confirmation], tmp_path: Path
) -> None:
    store, study = made(tmp_path, **UNFINISHED[case])
    with pytest.raises(StoreError, match="still to come"):
        confirmed(store, study)
    assert ConfirmationFile(tmp_path).read() is None


def test_a_seed_that_has_not_chosen_its_setting_is_waited_for(
    confirmed: Callable[..., Confirmation], tmp_path: Path
) -> None:
    store, study = made(
        tmp_path,
        left_out=lambda spec: spec.seed == 3 and spec.learning_rate == 1e-4,
        search={"seeds": "each"},
        strategies={"full": {"learning_rate": [1e-5, 1e-4]}, "lora": None},
    )
    (waiting,) = [
        cell for cell in store.cells() if (cell.spec.label, cell.spec.seed, cell.trained) == ("full", 3, True)
    ]
    assert waiting.record is not None
    locked = waiting.record.model_copy(update={"scores": None, "files": {}})
    write_json(store.run_folder(waiting.spec.run_id).record, locked.model_dump(mode="json"))
    with pytest.raises(StoreError, match="still to come"):
        confirmed(store, study)


@pytest.mark.parametrize("case", FINISHED)
def test_a_study_that_has_ended_is_confirmed(
    case: str, confirmed: Callable[..., Confirmation], tmp_path: Path
) -> None:
    store, study = made(tmp_path, **FINISHED[case])
    assert confirmed(store, study).score is not None


def test_a_seed_that_was_taken_out_of_the_study_file_is_not_waited_for(
    confirmed: Callable[..., Confirmation], tmp_path: Path
) -> None:
    store, study = made(tmp_path, left_out=lambda spec: spec.seed == 3)
    shorter = StudyConfig.model_validate(study.model_dump() | {"seeds": (1, 2)})
    assert len(confirmed(store, shorter).runs) == 2
