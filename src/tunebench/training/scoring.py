"""Scoring a trained run on the test part, after training."""

from __future__ import annotations

from tunebench.data import TextDataset
from tunebench.files import stored_file
from tunebench.machine import devices
from tunebench.machine.settings import Execution
from tunebench.store.record import RunRecord, TestAccess, now
from tunebench.store.run_folder import RunFolder
from tunebench.study.spec import RunSpec
from tunebench.tasks.metrics import score
from tunebench.training.parts import run_parts
from tunebench.training.registry import backend_of


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
    device = devices.resolve_device(execution.device)
    devices.set_threads(devices.threads_of(execution))
    parts = run_parts(spec, dataset)
    logits, labels, seconds = backend_of(spec.kind).predict_test(spec, dataset, parts, folder, device)
    folder.write_predictions(logits=logits, labels=labels, indices=parts.test)
    scored = record.model_copy(
        update={
            "scores": score(labels, logits, dataset.label_names, spec.metric),
            "timing": record.timing.model_copy(update={"test_seconds": seconds}),
            "files": record.files | {folder.predictions.name: stored_file(folder.predictions)},
            "test_access": [*record.test_access, TestAccess(time=now(), why=why)],
        }
    )
    folder.commit(scored)
    return scored
