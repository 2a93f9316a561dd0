"""The frozen layers below the lowest trained one: in evaluation mode, and computed once per text.

With dropout off, what enters the lowest trained layer depends on the text alone. A
:class:`FrozenPrefix` takes it from a :class:`~tunebench.engine.frozen_cache.PrefixStore` where all
texts of a batch are there, and lets the model compute it where not: the same logits and gradients
either way, so the store is a matter of execution, and evaluation mode one of the recipe.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tunebench.data.pair_rows import with_segments
from tunebench.engine.frozen_cache import PrefixStore, text_key
from tunebench.models.architectures import unwrap

if TYPE_CHECKING:
    from tunebench.data.pair_rows import TokenRows
    from tunebench.engine.batching import Collator
    from tunebench.engine.fast.attach import FastEncoder
    from tunebench.models.architectures import Architecture

#: Part of a prefix's key; raised when what is stored changes.
_FORMAT = 1


def frozen_layers(model: nn.Module, architecture: Architecture) -> int:
    """Count the layers from the bottom up to the lowest that holds anything trained.

    Whatever is trained and belongs neither to a layer nor to what follows the layers (the head, a final
    norm) counts as below them all: embeddings, prompts, relative positions.

    Args:
        model: The prepared model, ``requires_grad`` as it will be trained.
        architecture: Its module names.

    Returns:
        0 where nothing can be kept, the number of layers where only the head is trained.
    """
    stack = _stack(model, architecture)
    place = {id(p): number for number, layer in enumerate(stack) for p in layer.parameters()}
    lowest = len(stack)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in place:
            lowest = min(lowest, place[id(parameter)])
        elif not architecture.is_head(name) and ".final_norm." not in f".{name}":
            return 0
    return lowest


class FrozenPrefix:
    """Keeps the layers below the lowest trained one in evaluation mode, and gives their outputs from a store.

    Args:
        model: The prepared model, its fast layers attached already.
        architecture: Its module names.
        layers: From :func:`frozen_layers`; at least one.
        fast: The model's fast layers, if any.
        autocast: Compute type of the matrix products without fast layers.
        fingerprint: Of the pretrained model.
    """

    def __init__(
        self,
        model: nn.Module,
        architecture: Architecture,
        *,
        layers: int,
        fast: FastEncoder | None,
        autocast: torch.dtype | None,
        fingerprint: str,
    ) -> None:
        if layers < 1:
            raise ValueError("there is no frozen layer at the bottom")
        self.model, self.layers, self._autocast = model, layers, autocast
        unwrapped = unwrap(model)
        self._embeddings = unwrapped.get_submodule(architecture.embeddings)
        self._stack = _stack(model, architecture)[:layers]
        self._below = list(_below(model, architecture)) + [
            (f"{number}.{name}", parameter)
            for number, layer in enumerate(self._stack)
            for name, parameter in layer.named_parameters()
        ]
        self.store: PrefixStore | None = None
        #: Why the states are not kept; ``None`` while nothing speaks against it.
        self.reason: str | None = None
        if getattr(_encoder(model, architecture), "conv", None) is not None:
            self.reason = "the family convolves the embeddings into the first layer's output"
        if fast is not None:
            # What is kept of a text must not depend on those it came with.
            fast.packing.first = layers
        first_only = fast is not None and fast.layers[layers - 1].first_token_only
        self._rows = 1 if first_only else None
        # The last fast layer gives its one token in fp32; under autocast the norms do.
        self._dtype = fast.layers[0].stream if fast is not None and not first_only else torch.float32
        attention = unwrapped.config._attn_implementation
        path = f"fast {fast.layers[0].dtype}" if fast is not None else f"{autocast} {attention}"
        if fast is not None and fast.kernels is not None:
            path += f" {fast.kernels.body}"
        self._mode = [_FORMAT, fingerprint, layers, path, str(self._dtype), self._rows, torch.__version__]
        self._key: str | None = None
        self._states: Tensor | None = None
        self._shape = (0, 0)
        self._catching = False
        self._input_width = unwrapped.get_input_embeddings().embedding_dim
        self._swapped: list[tuple[nn.Module, Any]] = []
        self._attach()

    # Key and size ------------------------------------------------------------------------------

    def bytes_per_text(self, lengths: np.ndarray) -> float:
        """Return the mean bytes of a text's states, for texts of these lengths."""
        return self.make_store(Path(), limit=0).bytes_of(lengths) / len(lengths)

    def key(self) -> str:
        """Return what the states depend on besides the text: 32 hex digits over weights and arithmetic."""
        if self._key is None:
            digest = hashlib.sha256(json.dumps(self._mode).encode())
            for name, parameter in self._below:
                digest.update(name.encode())
                digest.update(parameter.detach().cpu().contiguous().numpy().data)
            self._key = digest.hexdigest()[:32]
        return self._key

    def open(self, root: Path, *, limit: int) -> PrefixStore | None:
        """Use the states kept below a folder.

        Args:
            root: Where the prefixes of a study lie.
            limit: Bytes that all of them may take together.

        Returns:
            The store, or ``None`` where :attr:`reason` speaks against it.
        """
        if self.reason is None:
            self.store = self.make_store(root / self.key(), limit=limit)
        return self.store

    def make_store(self, folder: Path, *, limit: int) -> PrefixStore:
        """Return a store for this prefix's states; nothing is read or written."""
        width = int(unwrap(self.model).config.hidden_size)
        return PrefixStore(folder, width=width, dtype=self._dtype, rows_per_text=self._rows, limit=limit)

    def fill(
        self,
        texts: TokenRows,
        collator: Collator,
        *,
        on_batch: Callable[[int, int], None] = lambda done, total: None,
    ) -> np.ndarray | None:
        """Compute the states that are missing; see :meth:`PrefixStore.fill`."""
        if self.store is None:
            return None
        device = next(self.model.parameters()).device

        def compute(rows: Sequence[np.ndarray]) -> Tensor:
            batch = {name: tensor.to(device) for name, tensor in collator.pad(rows).items()}
            states = self._catch(batch)
            if self._rows:
                return states.reshape(len(rows), -1)
            return torch.cat([states[i, : len(row)] for i, row in enumerate(rows)])

        return self.store.fill(texts, compute, on_batch=on_batch)

    # The model ---------------------------------------------------------------------------------

    def _attach(self) -> None:
        """Pin evaluation mode, and stand between the layers and their callers."""
        for module in (self._embeddings, *self._stack):
            module.eval()
            for inner in module.modules():
                # model.train() descends into every module and must find these unmoved.
                inner.train = _unmoved(inner)
        self._swap(self._embeddings, self._embed)
        for number, layer in enumerate(self._stack):
            self._swap(layer, self._last if number == self.layers - 1 else self._pass_on)
        self._hooks = [
            self.model.register_forward_pre_hook(self._look_up, with_kwargs=True),
            self.model.register_forward_hook(self._forget, always_call=True),
        ]

    def detach(self) -> None:
        """Give every module its own ``forward`` and ``train`` back."""
        for hook in self._hooks:
            hook.remove()
        for module, before in self._swapped:
            if before is None:
                del module.forward
            else:
                module.forward = before
        self._swapped.clear()
        for module in (self._embeddings, *self._stack):
            for inner in module.modules():
                inner.__dict__.pop("train", None)
            module.train(self.model.training)

    def _swap(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        own = module.__dict__.get("forward")
        inner = module.forward

        def call(*args: Any, **kwargs: Any) -> Any:
            return forward(inner, *args, **kwargs)

        self._swapped.append((module, own))
        module.forward = call

    def _embed(self, inner: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._states is None:
            return inner(*args, **kwargs)
        # Only shape, type and device are looked at on the way to the first layer.
        weight = next(self._embeddings.parameters())
        return weight.new_zeros(()).expand(*self._shape, self._input_width)

    def _pass_on(self, inner: Callable[..., Any], hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        if self._states is None:
            return inner(hidden_states, *args, **kwargs)
        return self._like(hidden_states)

    def _last(self, inner: Callable[..., Any], hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        if self._states is not None:
            return self._like(self._states)
        found = inner(hidden_states, *args, **kwargs)
        if self._catching:
            raise _Caught(found[0] if isinstance(found, tuple) else found)
        return found

    def _like(self, states: Tensor) -> Any:
        """Return states in the form in which the family's layers do."""
        return (states, None) if unwrap(self.model).config.model_type == "deberta-v2" else states

    def _look_up(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._states = None
        if any(parameter.requires_grad for _, parameter in self._below):
            # Unfrozen on the way: from here on these layers are trained like any other.
            self.store, self.reason = None, "a layer below was unfrozen"
            self.detach()
            return
        ids, mask = kwargs.get("input_ids"), kwargs.get("attention_mask")
        if self.store is None or self._catching or ids is None or mask is None or not len(self.store):
            return
        segments = kwargs.get("token_type_ids")
        rows = with_segments(ids.cpu().numpy(), None if segments is None else segments.cpu().numpy())
        counts = mask.sum(1).tolist()
        found = self.store.get(text_key(row[:count]) for row, count in zip(rows, counts, strict=True))
        if found is None:
            return
        self._shape = (ids.shape[0], ids.shape[1])
        tokens = self._rows or ids.shape[1]
        states = torch.zeros(len(found), tokens, self.store.width, dtype=self.store.dtype)
        for i, part in enumerate(found):
            states[i, : len(part)] = part
        self._states = states.to(ids.device)

    def _forget(self, *args: Any) -> None:
        self._states = None

    def _catch(self, batch: dict[str, Tensor]) -> Tensor:
        """Run the model up to the last frozen layer, and return what leaves it."""
        self._catching = True
        device = batch["input_ids"].device.type
        cast = nullcontext() if self._autocast is None else torch.autocast(device, dtype=self._autocast)
        try:
            with torch.no_grad(), cast:
                self.model(**batch)
        except _Caught as caught:
            return caught.states
        finally:
            self._catching = False
        raise RuntimeError("the last frozen layer was never reached")


class _Caught(Exception):
    """Ends a forward pass early, and carries its hidden states out."""

    def __init__(self, states: Tensor) -> None:
        super().__init__("reached the last frozen layer")
        self.states = states


def _unmoved(module: nn.Module) -> Callable[..., nn.Module]:
    def train(mode: bool = True) -> nn.Module:
        return module

    return train


def _stack(model: nn.Module, architecture: Architecture) -> list[nn.Module]:
    layers: Any = unwrap(model).get_submodule(architecture.layers)
    return list(layers)


def _encoder(model: nn.Module, architecture: Architecture) -> nn.Module:
    found: nn.Module = unwrap(model).get_submodule(architecture.layers.rsplit(".", 1)[0])
    return found


def _below(model: nn.Module, architecture: Architecture) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield what belongs neither to a layer nor to what follows the layers."""
    unwrapped = unwrap(model)
    inside = {id(p) for layer in _stack(model, architecture) for p in layer.parameters()}
    for name, parameter in unwrapped.named_parameters():
        if id(parameter) not in inside and not architecture.is_head(name) and ".final_norm." not in f".{name}":
            yield name, parameter
