"""A trained run from its folder: its model, and what that predicts on the test part."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from transformers import Trainer

from tunebench.data import TextDataset
from tunebench.data.splits import Parts
from tunebench.engine import checkpoint as checkpoints
from tunebench.engine.evaluator import predict_logits
from tunebench.engine.flash import leave_flash_attention
from tunebench.machine.random_state import kept_random_state
from tunebench.store.run_folder import RunFolder
from tunebench.study.spec import RunSpec
from tunebench.training.backend import Predicted
from tunebench.training.encoder.prepare import (
    Prepared,
    make_datasets,
    prepare_model,
    trainer_folder,
    training_arguments,
)

if TYPE_CHECKING:
    from torch import nn


def load(spec: RunSpec, folder: RunFolder, *, device: str) -> nn.Module:
    """Return the trained model, with the engine and in the precision of the spec."""
    model = _stored(spec, folder, device=device).model
    leave_flash_attention(model)
    return model


def _stored(spec: RunSpec, folder: RunFolder, *, device: str) -> Prepared:
    prepared = prepare_model(spec, device=device)
    prepared.model.to(device)
    checkpoints.load_weights(folder.weights, prepared.model)
    if prepared.fast is not None:
        prepared.fast.refresh(everything=True)
    return prepared


@kept_random_state()
def predict_test(spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, device: str) -> Predicted:
    """Return the test part's logits and labels, and the seconds; with stored weights."""
    prepared = _stored(spec, folder, device=device)
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
        with trainer_folder() as output:
            arguments = training_arguments(
                spec,
                output=output,
                device=device,
                steps_per_epoch=1,
                evaluates=False,
                autocast=prepared.autocast,
            )
            trainer = Trainer(model=prepared.model, args=arguments, data_collator=collator)
            logits = np.asarray(trainer.predict(test_set).predictions, dtype=np.float32)
    return logits, test_set.labels, time.monotonic() - begin
