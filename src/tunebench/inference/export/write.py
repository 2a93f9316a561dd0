"""The export itself: write to a temporary folder, load again, compare, and only then move to the place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunebench.errors import ConfigError, ExportError, StoreError, first_line
from tunebench.files import remove_abandoned_folders, temporary_beside, write_json
from tunebench.inference.artifacts import Artifact, Format
from tunebench.inference.export.base import EXPORTERS, Exporter
from tunebench.inference.export.card import hub_name, shown, write_card
from tunebench.inference.export.check import ExportCheck, agreement, latency_ms
from tunebench.inference.export.source import ExportSource, open_source
from tunebench.inference.stated_facts import EXPORT_FILE
from tunebench.models.pooling import pools_by_config
from tunebench.models.sources import model_folder
from tunebench.store.imported import trained_here
from tunebench.strategies import capabilities_of

if TYPE_CHECKING:
    from tunebench.data.reference import DataRef
    from tunebench.inference.predictor import Predictor
    from tunebench.models.reference import ModelRef
    from tunebench.tasks.base import Task

_NOTES = (EXPORT_FILE, "README.md")
#: Raised when the meaning of ``export.json`` changes.
EXPORT_VERSION = 1
#: Texts of the test part that an export is checked on.
CHECKED_TEXTS = 256
#: Share of the run's stored predictions that its rebuilt model must repeat. They were made in bf16 on most
#: machines, and the model is rebuilt in fp32, so labels decided by a hair may differ.
SAME_AS_STORED = 0.95


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        folder: Its folder.
        facts: The content of its ``export.json``.
    """

    folder: Path
    facts: dict[str, Any]


def export_run(
    study: Path,
    *,
    out: Path,
    format: str | None = None,
    run_id: str | None = None,
    recommended: bool = False,
    texts: int = CHECKED_TEXTS,
    title: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Export a run of a study, and check it against the run.

    Args:
        study: The study's folder.
        out: The new folder; it must not be there yet, or be empty.
        format: A key of :data:`~tunebench.inference.export.base.EXPORTERS`; None for what holds any run of its
            kind: ``linear`` for a linear classifier; ``onnx`` where the head reads the mean over tokens and
            Transformers has no setting for that; ``merged`` for all others.
        run_id: The run; None for the best on validation, by the study's metric.
        recommended: Export a run of the recommended strategy, which is chosen by scores on the test part.
        texts: Texts of the test part to compare on.
        title: What the model card calls it; by default the name of its folder.
        tell: Called with a line for each step.

    Raises:
        ExportError: The format cannot hold the run, or the export predicts something else than the run. Nothing
            is left at ``out`` then.
        TunebenchError: Study, run, data or base are missing, or have changed.
    """
    if format is not None and format not in EXPORTERS:
        raise ConfigError("There is no such export format.", value=format, allowed=", ".join(EXPORTERS))
    if run_id is not None and recommended:
        raise ConfigError("Either a run is named, or the recommended one is taken.", value=run_id)
    check_place(out)
    source = open_source(study, run_id=run_id, recommended=recommended, texts=texts)
    return export_source(source, out=out, format=format, title=title, tell=tell)


def export_source(
    source: ExportSource,
    *,
    out: Path,
    format: str | None = None,
    title: str | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Export a run that was opened, and check it against the run; see :func:`export_run`.

    ``title`` is what the model card calls it; by default the name of its folder.
    """
    from safetensors import SafetensorError

    check_place(out)
    exporter = EXPORTERS[format or _default_format(source.artifact)]
    exporter.check(source.artifact)
    remove_abandoned_folders(out)
    temporary = temporary_beside(out)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        facts = _write(source, exporter, temporary, title or out.name, tell)
        if out.exists():
            out.rmdir()
        os.replace(temporary, out)
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        if isinstance(error, SafetensorError) and "I/O error" not in str(error):
            raise  # damage, and not the disk
        raise StoreError(
            f"The export cannot be written: {why or first_line(error)}", value=str(out), fix="choose another --out"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Exported(out, facts)


def _default_format(artifact: Artifact) -> Format:
    """Return a format that holds any run of its kind."""
    if artifact.format == "linear":
        return "linear"
    assert artifact.run is not None
    model = artifact.run.model
    pools = artifact.run.pools_mean and not pools_by_config(model_folder(model.source, model.revision))
    return "onnx" if pools else "merged"


def check_place(out: Path) -> None:
    """Refuse a place where something is.

    Raises:
        StoreError: A file, a folder that is not empty, a link, or a path without a name, such as ``.``.
    """
    if not out.name or out.is_symlink():
        raise StoreError(
            "An export takes the place of its folder, which cannot be this one.",
            value=str(out),
            allowed="a new folder, or an empty one that is no link",
            fix="choose another --out, such as --out model",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(
            "There is already a file here, or a folder that is not empty.",
            value=str(out),
            allowed="a new folder, or an empty one",
            fix="choose another --out, or remove it",
        )


def _write(
    source: ExportSource, exporter: Exporter, folder: Path, name: str, tell: Callable[[str], None]
) -> dict[str, Any]:
    from tunebench.inference.predictor import load, predictor_of_run
    from tunebench.machine.clock import ContentionMeter

    tell(f"run {source.artifact.name}: {len(source.texts)} texts through the model as trained")
    before, model, tokens = predictor_of_run(source.artifact)
    meter = ContentionMeter()
    meter.start()
    logits, milliseconds = _answers(before, source)
    task = source.record.task
    repeated = _check_rebuilt(source, logits, task)

    tell(f"writing {exporter.name}: {exporter.summary}")
    exporter.write(model, folder, source.artifact)
    if tokens is not None:
        _write_tokenizer(tokens, folder, source)
    facts = _facts(source, exporter)
    write_json(folder / EXPORT_FILE, facts)

    tell("loading it again, and comparing")
    # ONNX runs as it was written, and all others as the run's model did.
    after = load(folder, device="cpu", precision="auto" if exporter.name.startswith("onnx") else "fp32")
    exported_logits, exported_milliseconds = _answers(after, source)
    meter.stop()
    if after.label_names != before.label_names or after.cut != before.cut:
        raise ExportError(
            "The export has other labels than the run, or reads another part of a long text.",
            value=f"{after.label_names}, {after.cut}",
            allowed=f"{before.label_names}, {before.cut}",
        )
    found = agreement(source.labels[source.chosen], logits, exported_logits, task)
    _refuse_disagreement(found, exporter)
    facts["check"] = {
        **asdict(found),
        "tolerance": asdict(exporter.tolerance),
        "equal_to_stored_predictions": repeated,
        # Of what is loaded, without the notes beside it.
        "bytes": sum(path.stat().st_size for path in folder.iterdir() if path.name not in _NOTES),
        "latency_ms_before": milliseconds,
        "latency_ms_after": exported_milliseconds,
        "contended": meter.contended,
    }
    write_card(folder, source=source, exporter=exporter, facts=facts, cut=before.cut, name=name)
    write_json(folder / EXPORT_FILE, facts)
    return facts


def _write_tokenizer(tokens: Path, folder: Path, source: ExportSource) -> None:
    from tunebench.models.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tokens)
    tokenizer.model_max_length = source.artifact.max_length
    # Both: what is saved are the arguments it was made with, at their present values.
    tokenizer.truncation_side = "left" if source.artifact.truncation == "tail" else "right"
    tokenizer.init_kwargs["truncation_side"] = tokenizer.truncation_side
    tokenizer.save_pretrained(folder)


def _answers(predictor: Predictor, source: ExportSource) -> tuple[np.ndarray, float]:
    return predictor.predict_logits(source.texts), latency_ms(predictor, source.texts)


def _check_rebuilt(source: ExportSource, logits: np.ndarray, task: Task) -> float:
    """Return the share of the run's stored predictions that the rebuilt model repeats.

    Without this, an export could agree with a model that is not the one that was scored.
    """
    repeated = agreement(source.labels[source.chosen], source.logits[source.chosen], logits, task).equal_predictions
    # Of a few texts, one whose label is decided by a hair would be too much.
    if repeated < SAME_AS_STORED and source.judged:
        raise ExportError(
            "The model that is rebuilt from the run's weights does not repeat the run's predictions.",
            value=f"{repeated:.1%} of the predictions are equal",
            allowed=f"at least {SAME_AS_STORED:.0%}",
            fix="check that the versions of torch, transformers and peft are those of the run's record",
        )
    return repeated


def _refuse_disagreement(found: ExportCheck, exporter: Exporter) -> None:
    violations = found.violations(exporter.tolerance)
    if violations:
        raise ExportError(
            f"The export does not predict the same as the run, on {found.texts} texts: {'; '.join(violations)}.",
            value=exporter.name,
            fix="nothing was written; choose another --format",
        )


def _facts(source: ExportSource, exporter: Exporter) -> dict[str, Any]:
    """Return what ``export.json`` says besides the check."""
    spec = trained_here(source.record.spec)
    strategy = capabilities_of(spec.kind)
    base = None
    if strategy.uses_encoder:
        # An adapter is loaded with its base, which has to be found again.
        base = spec.model.model_dump(mode="json") if exporter.name == "adapter" else _passed_on(spec.model)
    return {
        "schema_version": EXPORT_VERSION,
        "format": exporter.name,
        "weights": exporter.weights,
        "run_id": source.record.run_id,
        "study": source.study,
        "strategy": {"label": spec.label, "kind": spec.kind, "params": spec.full_params},
        "recommended_among": list(source.recommended_among),
        "measured_on_fewer_labels": None if source.measured is None else source.measured.record.run_id,
        "learning_rate": spec.shown_learning_rate,
        "train_size": spec.train_size,
        "seed": spec.seed,
        "label_names": list(spec.data.label_names),
        "thresholds": source.record.thresholds,
        "temperature": source.record.temperature,
        "max_length": source.artifact.max_length,
        "truncation": None if source.artifact.max_length is None else spec.truncation,
        "head_share": spec.head_share if spec.truncation == "head_tail" else None,
        "inputs": None if spec.data.inputs is None else spec.data.inputs.model_dump(mode="json"),
        "base": base,
        "data": _passed_on(spec.data),
        "versions": source.record.environment.versions,
    }


def _passed_on(reference: ModelRef | DataRef) -> dict[str, Any]:
    """Return what others are told of a model or data set: of a local one, not the folder it is in."""
    source = reference.source if hub_name(reference) else shown(reference)
    return reference.model_dump(mode="json") | {"source": source}
