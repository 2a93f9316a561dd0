"""The test part is locked until a learning rate is chosen; this opens it once, for the chosen runs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from transformers import Trainer

from tunebench.comparison import Comparison, Group
from tunebench.config import Execution
from tunebench.data import TextDataset
from tunebench.data.splits import Parts, run_parts, scored_texts
from tunebench.engine import checkpoint as checkpoints
from tunebench.engine import machine
from tunebench.engine.evaluator import predict_logits
from tunebench.errors import PlanError
from tunebench.files import stored_file
from tunebench.metrics import score
from tunebench.prepare import make_datasets, prepare_model, training_arguments
from tunebench.records import RunRecord, TestAccess, now
from tunebench.run_folder import RunFolder
from tunebench.spec import RunSpec
from tunebench.store import StudyStore
from tunebench.strategies import family_of


def locked_runs(specs: list[RunSpec]) -> frozenset[str]:
    """Return the runs whose test part stays locked until validation has chosen among learning rates."""
    rates: dict[tuple[str, int], set[float]] = {}
    for spec in specs:
        rates.setdefault((spec.label, spec.train_size), set()).add(spec.learning_rate)
    several = {key for key, found in rates.items() if len(found) > 1}
    chosen = [s for s in specs if s.selection == "validation" and (s.label, s.train_size) in several]
    return frozenset(spec.run_id for spec in chosen)


def score_selected(
    comparison: Comparison,
    *,
    store: StudyStore,
    dataset: TextDataset,
    execution: Execution,
    unlock: bool,
    tell: Callable[[str], None],
) -> list[str]:
    """Score the chosen learning rate of every strategy and size whose runs have all ended.

    Args:
        comparison: The study as it stands.
        store: Where it lies.
        dataset: Its texts.
        execution: Device and threads.
        unlock: Score a newly chosen rate although another one was scored before.
        tell: Told what is done.

    Returns:
        Ids of the runs that were scored.

    Raises:
        PlanError: The test part was opened before for another rate, and ``unlock`` is false. What could
            be scored has been.
    """
    done, refused = [], []
    for group in comparison.groups():
        if group.selected is None or not _settled(group):
            continue
        cells = [cell for cell in group.selected.cells if cell.trained and not cell.scored]
        opened = [arm for arm in group.arms if arm is not group.selected and arm.scored]
        if cells and opened and not unlock:
            refused.append(f"{group.label} at {group.train_size:,}")
            continue
        why = "another rate was chosen after the test part had been opened" if opened else "chosen on validation"
        for cell in cells:
            with store.locked(cell.spec.run_id) as mine:
                if mine:
                    tell(f"scoring {cell.spec.run_id.rsplit('-', 1)[0]} on test")
                    folder = store.run_folder(cell.spec.run_id)
                    score_run(cell.spec, dataset=dataset, folder=folder, execution=execution, why=why)
                    done.append(cell.spec.run_id)
    if refused:
        raise PlanError(
            "The test part was scored before for another learning rate; a second look is no honest one.",
            value="; ".join(refused),
            fix="keep the earlier choice, or run with --unlock-test: it will be shown in every table",
        )
    return done


def _settled(group: Group) -> bool:
    """Whether no run of the group is still to come, so that the choice will not change."""
    selected = group.selected
    open_ = [cell for cell in group.cells if cell.status in ("pending", "running")]
    return selected is not None and not open_


def score_run(
    spec: RunSpec, *, dataset: TextDataset, folder: RunFolder, execution: Execution, why: str
) -> RunRecord:
    """Score one trained run on the test part with its stored weights, and write its record anew.

    The logits are those the run would have had at the end of training.

    Args:
        spec: The run.
        dataset: Its texts.
        folder: Where it lies; its record is replaced as a whole.
        execution: Device and threads.
        why: Goes into the record.
    """
    record = folder.read()
    assert record is not None and record.timing is not None
    folder.require_weights(record)
    folder.note(f"test part opened: {why}")
    device = machine.resolve_device(execution.device)
    machine.set_threads(machine.threads_of(execution))
    parts = run_parts(spec, dataset)
    predict = _few_shot if family_of(spec.kind) == "few_shot" else _encoder
    logits, labels, seconds = predict(spec, dataset, parts, folder, device)
    folder.write_predictions(logits=logits, labels=labels, indices=parts.test)
    scored = record.model_copy(
        update={
            "scores": score(labels, logits, dataset.label_names),
            "timing": record.timing.model_copy(update={"test_seconds": seconds}),
            "files": record.files | {folder.predictions.name: stored_file(folder.predictions)},
            "test_access": [*record.test_access, TestAccess(time=now(), why=why)],
        }
    )
    folder.commit(scored)
    return scored


#: Logits of the test part, its labels, and the seconds that scoring took.
_Predicted = tuple[np.ndarray, np.ndarray, float]


def _encoder(spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, device: str) -> _Predicted:
    prepared = prepare_model(spec, device=device)
    prepared.model.to(device)
    checkpoints.load_weights(folder.weights, prepared.model)
    if prepared.fast is not None:
        prepared.fast.refresh(everything=True)
    _, _, test_set, collator = make_datasets(spec, dataset, parts)
    begin = time.monotonic()
    if spec.engine == "fast":
        logits = predict_logits(
            prepared.model,
            test_set.texts,
            collator=collator,
            device=device,
            fast=prepared.fast,
            autocast=prepared.autocast,
        )
    else:
        with tempfile.TemporaryDirectory() as output:
            arguments = training_arguments(
                spec,
                output=Path(output),
                device=device,
                steps_per_epoch=1,
                evaluates=False,
                autocast=prepared.autocast is not None,
            )
            trainer = Trainer(model=prepared.model, args=arguments, data_collator=collator)
            logits = np.asarray(trainer.predict(test_set).predictions, dtype=np.float32)
    return logits, test_set.labels, time.monotonic() - begin


def _few_shot(spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, device: str) -> _Predicted:
    from tunebench.sentence_classifier import SentenceClassifier

    classifier = SentenceClassifier.load(spec, folder.weights, device=device)
    _, (texts, labels) = scored_texts(spec, dataset, parts)
    begin = time.monotonic()
    return classifier.logits(texts), labels, time.monotonic() - begin
