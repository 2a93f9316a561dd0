"""Which runs may stand in one table, and which may be averaged."""

from __future__ import annotations

from typing import Any

import pytest

from factories import compare, make_cell, make_record, make_spec
from tunebench.data.reference import DataRef
from tunebench.errors import StoreError
from tunebench.models.reference import ModelRef
from tunebench.store.cell import Cell


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"data": DataRef(source="x", fingerprint="other", label_names=("neg", "pos"))}, "data"),
        ({"selection": "last"}, "selection"),
        ({"validation_fraction": 0.2}, "validation_fraction"),
        ({"subset_seed": 7}, "the draw of the test part"),
        ({"test_size": 100}, "test_size"),
        ({"copies": "together"}, "copies"),
    ],
)
def test_different_protocols_are_never_mixed(change: dict[str, Any], named: str) -> None:
    with pytest.raises(StoreError, match=f"differ in {named}"):
        compare([make_cell(seed=1), make_cell("lora", seed=2, **change)])


OTHER_MODEL = ModelRef(source="x", fingerprint="other")


@pytest.mark.parametrize(
    "change", [{"epochs": 4}, {"precision": "bf16"}, {"params": {"rank": 4}}, {"model": OTHER_MODEL}]
)
def test_only_seeds_are_averaged(change: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match=f"differ in {next(iter(change))}"):
        compare([make_cell("lora", seed=1), make_cell("lora", seed=2, **change)])


def test_impossible_cells_are_refused() -> None:
    cell = make_cell()
    with pytest.raises(StoreError, match="no runs"):
        compare([])
    with pytest.raises(StoreError, match="twice"):
        compare([cell, cell])
    with pytest.raises(StoreError, match="another run"):
        compare([Cell(make_spec(seed=1), "complete", make_record(make_spec(seed=2)))])
    with pytest.raises(StoreError, match="no record"):
        compare([Cell(cell.spec, "complete", None)])
