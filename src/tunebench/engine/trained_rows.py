"""Word embeddings of which only the rows that the training texts use are trained.

The gradient of a row that no text uses is zero at every step, and AdamW without weight decay leaves such a row as
it is. So gradients, clipping and optimiser can do without it. Nothing changes but the time and memory that they
take: a vocabulary has 30,000 to 250,000 rows, and some thousand labelled texts use a few thousand of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tunebench.data.pair_rows import split_segments

if TYPE_CHECKING:
    from tunebench.data.pair_rows import TokenRows


class TrainedRows:
    """Lets an embedding train some of its rows only, until :meth:`restore`.

    Meanwhile the module's ``weight`` is a parameter of these rows alone, so optimiser and clipping see no other. It
    embeds no other token either; what needs all rows (evaluation, stored weights) runs inside :meth:`whole`.

    Args:
        module: The embedding.
        ids: The rows to train, int64, ascending.
    """

    def __init__(self, module: nn.Embedding, ids: Tensor) -> None:
        self._module, self._ids = module, ids
        self._whole = module.weight
        self._some = nn.Parameter(module.weight.detach().index_select(0, ids))
        # No place for the other rows: to embed their tokens is an error.
        self._places = torch.full((len(module.weight),), -1).index_put_((ids,), torch.arange(len(ids)))
        padding = module.padding_idx
        self._padding = None if padding is None else int(self._places[padding])
        self._narrow()

    @classmethod
    def of(cls, model: nn.Module, texts: TokenRows, *, pad_id: int) -> TrainedRows | None:
        """Train the rows that some texts use; return None where all rows are trained, or none is.

        Args:
            model: A classifier of Transformers, not wrapped.
            texts: The training texts.
            pad_id: The token that fills batches up.
        """
        module = _plain_embedding(model)
        if module is None:
            return None
        used = np.zeros(len(module.weight), dtype=bool)
        used[[pad_id] if module.padding_idx is None else [pad_id, module.padding_idx]] = True
        for i in range(len(texts)):
            used[split_segments(texts[i])[0]] = True
        return None if used.all() else cls(module, torch.from_numpy(np.flatnonzero(used)))

    @property
    def counts(self) -> tuple[int, int]:
        """How many rows are trained, and how many there are."""
        return len(self._ids), len(self._whole)

    @property
    def bytes_saved(self) -> int:
        """What gradient and two moments of the other rows would take."""
        return 3 * (self._whole.nbytes - self._some.nbytes)

    def _narrow(self) -> None:
        self._module.weight = self._some
        self._module.forward = self._forward  # type: ignore[method-assign, assignment]
        self._narrowed = True

    def _forward(self, tokens: Tensor) -> Tensor:
        return functional.embedding(self._places[tokens], self._some, self._padding)

    @torch.no_grad()
    def restore(self) -> None:
        """Give the module all its rows back, the trained ones as they are now."""
        if self._narrowed:
            self._whole.index_copy_(0, self._ids, self._some)
            self._module.weight = self._whole
            del self._module.forward
            self._narrowed = False

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Let the module have all rows for a while; rows that are changed meanwhile stay so."""
        if not self._narrowed:
            yield
            return
        self.restore()
        try:
            yield
        finally:
            with torch.no_grad():
                torch.index_select(self._whole, 0, self._ids, out=self._some.data)
            self._narrow()

    def expanded(self, parameter: Any, state: Tensor) -> Tensor:
        """Return an optimiser's state of a parameter as it would be if all rows were trained."""
        if parameter is not self._some or state.ndim == 0:
            return state
        return state.new_zeros(self._whole.shape).index_copy_(0, self._ids, state)

    def cut(self, parameter: Any, state: Tensor) -> Tensor:
        """Return what :meth:`expanded` was given."""
        return state if parameter is not self._some or state.ndim == 0 else state.index_select(0, self._ids)


def _plain_embedding(model: nn.Module) -> nn.Embedding | None:
    """Return the word embeddings of a model, if they are trained and do nothing else than look rows up."""
    try:
        module: Any = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return None
    if type(module) is not nn.Embedding or not module.weight.requires_grad:
        return None
    if module.max_norm is not None or module.scale_grad_by_freq or module.sparse:
        return None
    owners = [
        inner for inner in model.modules() if any(p is module.weight for p in inner.parameters(recurse=False))
    ]
    return module if owners == [module] else None
