"""Files of a study that are links, pipes, devices or endless: nothing hangs, and nothing private is shown."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fakes
from tunebench.data.tokens import _read, _write
from tunebench.engine.checkpoint import is_sound
from tunebench.errors import StoreError
from tunebench.files import (
    append_line,
    is_held,
    is_regular,
    open_regular,
    read_foreign_json,
    read_json,
    read_regular,
    stored_file,
)
from tunebench.store.run_folder import RunFolder
from tunebench.store.study_folder import StudyStore
from tunebench.web.watching.run import describe_run, log_tail
from tunebench.web.watching.study import WatchedStudy

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="these files are of Unix")

SECRET = "root:x:0:0:nobody else may read this"


def link(path: Path) -> None:
    secret = path.parents[3] / "secret"
    secret.write_text(SECRET + "\n")
    path.symlink_to(secret)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**42)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(path.parent)  # such a name has at most a hundred bytes
        try:
            server.bind(path.name)
        finally:
            os.chdir(before)


KINDS = [link, endless, pipe, huge, listening, Path.mkdir]


def within(call: Callable[[], Any], seconds: float = 20) -> Any:
    """Return what a call returns, or the StoreError or OSError that it raises; fail if it hangs."""
    found: list[Any] = []

    def target() -> None:
        try:
            found.append(call())
        except (StoreError, OSError) as error:
            found.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it hangs, or raised something else"
    return found[0]


@pytest.mark.parametrize("kind", KINDS)
def test_one_opener_refuses_what_is_no_file_of_the_folder(kind: Callable[[Path], None], tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c"
    folder.mkdir(parents=True)
    path = folder / "file.json"
    kind(path)
    readers: list[Callable[[], Any]] = [
        lambda: read_regular(path),
        lambda: read_json(path),
        lambda: append_line(path, "more") if kind is not huge else open_regular(path, limit=1),
        lambda: stored_file(path) if kind is not huge else read_json(path),
    ]
    for reader in readers:
        assert isinstance(within(reader), (StoreError, OSError))
    if kind is not link:
        assert isinstance(within(lambda: read_foreign_json(path)), StoreError)
    assert within(lambda: is_regular(path)) is (kind is huge)
    assert within(lambda: is_held(path)) is False
    assert within(lambda: is_sound(path)) is False
    assert SECRET not in "".join(within(lambda: log_tail(path)))
    assert kind is not link or (tmp_path / "secret").read_text() == SECRET + "\n"


def test_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("[1]")
    (tmp_path / "file.json").symlink_to("real.json")
    assert read_json(tmp_path / "file.json") == [1]
    # A model's files may be links into a cache.
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").symlink_to(tmp_path / "real.json")
    assert read_foreign_json(tmp_path / "model" / "config.json") == [1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one run that is complete and one that failed, with every file that a study can have."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    study = fakes.make_study(train_sizes=[10])
    specs = fakes.make_specs(study)
    fakes.run(folder, study)
    failed = StudyStore.open(folder).run_folder(specs[1].run_id)
    shutil.rmtree(failed.path)
    failed.begin(specs[1])
    failed.fail(fakes.make_record(specs[1], failed, status="failed"))
    failed.note("failed")
    failed.live.write_text(json.dumps({"phase": "train"}))
    return folder


def look(folder: Path) -> str:
    """Read everything that a command or the page would, and return what was said."""
    said = []
    store = StudyStore(folder)
    for read in (store.study, store.audit, store.planned, store.cells, store.begun):
        try:
            said.append(repr(read()))
        except StoreError as error:
            said.append(str(error))
    try:
        watched = WatchedStudy(folder, pause=0.0)
    except StoreError as error:
        return "\n".join([*said, str(error)])
    said.append(json.dumps(watched.state()))
    for row in watched.state()["runs"]:
        found = watched.planned(row["id"])
        assert found is not None
        said.append(json.dumps(describe_run(*found)))
    return "\n".join(said)


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_of_a_study_can_take_the_reader_or_show_another_file(
    kind: Callable[[Path], None], whole: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "studies" / "study"
    shutil.copytree(whole, copy)
    names = [path.relative_to(copy) for path in sorted(copy.rglob("*")) if path.is_file()]
    assert {"study.yaml", "plan.json", "record.json", "failure.json", "predictions.npz", "run.log"} <= {
        name.name for name in names
    }
    for name in names:
        place, kept = copy / name, tmp_path / "kept"
        shutil.move(place, kept)
        kind(place)
        said = within(lambda: look(copy))
        assert isinstance(said, str) and SECRET not in said, (name, said)
        if place.is_dir() and not place.is_symlink():
            place.rmdir()
        else:
            place.unlink()
        shutil.move(kept, place)


@pytest.mark.parametrize("kind", [link, endless, pipe])
@pytest.mark.parametrize("name", ["ids.npy", "offsets.npy", "sha256"])
def test_the_token_cache_reads_no_special_file(kind: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    entry = tmp_path / "cache" / "tokens" / "entry"
    entry.parent.mkdir(parents=True)
    _write(entry, [(np.arange(3, dtype=np.int32), [1, 2])])
    assert _read(entry, 2) is not None
    (entry / name).unlink()
    kind(entry / name)
    assert within(lambda: [_read(entry, 2)]) == [None]


def test_a_log_that_is_a_pipe_or_a_link_holds_up_no_run(tmp_path: Path) -> None:
    spec = fakes.make_specs(fakes.make_study())[0]
    for kind in (link, pipe):
        run = RunFolder(tmp_path / kind.__name__ / "study" / "runs" / spec.run_id)
        run.path.mkdir(parents=True)
        kind(run.log)
        assert within(lambda run=run: [run.note("started")]) == [None]
    assert (tmp_path / "link" / "secret").read_text() == SECRET + "\n"


def test_predictions_that_unpack_without_bound_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path / fakes.make_specs(fakes.make_study())[0].run_id)
    run.path.mkdir()
    run.write_predictions(logits=np.zeros((9_000, 2)), labels=np.zeros(9_000, int), indices=np.arange(9_000))
    assert run.predictions.stat().st_size < 100_000
    monkeypatch.setattr("tunebench.store.predictions._MOST_BYTES", 100_000)
    with pytest.raises(StoreError, match="larger than any that are written"):
        run.read_predictions(stored_file(run.predictions))
