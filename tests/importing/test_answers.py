"""Answers of another model: matched with a study's test texts, and compared with what the study trained."""

from __future__ import annotations

import csv
import json
import random
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score
from typer.testing import CliRunner

from baselines import run_baselines, two_baselines, write_texts
from conftest import leave_report_out
from factories import make_spec
from tunebench import cli
from tunebench.analysis.analysis import analyse
from tunebench.analysis.answer import answer_of
from tunebench.analysis.ledger import make_ledger
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import recommend
from tunebench.api import import_answers, write_report, write_test_texts
from tunebench.data.reference import DataConfig
from tunebench.errors import ConfigError, DataError, ExportError, StoreError, TunebenchError
from tunebench.importing.answers import read_answers
from tunebench.importing.join import parse_price
from tunebench.importing.test_part import StudyTexts, study_texts
from tunebench.inference.export.source import recommended_run
from tunebench.report.tables import make_tables
from tunebench.report.words import closing_lines
from tunebench.store.study_folder import StudyStore

DOCS = Path(__file__).parents[2] / "docs" / "importing.md"
SIZES = (60, 120)


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]
) -> tuple[Path, dict[str, Any]]:
    """A study of two baselines, two sizes and two seeds, whose test part is held out of one file."""
    place = tmp_path_factory.mktemp("answers")
    raw = two_baselines(write_texts(place / "texts.csv"), tiny_model("distilbert"))
    raw |= {"train_sizes": list(SIZES), "seeds": [1, 2]}
    with pytest.MonkeyPatch.context() as patch:
        leave_report_out(patch)
        run_baselines(raw, place / "study")
    return place / "study", raw


@pytest.fixture
def study(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "study"))


def asked(study: Path, tmp_path: Path) -> list[dict[str, str]]:
    """The test texts as they are written for another model."""
    write_test_texts(study, out := tmp_path / f"asked-{random.getrandbits(32)}.csv")
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]))
        out.writeheader()
        out.writerows(rows)
    return path


def answered(study: Path, tmp_path: Path, wrong: int = 3) -> list[dict[str, Any]]:
    """Rows with the true labels, but for the first few."""
    names, truth = ("neg", "pos"), study_texts(study).labels
    rows = asked(study, tmp_path)
    return [
        row | {"answer": names[label if place >= wrong else 1 - label]}
        for place, (row, label) in enumerate(zip(rows, truth.tolist(), strict=True))
    ]


def test_test_texts_are_written_without_labels(study: Path, tmp_path: Path) -> None:
    rows, texts = asked(study, tmp_path), study_texts(study)
    assert [row["text"] for row in rows] == list(texts.texts) and set(rows[0]) == {"row", "text"}
    lines = Path(load_texts(study)).read_text().splitlines()
    assert all(row["text"] in lines[int(row["row"])] for row in rows), "rows are counted from 1, below the header"


def load_texts(study: Path) -> str:
    return str(StudyStore.open(study).study().model_dump()["data"]["source"])


def test_answers_have_the_scores_that_scikit_learn_gives_them_at_every_size(study: Path, tmp_path: Path) -> None:
    before = {cell.spec.run_id: cell.row for cell in load_comparison(study).cells}
    rows = answered(study, tmp_path)
    joined = import_answers(written(tmp_path / "gpt.csv", rows), study, seconds=812, price="1.94 USD")
    comparison = load_comparison(study)
    own = [cell for cell in comparison.cells if cell.spec.label == "gpt"]
    truth = study_texts(study).labels
    said = [("neg", "pos").index(row["answer"]) for row in rows]
    assert [cell.spec.train_size for cell in own] == list(SIZES) == list(joined.sizes)
    for cell in own:
        assert cell.row["accuracy"] == pytest.approx(accuracy_score(truth, said))
        assert cell.row["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro"))
        assert cell.score("log_loss") is None and cell.score("auroc") is None
        assert (cell.row["test_seconds"], cell.row["price"], cell.row["currency"]) == (812, 1.94, "USD")
        assert cell.row["train_seconds"] is None
    assert {run: row for run, row in before.items()} == {
        cell.spec.run_id: cell.row for cell in comparison.cells if cell not in own
    }, "nothing else changed"


def test_row_text_and_order_match_the_same(study: Path, tmp_path: Path) -> None:
    rows = answered(study, tmp_path, wrong=9)
    mixed = random.Random(0).sample(rows, len(rows))
    more = {"row": "1", "text": "nobody asked this", "answer": "pos"}
    spaced = [row | {"text": f"  {row['text'].replace(' ', chr(10))} "} for row in mixed]
    files = {
        "row": written(tmp_path / "a.csv", [{k: row[k] for k in ("row", "answer")} for row in mixed]),
        "both": written(tmp_path / "b.jsonl", mixed),
        "text": written(tmp_path / "c.csv", [{k: row[k] for k in ("text", "answer")} for row in [*spaced, more]]),
        "order": written(tmp_path / "d.csv", [{"answer": row["answer"].upper()} for row in rows]),
    }
    texts = study_texts(study)
    found = {
        how: read_answers(file, texts, match="order" if how == "order" else None) for how, file in files.items()
    }
    wanted = [("neg", "pos").index(row["answer"]) for row in rows]
    assert all(one.predicted.tolist() == wanted for one in found.values())
    assert [one.matched for one in found.values()] == ["row", "row", "text", "order"]
    assert "Passed over: 1 row of the file that answers no test text." in found["text"].notes[0]
    assert any("nothing confirms" in note for note in found["order"].notes)
    assert any(
        f"{len(rows)} answers were matched with a label that differs" in note for note in found["order"].notes
    )


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda rows: rows[:-2], {}, "Test texts without an answer: 2 of "),
        (lambda rows: [*rows, rows[4]], {}, "1 test text is answered more than once"),
        (lambda rows: [rows[0] | {"answer": "unsure"}, *rows[1:]], {}, "1 answer is none of the study's labels"),
        (lambda rows: [rows[0] | {"answer": " "}, *rows[1:]], {}, "'no answer'|no answer"),
        (lambda rows: [rows[0] | {"text": "another"}, *rows[1:]], {}, "1 text differs from that of the same row"),
        (lambda rows: [rows[0] | {"row": "x"}, *rows[1:]], {}, "holds no row number in row 1"),
        (lambda rows: rows[:-2], {"match": "order"}, "by their order they cannot be matched"),
        (lambda rows: [{"answer": row["answer"]} for row in rows], {}, "Nothing says which test text"),
        (
            lambda rows: [{"answer": row["answer"]} for row in rows],
            {"match": "text"},
            "--match text needs a column",
        ),
        (lambda rows: [row | {"prediction": "pos"} for row in rows], {}, "More than one column looks like"),
        (lambda rows: [{"row": row["row"], "said": "pos"} for row in rows], {}, "No column looks like the answers"),
        (lambda rows: rows, {"column": "anwser"}, "no such column of answers"),
        (lambda rows: rows, {"strategy": "weak"}, "has a strategy of this name"),
        (lambda rows: rows, {"strategy": "-x"}, "cannot be the name of a strategy"),
        (lambda rows: rows, {"seconds": 0.0}, "--seconds takes a time above 0"),
        (lambda rows: rows, {"price": "1,94"}, "--price takes one amount"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    study: Path, tmp_path: Path, change: Callable[[list[Any]], list[Any]], options: dict[str, Any], said: str
) -> None:
    before = sorted(study.rglob("*"))
    file = written(tmp_path / "gpt.csv", change(answered(study, tmp_path)))
    with pytest.raises(TunebenchError, match=said):
        import_answers(file, study, **options)
    assert sorted(study.rglob("*")) == before


def test_a_second_currency_is_refused_and_the_same_name_replaces(study: Path, tmp_path: Path) -> None:
    rows = answered(study, tmp_path)
    import_answers(written(tmp_path / "gpt.csv", rows), study, price="$2")
    with pytest.raises(StoreError, match="another currency"):
        import_answers(written(tmp_path / "other.csv", rows), study, price="2 EUR")
    joined = import_answers(written(tmp_path / "gpt.csv", answered(study, tmp_path, wrong=5)), study, price="2 EUR")
    assert any("are replaced" in note and "flattered" in note for note in joined.notes)
    own = [cell for cell in load_comparison(study).cells if cell.spec.label == "gpt"]
    assert len(own) == len(SIZES) and {cell.row["currency"] for cell in own} == {"EUR"}
    assert len(list((study / "runs").glob("gpt-*.replaced-1"))) == len(SIZES)


@pytest.mark.usefixtures("no_report")
def test_the_study_goes_on_beside_answers(study: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    import_answers(written(tmp_path / "gpt.csv", answered(study, tmp_path)), study)
    result = run_baselines(made[1] | {"seeds": [1, 2, 3]}, study)
    labels = [cell.spec.label for cell in result.comparison.cells if cell.status == "complete"]
    assert labels.count("gpt") == 2 and labels.count("weak") == 6
    (part,) = make_ledger([study]).parts
    assert part.runs == 13, "answers were scored once, at however many sizes they stand"


def test_answers_stand_in_tests_costs_and_report_and_are_not_exported(study: Path, tmp_path: Path) -> None:
    import_answers(
        written(tmp_path / "gpt.csv", answered(study, tmp_path, wrong=0)), study, seconds=60, price="3 EUR"
    )
    import_answers(written(tmp_path / "bad.csv", answered(study, tmp_path, wrong=30)), study, price="1 EUR")
    analysis = analyse(load_comparison(study))
    pair = next(p for p in analysis.pairs if {p.first.label, p.second.label} == {"gpt", "bad"})
    assert pair.same_examples is not None and pair.same_examples.only_first + pair.same_examples.only_second == 30
    pair = next(p for p in analysis.pairs if {p.first.label, p.second.label} == {"gpt", "weak"})
    scores = {e.label: e.interval().estimate for e in (pair.first, pair.second)}
    assert abs(pair.difference.interval.estimate) == pytest.approx(abs(scores["gpt"] - scores["weak"]), abs=1e-6)
    tables = {table.name: table for table in make_tables(analysis)}
    priced = [column.title for column in tables["front"].visible].index("Price of the test part")
    assert {cells[priced] for cells in tables["front"].body()} >= {"3.00 EUR", "1.00 EUR"}
    assert not any(row["strategy"] == "gpt" for row in tables["calibration"].rows)
    assert {p.config.label for p in analysis.fronts[SIZES[1], "price"]} == {"gpt", "bad"}
    found = recommend(analysis)
    assert found.strategy == "gpt" and "The best that can be: " in (found.not_exported or "")
    lines = answer_of(analysis, found).lines
    assert any("without training here; 1.0 min, 3.00 EUR for these answers" in line for line in lines), lines
    assert not any(
        "export" in line for line in closing_lines(analysis, study, study / "report.html") if "tune" in line
    )
    with pytest.raises(ExportError, match="gpt cannot be exported"):
        recommended_run(analysis.comparison)
    page = (write_report(study).parent / "report.html").read_text(encoding="utf-8")
    assert "gpt cannot be exported" in page and ">To answer</th>" in page
    assert "Answers of another model, read from a file: gpt, bad" in page
    assert "The texts cannot be shown" not in page and "other scripts trained" not in page


def test_the_price_of_one_strategy_alone_makes_no_front(study: Path, tmp_path: Path) -> None:
    import_answers(written(tmp_path / "gpt.csv", answered(study, tmp_path)), study, price="3")
    analysis = analyse(load_comparison(study))
    assert not analysis.fronts.get((SIZES[1], "price"))
    (row, *_) = [row for row in make_tables(analysis, ["front"])[0].rows if row["strategy"] == "gpt"]
    assert row["price"] == 3 and "price" not in (row["fronts"] or "")


def test_a_study_without_scored_runs_or_of_imports_is_refused(study: Path, tmp_path: Path) -> None:
    for record in (study / "runs").glob("*/record.json"):
        record.unlink()
    with pytest.raises(StoreError, match="No run of this study was scored"):
        study_texts(study)


def test_the_commands_of_the_docs_run(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = DOCS.read_text(encoding="utf-8").split("## Answers of another model")[1]
    lines = [
        line for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL) for line in block.splitlines()
    ]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    study.rename(tmp_path / "out" / "study")
    for line in lines[:3]:
        result = CliRunner().invoke(cli.app, shlex.split(line)[1:])
        assert result.exit_code == 0, result.output
        if "test-texts" in line:
            rows = answered(tmp_path / "out" / "study", tmp_path)
            written(tmp_path / "asked.csv", rows)
    assert "gpt" in result.output and len(lines) == 4
    (header, *_) = re.findall(r"```text\n(.*?)\n", section)
    assert header.split(",") == list(rows[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a.csv"], "--into"),
        (["folder", "--out", "x", "--price", "3"], "--price"),
        (["a.csv", "b.csv", "--into", "s"], "one file"),
        (["a.csv", "--into", "s", "--set", "seed=1"], "--set is for"),
        (["a.csv", "--into", "s", "--match", "luck"], "row, text, order"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], said: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("answer\npos\n")
    result = CliRunner().invoke(cli.app, ["import", *words])
    assert result.exit_code == 2 and said in result.output


def texts_of(task: str, labels: np.ndarray, names: tuple[str, ...], **config: Any) -> StudyTexts:
    spec = make_spec("full", task=task)
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"label_names": names})})
    count = len(labels)
    return StudyTexts(
        store=StudyStore(Path("nowhere")),
        config=DataConfig(source="texts.csv", **config),
        spec=spec,
        sizes=(100,),
        labels_of=frozenset({"full"}),
        columns=("text",),
        rows=np.arange(count),
        texts=[f"text {n}" for n in range(count)],
        labels=labels,
    )


def test_several_labels_are_lists_or_separated_or_columns(tmp_path: Path) -> None:
    truth = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    names = ("calm", "sad", "glad")
    rows: list[list[str]] = [["calm", "glad"], [], ["Sad"]]
    texts = texts_of("multi_label", truth, names)
    files = [
        written(tmp_path / "a.jsonl", [{"row": n + 1, "answer": row} for n, row in enumerate(rows)]),
        written(tmp_path / "b.csv", [{"row": n + 1, "answer": json.dumps(row)} for n, row in enumerate(rows)]),
        written(tmp_path / "c.csv", [{"row": n + 1, "answer": "|".join(row)} for n, row in enumerate(rows)]),
    ]
    for file in files:
        assert read_answers(file, texts).predicted.tolist() == truth.tolist(), file
    semicolon = texts_of("multi_label", truth, names, label_delimiter=";")
    file = written(tmp_path / "d.csv", [{"row": n + 1, "answer": "; ".join(row)} for n, row in enumerate(rows)])
    assert read_answers(file, semicolon).predicted.tolist() == truth.tolist()
    columns = texts_of("multi_label", truth, names, label_columns=names)
    given_ = [{"row": n + 1} | dict(zip(names, row, strict=True)) for n, row in enumerate(truth.tolist())]
    found = read_answers(written(tmp_path / "e.csv", given_), columns)
    assert found.predicted.tolist() == truth.tolist() and found.column is None


def test_numbers_are_read_and_what_is_none_is_refused(tmp_path: Path) -> None:
    texts = texts_of("regression", np.array([1.5, 2.0]), ("score",))
    file = written(tmp_path / "a.csv", [{"row": 2, "answer": "2"}, {"row": 1, "answer": "1.25"}])
    assert read_answers(file, texts).predicted.tolist() == [1.25, 2.0]
    with pytest.raises(DataError, match=r"1 answer is no finite number \(row 1\)"):
        read_answers(written(tmp_path / "b.csv", [{"row": 1, "answer": "high"}, {"row": 2, "answer": "1"}]), texts)


@given(st.decimals(0, 10**6, places=2), st.sampled_from(["USD", "€", "Fr", ""]), st.booleans(), st.booleans())
def test_a_price_is_an_amount_with_one_currency_anywhere(amount: Any, sign: str, before: bool, blank: bool) -> None:
    space = " " if blank and sign else ""
    text = f"{sign}{space}{amount}" if before else f"{amount}{space}{sign}"
    assert parse_price(text) == (float(amount), sign)


@pytest.mark.parametrize("text", ["", "USD", "1,94", "1.234.5", "$1 USD", "-3", "1e3", "nan", "3 US dollars"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--price"):
        parse_price(text)
