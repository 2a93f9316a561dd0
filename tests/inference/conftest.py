"""Small finished studies of real tiny architectures: full fine-tuning, and LoRA at two placements."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TINY, VOCABULARY, write_tokenizer
from tunebench.execution.display import PlainDisplay
from tunebench.execution.plan import make_plan
from tunebench.execution.runner import Job, run_plan
from tunebench.machine.settings import Execution
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.training.registry import run_one

STRATEGIES = {
    "full": {"learning_rate": 2e-3},
    "lora-qv": {"kind": "lora", "rank": 4, "placement": "query_value", "learning_rate": 1e-2},
    "lora-all": {"kind": "lora", "rank": 4, "placement": "all_linear", "learning_rate": 1e-2},
}


def write_reviews(path: Path, *, classes: int = 2) -> Path:
    """Write texts of very different lengths, whose class shows in a word."""
    words = (["awful", "dull"], ["superb", "lovely"], ["fine", "so-so"])
    generator = np.random.default_rng(0)
    filler = "the film was a story of two men in paris who met again after many years".split()
    lines = ["text,label"]
    for i in range(150):
        text = list(generator.choice(filler, size=int(generator.integers(2, 40))))
        text.insert(1, str(generator.choice(words[i % classes])))
        lines.append(f"{' '.join(text)} {i},{('negative', 'positive', 'neutral')[i % classes]}")
    path.write_text("\n".join(lines) + "\n")
    return path


def run_tiny(
    model: Path | str, root: Path, *, classes: int = 2, strategies: Any = STRATEGIES, **changes: Any
) -> Path:
    """Run a study on a tiny model, and return its folder."""
    settings = {
        "name": "tiny",
        "model": str(model),
        "data": str(write_reviews(root / "reviews.csv", classes=classes)),
        "strategies": strategies,
        "train_sizes": [90],
        "test_size": 60,
        "max_length": 24,
        "epochs": 2,
        "batch_size": 8,
        # On every machine: the furthest from what an export computes in, and the same few texts near the border.
        "precision": "bf16",
    }
    config, execution = StudyConfig.model_validate(settings | changes), Execution(device="cpu", threads=1)
    plan = make_plan(config, execution=execution, folder=root / "out", budget_seconds=None, measure=False)
    store = StudyStore.create(root / "out", config, list(plan.runs))
    summary = run_plan(
        [run.spec for run in plan.runs],
        Job(store, plan.dataset, execution, PlainDisplay(io.StringIO()), run_one),
    )
    assert not summary.failed
    return root / "out"


@pytest.fixture(scope="session")
def lively_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives a one-layer model of a family whose answers differ from text to text.

    With the usual small weights a tiny model says much the same of every text, and then any two agree.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    root = tmp_path_factory.mktemp("lively")

    def build(model_type: str) -> Path:
        folder = root / model_type
        if not folder.exists():
            torch.manual_seed(0)
            layers = {"n_layers": 1} if model_type == "distilbert" else {"num_hidden_layers": 1}
            options = TINY[model_type] | layers | {"initializer_range": 0.3}
            names = {0: "negative", 1: "positive"}
            config = AutoConfig.for_model(model_type, vocab_size=VOCABULARY, id2label=names, **options)
            AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
            write_tokenizer(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def study(lively_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the folder of a finished study of a family, run once a session."""
    made: dict[str, Path] = {}

    def build(model_type: str) -> Path:
        if model_type not in made:
            # Its head is lively too.
            root = tmp_path_factory.mktemp(f"study-{model_type}")
            made[model_type] = run_tiny(lively_model(model_type), root, keep_head=True)
        return made[model_type]

    return build


def run_of(study: Path, label: str) -> str:
    """Return the id of a strategy's run."""
    (found,) = [p.spec.run_id for p in StudyStore.open(study).planned() if p.spec.label == label]
    return found
