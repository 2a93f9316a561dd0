"""Small studies of the tasks beside one label a text: data whose answer shows in its words, and a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunebench.errors import TunebenchError
from tunebench.execution.plan import make_plan
from tunebench.machine.settings import Execution
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig

#: Words of each label.
WORDS = {"anger": "awful hateful".split(), "joy": "lovely superb".split(), "love": "dear sweet".split()}
#: Mean of the numbers, far from 0 and 1, so that a number on another scale than the data's cannot pass for one.
MEAN = 2000.0


@dataclass(frozen=True)
class TaskStudy:
    """A study of one task.

    Attributes:
        name: Its name.
        row: Returns a row of its data, by generator and number.
        counts: Rows of train and test.
        data: Settings of the data beside its source.
        settings: Settings of the study beside those that all have.
    """

    name: str
    row: Callable[[np.random.Generator, int], dict[str, Any]]
    counts: tuple[int, int]
    data: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def write_data(self, folder: Path) -> Path:
        """Write train and test."""
        rng = np.random.default_rng(0)
        for name, count in zip(("train", "test"), self.counts, strict=True):
            lines = [json.dumps(self.row(rng, number)) for number in range(count)]
            (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    def config(self, model: Path, data: Path, **changes: Any) -> StudyConfig:
        """Return the study over a model and a folder of data."""
        raw = {
            "name": self.name,
            "model": str(model),
            "data": {"source": str(data), **self.data},
            "max_length": 24,
            "epochs": 2,
            "batch_size": 8,
            "validation_fraction": 0.2,
            "precision": "fp32",
        }
        return StudyConfig.model_validate(raw | self.settings | changes)

    def check_refused(self, model: Path, folder: Path, message: str, changes: Mapping[str, Any]) -> None:
        """Check that the plan of the study with some changes is refused with a message."""
        made = self.config(model, self.write_data(folder), **changes)
        with pytest.raises(TunebenchError, match=message):
            make_plan(made, execution=Execution(device="cpu"), measure=False)


def _labelled(rng: np.random.Generator, number: int) -> dict[str, Any]:
    filler = "the film was a story of two men in paris who met again".split()
    labels = [label for label in WORDS if rng.random() < 0.45]
    words = [*rng.choice(filler, size=6), *(str(rng.choice(WORDS[label])) for label in labels), str(number)]
    return {"text": " ".join(words), "labels": labels}


def _numbered(rng: np.random.Generator, number: int) -> dict[str, Any]:
    filler = "the film was a story of two men in paris".split()
    good, bad = rng.integers(0, 4, 2)
    words = [*rng.choice(filler, 5), *["lovely"] * good, *["awful"] * bad, str(number)]
    value = MEAN + 10.0 * (good - bad) + round(float(rng.normal()), 2)
    return {"text": " ".join(rng.permutation(words)), "year": value}


#: Texts with several labels, and some with none.
SEVERAL = TaskStudy(
    "several",
    _labelled,
    (120, 60),
    {"labels": {"none": "keep"}},
    {
        "strategies": {
            "full": {"learning_rate": 3e-3},
            "lora": {"learning_rate": 1e-2},
            "tfidf": {"c": [1, 100]},
            "static": {"c": [1, 100], "head": "svm"},
        },
        "train_sizes": [60],
        "seeds": [1, 2],
    },
)
#: A number for each text: the mean and ten for each good word, less ten for each bad one.
NUMBERS = TaskStudy(
    "numbers",
    _numbered,
    (100, 40),
    {"label_column": "year"},
    {
        "strategies": {
            "full": {"learning_rate": 3e-3},
            "lora": {"learning_rate": 1e-2},
            "tfidf": {"c": [1, 100]},
            "embeddings": {"c": [1, 100]},
            "static": {"c": [1, 100], "head": "svm"},
        },
        "train_sizes": [48],
        "seeds": [1],
    },
)


def run_of(study: Path, kind: str) -> Path:
    """Return the folder of a study's first run of a kind of strategy."""
    store = StudyStore.open(study)
    return store.run_folder(next(c.spec.run_id for c in store.cells() if c.spec.kind == kind)).path
