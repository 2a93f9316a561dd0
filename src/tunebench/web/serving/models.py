"""The loaded classifiers of a server by name, and which of them share batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunebench.data.text import Pair, Text
from tunebench.errors import ConfigError, ModelError
from tunebench.inference.artifacts import Artifact, describe
from tunebench.inference.predictor import Precision, Predictor, embedding_rows, from_model, load
from tunebench.inference.restore import merge_adapter, restore_model
from tunebench.tasks.temperature import tempered

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunebench.web.serving.adapters import AdapterStack

#: Answered once before a server is ready: what fails here would fail in every request.
_PROBE = "a text to see that the model answers"


class ModelGroup(ABC):
    """Models whose texts may share a batch."""

    @abstractmethod
    def logits(self, rows: Sequence[np.ndarray], models: Sequence[LoadedModel]) -> list[np.ndarray]:
        """Compute one batch.

        Args:
            rows: Token ids of each text.
            models: Which model of this group answers each.

        Returns:
            For each text float32 ``(classes of its model,)``.
        """


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A classifier that requests can name.

    Attributes:
        name: Its name.
        predictor: Tokenises, and knows labels and length. It computes as well, but not with others.
        group: What computes it in a server.
        member: Its number in the group.
    """

    name: str
    predictor: Predictor
    group: ModelGroup
    member: int = 0


class Alone(ModelGroup):
    """A model that nothing else shares a batch with."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def logits(self, rows: Sequence[np.ndarray], models: Sequence[LoadedModel]) -> list[np.ndarray]:
        """Compute one batch; see :meth:`ModelGroup.logits`."""
        # The batch was cut already, so all of it goes at once.
        longest = max(len(row) for row in rows)
        return list(self._predictor.logits_of(rows, batch_tokens=max(1, longest) * len(rows)))


class Mixed(ModelGroup):
    """Adapters over one base."""

    def __init__(self, stack: AdapterStack, pad_id: int) -> None:
        from tunebench.engine.batching import Collator

        self.stack, self._collator = stack, Collator(pad_id=pad_id)

    def logits(self, rows: Sequence[np.ndarray], models: Sequence[LoadedModel]) -> list[np.ndarray]:
        """Compute one batch; see :meth:`ModelGroup.logits`."""
        found = self.stack.logits(self._collator.pad(rows), [model.member for model in models])
        scales = [model.predictor.artifact.temperature for model in models]
        return [tempered(row[None], scale)[0] for row, scale in zip(found, scales, strict=True)]


def load_models(
    sources: Sequence[str],
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "auto",
    merge_lone: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> list[LoadedModel]:
    """Load classifiers; LoRA adapters over the same base share it.

    Args:
        sources: Folders that :func:`tunebench.load` reads, each as ``PATH`` or ``NAME=PATH``.
        device: See :func:`tunebench.load`.
        threads: See :func:`tunebench.load`.
        precision: See :func:`tunebench.load`.
        merge_lone: Fold an adapter that has its base for itself into it, which is faster.
        tell: Told what is being loaded.

    Returns:
        The models, in the order given.

    Raises:
        ModelError: A folder holds no classifier, or its answers are not finite.
        ConfigError: Two models have the same name; or device or precision do not go with a format.
        MissingExtraError: ONNX, without its packages.
    """
    from tunebench.machine import devices

    named = _named(sources)
    devices.set_threads(threads)
    bases = Counter(a.base.fingerprint for _, a in named if a.base is not None)
    shared: dict[str, list[tuple[Mixed, Predictor]]] = defaultdict(list)
    tokenizers: dict[str, PreTrainedTokenizerBase] = {}
    loaded = []
    for name, artifact in named:
        tell(f"loading {name}: {artifact.format}, {artifact.path}")
        options: dict[str, Any] = {"device": device, "precision": precision}
        if artifact.base is None or (merge_lone and bases[artifact.base.fingerprint] == 1):
            predictor = load(artifact.path, threads=threads, **options)
            model = LoadedModel(name, predictor, Alone(predictor))
        else:
            model = _load_adapter(name, artifact, shared[artifact.base.fingerprint], tokenizers, **options)
        _check(model)
        loaded.append(model)
    return loaded


def _load_adapter(
    name: str,
    artifact: Artifact,
    groups: list[tuple[Mixed, Predictor]],
    tokenizers: dict[str, PreTrainedTokenizerBase],
    *,
    device: str,
    precision: Precision,
) -> LoadedModel:
    """Put an adapter into the group of its base; begin one, or leave it alone where it cannot join."""
    from functools import partial

    from tunebench.data.tokenizer import tokenizer_fingerprint
    from tunebench.machine import devices
    from tunebench.models.tokenizer import load_tokenizer
    from tunebench.web.serving.adapters import AdapterStack, refusal

    place = devices.resolve_device(device)
    chosen = devices.inference_precision(place) if precision == "auto" else precision
    if chosen not in ("fp32", "bf16"):
        raise ConfigError("There is no such precision.", value=precision, allowed="auto, fp32, bf16")
    bf16 = chosen == "bf16"
    model: Any
    model, folder = restore_model(artifact)
    tokenizer = load_tokenizer(folder, rows=embedding_rows(model))
    # What it gives is whole, and each predictor cuts it in its own way.
    tokenizer = tokenizers.setdefault(tokenizer_fingerprint(tokenizer), tokenizer)
    pad_id = int(tokenizer.pad_token_id or 0)
    if refusal(model) is not None:
        alone = from_model(artifact, merge_adapter(model), tokenizer, device=place, bf16=bf16)
        return LoadedModel(name, alone, Alone(alone))
    for group, first in groups:
        if first.pad_id == pad_id and group.stack.refusal(model) is None:
            member = group.stack.add(model)
            break
    else:
        group, member = Mixed(AdapterStack(model, device=place, bf16=bf16), pad_id), 0
    predictor = Predictor(artifact, tokenizer, partial(_forward, group, member))
    if member == 0:
        groups.append((group, predictor))
    return LoadedModel(name, predictor, group, member)


def _forward(group: Mixed, member: int, batch: dict[str, Any]) -> np.ndarray:
    rows = group.stack.logits(batch, [member] * len(batch["input_ids"]))
    return np.stack(rows)


def _named(sources: Sequence[str]) -> list[tuple[str, Artifact]]:
    """Describe every folder before any is loaded, and give each its name."""
    found: list[tuple[str, Artifact]] = []
    for source in sources:
        name, equals, path = source.partition("=")
        # A folder may have the sign in its name.
        if equals and name and not Path(source).expanduser().exists():
            found.append((name, describe(path)))
        else:
            artifact = describe(source)
            found.append((artifact.path.resolve().name, artifact))
    twice = [name for name, count in Counter(name for name, _ in found).items() if count > 1]
    if twice:
        raise ConfigError(
            "Two models have the same name.",
            value=", ".join(twice),
            allowed="a name for each",
            fix="give names: tunebench serve first=PATH second=PATH",
        )
    for name, artifact in found:
        if len(set(artifact.label_names)) < len(artifact.label_names):
            raise ModelError(
                "Two classes have the same name, so an answer could not tell them apart.",
                value=f"{name}: {', '.join(artifact.label_names)}",
                fix="correct id2label in its config.json",
            )
    return found


def _check(model: LoadedModel) -> None:
    inputs = model.predictor.inputs
    probe: Text = Pair(_PROBE, _PROBE) if inputs is not None and inputs.pair else _PROBE
    (logits,) = model.group.logits(model.predictor.encode([probe]), [model])
    if logits.shape != (len(model.predictor.label_names),) or not np.isfinite(logits).all():
        raise ModelError("The model does not give one finite number for each class.", value=model.name)
