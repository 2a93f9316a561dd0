"""Tokenised texts: the tokenizer's own ids, cut at the end, and a cache that can be trusted."""

from __future__ import annotations

import copy
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunebench.data import tokens
from tunebench.data.text import Pair
from tunebench.data.tokenizer import tokenizer_fingerprint
from tunebench.data.tokens import TokenizedTexts, tokenize
from tunebench.files import default_cache_dir
from tunebench.models.sources import model_folder
from tunebench.models.tokenizer import load_tokenizer

TEXTS = ["a good film", "", "bad", "word " * 40, "ünï 😀 [SEP]"] * 3


@pytest.fixture(scope="module")
def loaded() -> Any:
    return load_tokenizer(model_folder("minilm"))


@pytest.fixture
def tokenizer(loaded: Any) -> Any:
    return copy.deepcopy(loaded)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_BATCH", 4)


def _tokenize(tokenizer: Any, cache: Path | None, **changes: Any) -> TokenizedTexts:
    options = {"texts": TEXTS, "max_length": 16, "tokenizer_fingerprint": "f"} | changes
    return tokenize(options.pop("texts"), tokenizer=tokenizer, cache_dir=cache, **options)


def _lists(tokenized: TokenizedTexts) -> list[list[int]]:
    return [tokenized[i].tolist() for i in range(len(tokenized))]


class Runs:
    """Counts how often texts were tokenised."""

    def __init__(self, wait: float = 0) -> None:
        self.count, self._run, self._wait = 0, tokens._tokenized, wait

    def __call__(self, *args: Any) -> tuple[np.ndarray, np.ndarray]:
        self.count += 1
        time.sleep(self._wait)
        return self._run(*args)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    counter = Runs()
    monkeypatch.setattr(tokens, "_tokenized", counter)
    yield counter


# --- ids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_length", [4, 16, 512])
@pytest.mark.parametrize("cached", [False, True])
def test_ids_are_the_tokenizers_own(tokenizer: Any, tmp_path: Path, max_length: int, cached: bool) -> None:
    found = _tokenize(tokenizer, tmp_path if cached else None, max_length=max_length)
    expected = [tokenizer(text, truncation=True, max_length=max_length)["input_ids"] for text in TEXTS]
    assert _lists(found) == expected
    assert found.lengths.tolist() == [len(row) for row in expected] and len(found) == len(TEXTS)
    assert found[0].dtype == np.int32


def test_nothing_is_cut_without_a_maximum(tokenizer: Any) -> None:
    tokenizer.model_max_length = 8
    assert _tokenize(tokenizer, None, max_length=None).lengths.max() == 42


def test_the_beginning_is_kept_whatever_side_the_tokenizer_prefers(tokenizer: Any) -> None:
    expected = _lists(_tokenize(tokenizer, None, texts=["one two three four five"], max_length=4))
    tokenizer.truncation_side = "left"
    assert _lists(_tokenize(tokenizer, None, texts=["one two three four five"], max_length=4)) == expected
    assert tokenizer.truncation_side == "left"


@pytest.mark.parametrize(
    "call", [{}, {"truncation": True, "max_length": 7}, {"padding": True, "pad_to_multiple_of": 8}], ids=str
)
def test_tokenizer_is_left_as_it_was(tokenizer: Any, call: dict[str, Any]) -> None:
    tokenizer(["x"], **call)
    before = tokenizer.backend_tokenizer.to_str()
    _tokenize(tokenizer, None)
    _tokenize(tokenizer, None, texts=[Pair("a", "b"), Pair("c d", "e")])
    assert tokenizer.backend_tokenizer.to_str() == before


def test_no_texts(tokenizer: Any, tmp_path: Path) -> None:
    for cache in (None, tmp_path, tmp_path):
        assert len(_tokenize(tokenizer, cache, texts=[])) == 0


def test_progress_ends_at_all(tokenizer: Any) -> None:
    told: list[tuple[int, int]] = []
    _tokenize(tokenizer, None, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(4, 15), (8, 15), (12, 15), (15, 15)]


def test_views_of_views(tokenizer: Any, tmp_path: Path) -> None:
    whole = _tokenize(tokenizer, tmp_path)
    some = whole.take(np.array([4, 0, 3, 0]))
    assert _lists(some) == [_lists(whole)[i] for i in (4, 0, 3, 0)]
    again = some.take(np.array([1, 2]))
    assert _lists(again) == [_lists(whole)[i] for i in (0, 3)]
    assert again.lengths.tolist() == [len(row) for row in _lists(again)]
    assert np.shares_memory(again[0], whole[0])
    assert len(whole.take(np.array([], dtype=np.int64))) == 0


def test_kept_ids_are_mapped_and_cannot_be_changed(tokenizer: Any, tmp_path: Path) -> None:
    found = _tokenize(tokenizer, tmp_path)
    assert type(found[0]) is np.ndarray
    with pytest.raises(ValueError, match="read-only"):
        found[0][0] = 1


# --- the cache ----------------------------------------------------------------------------------


def test_second_time_is_read(tokenizer: Any, tmp_path: Path, runs: Runs) -> None:
    first, second = (_lists(_tokenize(tokenizer, tmp_path)) for _ in range(2))
    assert first == second and runs.count == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer_fingerprint": "g"},
        {"texts": [*TEXTS[:-1], "x"]},
        {"texts": TEXTS[:-1]},
        {"texts": TEXTS[::-1]},
    ],
)
def test_anything_else_is_another_entry(
    tokenizer: Any, tmp_path: Path, runs: Runs, changes: dict[str, Any]
) -> None:
    _tokenize(tokenizer, tmp_path)
    changed = _lists(_tokenize(tokenizer, tmp_path, **changes))
    assert runs.count == 2
    assert changed == _lists(_tokenize(tokenizer, None, **changes))


@pytest.mark.parametrize(
    "changes", [{"max_length": 17}, {"max_length": None}, {"truncation": "tail"}, {"truncation": "head_tail"}]
)
def test_however_texts_are_cut_they_are_tokenised_once(
    tokenizer: Any, tmp_path: Path, runs: Runs, changes: dict[str, Any]
) -> None:
    texts = [*TEXTS, " ".join(f"{number}" for number in range(40))]
    before = _lists(_tokenize(tokenizer, tmp_path, texts=texts))
    changed = _lists(_tokenize(tokenizer, tmp_path, texts=texts, **changes))
    assert runs.count == 1
    assert changed != before and changed == _lists(_tokenize(tokenizer, None, texts=texts, **changes))


def _entry(cache: Path) -> Path:
    (folder,) = (path for path in (cache / "tokens").iterdir() if path.is_dir())
    return folder


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(bytes(raw))


DAMAGE = {
    "ids missing": lambda folder: (folder / "ids.npy").unlink(),
    "offsets missing": lambda folder: (folder / "offsets.npy").unlink(),
    "checksum missing": lambda folder: (folder / "sha256").unlink(),
    "ids cut": lambda folder: _cut(folder / "ids.npy"),
    "offsets cut": lambda folder: _cut(folder / "offsets.npy"),
    "ids empty": lambda folder: (folder / "ids.npy").write_bytes(b""),
    "ids changed": lambda folder: _flip(folder / "ids.npy"),
    "offsets changed": lambda folder: _flip(folder / "offsets.npy"),
    "ids too few": lambda folder: np.save(folder / "ids.npy", np.arange(3, dtype=np.int32)),
    "offsets of others": lambda folder: np.save(folder / "offsets.npy", np.arange(16, dtype=np.int64)),
    "other kind": lambda folder: np.save(folder / "ids.npy", np.zeros(300)),
    "no arrays": lambda folder: (folder / "ids.npy").write_text("hello"),
    "all gone": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_entry_is_made_anew(tokenizer: Any, tmp_path: Path, runs: Runs, damage: str) -> None:
    expected = _lists(_tokenize(tokenizer, tmp_path))
    DAMAGE[damage](_entry(tmp_path))
    assert _lists(_tokenize(tokenizer, tmp_path)) == expected
    assert runs.count == 2, "the damage went unnoticed"
    assert _lists(_tokenize(tokenizer, tmp_path)) == expected
    assert runs.count == 2, "the repair was not kept"


def test_failed_write_leaves_nothing_half_done(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    expected = _lists(_tokenize(tokenizer, None))
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        assert _lists(_tokenize(tokenizer, tmp_path)) == expected
    assert "No space left" in caplog.text
    assert [path for path in (tmp_path / "tokens").iterdir() if path.is_dir()] == []
    assert _lists(_tokenize(tokenizer, tmp_path)) == expected


def test_cache_that_cannot_be_a_folder_is_done_without(tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert _lists(_tokenize(tokenizer, tmp_path / "file")) == _lists(_tokenize(tokenizer, None))


def test_of_several_writers_one_works_and_all_read_the_same(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _lists(_tokenize(tokenizer, None))
    counter = Runs(wait=0.1)
    monkeypatch.setattr(tokens, "_tokenized", counter)
    barrier = threading.Barrier(4)
    results: list[list[list[int]]] = []

    def work(own: Any) -> None:
        barrier.wait()
        results.append(_lists(_tokenize(own, tmp_path)))

    # Each has its own, as processes do: a tokenizer keeps the options of a call, so threads disturb each other.
    threads = [threading.Thread(target=work, args=(copy.deepcopy(tokenizer),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4 and counter.count == 1


def test_mapped_ids_outlive_their_entry(tokenizer: Any, tmp_path: Path) -> None:
    found = _tokenize(tokenizer, tmp_path)
    expected = _lists(found)
    shutil.rmtree(tmp_path / "tokens")
    assert _lists(found) == expected


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.delenv("TUNEBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "tunebench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache_dir() == Path.home() / ".cache" / "tunebench"


# --- fingerprints -------------------------------------------------------------------------------


def test_calls_do_not_change_the_fingerprint(tokenizer: Any) -> None:
    before, state = tokenizer_fingerprint(tokenizer), tokenizer.backend_tokenizer.to_str()
    tokenizer(["a b", "c"], truncation=True, max_length=3, padding="max_length", return_tensors="np")
    assert tokenizer.backend_tokenizer.to_str() != state, "calls no longer change the tokenizer: test nothing"
    assert tokenizer_fingerprint(tokenizer) == before


def test_saving_and_the_maximum_length_do_not_change_the_fingerprint(tokenizer: Any, tmp_path: Path) -> None:
    before = tokenizer_fingerprint(tokenizer)
    tokenizer.model_max_length = 77
    assert tokenizer_fingerprint(tokenizer) == before
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_fingerprint(load_tokenizer(tmp_path)) == before


def test_what_changes_the_ids_changes_the_fingerprint(tokenizer: Any) -> None:
    prints = {tokenizer_fingerprint(tokenizer)}
    for change in (
        lambda t: t.add_tokens(["filmish"]),
        lambda t: t.add_special_tokens({"cls_token": "[X]"}),
        lambda t: setattr(t.backend_tokenizer, "normalizer", None),
        lambda t: setattr(t, "split_special_tokens", True),
    ):
        changed = copy.deepcopy(tokenizer)
        change(changed)
        prints.add(tokenizer_fingerprint(changed))
    assert len(prints) == 5


def test_tokenizers_in_python_have_fingerprints_and_ids_too() -> None:
    from transformers import ByT5Tokenizer

    first, same, other = ByT5Tokenizer(), ByT5Tokenizer(model_max_length=9), ByT5Tokenizer(extra_ids=7)
    before = tokenizer_fingerprint(first)
    assert not hasattr(first, "backend_tokenizer")
    assert _lists(_tokenize(first, None, texts=["abc", "d"], max_length=3)) == [[100, 101, 1], [103, 1]]
    assert tokenizer_fingerprint(first) == tokenizer_fingerprint(same) == before
    assert tokenizer_fingerprint(other) != before
