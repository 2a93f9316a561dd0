"""``bench --choose``: all sides get the same, in turn, and are scored on the same texts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tunebench.benchmarks import against
from tunebench.benchmarks.against import embeddings_side, render_against, run_against, tfidf_side
from tunebench.benchmarks.scripts.other_tools import Exam
from tunebench.cli.app import app
from tunebench.errors import DataError, PlanError


@pytest.fixture
def films(tmp_path: Path) -> str:
    rows = [f"a {('great', 'dull')[i % 2]} film number {i},{('pos', 'neg')[i % 2]}" for i in range(100)]
    (tmp_path / "films.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return str(tmp_path / "films.csv")


def test_all_sides_get_the_same_in_turn_and_are_scored_on_the_same_texts(
    films: str, tiny_model: Callable[[str], Path], autogluon: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    exams: list[tuple[str, Exam, str | None]] = []

    def perfect(exam: Exam) -> Sequence[Any]:
        exams.append(("perfect", exam, os.environ.get("XDG_CACHE_HOME")))
        return ["pos" if "great" in text else "neg" for text in exam.unseen]

    def tfidf(exam: Exam) -> Sequence[Any]:
        exams.append(("tfidf", exam, os.environ.get("XDG_CACHE_HOME")))
        return tfidf_side(exam)

    monkeypatch.setattr(against, "SIDES", {"tfidf": tfidf})
    model, before = str(tiny_model("distilbert")), os.environ.get("XDG_CACHE_HOME")
    found = run_against(
        films, perfect, others=["autogluon"], model=model, labels=40, seconds=30, rounds=2, threads=1
    )
    assert [name for name, _, _ in exams] == ["perfect", "tfidf"] * 2
    first, second, third, _ = (exam for _, exam, _ in exams)
    assert first.texts == second.texts and first.labels == second.labels and first.unseen == third.unseen
    assert first.texts != third.texts and len(first.texts) == 40 and len(first.unseen) == 20
    assert not set(first.texts) & set(first.unseen)
    caches = [cache for _, _, cache in exams]
    assert len(set(caches)) == 4 and os.environ.get("XDG_CACHE_HOME") == before
    (asked, _) = autogluon
    assert list(asked["data"]["text"]) == first.texts and list(asked["data"]["label"]) == first.labels
    assert asked["limit"] == 30 and asked["model.hf_text.checkpoint_name"] == model
    scores = {entry.name: entry.scores for entry in found.entries}
    assert scores["tunebench choose"]["accuracy"].estimate == 1 and scores["autogluon"]["accuracy"].estimate <= 0.6
    assert all(len(entry.seconds) == 2 for entry in found.entries)
    text = render_against(found)
    assert "40 labels, 20 test texts" in text and "2 rounds" in text and "autogluon" in text
    assert json.loads(json.dumps(found.to_dict()))["rounds"] == 2


def test_the_plain_baselines_learn(films: str, tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    texts = [f"a {('great', 'dull')[i % 2]} film number {i}" for i in range(60)]
    labels = [("pos", "neg")[i % 2] for i in range(60)]
    exam = Exam(texts[:40], labels[:40], texts[40:], tiny_model("distilbert"), 30.0, 1, tmp_path)
    assert list(tfidf_side(exam)) == labels[40:]
    assert set(embeddings_side(exam)) <= {"pos", "neg"}


def test_what_cannot_be_compared_is_said(films: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="autogluon is not installed here") as missing:
        run_against(films, tfidf_side, others=["autogluon"])
    assert "leave --against autogluon out" in str(missing.value)
    with pytest.raises(DataError, match="fewer labelled texts"):
        run_against(films, tfidf_side, labels=10_000)
    ended = CliRunner().invoke(app, ["bench", "--against", "autogluon"])
    assert ended.exit_code == 2 and "--choose" in ended.output
