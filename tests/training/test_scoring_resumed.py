"""A run that is stopped while it scores the test part scores only the rest when it resumes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.test_encoder import make_spec, train
from tunebench.engine import evaluator
from tunebench.execution.executors.ray_files import keep_checkpoint, unfinished
from tunebench.store.partial_logits import PartialLogits
from tunebench.store.run_folder import RunFolder
from tunebench.training.attempt import Interrupted
from tunebench.training.encoder import trainer

#: Tokens a batch: the test part of 60 texts takes a batch for every ten or so.
_SMALL = 240


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Score in small batches; return the list of the batches' texts, filled while runs go on."""
    seen: list[int] = []
    pad = evaluator.Collator.pad

    def counted(self: Any, rows: Any) -> Any:
        seen.append(len(rows))
        return pad(self, rows)

    monkeypatch.setattr(trainer, "predict_logits", partial(evaluator.predict_logits, batch_tokens=_SMALL))
    monkeypatch.setattr(evaluator.Collator, "pad", counted)
    return seen


def _stops_while_scoring(folder: Path, *, batches: int) -> Callable[[], bool]:
    """Return a stop that turns true when so many batches of the test part are scored, counted by its questions.

    Steps ask too. Those of the training are over when the run's weights are written.
    """
    asked = iter(range(10**6))
    return lambda: any(folder.glob("*/weights.safetensors")) and next(asked) + 1 >= batches


@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_only_the_rest_is_scored_and_the_result_is_bit_identical(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, computed: list[int], strategy: str
) -> None:
    spec, dataset = make_spec(tiny_model("bert"), reviews, strategy, epochs=1)
    whole, whole_folder, _ = train(spec, dataset, tmp_path / "whole")
    place = tmp_path / "cut"
    with pytest.raises(Interrupted, match=r"stopped after \d+ of 60 test texts"):
        train(spec, dataset, place, _stops_while_scoring(place, batches=3))
    folder = RunFolder(place / spec.run_id)
    assert folder.partial_logits.exists() and not folder.predictions.exists()
    logits = np.load(folder.partial_logits)["logits"]
    known = int((~np.isnan(logits)).all(axis=1).sum())
    assert 0 < known < 60
    before = float(np.load(folder.partial_logits)["seconds"][0])

    computed.clear()
    cut, _, seen = train(spec, dataset, place)
    left = sum(1 for one in seen if one.phase == "test")
    assert sum(computed[-left:]) == 60 - known, "the texts before are not computed again"
    assert next(one.step for one in seen if one.phase == "test") > known, "progress counts on from them"
    ours, theirs = folder.read_predictions(), whole_folder.read_predictions()
    assert np.array_equal(ours["logits"], theirs["logits"]) and cut.scores == whole.scores
    assert cut.timing and cut.timing.test_seconds and cut.timing.test_seconds > before
    folder.commit(cut)
    assert not folder.partial_logits.exists()


@pytest.mark.parametrize("what", ["other weights", "other texts", "damaged"])
def test_what_belongs_to_something_else_is_scored_anew(tmp_path: Path, what: str) -> None:
    path, rows = tmp_path / "partial.npz", np.arange(6)
    first = PartialLogits(path, weights="a", indices=rows, classes=2)
    first.rows[:3] = 1.0
    first.save()
    same = PartialLogits(path, weights="a", indices=rows, classes=2)
    assert np.array_equal(np.isnan(same.rows[:, 0]), [False] * 3 + [True] * 3) and same.earlier_wall > 0
    if what == "damaged":
        path.write_bytes(path.read_bytes()[:-40])
    other = PartialLogits(
        path,
        weights="b" if what == "other weights" else "a",
        indices=rows[::-1] if what == "other texts" else rows,
        classes=2,
    )
    assert np.isnan(other.rows).all() and other.earlier_wall == 0


def test_it_is_saved_now_and_then_without_being_asked(tmp_path: Path) -> None:
    path = tmp_path / "partial.npz"
    seldom = PartialLogits(path, weights="a", indices=np.arange(3), classes=2)
    seldom.save(only_if_due=True)
    assert not path.exists()
    often = PartialLogits(path, weights="a", indices=np.arange(3), classes=2, save_seconds=0.0)
    often.save(only_if_due=True)
    assert path.exists()


def test_it_travels_with_the_checkpoint(tmp_path: Path) -> None:
    name = "run-0123456789abcdef"
    there, here = RunFolder(tmp_path / "there" / name), RunFolder(tmp_path / "here" / name)
    for folder in (there, here):
        folder.path.mkdir(parents=True)
    (there.checkpoint / "step-1").mkdir(parents=True)
    (there.checkpoint / "step-1" / "state.json").write_text("{}")
    there.partial_logits.write_bytes(b"logits")
    keep_checkpoint(unfinished(there), here)
    assert here.partial_logits.read_bytes() == b"logits" and (here.checkpoint / "step-1" / "state.json").exists()
