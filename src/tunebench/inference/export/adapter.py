"""PEFT adapter folders: a few megabytes, and a base that many adapters share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tunebench.errors import ExportError
from tunebench.inference.export.base import (
    LOGITS_LINES,
    Exporter,
    Tolerance,
    batch_lines,
    refuse_pooled,
    register,
)
from tunebench.inference.export.card import hub_name, shown

if TYPE_CHECKING:
    from pathlib import Path

    from tunebench.data.tokens import Cut
    from tunebench.inference.artifacts import Artifact, Format


@register
class AdapterExporter(Exporter):
    """The adapter and the head, as ``PeftModel.from_pretrained`` reads them."""

    name: ClassVar[Format] = "adapter"
    summary: ClassVar[str] = "PEFT adapter and head, to load on the base"
    tolerance: ClassVar[Tolerance] = Tolerance(1e-3, 0.99, 0.005)
    library: ClassVar[str] = "peft"

    def check(self, artifact: Artifact) -> None:
        """Refuse runs without an adapter; see :meth:`Exporter.check`."""
        super().check(artifact)
        if artifact.format != "adapter":
            kind = "this strategy" if artifact.run is None else artifact.run.kind
            raise ExportError(
                f"There is no adapter to export: {kind} trains weights of the model itself, for which PEFT has "
                "no format.",
                value=artifact.name,
                allowed="merged, onnx, onnx-int8",
                fix="use --format merged",
            )

    def write(self, model: Any, folder: Path, artifact: Artifact) -> None:
        """Save with PEFT, naming the base as the study named it; see :meth:`Exporter.write`."""
        assert artifact.base is not None
        refuse_pooled(model, "the adapter on its base")
        for config in model.peft_config.values():
            # PEFT would note the folder of this machine that the base was read from.
            config.base_model_name_or_path = artifact.base.source
            config.revision = artifact.base.revision
        model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
        # PEFT has no place for label names; a configuration beside the adapter is where loaders look.
        model.get_base_model().config.save_pretrained(folder)

    def how_to_load(self, artifact: Artifact, cut: Cut | None, folder: Path) -> str:
        """Return the lines for Transformers and PEFT; see :meth:`Exporter.how_to_load`."""
        assert artifact.base is not None
        base = hub_name(artifact.base) or f"path/to/{shown(artifact.base)}"
        return "\n".join(
            [
                "import torch",
                "from peft import PeftModel",
                "from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer",
                "",
                'config = AutoConfig.from_pretrained("PATH")  # classes and their names',
                "base = AutoModelForSequenceClassification.from_pretrained(",
                f'    "{base}", config=config, ignore_mismatched_sizes=True',
                ")",
                'model = PeftModel.from_pretrained(base, "PATH").eval()',
                'tokenizer = AutoTokenizer.from_pretrained("PATH")',
                *batch_lines(artifact, cut, tensors="pt"),
                *LOGITS_LINES,
            ]
        )
