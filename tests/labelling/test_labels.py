"""``labels``: planted wrong labels are found, texts to label next are uncertain and spread, and all is said."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tunebench.analysis.doubling import Doubling
from tunebench.api import run_study
from tunebench.cli.app import app
from tunebench.errors import DataError
from tunebench.labelling.found import Suspect
from tunebench.labelling.job import study_labels
from tunebench.labelling.next_texts import choose_next, margins_of
from tunebench.labelling.page import suspects_page
from tunebench.labelling.probabilities import out_of_fold, predict
from tunebench.labelling.suspects import find_suspects
from tunebench.machine.settings import Execution
from tunebench.stats import Interval, Refusal
from tunebench.study.yaml_file import check_study


def blobs(count: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Points around the middle of their class, and the classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    return (np.eye(classes)[labels] + rng.normal(0, 0.25, (count, classes))).astype(np.float32), labels


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(5, 40), st.randoms(use_true_random=False))
def test_suspects_are_those_of_the_definition(classes: int, texts: int, random: Any) -> None:
    rng = np.random.default_rng(random.randrange(2**32))
    probabilities = rng.dirichlet(np.ones(classes), texts)
    labels = rng.integers(0, classes, texts)
    found = find_suspects(probabilities, labels)
    # The slow definition, text by text.
    mean = {k: np.mean([p[k] for p, y in zip(probabilities, labels, strict=True) if y == k]) for k in set(labels)}
    wanted = {}
    for row, (p, label) in enumerate(zip(probabilities, labels, strict=True)):
        sure = [k for k in mean if p[k] >= mean[k]]
        if sure and (likely := max(sure, key=lambda k: p[k])) != label:
            wanted[row] = likely
    assert dict(zip(found.rows.tolist(), found.likely.tolist(), strict=True)) == wanted
    assert (np.diff(found.margins) >= 0).all()


def test_planted_wrong_labels_come_first() -> None:
    vectors, labels = blobs(600, 4)
    rng = np.random.default_rng(1)
    wrong = rng.choice(600, 30, replace=False)
    given = labels.copy()
    given[wrong] = (given[wrong] + rng.integers(1, 4, 30)) % 4
    judged = out_of_fold(vectors, given, np.arange(600))
    found = find_suspects(judged.probabilities, given)
    hits = np.isin(found.rows, wrong)
    assert hits[:20].mean() >= 0.9 and hits.sum() >= 20
    first = found.rows[:20][hits[:20]]
    assert (found.likely[:20][hits[:20]] == labels[first]).mean() >= 0.9, "and what they look like is the truth"


def test_no_text_is_judged_by_its_copy() -> None:
    vectors, labels = blobs(100, 2)
    # A copy with the same wrong label vouches for it, unless both stay in one part.
    twice, given = np.concatenate([vectors, vectors]), np.concatenate([labels, labels])
    given[[0, 100]] = 1 - given[[0, 100]]
    alone = out_of_fold(twice, given, np.arange(200)).probabilities[0, given[0]]
    together = out_of_fold(twice, given, np.tile(np.arange(100), 2)).probabilities[0, given[0]]
    assert together <= alone


def test_a_class_of_one_text_and_a_text_of_an_unseen_class_do_not_stop_it() -> None:
    vectors, labels = blobs(60, 2)
    labels[5] = 2
    judged = out_of_fold(vectors, labels, np.arange(60))
    assert judged.probabilities.shape == (60, 3) and judged.probabilities[5, 2] == 0
    np.testing.assert_allclose(judged.probabilities.sum(1), 1)
    assert np.isfinite(predict(vectors, labels, vectors, setting=1.0)).all()


def test_the_next_texts_are_uncertain_and_spread() -> None:
    vectors, labels = blobs(200, 2)
    probabilities = np.full((200, 2), [0.99, 0.01])
    close = np.flatnonzero(labels == 0)[:20].tolist() + np.flatnonzero(labels == 1)[:20].tolist()
    probabilities[close] = [0.52, 0.48]
    found = choose_next(probabilities, vectors, 4)
    assert len(set(found.tolist())) == 4 and set(found.tolist()) <= set(close)
    assert len(set(labels[found].tolist())) == 2, "of both kinds, and not the nearest neighbours of one text"
    assert (np.diff(margins_of(probabilities)[found]) >= 0).all()
    assert sorted(choose_next(probabilities[:3], vectors[:3], 10)) == [0, 1, 2]


def test_what_twice_the_labels_would_bring_is_said_with_its_interval_or_refused() -> None:
    then = Interval(0.9, 0.88, 0.92, 0.95, "m", "seeds")
    gain = Interval(0.05, 0.02, 0.08, 0.95, "m", "seeds")
    said = Doubling("full", "macro F1", 400, 0.85, then, gain).sentence
    assert "800 labels instead of 400" in said
    assert "from 0.8500 to 0.9000, by +0.0500 [+0.0200, +0.0800] (95 %)" in said
    assert "next to nothing" not in said
    nothing = replace(gain, low=0.0004)
    assert "next to nothing" in Doubling("full", "macro F1", 400, 0.85, then, nothing).sentence
    few = Refusal("three sizes are too few")
    refused = Doubling("full", "macro F1", None, None, few, few).sentence
    assert refused == "full: what twice the labels would bring cannot be said: three sizes are too few."


def test_the_page_shows_any_text_and_runs_none_of_it() -> None:
    text = '</p><script>alert("x")</script><img src=x onerror=alert(1)>'
    page = suspects_page("<b>films", [Suspect("train", 3, text, 'a"b', "<c>", 0.1, 0.8)], ['a"b', "<c>"], 9)
    assert page.count("<script>") == 1 and "&lt;script&gt;alert" in page and "<img" not in page
    assert 'data-label="a&#34;b"' in page and "<b>films" not in page
    assert "0 of 9 labels" in suspects_page("films", [], ["a"], 9)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("films")
    rows = [f"a {('great', 'dull')[i % 2]} film number {i},{('pos', 'neg')[i % 2]}" for i in range(80)]
    (place / "films.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return place


def test_a_study_is_looked_at_from_the_command_line(
    tiny_model: Callable[[str], Path], films: Path, tmp_path: Path, no_report: None
) -> None:
    source = films / "films.csv"
    study = check_study(
        {
            "name": "films",
            "model": str(tiny_model("distilbert")),
            "data": str(source),
            "strategies": {"tfidf": {"c": [1]}},
            "train_sizes": [40],
            "max_length": 16,
        }
    )
    folder = tmp_path / "my study"
    run_study(study, folder, execution=Execution(device="cpu", threads=1), measure=False)
    (tmp_path / "more.csv").write_text(
        "text;by\na strange film;x\n\na great film number 0;x\na strange film;x\nanother one;x\n"
    )
    arguments = [
        "labels",
        str(folder),
        "--unlabelled",
        str(tmp_path / "more.csv"),
        "--count",
        "1",
        "--device",
        "cpu",
    ]
    ended = CliRunner().invoke(app, [*arguments, "--json"])
    assert ended.exit_code == 0, ended.output
    found = json.loads(ended.stdout)
    assert found["texts"] == 80 and found["doublings"][0]["labels"] is None
    assert "cannot be said" in found["doublings"][0]["sentence"]
    assert len(found["next_texts"]) == 1 and found["next_texts"][0]["text"] in ("a strange film", "another one")
    assert found["passed_over"][-2:] == ["1 already labelled in the study", "1 copies of others in the file"]
    assert "line 3 (blank, so no row)" in found["passed_over"][0] and "';' (semicolon)" in found["reading"][0]
    with (folder / "labels" / "suspects.csv").open(newline="") as stream:
        assert [row["text"] for row in csv.DictReader(stream)] == [one["text"] for one in found["suspects"]]
    ended = CliRunner().invoke(app, arguments)
    assert "Which labels are likely wrong?" in ended.stdout and "next.csv" in ended.stdout
    with pytest.raises(DataError, match="No text of the file is new"):
        study_labels(folder, unlabelled=source)
    before = source.read_text()
    try:
        source.write_text(before.replace("great film number 0,", "grand film number 0,"))
        with pytest.raises(DataError, match="has changed since"):
            study_labels(folder)
    finally:
        source.write_text(before)
