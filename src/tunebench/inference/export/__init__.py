"""Exports: a run's classifier as a folder that others can load, checked against the run.

Each format has one file. To add one, write a file with an :class:`~tunebench.inference.export.base.Exporter`
subclass under ``@register`` and import it here. The tests run over the registry.
"""

from tunebench.inference.export.adapter import AdapterExporter
from tunebench.inference.export.base import EXPORTERS, Exporter, Tolerance
from tunebench.inference.export.linear import LinearExporter
from tunebench.inference.export.merged import MergedExporter
from tunebench.inference.export.onnx_fp32 import OnnxExporter
from tunebench.inference.export.onnx_int8 import Int8Exporter
from tunebench.inference.export.write import Exported, export_run

__all__ = [
    "EXPORTERS",
    "AdapterExporter",
    "Exported",
    "Exporter",
    "Int8Exporter",
    "LinearExporter",
    "MergedExporter",
    "OnnxExporter",
    "Tolerance",
    "export_run",
]
