"""ONNX folders with int8 weights: dynamic quantisation through onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tunebench.inference.artifacts import ONNX_FILES
from tunebench.inference.export.base import Tolerance, merged_model, register
from tunebench.inference.export.onnx_fp32 import OnnxExporter, quiet, reads_segments, write_graph

if TYPE_CHECKING:
    from pathlib import Path

    from tunebench.inference.artifacts import Artifact, Format


@register
class Int8Exporter(OnnxExporter):
    """Weights of matrix products and embeddings in int8, activations quantised on the fly."""

    name: ClassVar[Format] = "onnx-int8"
    summary: ClassVar[str] = "ONNX graph, weights in int8 (dynamic quantisation)"
    #: Rounding moves the logits; what counts is which label wins.
    tolerance: ClassVar[Tolerance] = Tolerance(None, 0.95, 0.02)
    weights: ClassVar[str] = "int8"

    def write(self, model: Any, folder: Path, artifact: Artifact) -> None:
        """Write the fp32 graph, quantise it, drop it; see :meth:`Exporter.write`."""
        from onnxruntime.quantization import QuantType, quantize_dynamic

        plain: Any = merged_model(model)
        graph = folder / ONNX_FILES["onnx"]
        write_graph(plain, graph, segments=reads_segments(artifact, plain.config))
        with quiet():
            # A scale for each output channel: one for a whole matrix loses about a bit of precision. Weights of 7
            # bits: processors without VNNI add up products of 8 bits in 16, which overflow there.
            quantize_dynamic(
                str(graph),
                str(folder / ONNX_FILES[self.name]),
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
            )
        for part in folder.glob(f"{graph.name}*"):
            part.unlink()
        plain.config.save_pretrained(folder)
