"""Class names that would be markup, formulas or paths are text everywhere."""

from __future__ import annotations

import re
from pathlib import Path

from faults import study as faulty
from faults.commands import tunebench

LABELS = {"pos": "<script>alert(1)</script>", "neg": "../../$\\frac{x|![y](http://z)"}


def test_labels_are_text_in_the_report(tmp_path: Path) -> None:
    study = faulty.make(
        tmp_path / "input", strategies={"tfidf": None}, train_sizes=[40], data=str(tmp_path / "input" / "data")
    )
    for path in (tmp_path / "input" / "data").iterdir():
        lines = path.read_text().splitlines()
        rows = [f'{text},"{LABELS[label]}"' for text, label in (line.rsplit(",", 1) for line in lines[1:])]
        path.write_text("\n".join([lines[0], *rows]) + "\n")
    out = tmp_path / "out"
    ended = tunebench("run", study, "--out", out, "--no-measure", "--threads", "1")
    assert (ended.code, ended.crash) == (0, ""), ended.err + ended.crash
    shown = [*out.rglob("*.md"), *out.rglob("*.svg")]
    assert len(shown) > 5
    assert any("script" in path.read_text() for path in shown)
    for path in shown:
        assert "<script>" not in path.read_text(), path
        assert not re.search(r"(?<!\\)\]\(http", path.read_text()), path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["input", "out"]
