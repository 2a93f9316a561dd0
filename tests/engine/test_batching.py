from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunebench.engine.batching import GROUPED, Collator, EpochSampler


@given(longest=st.integers(1, 600), max_length=st.integers(1, 600))
def test_the_fast_engine_pads_little_and_never_beyond_the_studys_limit(longest: int, max_length: int) -> None:
    longest = min(longest, max_length)
    rows = [np.ones(longest, np.int64)]
    width = Collator.of_engine("fast", pad_id=0, max_length=max_length).pad(rows)["input_ids"].shape[1]
    assert longest <= width <= max_length and width < 1.125 * longest + 1
    reference = Collator.of_engine("reference", pad_id=0, max_length=max_length).pad(rows)
    assert reference["input_ids"].shape == (1, max_length)


def test_the_fast_engine_has_few_widths() -> None:
    collator = Collator.of_engine("fast", pad_id=0, max_length=500)
    widths = {collator.pad([np.ones(n, np.int64)])["input_ids"].shape[1] for n in range(64, 501)}
    assert widths == {*range(64, 128, 8), *range(128, 256, 16), *range(256, 500, 32), 500}


@given(
    lengths=st.lists(st.integers(1, 256), min_size=1, max_size=400),
    batch=st.integers(1, 16),
    seed=st.integers(0, 1000),
    grouped=st.integers(1, 60),
)
def test_every_text_comes_once_an_epoch(lengths: list[int], batch: int, seed: int, grouped: int) -> None:
    sampler = EpochSampler(np.array(lengths), batch_size=batch, seed=seed, grouped=grouped)
    assert sorted(sampler) == list(range(len(lengths)))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    lengths = np.random.default_rng(0).integers(5, 256, size=3000)

    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(lengths, batch_size=32, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_batches_hold_similar_lengths_but_come_in_random_order() -> None:
    lengths = np.random.default_rng(0).integers(5, 256, size=3200)
    order = np.array(list(EpochSampler(lengths, batch_size=32, seed=0, grouped=GROUPED)))
    batches = lengths[order].reshape(-1, 32)
    padded = batches.max(axis=1).sum() * 32
    assert padded < 1.05 * lengths.sum()
    longest = batches.max(axis=1)
    assert abs(np.corrcoef(longest[1:], longest[:-1])[0, 1]) < 0.3


def test_by_default_a_batch_holds_texts_of_all_lengths() -> None:
    lengths = np.random.default_rng(0).integers(5, 256, size=3200)
    batches = lengths[list(EpochSampler(lengths, batch_size=32, seed=0))].reshape(-1, 32)
    # As of 32 independent draws: grouped, batches would differ as single texts do.
    assert batches.mean(axis=1).std() == pytest.approx(lengths.std() / 32**0.5, rel=0.3)


@pytest.mark.parametrize(
    ("padding", "width"),
    [
        ({}, 5),
        ({"length": 12}, 12),
        ({"round_up_to": 4}, 5),
    ],
)
def test_padding(padding: dict[str, int], width: int) -> None:
    rows = [np.array([7, 8, 9]), np.array([1, 2, 3, 4, 5])]
    collator = Collator(pad_id=42, **padding)
    batch = collator([{"input_ids": row, "labels": i} for i, row in enumerate(rows)])
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (2, width)
    assert batch["labels"].tolist() == [0, 1]
    for i, row in enumerate(rows):
        assert batch["input_ids"][i, : len(row)].tolist() == row.tolist()
        assert set(batch["input_ids"][i, len(row) :].tolist()) <= {42}
        assert int(batch["attention_mask"][i].sum()) == len(row)
