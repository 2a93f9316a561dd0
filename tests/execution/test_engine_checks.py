"""What the reference engine cannot take of the fast engine's is said before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakes import make_specs, make_study
from tunebench.errors import PlanError
from tunebench.execution.engine_checks import check_precision, check_randomness
from tunebench.execution.plan import make_plan
from tunebench.machine.settings import Execution
from tunebench.models.architectures import Architecture
from tunebench.models.loading import load_architecture
from tunebench.study.spec import RunSpec


def specs_of(strategies: dict[str, Any], **changes: Any) -> list[RunSpec]:
    shared = {"engine": "reference", "randomness": "fast_engine"}
    return make_specs(make_study(strategies=strategies, **shared | changes))


@pytest.fixture
def bert(tiny_model: Callable[[str], Path]) -> Architecture:
    return load_architecture(tiny_model("bert"))


def messages(specs: list[RunSpec], architecture: Architecture, device: str = "cpu") -> list[str]:
    found = check_randomness(specs, dict.fromkeys((spec.label for spec in specs), architecture), device)
    return [str(error) for error in found]


def test_what_shares_dropout_is_accepted(bert: Architecture) -> None:
    held = dict.fromkeys(("full", "lora", "head_only", "last_k", "bitfit", "ia3", "vera", "adalora"))
    assert messages(specs_of(held), bert) == []


def test_a_strategy_without_an_engine_and_one_of_the_fast_engine_are_no_concern(bert: Architecture) -> None:
    strategies = {"full": None, "tfidf": None, "prefix_tuning": {"engine": "fast"}}
    assert messages(specs_of(strategies, batches="random"), bert, "cpu") == []
    fast_only = [spec for spec in specs_of(strategies) if spec.label != "full"]
    assert messages(fast_only, replace(bert, model_type="deberta-v2"), "cuda") == []


@pytest.mark.parametrize(
    ("kind", "changes", "family", "device", "why", "fix"),
    [
        ("prefix_tuning", {}, "bert", "cpu", "not supported for prefix_tuning", "or choose one of lora, "),
        ("oft", {}, "bert", "cpu", "not supported for oft", "remove randomness"),
        (
            "full",
            {},
            "deberta-v2",
            "cpu",
            "the attention of deberta-v2 is not the one of",
            "choose a model of distilbert, bert, ",
        ),
        ("full", {}, "gpt2", "cpu", "gpt2 has no fast layers", "choose a model of distilbert, bert, "),
        ("full", {}, "bert", "cuda", "this study runs on cuda", "add --device cpu"),
        ("full", {"batches": "by_length"}, "bert", "cpu", "random batches only", "set batches: random"),
    ],
)
def test_the_rest_is_refused_once_with_its_reason(
    bert: Architecture, kind: str, changes: dict[str, Any], family: str, device: str, why: str, fix: str
) -> None:
    specs = specs_of({kind: None}, **changes)
    assert len(specs) == 2
    (message,) = messages(specs, replace(bert, model_type=family), device)
    assert f"Strategy '{kind}' cannot be trained with randomness: fast_engine: " in message
    assert why in message and fix in message


def test_fp16_is_for_gpus() -> None:
    specs = make_specs(make_study(strategies={"full": None, "embeddings": None, "tfidf": None}, precision="fp16"))
    by_label = {spec.label: spec for spec in specs}
    for label in ("full", "embeddings"):
        assert check_precision([by_label[label]], "cuda") == []
        for device in ("cpu", "mps"):
            (error,) = check_precision([by_label[label]], device)
            assert f"runs on {device}" in str(error) and "resumes on a GPU" in str(error)
    assert check_precision([by_label["tfidf"]], "cpu") == []
    assert check_precision(make_specs(make_study(strategies={"full": None}, precision="bf16")), "cpu") == []


def test_the_plan_asks(tiny_model: Callable[[str], Path], reviews: Path) -> None:
    study = make_study(
        model=str(tiny_model("deberta-v2")),
        data=str(reviews),
        train_sizes=[40],
        strategies={"full": {"engine": "reference", "randomness": "fast_engine"}},
    )
    with pytest.raises(PlanError, match="the attention of deberta-v2 is not"):
        make_plan(study, execution=Execution(device="cpu"), measure=False)
