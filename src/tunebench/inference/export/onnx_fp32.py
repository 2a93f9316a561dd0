"""ONNX folders, through torch's own exporter."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunebench.errors import ExportError, MissingExtraError, first_line
from tunebench.inference.artifacts import ONNX_FILES
from tunebench.inference.export.base import Exporter, Tolerance, batch_lines, merged_model, register

if TYPE_CHECKING:
    from tunebench.data.tokens import Cut
    from tunebench.inference.artifacts import Artifact, Format

#: A protobuf holds at most 2 GiB; above this the weights lie in a file of their own.
_EXTERNAL_BYTES = 1_500_000_000


@register
class OnnxExporter(Exporter):
    """A graph from ids and mask to logits, both axes dynamic."""

    name: ClassVar[Format] = "onnx"
    summary: ClassVar[str] = "ONNX graph in fp32, batch and length dynamic"
    tolerance: ClassVar[Tolerance] = Tolerance(1e-3, 0.99, 0.005)
    library: ClassVar[str] = "transformers"

    def check(self, artifact: Artifact) -> None:
        """Refuse without the packages; see :meth:`Exporter.check`."""
        super().check(artifact)
        for package in ("onnx", "onnxscript", "onnxruntime"):
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, "onnx")

    def write(self, model: Any, folder: Path, artifact: Artifact) -> None:
        """Merge, trace and save; see :meth:`Exporter.write`."""
        plain: Any = merged_model(model)
        write_graph(plain, folder / ONNX_FILES[self.name], segments=reads_segments(artifact, plain.config))
        plain.config.save_pretrained(folder)

    def how_to_load(self, artifact: Artifact, cut: Cut | None, folder: Path) -> str:
        """Return the lines for onnxruntime; see :meth:`Exporter.how_to_load`."""
        return "\n".join(
            [
                "import onnxruntime",
                "from transformers import AutoTokenizer",
                "",
                'tokenizer = AutoTokenizer.from_pretrained("PATH")',
                f'session = onnxruntime.InferenceSession("PATH/{ONNX_FILES[self.name]}")',
                *batch_lines(artifact, cut, tensors="np"),
                "inputs = {entry.name: batch[entry.name] for entry in session.get_inputs()}",
                "logits = session.run(None, inputs)[0]",
            ]
        )


def reads_segments(artifact: Artifact, config: Any) -> bool:
    """Tell whether a classifier reads pairs, and is told which text of a pair a token belongs to."""
    return artifact.reads_pairs and (getattr(config, "type_vocab_size", None) or 0) > 1


def write_graph(model: Any, path: Path, *, segments: bool = False) -> None:
    """Write a classifier as an ONNX graph with inputs ``input_ids`` and ``attention_mask`` of shape (B, S).

    Args:
        model: A Transformers sequence classifier in evaluation mode.
        path: The file; weights too large for it lie beside it.
        segments: Give the graph a third input, ``token_type_ids``.

    Raises:
        ExportError: The exporter cannot trace this architecture.
    """
    import torch

    class _Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self,
            input_ids: torch.Tensor,
            attention_mask: torch.Tensor,
            token_type_ids: torch.Tensor | None = None,
        ) -> Any:
            more = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            return self.model(input_ids=input_ids, attention_mask=attention_mask, **more).logits

    # Neither size is 1, which the exporter would take for a constant; some positions are padding.
    ids = torch.arange(24).reshape(3, 8)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    axes = {0: "batch", 1: "sequence"}
    inputs = {"input_ids": ids, "attention_mask": mask}
    if segments:
        inputs["token_type_ids"] = (ids % 8 > 3).long()
    try:
        with quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                _Logits().eval(),
                (),
                kwargs=inputs,
                dynamo=True,
                dynamic_shapes=dict.fromkeys(inputs, axes),
                input_names=list(inputs),
                output_names=["logits"],
                verbose=False,
            )
            weights = sum(p.numel() * p.element_size() for p in model.parameters())
            program.save(str(path), external_data=weights > _EXTERNAL_BYTES)
    except Exception as error:
        # torch.export and its translation raise many unrelated types for what they cannot trace.
        raise ExportError(
            f"torch's exporter cannot trace this model: {first_line(error)}",
            value=model.config.model_type,
            fix="use --format merged",
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' warnings and log lines, which are not the user's to mend, from the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
