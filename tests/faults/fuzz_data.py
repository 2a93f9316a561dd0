"""Fuzzing of everything that reads data: no row and no class is lost without a word.

A table is written in one of the ways people write tables, and read back. What must hold: the rows read and the rows
that the account names are those written, every row kept has the label it was written with, and anything else is
refused with a message. ``make fuzz`` runs it for twenty minutes; a short run is a test.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunebench.data import TextDataset, load_dataset
from tunebench.data.reference import DataConfig
from tunebench.errors import TunebenchError
from tunebench.files import write_json

#: Signs that separate, quote, escape, end lines, or are taken for something else.
_SIGNS = "ab ,;|\"'\\#{[\n\r\té–’\u200b\u2028中0"
_TEXTS = st.text(st.sampled_from(_SIGNS), min_size=1, max_size=12) | st.sampled_from(
    ["NA", "null", '"', '""', "text", "a,b", "a\tneg", '"late again', 'what a day"', "x\nneg,y\npos", "=1+1"]
)
_CLASSES = [
    ["neg", "pos"],
    ["0", "1"],
    ["0.0", "1.0"],
    ["1", "1.0", "2"],
    ["True", "false", "true"],
    ["neg", "Pos", "pos", "POS "],
    ["nan", "a", "b"],
    ["-1", "0", "1"],
    ["work", "work#home", "home"],
    ['"neg"', "neg", "pos"],
    ["café", "cafe\u0301", "bar"],
    ["pos", "pos\u200b", "neg"],
    ["", "a", "b"],
]
_ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"]
_WAYS = ["csv", "csv-quoted", "bare", "jsonl", "json", "columns"]


@dataclass(frozen=True)
class Written:
    """A table as it was written."""

    name: str
    content: bytes
    rows: list[tuple[str, str]]
    way: str


@dataclass
class Counts:
    """What became of the tables."""

    read: int = 0
    refused: Counter[str] = field(default_factory=Counter)


@st.composite
def tables(draw: st.DrawFn) -> Written:
    """Write a table in one of the usual ways."""
    labels = draw(st.sampled_from(_CLASSES))
    # Every class often enough to be one.
    column = labels * 3 + draw(st.lists(st.sampled_from(labels), max_size=8))
    rows = [(draw(_TEXTS), label) for label in draw(st.permutations(column))]
    way = draw(st.sampled_from(_WAYS))
    if way in ("jsonl", "json", "columns"):
        return Written(f"x.{'jsonl' if way == 'jsonl' else 'json'}", _json(way, rows), rows, way)
    sign = draw(st.sampled_from(",;\t|"))
    if way == "csv":
        # The csv module of older Pythons does not quote a lone carriage return, which ends a line when read.
        rows = [(text.replace("\r", " "), label) for text, label in rows]
    if way == "bare":
        # Nothing is quoted, so that texts can hold neither separators nor line ends.
        rows = [(re.sub(r"[\n\r\u2028,;\t|]", " ", text), label) for text, label in rows]
    header = [("text", "label")] if draw(st.booleans()) or way != "csv" else []
    end = draw(st.sampled_from(["\n", "\r\n"]))
    content = _separated([*header, *rows], sign, end, way)
    encoding = draw(st.sampled_from(_ENCODINGS))
    ending = "tsv" if sign == "\t" else "csv"
    try:
        return Written(f"x.{ending}", content.encode(encoding), rows, way)
    except UnicodeEncodeError:
        return Written(f"x.{ending}", content.encode(), rows, way)


def _json(way: str, rows: list[tuple[str, str]]) -> bytes:
    objects = [{"text": text, "label": label} for text, label in rows]
    if way == "jsonl":
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in objects).encode()
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    return json.dumps(objects if way == "json" else columns, indent=1).encode()


def _separated(rows: list[tuple[str, str]], sign: str, end: str, way: str) -> str:
    if way == "bare":
        return end.join(sign.join(row) for row in rows) + end
    buffer = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if way == "csv-quoted" else csv.QUOTE_MINIMAL
    csv.writer(buffer, delimiter=sign, quoting=quoting, lineterminator=end).writerows(rows)
    return buffer.getvalue()


def check(written: Written, folder: Path, counts: Counts) -> None:
    """Read a table back, and compare.

    Raises:
        AssertionError: Something was lost, or changed, without a word.
    """
    path = folder / written.name
    path.write_bytes(written.content)
    try:
        dataset = load_dataset(DataConfig(source=str(path)))
    except TunebenchError as error:
        assert "\n" in str(error), "a refusal says the value, what is allowed, or what to do"
        counts.refused[re.sub(r"\d+|'[^']*'", "*", str(error).splitlines()[0])[:70]] += 1
        return
    counts.read += 1
    account = " ".join(dataset.reading.lines())
    # Lines that were joined to one row, and rows that repeat the header, are named with their numbers.
    joined = sum(int(last) - int(first) for first, last in re.findall(r"(\d+) to (\d+)", _of_several(account)))
    repeats = sum(int(count) for count in re.findall(r"(\d+) rows \(they repeat the header\)", account))
    lost = len(written.rows) - len(dataset.train)
    assert 0 <= lost <= joined + repeats, f"{lost} rows are lost, {joined + repeats} accounted for: {account}"
    if not lost:
        _check_labels(written, dataset, account)
        guessed = "encoding was recognised" in account or "read as part of the texts" in account
        if written.way != "bare" and not guessed:
            assert dataset.train.texts == [text for text, _ in written.rows], f"texts changed: {account}"


def _of_several(account: str) -> str:
    found = re.search(r"rows of several lines \(lines ([^)]*)\)", account)
    return found[1] if found else ""


def _check_labels(written: Written, dataset: TextDataset, account: str) -> None:
    """Every row has the class it was written with: two rows differ in class only if they were written so."""
    names = [dataset.label_names[i] for i in dataset.train.labels]
    classes: dict[str, set[str]] = {}
    for (_, label), name in zip(written.rows, names, strict=True):
        classes.setdefault(label.strip(), set()).add(name)
    assert all(len(found) == 1 for found in classes.values()), f"one label, several classes: {classes}"
    spellings: dict[str, set[str]] = {}
    for label, found in classes.items():
        # Without quotation in the format, a label in quotes may be read as quoted.
        spellings.setdefault(*found, set()).add(label.strip('"') if written.way == "bare" else label)
    merged = {name for name, labels in spellings.items() if len(labels) > 1}
    unsaid = {name for name in merged if f"one class, {name!r}" not in account}
    assert not unsaid, f"labels became one class without a word: {classes}; {account}"


def run(minutes: float, seed: int) -> Counts:
    """Fuzz for so many minutes, and count."""
    counts, until = Counts(), time.monotonic() + 60 * minutes
    round_ = 0
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < until:

            @hypothesis.seed(seed + round_)
            @settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(tables())
            def fuzz(written: Written) -> None:
                check(written, Path(folder), counts)

            fuzz()
            round_ += 1
    return counts


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    counts = run(options.minutes, options.seed)
    found: dict[str, Any] = {
        "minutes": options.minutes,
        "seed": options.seed,
        "read": counts.read,
        "refused": sum(counts.refused.values()),
        "refusals": dict(counts.refused.most_common()),
    }
    print(json.dumps(found, indent=1, ensure_ascii=False))  # noqa: T201
    if options.out:
        write_json(options.out, found)


if __name__ == "__main__":
    main()
