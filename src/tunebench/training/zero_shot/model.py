"""A classifier of entailment, asked for each label of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunebench.engine.batching import batches_by_length
from tunebench.engine.flops import Workload, count
from tunebench.errors import ModelError
from tunebench.models.architectures import architecture_of
from tunebench.models.checks import lacking_head
from tunebench.models.loading import inspect_base, load_stored
from tunebench.models.tokenizer import load_tokenizer
from tunebench.training.linear.vectors import Look

#: Tokens a batch, padding included.
_BATCH_TOKENS = 8192
#: What models call the label that is evidence against, in the order of preference.
_AGAINST = ("contradiction", "not_entailment")


@dataclass(frozen=True)
class Labels:
    """Where the labels of entailment are.

    Attributes:
        names: All labels of the model.
        entailment: Index of ``entailment``.
        against: Index of ``contradiction`` or ``not_entailment``; None where there is neither.
    """

    names: tuple[str, ...]
    entailment: int
    against: int | None

    @classmethod
    def of(cls, folder: Path, source: str) -> Labels:
        """Read them from a model's configuration.

        Raises:
            ModelError: There is no label ``entailment``.
        """
        names = inspect_base(folder).label_names
        plain = [name.lower() for name in names]
        if "entailment" not in plain:
            raise ModelError(
                "zero_shot needs a model of entailment, and this one has no label of that name.",
                value=f"{source}: {', '.join(names) or 'no classifier'}",
                allowed="a classifier with the labels entailment and contradiction (or not_entailment)",
                fix="name such a model for this strategy (model: in its settings), or drop the strategy",
            )
        against = next((plain.index(name) for name in _AGAINST if name in plain), None)
        return cls(names, plain.index("entailment"), against)


class EntailmentClassifier:
    """Gives each label of a text the logit of entailment.

    Args:
        folder: Of the model.
        source: What the study calls it.
        hypotheses: One sentence a label.
        exclusive: Whether a text has one label. Then a label's logit is that of entailment, and the softmax is over
            labels. Otherwise it is the log odds of entailment against contradiction, by each label alone.
        max_length: Most tokens of text and sentence together; of a longer one the text is cut at its end.
        device: Where to compute.

    Raises:
        ModelError: The model is none of entailment, or cannot be loaded.
    """

    def __init__(
        self,
        folder: Path,
        source: str,
        hypotheses: Sequence[str],
        *,
        exclusive: bool,
        max_length: int,
        device: str = "cpu",
    ) -> None:
        self.labels = Labels.of(folder, source)
        if not exclusive and self.labels.against is None:
            raise ModelError(
                "Several labels a text need a model with a label against entailment, and this one has none.",
                value=f"{source}: {', '.join(self.labels.names)}",
                allowed=" or ".join(_AGAINST),
                fix="name such a model for this strategy (model: in its settings)",
            )
        stored = load_stored(folder, label_names=self.labels.names)
        architecture = architecture_of(stored.model.config)
        if stored.drawn:
            raise lacking_head(folder, stored.drawn, architecture.is_new_head)
        self.workload: Workload = count(stored.model, architecture)
        self.model: Any = stored.model.eval().to(device)
        self.tokenizer: Any = load_tokenizer(folder)
        self.hypotheses, self.exclusive = list(hypotheses), exclusive
        self.max_length, self.device = max_length, device

    @property
    def parameters(self) -> int:
        """Number of the model's parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def encoded(self, texts: Sequence[str]) -> list[dict[str, list[int]]]:
        """Return the tokens of each text with each sentence; the sentences of a text follow each other."""
        pairs = [(text, sentence) for text in texts for sentence in self.hypotheses]
        firsts, seconds = ([pair[side] for pair in pairs] for side in (0, 1))
        options = {"truncation": "only_first", "max_length": self.max_length, "verbose": False}
        found = self.tokenizer(firsts, seconds, **options)
        return [{name: found[name][i] for name in found} for i in range(len(pairs))]

    def logits(self, texts: Sequence[str], look: Look = lambda done, total: None) -> np.ndarray:
        """Return fp32 logits ``(texts, labels)``.

        Args:
            texts: The texts.
            look: Told how many pairs of text and sentence are done, and how many there are; may raise.
        """
        rows = self.encoded(texts)
        lengths, done = np.array([len(row["input_ids"]) for row in rows], dtype=np.int64), 0
        found = np.empty(len(rows), dtype=np.float32)
        look(0, len(rows))
        for chosen in batches_by_length(lengths, batch_tokens=_BATCH_TOKENS):
            batch = self.tokenizer.pad([rows[i] for i in chosen], return_tensors="pt").to(self.device)
            with torch.inference_mode():
                scores = self.model(**batch).logits.float()
            one = scores[:, self.labels.entailment]
            found[chosen] = (one if self.exclusive else one - scores[:, self.labels.against]).cpu().numpy()
            done += len(chosen)
            look(done, len(rows))
        return found.reshape(len(texts), len(self.hypotheses))
