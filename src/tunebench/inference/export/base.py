"""What an export format is, and the registry of all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tunebench.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from tunebench.data.tokens import Cut
    from tunebench.inference.artifacts import Artifact, Format


@dataclass(frozen=True)
class Tolerance:
    """How far an export may be from its run, on the texts of the check.

    Attributes:
        logit_difference: Largest absolute difference of a logit; None where rounding is the point of the
            format, and only predictions count.
        equal_predictions: Smallest share of texts with the same prediction.
        score_loss: Largest loss of the task's default metric.
    """

    logit_difference: float | None
    equal_predictions: float
    score_loss: float


class Exporter(ABC):
    """One format. Subclasses are stateless; importing them imports neither torch nor onnx."""

    #: Key in :data:`EXPORTERS`, and ``--format``.
    name: ClassVar[Format]
    #: One line for listings.
    summary: ClassVar[str]
    tolerance: ClassVar[Tolerance]
    #: What the Hub shows as the library that loads it.
    library: ClassVar[str]
    #: Type of the stored weights.
    weights: ClassVar[str] = "fp32"

    def check(self, artifact: Artifact) -> None:
        """Refuse, before anything is loaded, a run that this format cannot hold.

        Raises:
            ExportError: The message says why.
            MissingExtraError: The format needs packages that are not installed.
        """
        kind = "this strategy" if artifact.run is None else artifact.run.kind
        if artifact.format == "linear" and self.name != "linear":
            raise ExportError(
                f"{kind} trains a linear model. That is no Transformers model, so there is no {self.name} format "
                "of it.",
                value=artifact.name,
                allowed="linear",
                fix="use --format linear, or leave --format out",
            )
        if self.name == "linear" and artifact.format != "linear":
            raise ExportError(
                f"{kind} trains a Transformers model, and the linear format holds linear models only.",
                value=artifact.name,
                allowed=", ".join(name for name in EXPORTERS if name != "linear"),
                fix="use --format merged, or leave --format out",
            )

    @abstractmethod
    def write(self, model: Any, folder: Path, artifact: Artifact) -> None:
        """Write everything but ``export.json``, the model card, and the tokenizer of a Transformers model.

        Args:
            model: The run's model in fp32, in evaluation mode, with its adapter beside the base; of a linear
                run a :class:`~tunebench.training.backend.TextModel`. It may be changed.
            folder: An empty folder.
            artifact: The run.

        Raises:
            ExportError: The model cannot be written so.
        """

    @abstractmethod
    def how_to_load(self, artifact: Artifact, cut: Cut | None, folder: Path) -> str:
        """Return Python that loads the folder ``PATH`` without tunebench, for the model card.

        Args:
            artifact: The run.
            cut: How the run's texts were shortened; None where whole texts are read.
            folder: The written export.
        """


#: All formats by name, in the order they are listed.
EXPORTERS: dict[str, Exporter] = {}


def register(cls: type[Exporter]) -> type[Exporter]:
    """Add a format to the registry, keyed by its name."""
    if cls.name in EXPORTERS:
        raise ValueError(f"export format {cls.name!r} is registered twice")
    EXPORTERS[cls.name] = cls()
    return cls


def refuse_pooled(model: Any, what: str) -> None:
    """Refuse a model whose head reads the mean over tokens where other programs would give it the first one.

    Args:
        model: The run's model.
        what: What would be written.

    Raises:
        ExportError: It is such a model.
    """
    from tunebench.models.pooling import pools_by_hooks

    if pools_by_hooks(model):
        raise ExportError(
            f"Transformers has no setting for mean pooling in this architecture, so {what} would read the first "
            "token.",
            value=f"{model.config.model_type}, pooling: mean",
            allowed="onnx, onnx-int8",
            fix="use --format onnx, or train with pooling: first",
        )


def merged_model(model: nn.Module) -> nn.Module:
    """Return the model with its adapter folded in.

    Raises:
        ExportError: The adapter's kind cannot be merged.
    """
    from peft import PeftModel

    from tunebench.inference.restore import merge_adapter

    merged = merge_adapter(model)
    if isinstance(merged, PeftModel):
        kind = next(iter(merged.peft_config.values())).peft_type
        raise ExportError(
            "This adapter cannot be merged into its base.",
            value=str(getattr(kind, "value", kind)),
            allowed="adapter",
            fix="use --format adapter",
        )
    return merged


def batch_lines(artifact: Artifact, cut: Cut | None, *, tensors: str) -> list[str]:
    """Return Python that makes ``batch`` of texts with ``tokenizer``, shortened as in training.

    Args:
        artifact: The run.
        cut: How its texts were shortened.
        tensors: What the batch is made of: ``pt`` or ``np``.
    """
    if artifact.truncation != "head_tail" or cut is None:
        # The saved tokenizer knows length and side; of a pair it takes from the longer text first.
        options = f'truncation=True, padding=True, return_tensors="{tensors}"'
        if artifact.reads_pairs:
            return [f'batch = tokenizer(["a text"], ["its second text"], {options})']
        return [f'batch = tokenizer(["a text"], {options})']
    return [
        "",
        "def cut(ids):  # as in training; truncation=True would keep one end only",
        f"    return ids if len(ids) <= {cut.length} else ids[:{cut.first}] + ids[len(ids) - {cut.last} :]",
        "",
        'rows = [cut(ids) for ids in tokenizer(["a text"])["input_ids"]]',
        f'batch = tokenizer.pad({{"input_ids": rows}}, return_tensors="{tensors}")',
    ]


#: What follows :func:`batch_lines` where ``model`` is a torch model.
LOGITS_LINES = ("with torch.inference_mode():", "    logits = model(**batch).logits")
