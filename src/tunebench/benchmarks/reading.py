"""What reading and auditing a data set costs at size: processor time and peak memory, by format and megabytes.

``python -m tunebench.benchmarks.reading --out FILE`` is ``make reading``. The text is made up. Every measurement is
a process of its own, and is written at once. The same command resumes with what is missing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.files import read_json, write_json
from tunebench.machine import memory

FORMATS = ("jsonl", "csv", "parquet")
#: Megabytes of text that are read, and that are audited: tokenising takes a second for one or two of them.
READ, AUDITED = (25, 100, 500), (25, 100)
#: Words of a text, on average; rows that are written at a time.
_WORDS, _ROWS = 230, 500
_SYLLABLES = "ba den fil go kar lem mi nor pas ri sto ta ul ven wo za".split()


def write_made_up(path: Path, megabytes: float) -> int:
    """Write a table of made-up texts with two labels, in the format that its ending names.

    Args:
        path: The file: ``.jsonl``, ``.csv`` or ``.parquet``.
        megabytes: Of text; the file may be smaller or larger.

    Returns:
        The number of rows.
    """
    import pandas as pd

    rows, left, writer = 0, megabytes * 1e6, None
    for number, texts in enumerate(_texts()):
        table = pd.DataFrame({"text": texts, "label": [("no", "yes")[i % 2] for i in range(len(texts))]})
        if path.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            arrow = pa.Table.from_pandas(table, preserve_index=False)
            writer = writer or pq.ParquetWriter(path, arrow.schema)
            writer.write_table(arrow)
        elif path.suffix == ".csv":
            table.to_csv(path, mode="a", index=False, header=number == 0)
        else:
            table.to_json(path, mode="a", orient="records", lines=True, force_ascii=False)
        rows, left = rows + len(texts), left - sum(map(len, texts))
        if left <= 0:
            break
    if writer is not None:
        writer.close()
    return rows


def _texts() -> Iterator[list[str]]:
    """Yield lists of different texts, whose words are as unequally frequent as those of a language."""
    generator = np.random.default_rng(0)
    parts = generator.choice(_SYLLABLES, size=(20_000, 3))
    words = np.array(["".join(row[: 1 + i % 3]) for i, row in enumerate(parts)])
    weights = 1 / np.arange(1, len(words) + 1)
    number = 0
    while True:
        # Texts are stretches of one long draw: to draw each would take longer than to read it.
        long = " ".join(generator.choice(words, size=_WORDS * _ROWS // 4, p=weights / weights.sum()))
        starts = generator.integers(0, len(long) // 2, size=_ROWS)
        lengths = generator.integers(100, 2 * 6 * _WORDS, size=_ROWS)
        found = [f"{number + i} {long[a : a + n]}" for i, (a, n) in enumerate(zip(starts, lengths, strict=True))]
        yield found
        number += _ROWS


def measure(path: Path, *, audited: bool, model: str) -> dict[str, Any]:
    """Read a file, and audit it if asked for, in this process; say what that took beyond the imports.

    Args:
        path: The file.
        audited: Audit it too, with an empty token cache beside the file.
        model: The model whose tokenizer counts tokens.
    """
    from tunebench.data import load_dataset
    from tunebench.data.audit import audit
    from tunebench.data.reference import DataConfig
    from tunebench.data.tokenizer import tokenizer_fingerprint
    from tunebench.data.tokens import tokenize
    from tunebench.models.sources import model_folder
    from tunebench.models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(model_folder(model)) if audited else None
    memory.reset_peak_memory()
    before, begin, wall = memory.peak_memory_bytes("cpu"), time.process_time(), time.monotonic()
    dataset = load_dataset(DataConfig(source=str(path)))
    if tokenizer is not None:
        known = {"tokenizer": tokenizer, "tokenizer_fingerprint": tokenizer_fingerprint(tokenizer)}
        lengths = {
            name: tokenize(split.texts, max_length=None, cache_dir=path.parent / "cache", **known).lengths
            for name, split in dataset.splits.items()
        }
        audit(dataset, lengths=lengths, max_length=256)
    return {
        "rows": len(dataset.train),
        "file_megabytes": round(path.stat().st_size / 1e6, 1),
        "cpu_seconds": round(time.process_time() - begin, 1),
        "wall_seconds": round(time.monotonic() - wall, 1),
        "megabytes": round((memory.peak_memory_bytes("cpu") - before) / 1e6),
        "megabytes_before": round(before / 1e6),
    }


def run_reading_bench(
    out: Path, *, read: tuple[float, ...] = READ, audited: tuple[float, ...] = AUDITED, model: str = "minilm"
) -> dict[str, Any]:
    """Measure what the file of results lacks, and return all of it.

    Args:
        out: The file; written after every measurement.
        read: Megabytes to read.
        audited: Megabytes to audit; from JSON lines alone, since after reading nothing depends on the format.
        model: The model whose tokenizer counts tokens.
    """
    found: dict[str, Any] = read_json(out) if out.exists() else {}
    wanted = [(kind, size, False) for size in read for kind in FORMATS] + [
        ("jsonl", size, True) for size in audited
    ]
    for kind, size, audits in wanted:
        name = f"{'audit' if audits else 'read'} {kind} {size:g} MB"
        if name in found:
            continue
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / f"data.{kind}"
            write_made_up(path, size)
            command = [sys.executable, "-m", __spec__.name, "--measure", str(path), "--model", model]
            done = subprocess.run(
                [*command, "--audit"] if audits else command, check=True, stdout=subprocess.PIPE, text=True
            )
        found[name] = json.loads(done.stdout)
        write_json(out, found)
        sys.stderr.write(f"{name}: {found[name]}\n")
    return found


def main() -> None:
    """Measure; or, as the process of one measurement, print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("reading.json"))
    parser.add_argument("--read", type=float, nargs="*", default=READ, help="megabytes")
    parser.add_argument("--audited", type=float, nargs="*", default=AUDITED, help="megabytes")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--audit", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        sys.stdout.write(json.dumps(measure(options.measure, audited=options.audit, model=options.model)))
        return
    run_reading_bench(options.out, read=options.read, audited=options.audited, model=options.model)


if __name__ == "__main__":
    main()
