"""A trained classifier, ready to predict: one class for every format that a folder may have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tunebench.data.inputs import Inputs
from tunebench.data.text import Text
from tunebench.data.text_encoder import TextEncoder
from tunebench.data.tokens import Cut
from tunebench.errors import ConfigError
from tunebench.inference.artifacts import Artifact, Format, describe
from tunebench.inference.forward import Forward, onnx_forward, torch_forward
from tunebench.inference.restore import merge_adapter, restore_model, restore_text_model
from tunebench.inference.texts import checked_texts
from tunebench.models.tokenizer import load_tokenizer
from tunebench.tasks.temperature import tempered

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from tunebench.tasks.outputs import Outputs
    from tunebench.training.backend import TextModel

Precision = Literal["auto", "fp32", "bf16"]


def load(
    path: str | Path, *, device: str = "auto", threads: int | None = None, precision: Precision = "auto"
) -> Predictor:
    """Load a trained classifier.

    Args:
        path: A merged folder, a PEFT adapter folder (ours, or made by plain PEFT), a linear or an ONNX folder, or
            the folder of a complete run of a study.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; ONNX runs on the CPU.
        threads: Compute threads; None leaves the setting of the process.
        precision: Of the encoder's matrix products. ``auto`` is what a study's fast engine takes on this
            machine: bf16 where that is faster, else fp32. ONNX runs as it was written. What has no encoder
            (``tfidf``, ``static``) computes in fp32.

    Raises:
        ModelError: The folder holds no classifier, or a part of it is missing.
        StoreError: It is the folder of a run that is damaged or not complete.
        ConfigError: The format does not support the device or the precision.
        MissingExtraError: The packages for ONNX are not installed.
    """
    artifact = describe(path)
    if precision not in ("auto", "fp32", "bf16"):
        raise ConfigError("There is no such precision.", value=precision, allowed="auto, fp32, bf16")
    if artifact.format in ("onnx", "onnx-int8"):
        return _load_onnx(artifact, device=device, threads=threads, precision=precision)
    from tunebench.machine import devices

    if threads is not None:
        devices.set_threads(threads)
    place = devices.resolve_device(device)
    chosen = devices.inference_precision(place) if precision == "auto" else precision
    if artifact.format == "linear":
        text_model = restore_text_model(artifact, device=place)
        if chosen == "bf16" and not text_model.use_bf16() and precision == "bf16":
            raise ConfigError(
                "This classifier has no encoder, and computes in fp32.", value=precision, allowed="auto, fp32"
            )
        return TextPredictor(artifact, text_model)
    model, tokens = restore_model(artifact)
    tokenizer = load_tokenizer(tokens, rows=embedding_rows(model))
    return from_model(artifact, merge_adapter(model), tokenizer, device=place, bf16=chosen == "bf16")


def embedding_rows(model: Any) -> int:
    """Return how many token ids a model has an embedding for, wrapped by PEFT or not."""
    return int(model.get_input_embeddings().weight.shape[0])


def from_model(
    artifact: Artifact,
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    *,
    device: str = "cpu",
    bf16: bool = False,
) -> Predictor:
    """Return the predictor of a torch model, wrapped by PEFT or not; the model is moved and frozen.

    Args:
        artifact: What the model came from.
        model: The classifier.
        tokenizer: Its tokenizer.
        device: ``cpu``, ``cuda`` or ``mps``.
        bf16: Compute the encoder's matrix products in bf16.
    """
    model.eval().requires_grad_(False).to(device)
    return Predictor(artifact, tokenizer, torch_forward(model, device, bf16=bf16), model=model)


class Predictor:
    """A classifier of texts; made by :func:`load`. Its methods may be called from several threads.

    Args:
        artifact: What was loaded.
        tokenizer: Its tokenizer, which from then on is the predictor's own.
        forward: Runs padded batches.
        model: The torch model, if there is one.

    Attributes:
        artifact: What was loaded, and from where.
        name: The folder's name.
        label_names: One name a class, in the order of the logits.
        max_length: Most tokens that are read of a text, special ones included; None where whole texts are read.
        cut: Which tokens of a longer text these are: the ones that training read; None where whole texts are. Of a
            pair the longer text loses tokens first.
        inputs: What a text is, and the columns it came from; None where the folder does not say.
        format: How the classifier was stored.
        outputs: How its logits are read.
        base_fingerprint: Hash of an adapter's base: equal for adapters on the same base. None for
            other formats.
        model: The torch model, adapters merged; None for ONNX and linear classifiers.
    """

    cut: Cut | None

    def __init__(
        self,
        artifact: Artifact,
        tokenizer: PreTrainedTokenizerBase,
        forward: Forward,
        *,
        model: nn.Module | None = None,
    ) -> None:
        assert artifact.max_length is not None
        self._describe(artifact, model)
        self._tokenizer, self._forward = tokenizer, forward
        self._encoder = TextEncoder(
            tokenizer,
            max_length=artifact.max_length,
            truncation=artifact.truncation,
            head_share=artifact.head_share,
        )
        self.cut = self._encoder.cut

    def _describe(self, artifact: Artifact, model: nn.Module | None) -> None:
        self.artifact = artifact
        self.name: str = artifact.name
        self.label_names: tuple[str, ...] = artifact.label_names
        self.max_length: int | None = artifact.max_length
        self.inputs: Inputs | None = artifact.inputs
        self.format: Format = artifact.format
        self.outputs: Outputs = artifact.task.outputs
        self.base_fingerprint: str | None = None if artifact.base is None else artifact.base.fingerprint
        self.model = model

    def __repr__(self) -> str:
        return f"Predictor({self.name!r}, {self.format}, {len(self.label_names)} {self._counted})"

    @property
    def _counted(self) -> str:
        return "classes" if self.artifact.task.labelled else "number"

    @property
    def pad_id(self) -> int:
        """Token id of padding."""
        return int(self._tokenizer.pad_token_id or 0)

    def encode(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """Return the tokens of each text, shortened as in training; int64 (:mod:`tunebench.data.pair_rows`).

        Raises:
            DataError: A text is neither a string nor a pair of strings, or not what the model reads, or not valid
                Unicode.
        """
        return self._encoder.rows(checked_texts(texts, self.inputs))

    def predict_logits(self, texts: Sequence[Text], *, batch_tokens: int = 8192) -> np.ndarray:
        """Return the logits of texts: float32 ``(texts, classes)``, in the order given.

        Args:
            texts: The texts, each a string, or a pair of strings where the model reads pairs; an empty string is an
                input like any other.
            batch_tokens: Tokens a batch, padding included. Texts of similar length share a batch.

        Raises:
            DataError: As :meth:`encode`.
        """
        return self.logits_of(self.encode(texts), batch_tokens=batch_tokens)

    def logits_of(self, rows: Sequence[np.ndarray], *, batch_tokens: int = 8192) -> np.ndarray:
        """Return the logits of what :meth:`encode` gave; see :meth:`predict_logits`."""
        from tunebench.engine.batching import Collator, batches_by_length

        logits = np.empty((len(rows), len(self.label_names)), dtype=np.float32)
        collator = Collator(pad_id=self.pad_id)
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        for chosen in batches_by_length(lengths, batch_tokens=batch_tokens):
            logits[chosen] = self._forward(collator.pad([rows[i] for i in chosen]))
        return tempered(logits, self.artifact.temperature)

    def predict(self, texts: Sequence[Text]) -> np.ndarray:
        """Return the name of the likeliest label of each text, ``(texts,)``; see :meth:`predict_logits`.

        Where a text may have several labels, it is a tuple of the names of those above their thresholds. Of a model
        that predicts numbers, it is the number, in the unit of the data.
        """
        return self.outputs.named(self.outputs.predicted(self.predict_logits(texts)), self.label_names)

    def predict_proba(self, texts: Sequence[Text]) -> np.ndarray:
        """Return probabilities, float32 ``(texts, classes)``; see :meth:`predict_logits`.

        Rows sum to 1, unless a text may have several labels: then each label has a probability of its own.

        Raises:
            ConfigError: The model predicts numbers.
        """
        if not self.artifact.task.labelled:
            raise ConfigError(
                "This model predicts numbers, which have no probabilities.", value=self.name, fix="use predict"
            )
        return self.outputs.probabilities(self.predict_logits(texts))


class TextPredictor(Predictor):
    """A linear classifier of texts; made by :func:`load`.

    Args:
        artifact: What was loaded.
        model: The classifier.
    """

    def __init__(self, artifact: Artifact, model: TextModel) -> None:
        self._describe(artifact, None)
        self.text_model, self.cut = model, model.cut

    @property
    def pad_id(self) -> int:
        """Nothing is padded here that :meth:`encode` gives."""
        return 0

    def encode(self, texts: Sequence[Text]) -> list[np.ndarray]:
        """Return what is computed of each text, int64; see :meth:`Predictor.encode`."""
        found = checked_texts(texts, self.inputs)
        return self.text_model.encode(found) if found else []

    def logits_of(self, rows: Sequence[np.ndarray], *, batch_tokens: int = 8192) -> np.ndarray:
        """Return the logits of what :meth:`encode` gave; see :meth:`Predictor.predict_logits`."""
        if not len(rows):
            return np.empty((0, len(self.label_names)), dtype=np.float32)
        return tempered(self.text_model.logits_of(rows, batch_tokens=batch_tokens), self.artifact.temperature)


def predictor_of_run(artifact: Artifact) -> tuple[Predictor, Any, Path | None]:
    """Load a run's classifier for an export, on the CPU in fp32.

    Returns:
        Its predictor; the model, adapters beside their base; and the folder of its tokenizer, None where the
        model brings its own.
    """
    if artifact.format == "linear":
        text_model = restore_text_model(artifact, device="cpu")
        return TextPredictor(artifact, text_model), text_model, None
    model, tokens = restore_model(artifact)
    tokenizer = load_tokenizer(tokens, rows=embedding_rows(model))
    return from_model(artifact, model, tokenizer), model, tokens


def _load_onnx(artifact: Artifact, *, device: str, threads: int | None, precision: Precision) -> Predictor:
    if device not in ("auto", "cpu"):
        raise ConfigError("ONNX models run on the CPU.", value=device, allowed="auto, cpu")
    if precision == "bf16":
        raise ConfigError(
            "An ONNX model runs in the precision of its export.",
            value=precision,
            allowed="auto, fp32",
            fix="load the merged folder for bf16",
        )
    return Predictor(artifact, load_tokenizer(artifact.path), onnx_forward(artifact, threads=threads))
