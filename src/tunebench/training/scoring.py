"""Scoring a trained run on the test part, after training."""

from __future__ import annotations

from tunebench.data import TextDataset
from tunebench.errors import StoreError
from tunebench.files import stored_file
from tunebench.machine import devices
from tunebench.machine.settings import Execution
from tunebench.store.record import RunRecord, TestAccess, now
from tunebench.store.run_folder import RunFolder
from tunebench.study.spec import RunSpec
from tunebench.tasks.temperature import tempered
from tunebench.training.parts import run_parts
from tunebench.training.registry import backend_of


@devices.kept_threads()
def score_run(
    spec: RunSpec, *, dataset: TextDataset, folder: RunFolder, execution: Execution, why: str
) -> RunRecord:
    """Score one trained run on the test part with its stored weights, and rewrite its record.

    The logits are those the run would have had at the end of training. The record says that the test part is opened
    before it is: so a scoring that is cut short is known, and the next call completes it as the same access.

    Args:
        spec: The run; it has no scores yet.
        dataset: Its texts.
        folder: Where it lies; its record is replaced as a whole.
        execution: Device and threads.
        why: Goes into the record.

    Raises:
        StoreError: The run has scores, or its files are damaged.
    """
    record = folder.read()
    assert record is not None and record.timing is not None
    timing = record.timing
    if record.scores is not None:
        raise StoreError("The run was scored on the test part before.", value=spec.run_id)
    folder.require_weights(record)
    if record.test_access:
        folder.note(f"test part opened: {why}; the look before was cut short")
    else:
        folder.note(f"test part opened: {why}")
        record = record.model_copy(update={"test_access": [TestAccess(time=now(), why=why)]})
        folder.commit(record)
    device = devices.resolve_device(execution.device)
    devices.set_threads(devices.threads_of(execution))
    parts = run_parts(spec, dataset)
    logits, labels, seconds = backend_of(spec.kind).predict_test(spec, dataset, parts, folder, device)
    logits = tempered(logits, record.temperature)
    folder.write_predictions(logits=logits, labels=labels, indices=parts.test)
    scored = record.model_copy(
        update={
            "scores": record.task.score(labels, logits, dataset.label_names, spec.metric),
            "timing": timing.model_copy(update={"test_seconds": seconds}),
            "files": record.files | {folder.predictions.name: stored_file(folder.predictions)},
        }
    )
    folder.commit(scored)
    return scored
