"""The fast engine's dropout masks for a model of Transformers' own layers, which is the reference engine.

With the same masks, the two engines differ by rounding only. The fast layers draw a mask for the rows that they
compute: packed, without most of the padding. Here the same masks are drawn, in the same order, and laid out over
the padded batch. Padding keeps every element; nothing reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tunebench.engine.batching import Collator
from tunebench.engine.fast.families import LAYER_FAMILIES, window_of
from tunebench.engine.fast.masks import MaskStream
from tunebench.engine.fast.packing import Layout, pack, unpacked
from tunebench.engine.fast.tiles import BLOCK_ELEMENTS, tiles
from tunebench.models.architectures import unwrap
from tunebench.models.pooling import reads_first_token

if TYPE_CHECKING:
    from tunebench.models.architectures import Architecture

#: The rows that the fast engine computes: of the embeddings all, of the layers the packed ones, and of the last
#: layer each text's first token.
Rows = Literal["padded", "packed", "first"]


class SharedMasks:
    """Makes all dropout of a model draw the masks of a :class:`~tunebench.engine.fast.attach.FastEncoder`.

    Only ``forward`` attributes of modules are set, and one hook. Evaluation mode stays as it is.

    Args:
        model: A sequence classifier on a CPU, wrapped by PEFT or not, of a family with fast layers.
        architecture: Its module names.
        seed: Seed of the dropout masks.
        stream: Which stream of them; see :class:`MaskStream`.
        max_length: Tokens that a text may have; the fast engine pads no further.
    """

    def __init__(
        self, model: nn.Module, architecture: Architecture, *, seed: int, stream: int = 0, max_length: int
    ) -> None:
        self.masks = MaskStream(seed, stream=stream)
        self._collator = Collator.of_engine("fast", pad_id=0, max_length=max_length)
        unwrapped = unwrap(model)
        config: Any = unwrapped.config
        if config._attn_implementation != "sdpa":
            raise ValueError("masks of attention are given to PyTorch's scaled dot product attention only")
        stack = list(unwrapped.get_submodule(architecture.layers))
        first_only = reads_first_token(model)
        self._heads = int(config.num_attention_heads)
        self._batch: PaddedBatch | None = None
        self._swapped: list[nn.Module] = []
        self._hook = model.register_forward_pre_hook(self._begin, with_kwargs=True)
        rows: dict[nn.Module, Rows] = {module: "packed" for layer in stack for module in layer.modules()}
        if first_only:
            read = [stack[-1].get_submodule(name) for name in architecture.reading[-2:]]
            others = {inner for module in read for inner in module.modules()}
            rows |= {module: "first" for module in stack[-1].modules() if module not in others}
        for index, layer in enumerate(stack):
            attention = layer.get_submodule(LAYER_FAMILIES[architecture.model_type].attention)
            one = first_only and layer is stack[-1]
            self._swap(attention, self._attend(attention, first_only=one, window=window_of(config, index)))
        for module in unwrapped.modules():
            if isinstance(module, nn.Dropout):
                self._swap(module, self._drop(module, rows.get(module, "padded")))

    def start_step(self, step: int) -> None:
        """Tie the masks that follow to an optimisation step."""
        self.masks.start_step(step)

    def contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Return the contexts of a layer under gradient checkpointing: what is computed again has the same masks.

        For ``context_fn`` of PyTorch's checkpointing, which restores its own generator alone.
        """
        return nullcontext(), self.masks.replayed(self.masks.state)

    def detach(self) -> None:
        """Give every module its own ``forward`` back."""
        self._hook.remove()
        for module in self._swapped:
            del module.forward
        self._swapped.clear()

    def _swap(self, module: nn.Module, forward: Callable[..., Any]) -> None:
        module.forward = forward
        self._swapped.append(module)

    def _begin(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._batch = None
        if not module.training:
            return
        mask = kwargs["attention_mask"].bool()
        tokens = self._collator.width(int(mask.sum(1).max()))
        keys = mask[:, :tokens]
        # Where no token is padding, Transformers gives its layers no mask, and the fast layers pack nothing.
        if not keys.all():
            layout = pack(keys, torch.zeros(len(keys) * self._heads, 1, tokens), at_once=BLOCK_ELEMENTS)
        else:
            layout = unpacked(len(keys), tokens)
        self._batch = PaddedBatch(layout, texts=len(keys), tokens=tokens, padded=mask.shape[1])

    def _drop(self, module: nn.Dropout, rows: Rows) -> Callable[[Tensor], Tensor]:
        """Return the forward of a dropout module, whose mask the fast engine draws for some rows."""

        def forward(x: Tensor) -> Tensor:
            if not module.training or not self.masks.drops(module.p):
                return x
            if x.ndim == 2:  # behind the layers: one row a text
                keep, scale = self.masks.keep(tuple(x.shape), module.p)
                assert keep is not None
                return _dropped(x, keep.bool(), scale)
            keep, scale = self._now.of_tokens(self.masks, x.shape[2], module.p, rows)
            return _dropped(x, keep, scale)

        return forward

    def _attend(self, module: nn.Module, *, first_only: bool, window: int | None) -> Callable[..., Any]:
        """Return the forward of an attention module: its own, with the mask given where PyTorch would draw one."""
        inner = module.forward

        def draw(p: float) -> tuple[Tensor, float]:
            return self._now.of_attention(self.masks, self._heads, p, first_only=first_only, window=window)

        def forward(*args: Any, **kwargs: Any) -> Any:
            with _GivenMask(draw):
                return inner(*args, **kwargs)

        return forward

    @property
    def _now(self) -> PaddedBatch:
        if self._batch is None:
            raise RuntimeError("masks are laid out when the whole model is called, in training mode")
        return self._batch


@dataclass(frozen=True)
class PaddedBatch:
    """How the fast engine computes the batch that passes through the model.

    Attributes:
        layout: Its rows.
        texts: How many texts.
        tokens: Tokens that the fast engine pads a text to.
        padded: Tokens that a text is padded to here.
    """

    layout: Layout
    texts: int
    tokens: int
    padded: int

    def of_tokens(self, masks: MaskStream, width: int, p: float, rows: Rows) -> tuple[Tensor, float]:
        """Draw the mask of activations; return it as ``(B, S, width)``, and its scale."""
        count = {"padded": self.texts * self.tokens, "packed": len(self.layout.rows), "first": self.texts}[rows]
        drawn, scale = masks.keep((count, width), p)
        assert drawn is not None
        kept, found = torch.ones(self.texts, self.padded, width, dtype=torch.bool), drawn.bool()
        if rows == "padded":
            kept[:, : self.tokens] = found.view(self.texts, self.tokens, width)
        elif rows == "packed":
            kept[self.layout.rows // self.tokens, self.layout.rows % self.tokens] = found
        else:
            kept[:, 0] = found[self.layout.back]
        return kept, scale

    def of_attention(
        self, masks: MaskStream, heads: int, p: float, *, first_only: bool, window: int | None = None
    ) -> tuple[Tensor, float]:
        """Draw the mask of attention probabilities; return it as ``(B, H, S, S)``, and its scale."""
        kept, scale = torch.ones(self.texts, heads, self.padded, self.padded, dtype=torch.bool), 1.0
        for texts, width in self._rectangles():
            queries = 1 if first_only else width
            for tile in tiles((len(texts) * heads, queries, width), window):
                drawn, scale = masks.keep(tile.shape, p)
                assert drawn is not None
                row = torch.arange(tile.texts.start, tile.texts.stop)
                kept[texts[row // heads], row % heads, tile.asking, tile.answering] = drawn.bool()
        return kept, scale

    def _rectangles(self) -> Iterator[tuple[Tensor, int]]:
        """Yield the texts of each rectangle, and their tokens."""
        order = torch.argsort(self.layout.back)
        done = 0
        for rectangle in self.layout.rectangles:
            yield order[done : done + rectangle.texts], rectangle.width
            done += rectangle.texts


class _GivenMask(TorchFunctionMode):
    """PyTorch's scaled dot product attention with a given dropout mask.

    It computes what PyTorch does on CPUs where there is dropout: the materialised softmax, in fp32.

    Args:
        draw: From the dropout probability to the mask of what is kept, and its scale.
    """

    def __init__(self, draw: Callable[[float], tuple[Tensor, float]]) -> None:
        super().__init__()
        self._draw = draw

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute attention with dropout here, and leave everything else to PyTorch."""
        options = kwargs or {}
        drops = MaskStream.drops(options.get("dropout_p", 0.0))
        if func is not functional.scaled_dot_product_attention or not drops:
            return func(*args, **options)
        return self._attend(*args, **options)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        attn_mask: Tensor | None,
        dropout_p: float,
        scale: float,
        is_causal: bool,
    ) -> Tensor:
        if is_causal:
            raise RuntimeError("an encoder's attention is not causal")
        keep, keep_scale = self._draw(dropout_p)
        with torch.autocast(query.device.type, enabled=False):
            scores = torch.matmul(query.float(), key.float().transpose(2, 3)) * scale
            if attn_mask is not None:
                # Finite: where texts are padded beyond a window, padding attends to nothing.
                scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
            probabilities = _dropped(torch.softmax(scores, dim=-1), keep, keep_scale)
            return torch.matmul(probabilities, value.float()).to(query.dtype)


def _dropped(x: Tensor, keep: Tensor, scale: float) -> Tensor:
    # Two steps: in bf16, a factor of 1.111 would be rounded before it multiplies.
    return x.masked_fill(~keep, 0.0) * scale
