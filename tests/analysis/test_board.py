"""A leaderboard: what is recomputed, what is only stated, and what an entry cannot do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from report.studies import make_study_folder
from tunebench.analysis.analysis import analyse
from tunebench.analysis.board import load_boards
from tunebench.analysis.load import load_comparison
from tunebench.api import add_to_leaderboard, write_leaderboard
from tunebench.errors import ConfigError, StoreError
from tunebench.files import stored_file

EVIL = "<script>window.hacked = 1</script><img src=x onerror=alert(1)> {{ 7 * 7 }}"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study_folder(tmp_path_factory.mktemp("study"), sizes=[200], skill={"full": 2.4}, name="mine")


@pytest.fixture
def board(study: Path, tmp_path: Path) -> Path:
    add_to_leaderboard(study, tmp_path / "board", by="Ada")
    return tmp_path / "board"


def entry_file(board: Path, strategy: str = "lora") -> Path:
    return next(
        path for path in board.glob("entries/*/entry.json") if json.loads(path.read_text())["strategy"] == strategy
    )


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    entry = json.loads(path.read_text())
    edit(entry)
    path.write_text(json.dumps(entry))


def test_scores_and_intervals_are_those_of_the_study(study: Path, board: Path) -> None:
    (found,), refused = load_boards(board)
    assert not refused and found.test_texts == 60
    own = {entry.label: entry for entry in analyse(load_comparison(study)).entries}
    assert [row.entry.strategy for row in found.rows] == ["full", "lora"]
    for row in found.rows:
        expected = own[row.entry.strategy]
        assert row.recomputed and not row.remark
        assert row.score == pytest.approx(expected.interval().estimate)
        assert row.interval is not None
        assert row.interval.low < row.score < row.interval.high


def test_no_folder_of_the_machine_is_in_an_entry(study: Path, board: Path) -> None:
    text = entry_file(board).read_text()
    assert str(study.parent) not in text and '"data": "data"' in text


def test_an_entry_added_again_is_replaced(study: Path, board: Path) -> None:
    before = sorted(path.name for path in board.glob("entries/*"))
    add_to_leaderboard(study, board, by="Grace")
    assert sorted(path.name for path in board.glob("entries/*")) == before
    assert {row.entry.provenance.by for row in load_boards(board)[0][0].rows} == {"Grace"}


def test_an_edited_score_is_not_believed(board: Path) -> None:
    change(entry_file(board), lambda entry: entry["runs"][0]["scores"].update(macro_f1=0.9999))
    row = next(row for row in load_boards(board)[0][0].rows if row.entry.strategy == "lora")
    assert row.recomputed and row.score < 0.95
    assert row.remark.startswith("states 0.9999 where its predictions give 0.")


def test_without_predictions_a_score_is_marked_as_stated_and_has_no_place(board: Path) -> None:
    def state(entry: dict[str, Any]) -> None:
        for run in entry["runs"]:
            run["predictions"] = None
            run["scores"] = {"macro_f1": 0.9999}

    change(entry_file(board), state)
    path, refused = write_leaderboard(board)
    assert not refused
    row = load_boards(board)[0][0].rows[0]
    assert (row.entry.strategy, row.recomputed, row.interval) == ("lora", False, None)
    page = path.read_text(encoding="utf-8")
    assert "stated, not checked" in page
    stated = page[page.index("<tbody>") :]
    assert stated.index(">–<") < stated.index(">lora<") < stated.index(">1<") < stated.index(">full<")


def test_other_labels_make_another_board(board: Path) -> None:
    """Who forges the labels beside the predictions is not compared with those who did not."""
    path = entry_file(board)
    file = path.parent / "run-0" / "predictions.npz"
    stored = dict(np.load(file))
    np.savez_compressed(file, **(stored | {"labels": stored["logits"].argmax(1)}))
    change(path, lambda entry: entry["runs"][0].update(predictions=stored_file(file).model_dump()))
    boards, refused = load_boards(board)
    assert [row.entry.strategy for row in boards[0].rows] == ["full"]
    assert list(refused.values()) == ["Its predictions are of another test part than it states."]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda e: e.update(extra=1), "extra"),
        (lambda e: e.update(schema_version=2), "schema_version"),
        (lambda e: e.update(strategy="x" * 300), "strategy"),
        (lambda e: e.update(strategy="one\ntwo"), "strategy"),
        (lambda e: e.update(model="abc\u202egnp"), "model"),
        (lambda e: e.update(metric="nonsense"), "there is no metric"),
        (lambda e: e.update(train_size=0), "train_size"),
        (lambda e: e.update(runs=[]), "runs"),
        (lambda e: e["provenance"].update(url="javascript:alert(1)"), "url"),
        (lambda e: e["runs"][0]["scores"].update(macro_f1=float("nan")), "macro_f1"),
        (lambda e: e["runs"][0]["predictions"].update(bytes=10**12), "larger than"),
        (lambda e: e["runs"][0]["predictions"].update(sha256="0" * 64), "damaged"),
        (lambda e: e.update(labels=["one"]), "another number of classes"),
    ],
)
def test_what_has_not_the_schema_is_left_out_and_said(
    board: Path, edit: Callable[[dict[str, Any]], None], says: str
) -> None:
    change(entry_file(board), edit)
    boards, refused = load_boards(board)
    assert [row.entry.strategy for one in boards for row in one.rows] == ["full"]
    (reason,) = refused.values()
    assert says in reason


def test_what_an_entry_says_is_escaped(board: Path) -> None:
    def attack(entry: dict[str, Any]) -> None:
        entry.update(strategy=EVIL, model=EVIL, data=EVIL)
        entry["provenance"].update(by=EVIL, note=EVIL)

    change(entry_file(board), attack)
    change(entry_file(board, "full"), attack)
    (board / "entries" / "<img src=x>").mkdir()
    path, _ = write_leaderboard(board, title=EVIL)
    page = path.read_text(encoding="utf-8")
    assert "<img src=x" not in page and "<script>window" not in page and "{{ 7 * 7 }}" in page


def test_a_link_out_of_the_folder_is_not_read(board: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    entry_file(board).parent.rename(outside)
    (board / "entries" / "link").symlink_to(outside)
    assert load_boards(board)[1] == {"link": "it is no folder"}


def test_what_cannot_be_added_is_refused(study: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--url"):
        add_to_leaderboard(study, tmp_path, by="Ada", url="file:///etc/passwd")
    with pytest.raises(StoreError, match="no study in this folder"):
        add_to_leaderboard(tmp_path, tmp_path, by="Ada")
    with pytest.raises(StoreError, match="no leaderboard in this folder"):
        write_leaderboard(tmp_path)
