"""``tunebench predict`` and ``tunebench export`` as a user meets them."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tunebench
from faults import commands
from inference.conftest import run_of
from tunebench import cli
from tunebench.errors import DataError, TunebenchError
from tunebench.inference.predictor import Predictor
from tunebench.inference.reading import from_csv, from_lines
from tunebench.inference.stream import predict_stream

Model = Callable[[str], Path]


@pytest.fixture(scope="module")
def predictor(lively_model: Model) -> Predictor:
    return tunebench.load(lively_model("bert"))


def invoke(*words: str, given: bytes | None = None) -> str:
    result = CliRunner().invoke(cli.app, list(words), input=given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_texts_lines_and_csv_get_the_same_answers_in_order(
    lively_model: Model, predictor: Predictor, tmp_path: Path
) -> None:
    texts = [
        "a lovely film",
        "dull, " * 30,
        "",
        'he said "no"',
        "bell\x07 \u2028 and \x85 more",
        "été 🎬",
        "- dash",
    ]
    model = str(lively_model("bert"))
    expected = predictor.predict(texts).tolist()
    best = predictor.predict_proba(texts).max(axis=1)
    file = tmp_path / "texts.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([["id", "review"], *enumerate(texts)])
    outputs = [
        invoke("predict", model, "--", *texts),
        invoke("predict", model, "-", "--json", given="".join(f"{text}\n" for text in texts).encode()),
        invoke("predict", model, "-", given="\r\n".join(texts).encode()),
        invoke("predict", model, "--csv", str(file), "--column", "review"),
        invoke("predict", model, "--csv", str(file)),
    ]
    for output in outputs:
        rows = [json.loads(line) for line in output.splitlines()]
        assert [row["label"] for row in rows] == expected
        np.testing.assert_allclose([row["probability"] for row in rows], best, atol=1e-2)
    table = list(csv.DictReader(io.StringIO(invoke("predict", model, "--format", "csv", "--", *texts))))
    assert [row["label"] for row in table] == expected
    assert all(0.5 <= float(row["probability"]) <= 1 for row in table)


@pytest.mark.parametrize(
    ("names", "shown"), [(("=1+1", "@SUM(A1)"), ("'=1+1", "'@SUM(A1)")), (("-1", "+1"), ("-1", "+1"))]
)
def test_labels_in_csv_are_no_formulas(
    lively_model: Model, tmp_path: Path, names: tuple[str, ...], shown: tuple[str, ...]
) -> None:
    folder = shutil.copytree(lively_model("bert"), tmp_path / "it")
    config = json.loads((folder / "config.json").read_text()) | {"id2label": dict(enumerate(names))}
    (folder / "config.json").write_text(json.dumps(config))
    words = ("predict", str(folder), "a lovely film", "dull, " * 30)
    expected = [shown[names.index(json.loads(line)["label"])] for line in invoke(*words).splitlines()]
    rows = csv.DictReader(io.StringIO(invoke(*words, "--format", "csv")))
    assert [row["label"] for row in rows] == expected


def test_a_stream_is_answered_before_it_ends(predictor: Predictor) -> None:
    taken = 0

    def endless() -> Iterator[tuple[str, str]]:
        nonlocal taken
        while True:
            taken += 1
            yield f"Line {taken}", f"film {taken}"

    answers = predict_stream(predictor, endless(), chunk=8)
    found = [next(answers) for _ in range(20)]
    assert taken == 24
    assert [answer.label for answer in found] == predictor.predict([f"film {i + 1}" for i in range(20)]).tolist()


def test_broken_text_is_named_by_its_place(predictor: Predictor, tmp_path: Path) -> None:
    lines = from_lines(io.BytesIO(b"fine\nalso fine\n\xff broken\n"))
    answers = predict_stream(predictor, lines, chunk=2)
    assert len([next(answers), next(answers)]) == 2
    with pytest.raises(DataError, match="Line 3 is not valid Unicode"):
        next(answers)
    (tmp_path / "x.csv").write_bytes(b"text\nfine\n\xe9t\xe9\n")
    with pytest.raises(DataError, match="The row that ends on line 3"):
        list(predict_stream(predictor, from_csv(tmp_path / "x.csv")))


def test_how_a_table_is_read_can_be_said(lively_model: Model, tmp_path: Path) -> None:
    # Read by itself, this file would be taken for cp1252.
    (tmp_path / "x.csv").write_bytes("text|label\nприя;т|1\n".encode("koi8-r"))
    read = ["--file", str(tmp_path / "x.csv"), "--set", "data.encoding=koi8-r", "--set", "data.separator=pipe"]
    model = str(lively_model("bert"))
    assert invoke("predict", model, *read) == invoke("predict", model, "прия;т")
    wrong = CliRunner().invoke(cli.app, ["predict", model, *read, "--set", "data.folds=3"])
    assert wrong.exit_code and "data.encoding, data.separator" in str(wrong.exception)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["a", "--csv", "x.csv"],
        ["--csv", "x.csv", "--file", "x.csv"],
        ["a", "--column", "text"],
        ["a", "--set", "data.encoding=cp1252"],
        ["a", "--format", "xml"],
    ],
    ids=str,
)
def test_requests_that_make_no_sense(lively_model: Model, words: list[str]) -> None:
    result = CliRunner().invoke(cli.app, ["predict", str(lively_model("bert")), *words])
    assert result.exit_code == 2


def test_user_errors_have_no_traceback(lively_model: Model) -> None:
    ended = commands.tunebench("predict", lively_model("bert"), "-", stdin=b"fine\n\xff\n")
    assert (problem := commands.refused(ended, ["Line 2 is not valid Unicode"])) == "", problem


def test_export_and_its_dry_run(study: Callable[[str], Path], tmp_path: Path) -> None:
    folder = study("bert")
    run = run_of(folder, "lora-qv")
    out = tmp_path / "a"
    words = ("export", str(folder), "--run", run, "--format", "adapter", "--out")
    facts = json.loads(invoke(*words, str(out), "--json"))
    assert facts["run_id"] == run
    assert facts == json.loads((out / "export.json").read_text())
    again = tmp_path / "b"
    files = json.loads(invoke(*words, str(again), "--push", "me/it", "--dry-run", "--json"))
    assert {entry["file"]: entry["bytes"] for entry in files} == {
        path.name: path.stat().st_size for path in again.iterdir()
    }
    lines = invoke(*words, str(tmp_path / "c"))
    assert "100.00% equal predictions" in lines
    result = CliRunner().invoke(cli.app, [*words, str(tmp_path / "d"), "--dry-run"])
    assert result.exit_code == 2
    assert not (tmp_path / "d").exists()


def test_a_wrong_repository_is_noticed_before_anything_is_written(
    study: Callable[[str], Path], tmp_path: Path
) -> None:
    words = ["export", str(study("bert")), "--out", str(tmp_path / "d"), "--push", "not a name"]
    result = CliRunner().invoke(cli.app, words)
    assert isinstance(result.exception, TunebenchError)
    assert not (tmp_path / "d").exists()
