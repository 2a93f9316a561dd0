"""The micro-batcher over models that only count: order, bounds, errors and the end, without chance."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunebench.errors import ConfigError
from tunebench.web.serving.batching import ClosedError, MicroBatcher, QueueFullError
from tunebench.web.serving.limits import Limits
from tunebench.web.serving.models import LoadedModel, ModelGroup


class Letters:
    """Stands for a predictor: a token a letter."""

    label_names = ("first", "second")

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array([ord(letter) for letter in text], dtype=np.int64) for text in texts]


class Counting(ModelGroup):
    """Answers with (sum of the tokens, number of the model); can be held up, and fails on ``!``."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def logits(self, rows: Sequence[np.ndarray], models: Sequence[LoadedModel]) -> list[np.ndarray]:
        self.begun.set()
        assert self.go_on.wait(30)
        if any(ord("!") in row for row in rows):
            raise RuntimeError("this text")
        self.batches.append([len(row) for row in rows])
        return [np.array([row.sum(), m.member], dtype=np.float32) for row, m in zip(rows, models, strict=True)]

    def model(self, member: int = 0) -> LoadedModel:
        predictor: Any = Letters()
        return LoadedModel(f"m{member}", predictor, self, member)


def expected(texts: Sequence[str], member: int = 0) -> list[list[float]]:
    return [[float(sum(map(ord, text))), float(member)] for text in texts]


def held(batcher: MicroBatcher, group: Counting) -> Any:
    """Keep the worker busy, so that what follows waits together."""
    group.go_on.clear()
    first = batcher.submit(group.model(), ["x"])
    assert group.begun.wait(30)
    return first


TEXTS = st.lists(st.text("abc", min_size=1, max_size=30), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    jobs=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), TEXTS), min_size=1, max_size=20),
    budget=st.integers(1, 200),
)
def test_every_request_gets_its_own_answers_in_order(jobs: list[tuple[int, int, list[str]]], budget: int) -> None:
    groups = [Counting(), Counting()]
    batcher = MicroBatcher(waiting=1000, batch_tokens=budget)
    held(batcher, groups[0])
    futures = [batcher.submit(groups[g].model(member), texts) for member, g, texts in jobs]
    assert batcher.waiting == 1 + sum(len(texts) for _, _, texts in jobs)
    groups[0].go_on.set()
    for future, (member, _, texts) in zip(futures, jobs, strict=True):
        assert future.result(timeout=30).tolist() == expected(texts, member)
    batcher.close()
    assert batcher.waiting == 0
    lengths = [batch for group in groups for batch in group.batches]
    assert all(len(batch) == 1 or len(batch) * max(batch) <= budget for batch in lengths)


def test_texts_of_similar_length_share_a_batch_and_the_short_ones_come_first() -> None:
    group = Counting()
    batcher = MicroBatcher(waiting=100, batch_tokens=40)
    held(batcher, group)
    futures = [batcher.submit(group.model(i % 2), ["a" * length]) for i, length in enumerate([20, 2, 20, 2, 2, 2])]
    group.go_on.set()
    [future.result(timeout=30) for future in futures]
    assert group.batches[1:] == [[2, 2, 2, 2], [20, 20]]
    batcher.close()


def test_a_full_queue_refuses_whole_requests_and_recovers() -> None:
    group = Counting()
    batcher = MicroBatcher(waiting=4)
    first = held(batcher, group)
    taken = batcher.submit(group.model(), ["a", "b"])
    with pytest.raises(QueueFullError) as refused:
        batcher.submit(group.model(), ["a", "b"])
    assert 1 <= refused.value.retry_after <= 60
    last = batcher.submit(group.model(), ["c"])
    group.go_on.set()
    assert taken.result(timeout=30).tolist() == expected(["a", "b"])
    assert last.result(timeout=30).tolist() == expected(["c"])
    first.result(timeout=30)
    # Whoever has an answer may ask again at once.
    assert batcher.submit(group.model(), ["d"] * 4).result(timeout=30).shape == (4, 2)
    batcher.close()


def test_a_text_that_fails_takes_no_other_with_it() -> None:
    group = Counting()
    batcher = MicroBatcher(waiting=100)
    held(batcher, group)
    futures = [batcher.submit(group.model(), texts) for texts in (["a"], ["b", "!"], ["c", "d"])]
    group.go_on.set()
    assert futures[0].result(timeout=30).tolist() == expected(["a"])
    assert futures[2].result(timeout=30).tolist() == expected(["c", "d"])
    with pytest.raises(RuntimeError, match="this text"):
        futures[1].result(timeout=30)
    assert batcher.alive and batcher.waiting == 0
    batcher.close()


def test_who_gives_up_is_not_answered_and_makes_room_at_once() -> None:
    group = Counting()
    batcher = MicroBatcher(waiting=4)
    held(batcher, group)
    gone, stays = batcher.submit(group.model(), ["gone", "too"]), batcher.submit(group.model(), ["stays"])
    assert gone.cancel()
    assert batcher.waiting == 2
    others = batcher.submit(group.model(), ["b", "c"])
    group.go_on.set()
    assert stays.result(timeout=30).tolist() == expected(["stays"])
    assert others.result(timeout=30).tolist() == expected(["b", "c"])
    batcher.close()
    assert not {3, 4} & {length for batch in group.batches for length in batch} and batcher.waiting == 0


def test_batches_for_nobody_are_not_computed() -> None:
    group = Counting()
    batcher = MicroBatcher(waiting=100, batch_tokens=20)
    first = held(batcher, group)
    gone, stays = batcher.submit(group.model(), ["a", "a" * 19]), batcher.submit(group.model(), ["b" * 20])
    group.begun.clear()
    begun = threading.Event()
    first.add_done_callback(lambda _: (group.go_on.clear(), begun.set()))
    group.go_on.set()
    # The first text of who leaves is computed, the second one is not yet.
    assert begun.wait(30) and group.begun.wait(30)
    assert gone.cancel() and batcher.waiting == 1
    group.go_on.set()
    assert stays.result(timeout=30).tolist() == expected(["b" * 20])
    batcher.close()
    assert group.batches == [[1], [1], [20]] and batcher.waiting == 0


def test_closing_in_vain_gives_up_after_the_batch_that_is_computed() -> None:
    """Else the worker computes on while the process ends, which aborts it: the exit code is not 0."""
    group = Counting()
    batcher = MicroBatcher(waiting=100, batch_tokens=20)
    group.go_on.clear()
    begun = batcher.submit(group.model(), ["x", "y" * 20])
    assert group.begun.wait(30)
    waiting, gone = batcher.submit(group.model(), ["z"]), batcher.submit(group.model(), ["w"])
    assert gone.cancel()
    batcher.close(timeout=0)
    group.go_on.set()
    for future in (begun, waiting):
        with pytest.raises(ClosedError):
            future.result(timeout=30)
    assert group.batches == [[1]] and batcher.waiting == 0


def test_closing_answers_what_was_taken_and_takes_nothing_more() -> None:
    group = Counting()
    batcher = MicroBatcher(waiting=100)
    held(batcher, group)
    futures = [batcher.submit(group.model(), ["a" * i]) for i in range(1, 20)]
    closing = threading.Thread(target=batcher.close)
    closing.start()
    while batcher.alive:
        pass
    with pytest.raises(ClosedError):
        batcher.submit(group.model(), ["late"])
    group.go_on.set()
    closing.join(timeout=30)
    assert all(future.done() and future.exception() is None for future in futures)


def test_the_group_that_waits_longest_is_next() -> None:
    first, second = Counting(), Counting()
    order: list[str] = []
    batcher = MicroBatcher(waiting=100)
    held(batcher, first)
    for name, group in (("second", second), ("first", first), ("second", second)):
        batcher.submit(group.model(), ["a"]).add_done_callback(lambda _, name=name: order.append(name))  # type: ignore[misc]
    first.go_on.set()
    batcher.close()
    assert order == ["second", "second", "first"]


def test_limits_that_allow_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="never be accepted"):
        Limits(texts=10, waiting=9)
    with pytest.raises(ConfigError, match="must be positive"):
        Limits(body_bytes=0)


def test_closing_waits_no_longer_than_it_may() -> None:
    group = Counting()
    batcher = MicroBatcher(waiting=10)
    held(batcher, group)
    late = batcher.submit(group.model(0), ["a"])
    batcher.close(0.05)
    assert not late.done() and not batcher.alive
    group.go_on.set()
    with pytest.raises(ClosedError):
        late.result(timeout=30)
    batcher.close()
