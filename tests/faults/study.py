"""A tiny real study on disk for fault tests: two layers, short texts, one thread; also a program.

``python -m faults.study FOLDER OUT`` runs it with a checkpoint every few steps, so that a kill finds every
kind of moment: planning, a step, a checkpoint half written, a commit.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

import warm
from conftest import VOCABULARY, write_tokenizer

#: Seconds between two checkpoints: as often as a step takes, instead of five minutes.
CHECKPOINT_SECONDS = 0.02
STRATEGIES: dict[str, Any] = {
    "full": {"learning_rate": 3e-3},
    "lora": {"placement": "attention", "rank": 4, "learning_rate": 5e-3, "dropout": 0.1},
}


def make(folder: Path, *, whole_vocabulary: bool = False, **changes: Any) -> Path:
    """Write model, texts and ``study.yaml`` into a folder, and return the study's path.

    Args:
        folder: Where.
        whole_vocabulary: Whether the model has all tokens of the packaged tokenizer.
        changes: Keys of the study to set.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, BertConfig

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=30522 if whole_vocabulary else VOCABULARY, **sizes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder / "model")
    write_tokenizer(folder / "model", whole=whole_vocabulary)
    generator = np.random.default_rng(0)
    filler = "the film was a story of two men in paris who met again after many years".split()
    for name, count in (("train", 80), ("test", 30)):
        lines = ["text,label"]
        for i in range(count):
            words = [*generator.choice(filler, size=generator.integers(4, 12)), "great" if i % 2 else "awful"]
            lines.append(f"{' '.join(words)} {i},{'pos' if i % 2 else 'neg'}")
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    study = {
        "model": str(folder / "model"),
        "data": str(folder / "data"),
        "strategies": STRATEGIES,
        "train_sizes": [40, 80],
        "seeds": [1],
        "max_length": 16,
        "epochs": 3,
        "batch_size": 8,
        "precision": "fp32",
    }
    path = folder / "study.yaml"
    path.write_text(json.dumps(study | changes))
    return path


def command(study: Path, out: Path, *more: str) -> list[str]:
    """Return the command that runs a study in a process of its own."""
    return [sys.executable, "-W", "ignore", "-m", "faults.study", str(study), str(out), *more]


def environment(cache: Path) -> dict[str, str]:
    """Return what that process needs in its environment."""
    import tunebench

    paths = (str(Path(__file__).parents[1]), str(Path(tunebench.__file__).parents[1]))
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TUNEBENCH_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
    }


def results(out: Path) -> dict[str, dict[str, Any]]:
    """Return by run what must not depend on what happened on the way: scores, selection, counts and hashes.

    Raises:
        StoreError: A record, or a file of it, is damaged.
    """
    from tunebench.store.study_folder import StudyStore

    found = {}
    store = StudyStore.open(out)
    for planned in store.planned():
        folder = store.run_folder(planned.spec.run_id)
        record = folder.read()
        if record is None or record.status not in ("complete", "pruned"):
            continue
        folder.verify(record)
        stored = folder.read_predictions() if folder.has_predictions(record) else {}
        raw = record.model_dump(mode="json")
        cost = raw["cost"] or {}
        found[planned.spec.run_id] = {
            "status": raw["status"],
            "scores": raw["scores"],
            "looks": len(raw["test_access"]),
            "selected": raw["selected"],
            "weights": raw["files"].get("weights.safetensors"),
            "predictions": {name: values.tobytes() for name, values in stored.items()},
            "counts": [cost.get(name) for name in ("tokens", "tokens_padded", "train_flops")],
            "losses": [
                {key: entry[key] for key in ("step", "loss", "eval_loss", "eval_macro_f1") if key in entry}
                for entry in raw["log_history"]
            ],
        }
    return found


def leftovers(out: Path) -> list[str]:
    """Return names of files and folders that a complete study must not keep: halves, checkpoints, damage."""
    kept = {"record.json", "spec.json", "weights.safetensors", "predictions.npz", "run.log"}
    odd = [p for run in (out / "runs").iterdir() if run.is_dir() and run.name != ".locks" for p in _odd(run, kept)]
    odd += [p for p in out.iterdir() if p.name.startswith(".")]
    return sorted(p.relative_to(out).as_posix() for p in odd)


def _odd(run: Path, kept: set[str]) -> list[Path]:
    return (
        [run]
        if ".damaged-" in run.name or run.name == ".prefix"
        else [p for p in run.iterdir() if p.name not in kept]
    )


def often(seconds: float = CHECKPOINT_SECONDS) -> None:
    """Have checkpoints saved as often as a test needs them, in this process."""
    from tunebench.training.encoder.trainer import StudyTrainer

    init: Callable[..., None] = StudyTrainer.__init__

    def hurried(self: StudyTrainer, *args: Any, **options: Any) -> None:
        context = replace(options.pop("context"), checkpoint_seconds=seconds)
        init(self, *args, context=context, **options)

    StudyTrainer.__init__ = hurried  # type: ignore[method-assign]


def start(
    study: Path, out: Path, *more: str, environment: Mapping[str, str], told: Path | None = None
) -> BaseProcess:
    """Start the study in a warm process; ``told`` is a file for what it writes."""
    return warm.start(run, study, out, *more, environment=environment, told=told)


def run(study: object, out: object, *more: str) -> None:
    """Be the command that runs a study, with a checkpoint every few steps and without a report."""
    import tunebench.api

    often()
    # Its figures take longer than the runs, and are no subject here.
    tunebench.api._write_report = lambda comparison, folder, **options: folder / "report.html"
    warm.command(["run", study, "--out", out, "--no-measure", "--threads", "1", *more])


if __name__ == "__main__":
    run(*sys.argv[1:])
