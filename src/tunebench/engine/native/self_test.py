"""A few numbers of every kernel against PyTorch in fp32: what a compiler or a processor gets wrong is not used."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tunebench.engine.native.library import Heads, Library, Texts
from tunebench.engine.native.masks import Dropout, mask_of_attention, mask_of_rows

#: Relative to the norm of what is expected. Rounding to bf16, or in fp32, gives at most a third of it.
_TOLERANCE = {torch.bfloat16: 0.01, torch.float32: 3e-6}


def failure(library: Library) -> str | None:
    """Return what a kernel gets wrong; None where all is well. Draws nothing from PyTorch's own generator."""
    checks: tuple[Callable[[Library, torch.Generator], dict[str, tuple[Tensor, Tensor]]], ...]
    checks = (_attention, _norm, _gelu, _products)
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(False), torch.enable_grad():
        for check in checks:
            for what, (found, expected) in check(library, generator).items():
                error = float((found.detach().float() - expected.detach()).norm() / expected.detach().norm())
                if not error < _TOLERANCE[library.dtype]:  # also where it is no number
                    return f"{what} is off by {error:.1g}"
    return None


def attention_reference(rows: Tensor, lengths: list[int], heads: Heads, dropout: Dropout) -> Tensor:
    """Return attention by its definition, ``(rows, D)``, from ``(rows, 3 D)``: query, key, value side by side."""
    outputs = []
    for text, part in enumerate(rows.split(lengths)):
        length = len(part)
        q, k, v = part.view(length, 3, heads.count, heads.size).permute(1, 2, 0, 3).unbind(0)
        probabilities = torch.softmax(q @ k.transpose(1, 2) * heads.scaling, dim=-1)
        numbers = range(text * heads.count, (text + 1) * heads.count)
        kept = [torch.from_numpy(mask_of_attention(n, length, length, dropout)) for n in numbers]
        outputs.append((probabilities * torch.stack(kept) * dropout.scale @ v).transpose(0, 1).flatten(1))
    return torch.cat(outputs)


def _random(library: Library, generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator).to(library.dtype)


def _attention(library: Library, generator: torch.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    lengths, heads, dropout = [37, 5], Heads(2, 32, 0.2), Dropout.of(0.25, (1, 2))
    rows, grad = _random(library, generator, 42, 192), _random(library, generator, 42, 64)
    texts, parts = Texts.of_lengths(torch.tensor(lengths)), list(rows.split(64, dim=1))
    found, logs = library.attention(parts, texts, heads, dropout, differentiable=True)
    into = torch.empty_like(rows)
    assert logs is not None
    library.attention_gradients(parts, [found, grad], logs, list(into.split(64, dim=1)), texts, heads, dropout)
    exact = rows.float().requires_grad_()
    expected = attention_reference(exact, lengths, heads, dropout)
    expected.backward(grad.float())
    assert exact.grad is not None
    return {"attention": (found, expected), "the gradient of attention": (into, exact.grad)}


def _norm(library: Library, generator: torch.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    dropout = Dropout.of(0.25, (3, 4))
    x, residual, grad = (_random(library, generator, 70, 64) for _ in range(3))
    norm, bias = torch.nn.LayerNorm(64), torch.randn(64, generator=generator)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(64, generator=generator) + 0.5)
    found = library.norm(x, bias, residual, (norm.weight, norm.bias, norm.eps), dropout)
    saved = found.sums, found.means, found.deviations
    residual_grad, x_grad, totals = library.norm_gradients(grad, norm.weight, saved, dropout, learns=True)
    exact = [part.float().requires_grad_() for part in (x, bias, residual)]
    kept = torch.from_numpy(mask_of_rows(70, 64, dropout)) * dropout.scale
    expected = norm(exact[2] + (exact[0] + exact[1]) * kept)
    expected.backward(grad.float())
    wanted = [part.grad for part in (exact[2], exact[0], norm.weight, norm.bias, exact[1])]
    assert totals is not None
    gradients = zip([residual_grad, x_grad, *totals], wanted, strict=True)
    return {"the norm": (found.result, expected)} | {
        f"gradient {i} of the norm": (a, b) for i, (a, b) in enumerate(gradients) if b is not None
    }


def _gelu(library: Library, generator: torch.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    x, grad = (_random(library, generator, 70, 64) for _ in range(2))
    bias = torch.randn(64, generator=generator)
    x_grad, bias_grad = library.gelu_gradients(grad, x, bias, learns=True)
    exact, exact_bias = x.float().requires_grad_(), bias.clone().requires_grad_()
    expected = functional.gelu(exact + exact_bias)
    expected.backward(grad.float())
    assert exact.grad is not None and exact_bias.grad is not None and bias_grad is not None
    return {
        "GELU": (library.gelu(x, bias), expected),
        "the gradient of GELU": (x_grad, exact.grad),
        "the gradient of its bias": (bias_grad, exact_bias.grad),
    }


def _products(library: Library, generator: torch.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    grad, x = (_random(library, generator, 300, size) for size in (64, 96))
    dropout = Dropout.of(0.25, (5, 6))
    kept = torch.from_numpy(mask_of_rows(300, 96, dropout)) * dropout.scale
    found = {
        "sums of columns": (library.column_sums(x), x.float().sum(0)),
        "dropout": (library.dropped(x, dropout), x.float() * kept),
    }
    if library.dtype == torch.bfloat16:
        found["the gradient of weights"] = library.weight_gradient(grad, x), grad.float().t() @ x.float()
    return found
