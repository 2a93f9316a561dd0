"""Names that would be markup, formulas or paths are text everywhere: of classes, columns and folders."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from faults import study as faulty
from faults.commands import tunebench

LABELS = {"pos": "<script>alert(1)</script>", "neg": "../../$\\frac{x|![y](http://z)"}
TEXT, ANSWER = "<img src=x onerror=alert(2)>", "<b onclick=alert(3)>![a](http://b)"
FOLDER = "<script>alert(4)<|script> ![c](http:|d) {{ 7*7 }}"


class Planted(HTMLParser):
    """Collects what the names above would be if they were markup."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_script = tag == "script" and not dict(attrs).get("type", "").endswith("json")
        self.found += [f"{tag} {name}" for name, value in attrs if name.startswith("on") or value == "http://b"]

    def handle_data(self, data: str) -> None:
        if self._in_script and re.search(r"(?<![\w.\"'>])alert\(", data):
            self.found.append(data[:80])


def test_names_are_text_in_report_and_card(tmp_path: Path) -> None:
    data = tmp_path / "input" / FOLDER
    study = faulty.make(
        tmp_path / "input",
        strategies={"tfidf": None},
        train_sizes=[40],
        data={"source": str(data), "text_column": TEXT, "label_column": ANSWER},
    )
    (tmp_path / "input" / "data").rename(data)
    for path in data.iterdir():
        lines = path.read_text().splitlines()
        rows = [f'{text},"{LABELS[label]}"' for text, label in (line.rsplit(",", 1) for line in lines[1:])]
        path.write_text("\n".join([f"{TEXT},{ANSWER}", *rows]) + "\n")
    out = tmp_path / "out"
    ended = tunebench("run", study, "--out", out, "--no-measure", "--threads", "1")
    assert (ended.code, ended.crash) == (0, ""), ended.err + ended.crash
    ended = tunebench("export", out, "--out", tmp_path / "export", "--format", "linear")
    assert (ended.code, ended.crash) == (0, ""), ended.err + ended.crash
    shown = [*out.rglob("*.md"), *out.rglob("*.svg"), tmp_path / "export" / "README.md"]
    assert len(shown) > 6
    for name in ("alert(1)", "alert(4)"):
        assert any(name in path.read_text().replace("\\", "") for path in shown), name
    for path in shown:
        # Code is shown as it is, and the head of a card is YAML.
        text = re.sub(r"\A---\n.*?^---|^```.*?^```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        assert not re.search(r"(?<!\\)<(script|img|b )", text), path
        assert not re.search(r"(?<!\\)\]\(http", text), path
        assert "49" not in re.findall(r"alert\(4\)[^\n]*?(49)", text), path
    assert Planted((out / "report.html").read_text()).found == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "input", "out"]
