"""Studies on disk as a finished run leaves them, with data, records and predictions. Nothing was trained."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from factories import EIGHT, HONEST, make_record, make_spec
from tunebench.analysis.recommend import Alternative, Recommendation
from tunebench.data import load_dataset
from tunebench.data.reference import DataConfig, DataRef
from tunebench.files import stored_file, write_json
from tunebench.stats import Equivalence, Interval
from tunebench.stats.decisions import Verdict
from tunebench.store.plan_file import PlannedRun
from tunebench.store.record import Status
from tunebench.store.run_folder import RunFolder
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec
from tunebench.tasks.classification import CLASSIFICATION

#: A review that would run, load and break out, were it anything but text.
EVIL = (
    "</script></p><script>window.hacked = 1; document.title = 'hacked'</script>"
    "<img src=x onerror='window.hacked = 2'> <b>bold & brave</b> {{ 7 * 7 }} & the worst film of 1999"
)
COMMON = HONEST | {"test_size": 60, "max_length": 64}


def write_data(folder: Path, *, texts: int = 60) -> DataConfig:
    """Write reviews with a train and a test file; the first test review is :data:`EVIL`."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for row in range(texts):
                words = "a fine film" if row % 2 else "a dull film"
                text = (
                    EVIL if part == "test" and row == 0 else f"{part} review {row}: {words}. " + "And so on. " * row
                )
                writer.writerow([text, "pos" if row % 2 else "neg"])
    return DataConfig(source=str(folder))


def make_study_folder(
    root: Path,
    *,
    labels: Sequence[str] = ("full", "lora"),
    sizes: Sequence[int] = (5_000, 10_000),
    seeds: Sequence[int] = (1, 2),
    statuses: Sequence[Status] = ("complete",),
    name: str = "made-up",
    texts: int = 60,
    skill: Mapping[str, float] | None = None,
    alpha: float = 0.05,
) -> Path:
    """Write a study; of the runs, every k-th has the k-th status.

    Errors are many and differ by strategy and seed; the evil review is one that every run gets wrong.

    Args:
        root: Where data and study are written.
        labels: Strategies.
        sizes: Training sizes.
        seeds: Seeds.
        statuses: Of the runs.
        name: Of the study.
        texts: Of the training and of the test part.
        skill: How far from chance strategies are; by default all alike.
        alpha: Level of its tests.
    """
    config = write_data(root / "data", texts=texts)
    dataset = load_dataset(config)
    assert dataset.test is not None
    reference = DataRef(
        source=config.source, fingerprint=dataset.fingerprint, label_names=tuple(dataset.label_names)
    )
    specs = [
        make_spec(label, size=size, seed=seed, data=reference, **COMMON | {"test_size": texts})
        for seed in seeds
        for size in sizes
        for label in labels
    ]
    strategies = {
        label: {"kind": kind, "learning_rate": rate, "params": params}
        for label, (kind, params, rate) in EIGHT.items()
        if label in labels
    }
    same = ("validation_fraction", "selection", "subset_seed", "engine", "precision", "test_size", "max_length")
    study = StudyConfig.model_validate(
        {
            "name": name,
            "model": specs[0].model.source,
            "data": config,
            "strategies": strategies,
            "train_sizes": sizes,
            "seeds": seeds,
            "alpha": alpha,
            **{key: getattr(specs[0], key) for key in same},
        }
    )
    folder = root / "study"
    StudyStore.create(folder, study, [PlannedRun(spec) for spec in specs])
    for number, spec in enumerate(specs):
        status = statuses[number % len(statuses)]
        if status == "complete":
            _complete(folder, spec, dataset.test.labels, (skill or {}).get(spec.label, 1.6), name)
        elif status in ("failed", "out_of_memory"):
            run = RunFolder(folder / "runs" / spec.run_id)
            write_json(run.failure, make_record(spec, status=status).model_dump(mode="json"))
    return folder


def make_recommendation(count: int, **changes: Any) -> Recommendation:
    """Return a recommendation of c0 among c0, c1 and on, each a little worse; the interval of c1 is huge."""
    intervals = [
        Interval(0.9 - i / 200, *((0.0, 1.0) if i == 1 else (0.89 - i / 200, 0.91 - i / 200)), 0.95, "t", "seeds")
        for i in range(count)
    ]
    alternatives = tuple(
        Alternative(f"c{i}", 1e-4, 2, one, other, other, {"train_seconds": 60.0 + i})
        for i, one in enumerate(intervals)
        for other in [make_difference("inconclusive") if i else None]
    )
    said: dict[str, Any] = {"sentence": "", "beside": "", "conclusive": True, "tie": (), "margin": 0.5}
    said |= dict.fromkeys(("reasons", "doubts", "not_tried", "would_change"), ())
    said |= {"learning_rate": 1e-4, "metric": "macro_f1", "prefer": "score", "alternatives": alternatives}
    return Recommendation(**{"strategy": "c0", "train_size": 1_000, **said, **changes})


def make_difference(verdict: Verdict) -> Equivalence:
    """Return a difference from the best with a verdict."""
    interval = Interval(-0.01, -0.02, 0.0, 0.9, "t", "seeds")
    close, real = "equivalent" in verdict, "different" in verdict
    tost_p, p_value = 0.01 if close else 0.5, 0.01 if real else 0.5
    return Equivalence(verdict, 0.005, 0.05, interval, interval, tost_p, p_value, "seeds")


def _complete(folder: Path, spec: RunSpec, labels: np.ndarray, skill: float, name: str) -> None:
    run = RunFolder(folder / "runs" / spec.run_id)
    run.path.mkdir(parents=True)
    salt = [] if name == "made-up" else list(name.encode())
    rng = np.random.default_rng([spec.seed, spec.train_size, *spec.label.encode(), *salt])
    logits = rng.normal(0, 1.2, (len(labels), 2))
    logits[np.arange(len(labels)), labels] += skill
    logits[0] = [-2.0, 2.0]  # the first is of class 0
    run.write_predictions(
        logits=logits.astype(np.float32), labels=labels.astype(np.int64), indices=np.arange(len(labels))
    )
    files = {run.predictions.name: stored_file(run.predictions)}
    scores = CLASSIFICATION.score(labels, logits.astype(np.float32), spec.data.label_names)
    record = make_record(spec).model_copy(update={"files": files, "scores": scores})
    write_json(run.record, record.model_dump(mode="json"))
