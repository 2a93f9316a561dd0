"""Evaluation: texts sorted by length, adapters merged, inference mode, results in the data's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tunebench.engine import process_group
from tunebench.engine.batching import Collator, batches_by_length

if TYPE_CHECKING:
    from tunebench.data.pair_rows import TokenRows
    from tunebench.engine.fast.attach import FastEncoder


def predict_logits(
    model: nn.Module,
    texts: TokenRows,
    *,
    collator: Collator,
    device: str,
    fast: FastEncoder | None = None,
    autocast: torch.dtype | None = None,
    batch_tokens: int = 4096,
    on_batch: Callable[[int], None] | None = None,
    into: np.ndarray | None = None,
) -> np.ndarray:
    """Return the logits of all texts.

    Several processes take a batch each in turn, and all get all logits, bit-identical to those of one process.

    Args:
        model: The classifier; afterwards its mode is as before, and its weights are bit-identical.
        texts: Tokenised texts.
        collator: Pads them.
        device: The model's device.
        fast: The model's fast layers, if attached.
        autocast: Compute type of the matrix products where there are no fast layers.
        batch_tokens: Tokens a batch, padding included.
        on_batch: Called with the number of texts done so far.
        into: float32 ``(texts, classes)`` that the logits are written into, batch by batch. Batches without a NaN
            are known already and not computed. Of one process alone.

    Returns:
        float32 of shape ``(texts, classes)``, in the order of ``texts``.
    """
    result = into
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), _merged(model, fast), _autocast(device, autocast):
            done = 0
            for number, chunk in enumerate(batches_by_length(texts.lengths, batch_tokens=batch_tokens)):
                done += len(chunk)
                if number % process_group.size() != process_group.rank():
                    continue
                if into is not None and not np.isnan(into[chunk]).any():
                    continue
                batch = collator.pad([texts[i] for i in chunk])
                output = model(**{name: tensor.to(device) for name, tensor in batch.items()})
                found = output.logits.float().cpu().numpy()
                if result is None:
                    result = np.zeros((len(texts), found.shape[1]), dtype=np.float32)
                result[chunk] = found
                if on_batch is not None:
                    on_batch(done)
    finally:
        model.train(training)
    if result is None:  # no batch was this process's
        classes = int(model.config.num_labels)  # type: ignore[union-attr, arg-type]
        result = np.zeros((len(texts), classes), dtype=np.float32)
    return process_group.merged_rows(result)


@contextmanager
def _merged(model: nn.Module, fast: FastEncoder | None) -> Iterator[None]:
    if fast is None:
        with merged_adapters(model.modules()):
            yield
    else:
        with merged_adapters(fast.own_forwards), fast.merged():
            yield


def _autocast(device: str, dtype: torch.dtype | None) -> Any:
    return nullcontext() if dtype is None else torch.autocast(device, dtype=dtype)


@contextmanager
def merged_adapters(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Merge PEFT's adapters among the modules into their base layers; afterwards these are bit-identical.

    Subtracting the update again would leave rounding errors, so a copy of weights and biases (IA3 scales both) is
    kept and put back. Adapters that cannot be merged run as they are.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: list[Any] = []
    for module in modules:
        if isinstance(module, BaseTunerLayer) and hasattr(module, "merge") and not module.merged:
            layers.append(module)
    kept = []
    try:
        for layer in layers:
            kept += [(p, p.detach().clone()) for p in layer.get_base_layer().parameters(recurse=False)]
            layer.merge()
        yield
    finally:
        for parameter, original in kept:
            parameter.data.copy_(original)
        for layer in layers:
            layer.merged_adapters.clear()
