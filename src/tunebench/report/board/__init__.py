"""A leaderboard as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunebench.analysis.board import Board, Row
from tunebench.formatting import BYTES, TIMES, quantity
from tunebench.report.frame import asset, page_environment, render

#: What the page runs, in this order, each in an element of its own.
_SCRIPTS = ("theme.js", "tables.js", "page.js")


def write_board(boards: Sequence[Board], refused: Mapping[str, str], folder: Path, *, title: str) -> Path:
    """Write ``index.html`` into the leaderboard's folder, and return its path.

    Args:
        boards: From :func:`tunebench.analysis.board.load_boards`.
        refused: Why entries are left out, by their folder's name.
        folder: Of the leaderboard.
        title: Of the page.
    """
    from tunebench.files import write_text

    path = folder / "index.html"
    write_text(path, render_board(boards, refused, title=title))
    return path


def render_board(boards: Sequence[Board], refused: Mapping[str, str], *, title: str) -> str:
    """Return the page; everything that an entry says is escaped."""
    blocks = [_block(number, board) for number, board in enumerate(boards, start=1)]
    sections = [{"key": block["key"], "title": block["title"]} for block in blocks]
    if refused:
        sections.append({"key": "refused", "title": "Left out"})
    return render(
        page_environment([], title=title),
        "leaderboard.html.j2",
        [asset(name) for name in _SCRIPTS],
        title=title,
        sections=[*sections, {"key": "about", "title": "How to read this"}],
        blocks=blocks,
        refused=refused,
    )


def _block(number: int, board: Board) -> dict[str, Any]:
    sizes = {row.entry.train_size for row in board.rows}
    return {
        "key": f"board-{number}",
        "title": f"{board.data}, {board.metric.label}",
        "metric": board.metric,
        "data": board.fingerprint[:12],
        "test_part": board.test_part[:12],
        "texts": board.test_texts,
        "several": len(sizes) > 1,
        "rows": [_row(row, place) for row, place in zip(board.rows, _places(board.rows), strict=True)],
    }


def _places(rows: Sequence[Row]) -> list[int | None]:
    """Number the entries whose scores were recomputed; what is only stated has no place."""
    places: list[int | None] = []
    for row in rows:
        places.append(1 + sum(place is not None for place in places) if row.recomputed else None)
    return places


def _row(row: Row, place: int | None) -> dict[str, Any]:
    entry = row.entry
    seconds, size = entry.train_seconds, entry.artifact_bytes
    return {
        "place": place,
        "name": row.name,
        "entry": entry,
        "score": row.score,
        "interval": row.interval,
        "recomputed": row.recomputed,
        "remark": row.remark,
        "training": None if seconds is None else quantity(seconds, TIMES),
        "weights": None if size is None else quantity(size, BYTES),
    }
