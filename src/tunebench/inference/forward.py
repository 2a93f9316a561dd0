"""How a padded batch becomes logits: by a torch model, or by an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from tunebench.errors import MissingExtraError, ModelError, first_line
from tunebench.inference.artifacts import Artifact
from tunebench.models.architectures import ARCHITECTURES, architecture_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: From what :meth:`Collator.pad` gives, int64 ``(B, S)`` each, to logits ``(B, classes)``.
Forward = Callable[[dict[str, "Tensor"]], np.ndarray]


def torch_forward(model: Any, device: str, *, bf16: bool) -> Forward:
    """Return what runs a torch model.

    Args:
        model: The classifier, on its device.
        device: ``cpu``, ``cuda`` or ``mps``.
        bf16: Compute the encoder's matrix products in bf16, by the fast layers where the engine has them.
    """
    import torch

    from tunebench.engine.fast.attach import attach

    autocast: torch.dtype | None = None
    if bf16 and model.config.model_type in ARCHITECTURES:
        _, autocast = attach(model, architecture_of(model.config), torch.bfloat16, seed=0)
    elif bf16:
        autocast = torch.bfloat16

    def forward(batch: dict[str, Tensor]) -> np.ndarray:
        context = nullcontext() if autocast is None else torch.autocast(device, dtype=autocast)
        with torch.inference_mode(), context:
            output = model(**{name: tensor.to(device) for name, tensor in batch.items()})
        logits: np.ndarray = output.logits.float().cpu().numpy()
        return logits

    return forward


def onnx_forward(artifact: Artifact, *, threads: int | None) -> Forward:
    """Return what runs the graph of an ONNX folder on the CPU.

    Args:
        artifact: The folder.
        threads: Compute threads; None leaves them to onnxruntime.

    Raises:
        MissingExtraError: The packages for ONNX are not installed.
        ModelError: The graph cannot be loaded, or is no classifier of these classes.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(artifact.weights), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        # onnxruntime's errors share no base class.
        raise ModelError(
            f"The ONNX graph cannot be loaded: {first_line(error)}", value=str(artifact.weights)
        ) from None
    wanted = [entry.name for entry in session.get_inputs()]
    _check_graph(artifact, wanted, session.get_outputs()[0].shape)

    def forward(batch: dict[str, Tensor]) -> np.ndarray:
        inputs = {name: tensor.numpy() for name, tensor in batch.items()}
        # Graphs may ask for segment ids; they are missing where all are 0.
        feeds = {name: inputs.get(name, np.zeros_like(inputs["input_ids"])) for name in wanted}
        logits: np.ndarray = session.run(None, feeds)[0].astype(np.float32)
        return logits

    return forward


def _check_graph(artifact: Artifact, inputs: Sequence[str], shape: Sequence[Any]) -> None:
    """Refuse a graph that is no classifier of these classes, or asks for what no tokenizer gives.

    Raises:
        ModelError: It is such a graph.
    """
    unknown = [name for name in inputs if name not in ("input_ids", "attention_mask", "token_type_ids")]
    classes = len(artifact.label_names)
    if unknown:
        raise ModelError(
            "The ONNX graph has inputs that a tokenizer does not give.",
            value=", ".join(unknown),
            allowed="input_ids, attention_mask, token_type_ids",
            fix="export the model again without them",
        )
    if len(shape) != 2 or (isinstance(shape[1], int) and shape[1] != classes):
        raise ModelError(
            "The first output of the ONNX graph is not one number for each class.",
            value=f"{artifact.weights}: shape {list(shape)}",
            allowed=f"texts x {classes}",
            fix="export the whole classifier, not its encoder alone",
        )
