"""A strategy's own recipe, and ids that outlive additions to the spec."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from factories import make_spec
from tunebench.config import DataRef, ModelRef, Recipe, StudyConfig, expand
from tunebench.strategies import STRATEGIES
from tunebench.strategies.base import ADDED_LATER

STUDY: dict[str, Any] = {
    "name": "s",
    "model": "minilm",
    "data": "imdb-reviews",
    "train_sizes": [20],
    "epochs": 3,
    "strategies": {"full": {}, "longer": {"kind": "full", "epochs": 6, "engine": "reference"}},
}


def specs(study: dict[str, Any]) -> dict[str, Any]:
    found = expand(
        StudyConfig.model_validate(study),
        model=ModelRef(source="m", fingerprint="m"),
        data=DataRef(source="d", fingerprint="d", label_names=("a", "b")),
        train_examples=100,
        test_examples=50,
        precision={"fast": "bf16", "reference": "fp32"},
    )
    return {spec.label: spec for spec in found}


def test_a_strategy_overrides_what_it_names_and_nothing_else() -> None:
    found = specs(STUDY)
    plain, longer = found["full"].identity, found["longer"].identity
    differ = {key for key in plain if plain[key] != longer[key]}
    assert differ == {"epochs", "engine", "precision"}
    assert (longer["epochs"], longer["engine"], longer["precision"]) == (6, "reference", "fp32")


def test_the_recipe_survives_the_way_to_disk_and_back() -> None:
    study = StudyConfig.model_validate(STUDY)
    again = StudyConfig.model_validate(study.model_dump(mode="json"))
    assert again == study
    assert again.strategies["longer"].recipe == {"epochs": 6, "engine": "reference"}


def test_a_bad_value_in_a_strategys_recipe_is_refused() -> None:
    bad = STUDY | {"strategies": {"full": {"epochs": 0}}}
    with pytest.raises(ValueError, match=r"strategies\.full\.recipe\.epochs|greater than or equal to 1"):
        StudyConfig.model_validate(bad)


def test_two_labels_with_one_recipe_are_refused() -> None:
    with pytest.raises(ValueError, match="same run twice"):
        StudyConfig.model_validate(STUDY | {"strategies": {"full": {}, "again": {"kind": "full", "epochs": 3}}})


def test_an_added_field_enters_the_id_only_when_it_changes_something(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec("lora")
    kind = STRATEGIES[spec.kind]

    class Extended(kind.params):  # type: ignore[name-defined, misc]
        novelty: int = Field(default=0, json_schema_extra=ADDED_LATER)

    monkeypatch.setattr(type(kind), "params", Extended)
    neutral = spec.model_copy(update={"params": spec.params | {"novelty": 0}})
    changed = spec.model_copy(update={"params": spec.params | {"novelty": 1}})
    assert neutral.run_id == spec.run_id
    assert changed.run_id != spec.run_id


def test_every_field_of_the_recipe_is_one_of_the_spec() -> None:
    assert set(Recipe.model_fields) <= set(type(make_spec("full")).model_fields)
