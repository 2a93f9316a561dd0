"""Predictions and scores are believed only where they go together, wherever they are read."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes
from faults.commands import tunebench
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.errors import StoreError
from tunebench.files import write_json
from tunebench.store.record import RunRecord
from tunebench.store.rescore import check_scores
from tunebench.store.run_folder import RunFolder
from tunebench.store.seal import KEY, seal, unseal
from tunebench.store.study_folder import StudyStore
from tunebench.tasks.classification import CLASSIFICATION

NAMES = ("no", "yes")
(SPEC,) = fakes.make_specs(fakes.make_study(strategies=["full"], train_sizes=[10]))
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all plain values."""
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [found for key, part in pairs for found in leaves(part, (*path, key))]
    return [path]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a copy with another value at a path."""
    whole = copy.deepcopy(value)
    place = whole
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return whole


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=5).filter(lambda key: key != KEY), JSON, min_size=1, max_size=4), st.data())
def test_a_sealed_value_is_read_as_it_was_and_no_change_of_it_is(
    value: dict[str, Any], data: st.DataObject
) -> None:
    stored = json.loads(json.dumps(seal(value)))
    assert unseal(stored, Path("x")) == value
    path = data.draw(st.sampled_from(leaves(stored)))
    with pytest.raises(StoreError, match="changed after it was written"):
        unseal(changed(stored, path, "something else"), Path("x"))


def test_values_from_before_there_were_seals_are_read() -> None:
    assert unseal({"a": 1}, Path("x")) == {"a": 1} and unseal([1], Path("x")) == [1]


@settings(max_examples=10, deadline=None)
@given(labels=st.lists(st.integers(0, 2), min_size=1, max_size=30), seed=st.integers(0, 99), data=st.data())
def test_scores_are_those_of_the_predictions_or_refused(labels: list[int], seed: int, data: st.DataObject) -> None:
    logits = np.random.default_rng(seed).normal(size=(len(labels), 3)).round(1)
    stored = {"labels": np.array(labels), "logits": logits}
    # The slow definition is scikit-learn's.
    scores = CLASSIFICATION.score(stored["labels"], logits, ("a", "b", "c"))
    record = fakes.make_record(SPEC, RunFolder(Path(SPEC.run_id)), scores=scores)
    check_scores(record, stored, path=Path("record.json"))
    raw = record.model_dump(mode="json")["scores"]
    # The other metrics are the hash's to keep.
    quick = ("macro_f1", "accuracy", "log_loss")
    paths = [path for path in leaves(raw) if path[-1] != "label" and (path[0] != "values" or path[1] in quick)]
    path = data.draw(st.sampled_from(paths))
    old = raw
    for key in path:
        old = old[key]
    edited = RunRecord.model_validate({**dict(record), "scores": changed(raw, path, old + 1)})
    with pytest.raises(StoreError, match="not the one that the stored predictions give"):
        check_scores(edited, stored, path=Path("record.json"))


@pytest.fixture
def study(tmp_path: Path) -> StudyStore:
    """Four runs with predictions and their scores."""
    store, specs = fakes.make_store(tmp_path, fakes.make_study())
    for number, spec in enumerate(specs):
        rng, run = np.random.default_rng(number), store.run_folder(spec.run_id)
        labels = np.arange(40) % 2
        logits = rng.normal(size=(40, 2)) + np.eye(2)[labels] * number
        run.begin(spec)
        run.weights.write_bytes(b"weights")
        run.write_predictions(logits=logits.astype(np.float32), labels=labels, indices=np.arange(40))
        scores = CLASSIFICATION.score(labels, logits.astype(np.float32), NAMES)
        run.commit(fakes.make_record(spec, run, scores=scores))
    return store


def swap_predictions(first: RunFolder, second: RunFolder) -> list[RunFolder]:
    kept = first.path / "kept"
    shutil.move(first.predictions, kept)
    shutil.move(second.predictions, first.predictions)
    shutil.move(kept, second.predictions)
    return [first, second]


def edit_score(first: RunFolder, second: RunFolder) -> list[RunFolder]:
    text = first.record.read_text()
    start = text.index('"macro_f1": ') + len('"macro_f1": ')
    first.record.write_text(text[:start] + "0.99" + text[text.index(",", start) :])
    return [first]


def edit_score_and_take_the_seal_off(first: RunFolder, second: RunFolder) -> list[RunFolder]:
    edit_score(first, second)
    raw = json.loads(first.record.read_text())
    del raw[KEY]
    write_json(first.record, raw)
    return [first]


def edit_score_and_seal_it_again(first: RunFolder, second: RunFolder) -> list[RunFolder]:
    edit_score_and_take_the_seal_off(first, second)
    write_json(first.record, seal(json.loads(first.record.read_text())))
    return [first]


def edit_something_that_no_prediction_tells(first: RunFolder, second: RunFolder) -> list[RunFolder]:
    first.record.write_text(first.record.read_text().replace('"threads": 1', '"threads": 2'))
    return [first]


@pytest.mark.parametrize(
    "deceive",
    [
        swap_predictions,
        edit_score,
        edit_score_and_take_the_seal_off,
        edit_score_and_seal_it_again,
        edit_something_that_no_prediction_tells,
    ],
)
def test_what_was_changed_is_named_and_left_out(
    deceive: Callable[[RunFolder, RunFolder], list[RunFolder]], study: StudyStore
) -> None:
    assert not any(cell.damaged for cell in study.cells())
    runs = [study.run_folder(planned.spec.run_id) for planned in study.planned()]
    victims = {run.path.name for run in deceive(runs[0], runs[2])}
    comparison = load_comparison(study.folder)
    assert {cell.spec.run_id for cell in comparison.cells if cell.damaged} == victims
    assert {cell.spec.run_id for cell in comparison.cells if cell.scored} == {r.path.name for r in runs} - victims
    said = "\n".join(analyse(comparison).warnings)
    printed = [tunebench(command, study.folder) for command in ("tables", "status")]
    assert not any(ended.crash or ended.code for ended in printed)
    for name in victims:
        assert f"Left out as damaged: {name}" in said
        assert f"Left out as damaged: {name}" in printed[0].out
        assert f"{name}\tfailed" in printed[1].out


def test_a_run_with_an_edited_score_is_done_again(study: StudyStore) -> None:
    runs = [study.run_folder(planned.spec.run_id) for planned in study.planned()]
    (victim,) = edit_score_and_seal_it_again(runs[0], runs[1])
    summary = fakes.run(study.folder, fakes.make_study())
    assert summary.complete == [victim.path.name] and len(summary.skipped) == 3
    assert victim.path.with_name(f"{victim.path.name}.damaged-1").is_dir()
