"""The frozen lower layers of a run: their outputs are computed once, before the first step."""

from __future__ import annotations

import time
from typing import Any

from tunebench.engine.batching import TokenDataset
from tunebench.store.live import Progress
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.encoder.prepare import Prepared
from tunebench.training.encoder.trainer import StudyTrainer


def fill_prefix(
    attempt: Attempt, prepared: Prepared, trainer: StudyTrainer, sets: list[TokenDataset]
) -> dict[str, Any] | None:
    """Compute and keep the frozen layers' outputs of all texts before the first step, where that is asked for.

    Its time is counted apart from training; its operations count as training.

    Returns:
        What the record says of it; ``None`` where there is no such prefix.

    Raises:
        Interrupted: ``attempt.stop`` turned true.
    """
    prefix, limit = prepared.prefix, attempt.execution.prefix_cache
    if prefix is None:
        return None
    said: dict[str, Any] = {"layers": prefix.layers, "kept": False, "texts_computed": 0}
    if limit is None:
        return said | {"reason": "switched off"}
    if prefix.open(attempt.folder.prefixes, limit=limit) is None:
        return said | {"reason": prefix.reason}

    def tell(done: int, total: int) -> None:
        attempt.report(Progress(attempt.spec.run_id, "prepare", done, total, None, None))
        if attempt.stop():
            raise Interrupted(f"stopped after {done} of {total} texts went through the frozen layers")

    start = time.monotonic()
    work = prepared.workload.below(prefix.layers)
    for dataset in sets:
        try:
            lengths = prefix.fill(dataset.texts, trainer.collator, on_batch=tell)
        except OSError as error:
            lengths, said["reason"] = None, f"the cache cannot be written: {error.strerror}"
        if lengths is None:
            said.setdefault("reason", "more than the cache may hold")
            continue
        said["texts_computed"] += len(lengths)
        if dataset is sets[0]:
            said["kept"] = True
            trainer.workload = prepared.workload.above(prefix.layers)
            trainer.meters.train_flops = sum(work.forward(texts=1, length=int(n)) for n in lengths)
    trainer.meters.prefix_seconds = time.monotonic() - start
    return said
