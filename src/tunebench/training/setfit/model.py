"""A sentence encoder and a linear head: what SetFit trains, kept without pickle."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunebench.engine.checkpoint import write_tensors
from tunebench.errors import StoreError
from tunebench.models.architectures import architecture_of
from tunebench.models.loading import load_classifier
from tunebench.models.sources import model_folder
from tunebench.models.weights import stored_weights
from tunebench.study.spec import RunSpec
from tunebench.training.embeddings.encoder import Embedder
from tunebench.training.embeddings.model import EmbeddedText
from tunebench.training.linear.heads import ClassHead, class_logits

_BODY = "body."
_COEFFICIENTS, _INTERCEPTS = "head.coefficients", "head.intercepts"


class SentenceClassifier:
    """The two parts together.

    What is scored is what is stored: the head is rounded to fp32 before anything is predicted.

    Args:
        body: From :func:`sentence_encoder`.
        coefficients: ``(rows, width)``: one row a class, or one in all for two classes.
        intercepts: ``(rows,)``.
        precision: ``bf16`` encodes under autocast.
    """

    def __init__(self, body: Any, coefficients: np.ndarray, intercepts: np.ndarray, *, precision: str) -> None:
        self.body = body
        self.coefficients = np.asarray(coefficients, dtype=np.float32)
        self.intercepts = np.asarray(intercepts, dtype=np.float32)
        self.precision = precision

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Return fp32 logits ``(texts, classes)``; their softmax is the model's probability."""
        with autocast(self.body.device.type, self.precision):
            states = self.body.encode(list(texts), batch_size=32, show_progress_bar=False)
        return class_logits(states, self.coefficients, self.intercepts)

    def embedded(self, max_length: int) -> EmbeddedText:
        """Return the same classifier without the library; this one cannot be used afterwards.

        Args:
            max_length: Where texts are cut.
        """
        encoder: Any = self.body[0].auto_model
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # no part of the mean
        embedder = Embedder(
            encoder,
            self.body.tokenizer,
            pooling="mean",
            max_length=max_length,
            normalised=False,
            windows=False,
            device=self.body.device.type,
        )
        return EmbeddedText(embedder, ClassHead(self.coefficients, self.intercepts))

    def save(self, path: Path) -> None:
        """Write body and head to one safetensors file, by rename.

        Raises:
            OSError: It cannot be written.
        """
        tensors = {f"{_BODY}{name}": value.detach().cpu() for name, value in self.body.state_dict().items()}
        tensors |= {
            _COEFFICIENTS: torch.from_numpy(self.coefficients),
            _INTERCEPTS: torch.from_numpy(self.intercepts),
        }
        write_tensors(path, {name: value.contiguous() for name, value in tensors.items()})

    @classmethod
    def load(cls, spec: RunSpec, path: Path, *, device: str) -> SentenceClassifier:
        """Read a run's classifier back.

        Raises:
            StoreError: The file is missing or damaged, or belongs to another model.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        body = sentence_encoder(spec, device=device)
        try:
            tensors = load_file(path)
            head = [tensors.pop(name).numpy() for name in (_COEFFICIENTS, _INTERCEPTS)]
            body.load_state_dict({name.removeprefix(_BODY): value for name, value in tensors.items()})
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise StoreError(f"The weights cannot be read: {error}", value=str(path)) from None
        return cls(body, *head, precision=spec.precision)


def sentence_encoder(spec: RunSpec, *, device: str) -> Any:
    """Return the run's encoder as a ``SentenceTransformer`` that takes the mean of its last hidden states.

    A pooler that the checkpoint may hold has no part in that mean, and is frozen.

    Args:
        spec: Names the model, and where its texts are cut.
        device: Where to put it.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    place = model_folder(spec.model.source, spec.model.revision)
    folder = str(place)
    safe = {"trust_remote_code": False}
    encoder = Transformer(
        folder,
        max_seq_length=spec.max_length,
        model_kwargs=safe | {"use_safetensors": True, "dtype": torch.float32},
        config_kwargs=safe,
        processor_kwargs=safe,
    )
    architecture = architecture_of(encoder.model.config)
    if stored_weights(place, architecture).prefix:
        # The library looks for the weights under their usual names, and would draw all of them.
        whole = load_classifier(place, label_names=spec.data.label_names)
        inner = whole.get_submodule(architecture.encoder)
        encoder.model.load_state_dict(inner.state_dict(), strict=False)
    for name, parameter in encoder.model.named_parameters():
        parameter.requires_grad_(not name.startswith("pooler."))
    width = encoder.model.config.hidden_size
    return SentenceTransformer(modules=[encoder, Pooling(width, "mean")], device=device)


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """Return what computes in bf16 where a run asks for it; in fp16 the library would not scale the loss."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")
