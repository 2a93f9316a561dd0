"""Merged folders: a plain Transformers model, for programs without PEFT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tunebench.inference.export.base import (
    LOGITS_LINES,
    Exporter,
    Tolerance,
    batch_lines,
    merged_model,
    refuse_pooled,
    register,
)
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.tasks.multi_label import MULTI_LABEL
from tunebench.tasks.regression import REGRESSION

if TYPE_CHECKING:
    from pathlib import Path

    from tunebench.data.tokens import Cut
    from tunebench.inference.artifacts import Artifact, Format


#: How a pipeline is called, by task.
_CALLS = {
    CLASSIFICATION.name: "classify([{}], truncation=True)  # without truncation, long texts are an error",
    MULTI_LABEL.name: "classify([{}], truncation=True, top_k=None)  # every label has its probability",
    REGRESSION.name: 'predict([{}], truncation=True, function_to_apply="none")  # the score is the number',
}


@register
class MergedExporter(Exporter):
    """What ``save_pretrained`` writes, adapters folded into the weights."""

    name: ClassVar[Format] = "merged"
    summary: ClassVar[str] = "a plain Transformers model, with the adapter merged"
    tolerance: ClassVar[Tolerance] = Tolerance(1e-3, 0.99, 0.005)
    library: ClassVar[str] = "transformers"

    def write(self, model: Any, folder: Path, artifact: Artifact) -> None:
        """Merge and save; see :meth:`Exporter.write`."""
        plain: Any = merged_model(model)
        refuse_pooled(plain, "the merged model")
        plain.save_pretrained(folder)

    def how_to_load(self, artifact: Artifact, cut: Cut | None, folder: Path) -> str:
        """Return the lines for Transformers; see :meth:`Exporter.how_to_load`."""
        if artifact.truncation == "head_tail":
            # A pipeline leaves the cut to the tokenizer, which keeps one end.
            return "\n".join(
                [
                    "import torch",
                    "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
                    "",
                    'tokenizer = AutoTokenizer.from_pretrained("PATH")',
                    'model = AutoModelForSequenceClassification.from_pretrained("PATH").eval()',
                    *batch_lines(artifact, cut, tensors="pt"),
                    *LOGITS_LINES,
                ]
            )
        pairs = artifact.reads_pairs
        text = '{"text": "a text", "text_pair": "its second text"}' if pairs else '"a text"'
        call = _CALLS[artifact.task.name].format(text)
        return "\n".join(
            [
                "from transformers import pipeline",
                "",
                f'{call.partition("(")[0]} = pipeline("text-classification", model="PATH")',
                call,
            ]
        )
