"""The published values that a run may stand beside."""

from __future__ import annotations

from typing import Any

import pytest

from factories import HONEST, compare, make_grid, make_spec
from tunebench.analysis.published import reference
from tunebench.data.reference import DataRef
from tunebench.models.reference import ModelRef

PAPER = reference("paper")


@pytest.mark.parametrize(("kind", "size"), [(kind, size) for kind in PAPER.cells for size in PAPER.cells[kind]])
def test_the_papers_cells_are_found_whatever_their_label(kind: str, size: int) -> None:
    found = PAPER.cell(make_spec(kind, size=size).model_copy(update={"label": "anything"}))
    assert found is not None
    assert found["same_model"] and found["differs"] == ()
    # The printed tables follow from the unrounded values of the logs.
    assert found["minutes"] == pytest.approx(found["total_seconds"] / 60, abs=0.06)
    assert found["train_seconds"] == found["total_seconds"] - found["eval_seconds"]
    divisor = 66_955_010 + 739_586 if kind == "full" else found["trainable_params"]
    assert found["per_million"] == pytest.approx(found["macro_f1"] / divisor * 1e6, rel=5e-3)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 2e-4},
        {"params": {"rank": 16}},
        {"params": {"placement": "attention"}},
        {"size": 2_500},
        {"epochs": 2},
        {"batch_size": 16},
        {"max_length": 128},
        {"weight_decay": 0.01},
        {"schedule": "constant"},
        {"warmup_ratio": 0.1},
        {"max_grad_norm": 0.0},
        {"data": DataRef(source="rotten-tomatoes", fingerprint="x", label_names=("neg", "pos"))},
    ],
)
def test_another_recipe_is_not_the_papers(change: dict[str, Any]) -> None:
    assert PAPER.cell(make_spec("lora", **change)) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": ModelRef(source="minilm", fingerprint="m")}, "model minilm"),
        (HONEST, "selection validation (paper: test)"),
        ({"precision": "bf16"}, "precision bf16"),
        ({"engine": "fast"}, "engine fast"),
        ({"seed": 7}, "seed 7"),
        ({"attention_dropout": 0.0}, "attention dropout 0.0"),
        ({"test_size": 500}, "test size 500"),
    ],
)
def test_another_protocol_stands_beside_and_is_named(change: dict[str, Any], words: str) -> None:
    spec = make_spec("lora", **change)
    found = PAPER.cell(spec)
    assert found is not None
    assert len(found["differs"]) == 1 and words in found["differs"][0]
    assert found["same_model"] == ("model" not in change)


def test_a_local_copy_of_model_and_data_is_recognised() -> None:
    spec = make_spec(
        model=ModelRef(source="/models/distilbert-base-uncased/", fingerprint="m"),
        data=DataRef(source="data/aclImdb", fingerprint="d", label_names=("neg", "pos")),
    )
    found = PAPER.cell(spec)
    assert found is not None and found["differs"] == ()


def test_published_values_stand_only_where_a_study_asks_for_them() -> None:
    spec = make_spec("full")
    assert compare(make_grid()).published(spec) is None and compare(make_grid()).publication == ""
    assert compare(make_grid(), reference="paper").published(spec) is not None
