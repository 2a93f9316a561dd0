"""A strategy's own recipe, and ids that outlive additions to the spec."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from factories import compare, make_cell, make_spec
from tunebench.analysis.analysis import analyse
from tunebench.data.reference import DataRef
from tunebench.errors import StoreError
from tunebench.models.reference import ModelRef
from tunebench.recipe import Recipe
from tunebench.schema import ADDED_LATER
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand

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
    assert plain.pop("batches") == "random" and "batches" not in longer, "the reference engine has one order only"
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


def test_truncation_is_an_axis_by_labels() -> None:
    labels = {
        "full": {},
        "tail": {"kind": "full", "truncation": "tail"},
        "both": {"kind": "full", "truncation": "head_tail", "head_share": 0.5},
    }
    found = specs(STUDY | {"strategies": labels})
    assert [(s.truncation, s.head_share) for s in found.values()] == [
        ("head", 0.25),
        ("tail", 0.25),
        ("head_tail", 0.5),
    ]
    assert len({spec.run_id[-16:] for spec in found.values()}) == 3
    assert "truncation" not in found["full"].identity, "older records would lose their ids"
    assert found["tail"].identity["truncation"] == "tail"


def test_the_share_enters_the_id_under_head_tail_only() -> None:
    def ids(**changes: Any) -> str:
        return make_spec("full", **changes).run_id

    assert ids(head_share=0.5) == ids() == ids(truncation="head")
    assert ids(truncation="tail", head_share=0.5) == ids(truncation="tail") != ids()
    assert len({ids(truncation="head_tail", head_share=share) for share in (0.25, 0.5, 0.75)}) == 3


@pytest.mark.parametrize("order", [("head", "tail"), ("tail", "head")])
def test_a_difference_in_truncation_is_said_whichever_comes_first(order: tuple[str, str]) -> None:
    cells = [make_cell(label, truncation=cut) for label, cut in zip(("full", "lora"), order, strict=True)]
    assert any("differ in: truncation" in line for line in analyse(compare(cells)).warnings)


@pytest.mark.parametrize("order", [("head", "tail"), ("tail", "head")])
def test_runs_cut_differently_are_never_averaged(order: tuple[str, str]) -> None:
    cells = [make_cell("full", seed=seed, truncation=cut) for seed, cut in enumerate(order)]
    with pytest.raises(StoreError, match="truncation"):
        compare(cells)


def test_batches_grouped_by_length_keep_the_ids_of_older_records() -> None:
    grouped = specs(STUDY | {"batches": "by_length"})["full"]
    assert "batches" not in grouped.identity
    older = type(grouped).model_validate(grouped.model_dump(exclude={"batches"}))
    assert older.run_id == grouped.run_id != specs(STUDY)["full"].run_id


def test_a_share_of_the_study_serves_the_strategies_that_use_it() -> None:
    labels = {"full": {}, "both": {"kind": "full", "truncation": "head_tail"}}
    found = specs(STUDY | {"strategies": labels, "head_share": 0.5})
    assert found["both"].identity["head_share"] == 0.5
    assert "head_share" not in found["full"].identity
