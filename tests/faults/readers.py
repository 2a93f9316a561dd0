"""Every reader of stored files, and of requests, with sound files that a fuzzer damages.

A reader may return, or raise a :class:`~tunebench.errors.TunebenchError`. Anything else is a finding.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faults import study as faulty

_STUDY = Path(__file__).parents[2] / "docs" / "results" / "quickstart"


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        make: Writes sound files into an empty folder.
        read: Reads them.
        files: Those that are damaged, as a pattern.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    files: tuple[str, ...] = ("*",)


def _make_study(folder: Path) -> None:
    """Two runs of a committed study, one of them as if it were running."""
    for name in ("study.yaml", "plan.json", "audit.json"):
        shutil.copy(_STUDY / name, folder / name)
    for number, run in enumerate(sorted((_STUDY / "runs").iterdir())[:3]):
        shutil.copytree(run, folder / "runs" / run.name)
        record = json.loads((run / "record.json").read_text())
        record.pop("sha256", None)  # as in earlier versions, so that other values are read and not refused
        (folder / "runs" / run.name / "record.json").write_text(json.dumps(record))
        (folder / "runs" / run.name / "run.log").write_text("2026-01-01T00:00:00+00:00 started\n")
        if number == 2:
            live = dict.fromkeys(("train_step", "train_total", "loss", "best", "steps_per_second", "left_seconds"))
            live |= {"phase": "train", "step": 1, "total": 9, "started": record["started"]}
            live |= {"updated": record["started"], "history": record["log_history"]}
            (folder / "runs" / run.name / "progress.json").write_text(json.dumps(live))
            (folder / "runs" / run.name / "record.json").unlink()


def _read_study(folder: Path) -> None:
    from tunebench.analysis.analysis import analyse
    from tunebench.analysis.load import load_comparison
    from tunebench.report.tables import make_tables
    from tunebench.store.study_folder import StudyStore
    from tunebench.study.yaml_file import load_study

    _all(
        lambda: load_study(str(folder / "study.yaml")),
        lambda: StudyStore.open(folder).study(),
        lambda: StudyStore.open(folder).audit(),
        lambda: make_tables(analyse(load_comparison(folder))),
    )


def _read_watched(folder: Path) -> None:
    """The page's answers, as JSON that a browser reads."""
    from tunebench.formatting import for_json
    from tunebench.web.watching.run import describe_run
    from tunebench.web.watching.study import WatchedStudy

    study = WatchedStudy(folder, pause=0.0)
    state = study.state()
    json.dumps(for_json(state), allow_nan=False).encode()
    since = folder / "since"
    study.state(since.read_text(errors="surrogateescape") if since.exists() else state["version"])
    for row in state["runs"]:
        found = study.planned(row["id"])
        assert found is not None
        json.dumps(for_json(describe_run(*found)), allow_nan=False).encode()


def _make_watched(folder: Path) -> None:
    _make_study(folder)
    (folder / "since").write_text("0123abcd-12")


def _make_model(folder: Path) -> None:
    """A tiny classifier with its own tokenizer."""
    faulty.make(folder / "made")
    for path in (folder / "made" / "model").iterdir():
        shutil.move(path, folder / path.name)
    shutil.rmtree(folder / "made")


def _read_model(folder: Path) -> None:
    from tunebench.inference.predictor import load
    from tunebench.models.loading import load_architecture
    from tunebench.models.sources import resolve_model

    _all(
        lambda: resolve_model(str(folder)),
        lambda: load_architecture(folder),
        lambda: load(folder).predict(["the film was great"]),
    )


def _make_adapter(folder: Path) -> None:
    """A LoRA adapter beside its base, with what an export says of itself."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    _make_model(base := folder / "base")
    config = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"])
    adapted = get_peft_model(AutoModelForSequenceClassification.from_pretrained(base), config)
    adapted.save_pretrained(folder / "adapter")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, folder / "adapter" / name)
    facts = {"truncation": "head", "head_share": 0.25, "temperature": 1.5, "thresholds": None, "inputs": None}
    (folder / "adapter" / "export.json").write_text(json.dumps(facts))


def _read_adapter(folder: Path) -> None:
    from tunebench.inference.predictor import load

    load(folder / "adapter").predict(["the film was great"])


def _make_linear(folder: Path) -> None:
    """An exported linear classifier."""
    from tunebench.tasks.classification import CLASSIFICATION
    from tunebench.training.linear.exports import write_linear
    from tunebench.training.linear.heads import stored_head
    from tunebench.training.linear.model import LinearText
    from tunebench.training.linear.terms import Terms

    head = stored_head({"coefficients": np.array([[1.0, -1.0]]), "intercepts": np.zeros(1)}, CLASSIFICATION)
    write_linear(LinearText(("great", "awful"), np.ones(2), head, Terms(1)), folder, ("no", "yes"), temperature=1.5)


def _read_linear(folder: Path) -> None:
    from tunebench.inference.predictor import load

    load(folder).predict(["the film was great"])


def _make_import(folder: Path) -> None:
    """What a Trainer script leaves."""
    run = folder / "run"
    run.mkdir()
    log = [
        {"epoch": 1.0, "loss": 0.6, "step": 10, "learning_rate": 1e-4, "grad_norm": 1.0},
        {"epoch": 1.0, "eval_loss": 0.5, "eval_accuracy": 0.8, "eval_runtime": 1.0, "step": 10},
        {"epoch": 1.0, "train_runtime": 9.0, "train_loss": 0.6, "total_flos": 1e9, "step": 10},
    ]
    state = {"best_metric": 0.8, "global_step": 10, "max_steps": 10, "epoch": 1.0, "log_history": log}
    for name, value in {
        "trainer_state.json": state | {"num_train_epochs": 1, "train_batch_size": 8, "best_global_step": 10},
        "config.json": {"model_type": "bert", "id2label": {"0": "no", "1": "yes"}, "num_hidden_layers": 2},
        "all_results.json": {"eval_accuracy": 0.8, "epoch": 1.0, "train_samples": 80},
        "training_args.json": {"learning_rate": 1e-4, "seed": 1, "num_train_epochs": 1.0, "output_dir": "x"},
        "adapter_config.json": {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "bert"},
    }.items():
        (run / name).write_text(json.dumps(value))
    np.savez(run / "predictions.npz", logits=np.zeros((4, 2), np.float32), labels=np.array([0, 1, 0, 1]))
    (run / "tunebench.yaml").write_text("strategy: mine\ntrain_size: 80\nseed: 1\n")


def _read_import(folder: Path) -> None:
    from tunebench.importing import import_folders

    shutil.rmtree(folder / "out", ignore_errors=True)
    import_folders([folder / "run"], out=folder / "out")
    _read_study_runs(folder / "out")


def _read_study_runs(folder: Path) -> None:
    from tunebench.analysis.load import load_comparison

    load_comparison(folder)


def _make_tokens(folder: Path) -> None:
    """An entry of the token cache."""
    _tokens(folder)
    for path in (folder / "tokens").rglob("*.lock"):
        path.unlink()


_TEXTS = ["great", "awful film"]


def _tokens(folder: Path) -> list[list[int]]:
    from tunebench.data.tokens import whole_tokens

    found = whole_tokens(_TEXTS, _tokenizer(), "fingerprint", folder)
    return [found[number].tolist() for number in range(2)]


def _tokenizer(found: list[Any] = []) -> Any:  # noqa: B006 - made once
    if not found:
        from tempfile import TemporaryDirectory

        from tunebench.models.tokenizer import load_tokenizer

        with TemporaryDirectory() as place:
            _make_model(Path(place) / "model")
            found.append(load_tokenizer(Path(place) / "model"))
    return found[0]


def _read_tokens(folder: Path) -> None:
    """A damaged entry is made anew, so that the tokens are the same."""
    assert _tokens(folder) == _tokenizer()(_TEXTS)["input_ids"], "other tokens"


def _make_table(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        rows = [{"text": f"a film that was {'great' if i % 2 else 'awful'} {i}", "label": i % 2} for i in range(24)]
        path = folder / name
        if name.endswith(".jsonl"):
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif name.endswith(".json"):
            path.write_text(json.dumps(rows))
        else:
            import pandas as pd

            table = pd.DataFrame(rows)
            if name.endswith(".parquet"):
                table.to_parquet(path)
            else:
                table.to_csv(path, index=False, sep="\t" if name.endswith(".tsv") else ",")

    return make


def _read_table(folder: Path) -> None:
    from tunebench.data import load_dataset
    from tunebench.data.reference import DataConfig

    (path,) = folder.iterdir()
    load_dataset(DataConfig(source=str(path)))


def _make_request(folder: Path) -> None:
    (folder / "body").write_text(json.dumps({"texts": ["a film", "another"], "model": "mine"}))


def _read_request(folder: Path) -> None:
    """What ``serve`` does with a body before a model sees it."""
    from pydantic import ValidationError

    from tunebench.data.inputs import ONE_TEXT
    from tunebench.inference.texts import checked_texts
    from tunebench.web.serving.limits import Limits
    from tunebench.web.serving.schema import problems_of, request_type, strange_keys

    body, kind = (folder / "body").read_bytes(), request_type(Limits())
    try:
        strange = strange_keys(kind, body)
    except ValueError:
        return
    told = [problem.model_dump_json() for problem in strange]
    try:
        wanted: Any = kind.model_validate_json(body)
    except ValidationError as error:
        told += [problem.model_dump_json() for problem in problems_of(error)]
        assert 0 < len(told) <= 42
        return
    checked_texts([wanted.texts] if isinstance(wanted.texts, str) else wanted.texts, ONE_TEXT)


def _all(*calls: Callable[[], Any]) -> None:
    """Make every call, also after one that refuses; the first refusal is raised in the end."""
    from tunebench.errors import TunebenchError

    refused = []
    for call in calls:
        try:
            call()
        except TunebenchError as error:
            refused.append(error)
    if refused:
        raise refused[0]


READERS: dict[str, Reader] = {
    "study": Reader(_make_study, _read_study),
    "watch": Reader(_make_watched, _read_watched),
    "model": Reader(_make_model, _read_model),
    "adapter": Reader(_make_adapter, _read_adapter, ("adapter/*",)),
    "linear": Reader(_make_linear, _read_linear),
    "import": Reader(_make_import, _read_import, ("run/*",)),
    "tokens": Reader(_make_tokens, _read_tokens, ("tokens/*/*",)),
    **{
        kind: Reader(_make_table(f"data.{kind}"), _read_table)
        for kind in ("csv", "tsv", "jsonl", "json", "parquet")
    },
    "request": Reader(_make_request, _read_request),
}
