"""Fuzz every reader of stored files and of requests, guided by which lines of the package were reached.

``python -m faults.fuzz_readers --minutes 60 --corpus FOLDER --out docs/results/fuzz-readers.json`` is
``make fuzz-readers``. It needs atheris, which is no dependency: ``pip install atheris``. Each reader of
:mod:`faults.readers` gets an equal share of the time, in a process of its own. The inputs that reached new lines
are kept in the corpus, and the next call begins with them.

A finding is an exception that is no TunebenchError, a read that takes more than ten seconds, or one that takes more
than 2 GB. Findings with the same place in the package are one.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.mutations import Choices, damaged

#: Seconds that one input may take, and megabytes of memory.
SLOW, MEMORY = 10, 2048
#: Imported with what notes the lines that were reached.
_MODULES = ("analysis.load", "data", "importing", "inference.predictor", "report.tables", "web.serving.schema")
_MODULES += ("web.watching.app", "study.yaml_file")


class Target:
    """A reader with its sound files.

    Args:
        name: Of the reader.
        place: An empty folder.
    """

    def __init__(self, name: str, place: Path) -> None:
        from faults.readers import READERS

        self._reader = READERS[name]
        self._sound, self.folder = place / "sound", place / "damaged"
        self._sound.mkdir(parents=True)
        self._reader.make(self._sound)
        shutil.copytree(self._sound, self.folder)
        found = sorted(path for pattern in self._reader.files for path in self._sound.rglob(pattern))
        self.files = [path.relative_to(self._sound) for path in found if path.is_file()]
        self._contents = [(self._sound / path).read_bytes() for path in self.files]

    def seeds(self) -> list[bytes]:
        """Return inputs to begin with: each file as it is, and some damage to each."""
        found = [bytes([number, 0]) + content for number, content in enumerate(self._contents)]
        return [*found, *(bytes([number, 2, *range(number, 40)]) for number in range(len(self.files)))]

    def refusal(self) -> str | None:
        """Read the folder as it is, and return the message with which it is refused; None where it is not."""
        from tunebench.errors import TunebenchError

        _forget()
        try:
            self._reader.read(self.folder)
        except TunebenchError as error:
            return str(error)
        return None

    def read(self, data: bytes) -> str | None:
        """Damage a file as the input says, read, and return the place of a finding; its traceback is the cause."""
        choices = Choices(data)
        number = choices.below(len(self.files))
        path = self.folder / self.files[number]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(damaged(self._contents[number], choices))
        _forget()
        try:
            return _finding(lambda: self._reader.read(self.folder))
        finally:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._contents[number])


def _finding(read: Callable[[], Any]) -> str | None:
    from tunebench.errors import TunebenchError

    try:
        read()
    except TunebenchError as error:
        str(error)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # what Rust panics with is no Exception
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "tunebench" in frame.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "elsewhere"
        return f"{type(error).__name__} in {place}\n{traceback.format_exc()[-6000:]}"
    return None


def _forget() -> None:
    """Empty the caches that know a file by its time of change: here it changes faster than the clock ticks."""
    for name, module in list(sys.modules.items()):
        if name.startswith("tunebench.models"):
            for value in list(vars(module).values()):
                with contextlib.suppress(AttributeError, TypeError):
                    value.cache_clear()


def fuzz(name: str, corpus: Path, seconds: float) -> None:
    """Fuzz one reader in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["tunebench"]):
        for module in _MODULES:
            importlib.import_module(f"tunebench.{module}")
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    target = Target(name, Path(tempfile.mkdtemp(prefix="tunebench-fuzz-", dir=_fast())))
    inputs, findings = corpus / name, corpus / "findings" / name
    for folder in (inputs, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (inputs / f"seed-{number}").write_bytes(seed)
    known = {path.read_text().splitlines()[0] for path in findings.glob("*.txt")}
    tally: Counter[str] = Counter()

    def one(data: bytes) -> None:
        tally["inputs"] += 1
        # Processor time: other work on the machine makes no read slow. The fuzzer itself ends one that waits.
        begin = time.process_time()
        found = target.read(data)
        if time.process_time() - begin > SLOW:
            found = found or f"slow: {target.files[data[0] % len(target.files)] if data else ''}"
        if found is not None and (place := found.splitlines()[0]) not in known:
            known.add(place)
            tally["findings"] += 1
            stem = findings / f"{len(known):03d}"
            stem.with_suffix(".bin").write_bytes(data)
            stem.with_suffix(".txt").write_text(found, errors="replace")
        if tally["inputs"] % 50 == 1:
            (corpus / f"{name}.{os.getpid()}.json").write_text(json.dumps(tally))

    arguments = [f"-max_total_time={max(1, round(seconds))}", f"-timeout={6 * SLOW}", f"-rss_limit_mb={2 * MEMORY}"]
    arguments += ["-max_len=20000", "-verbosity=0", f"-artifact_prefix={findings}/", str(inputs)]
    atheris.Setup(["fuzz", *arguments], one)
    atheris.Fuzz()


def _fast() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def replay(corpus: Path) -> dict[str, str]:
    """Read every input that made a finding once more, and return what is still one."""
    left = {}
    for folder in sorted((corpus / "findings").iterdir()):
        with tempfile.TemporaryDirectory(dir=_fast()) as place:
            target = Target(folder.name, Path(place))
            for path in sorted(folder.glob("*.bin")):
                if found := target.read(path.read_bytes()):
                    left[f"{folder.name}/{path.stem}"] = found
    return left


def main() -> None:
    """Fuzz all readers in turn, and write what each has read and found in all calls on this corpus."""
    from faults.readers import READERS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", action="append", choices=list(READERS))
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--replay", action="store_true", help="only read the findings of the corpus once more")
    options = parser.parse_args()
    names = options.only or list(READERS)
    if options.inside:
        fuzz(options.inside, options.corpus, 60 * options.minutes)
    if options.replay:
        left = replay(options.corpus)
        sys.stdout.write("".join(f"{name}: {found}\n" for name, found in left.items()))
        sys.exit(int(bool(left)))
    for name in names:
        command = [sys.executable, "-m", "faults.fuzz_readers", "--inside", name, "--corpus", str(options.corpus)]
        subprocess.run([*command, "--minutes", str(options.minutes / len(names))], check=False)
    summary = {name: _counts(options.corpus, name) for name in READERS}
    text = json.dumps(summary, indent=1) + "\n"
    if options.out is not None:
        options.out.write_text(text)
    sys.stdout.write(text)


def _counts(corpus: Path, name: str) -> dict[str, int]:
    inputs = sum(json.loads(path.read_text())["inputs"] for path in corpus.glob(f"{name}.*.json"))
    kept, found = ((corpus / place / name).glob(pattern) for place, pattern in (("", "*"), ("findings", "*.txt")))
    return {"inputs": inputs, "kept for new lines": len(list(kept)), "findings": len(list(found))}


if __name__ == "__main__":
    main()
