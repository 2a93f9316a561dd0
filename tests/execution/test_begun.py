"""A study goes on in a folder that was begun before a parameter was there."""

from __future__ import annotations

from typing import Any

from factories import make_spec
from tunebench.execution.begun import begun_params
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec


def study(**strategies: Any) -> StudyConfig:
    return StudyConfig.model_validate(
        {"name": "s", "model": "m", "data": "d", "train_sizes": [20], "strategies": strategies}
    )


def older(kind: str, *missing: str) -> RunSpec:
    """Return a run of a kind whose record lacks parameters."""
    spec = make_spec(kind, kind=kind)
    return spec.model_copy(update={"params": {k: v for k, v in spec.params.items() if k not in missing}})


def test_only_what_was_done_otherwise_before_gives_way() -> None:
    # Of lora everything that came later is as before by default; of tfidf it is not.
    begun = [older("lora", "rslora", "dora", "init", "top_layers"), older("tfidf", "choose_by")]
    said: list[str] = []
    wanted = study(lora={}, tfidf={}, other={"kind": "tfidf", "ngrams": 1})
    found = begun_params(wanted, begun, said.append)
    assert found.strategies["lora"] == wanted.strategies["lora"]
    assert found.strategies["other"] == wanted.strategies["other"]
    assert found.strategies["tfidf"].params == wanted.strategies["tfidf"].params | {"choose_by": "selection"}
    assert len(said) == 1 and "tfidf" in said[0] and "choose_by: selection" in said[0]
    assert begun_params(wanted, (), said.append) is wanted
