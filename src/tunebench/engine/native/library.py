"""The kernels as functions of tensors: addresses and sizes for C, checked shapes for Python."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tunebench.engine.native.masks import Dropout

#: In how many parts a kernel sums over rows; ``kParts`` in ``rows.h``.
_PARTS = 32


class _Texts(ctypes.Structure):
    _fields_ = (
        ("first_query", ctypes.c_void_p),
        ("queries", ctypes.c_void_p),
        ("first_key", ctypes.c_void_p),
        ("keys", ctypes.c_void_p),
        ("count", ctypes.c_int64),
    )


class _Rows(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("stride", ctypes.c_int64))

    @classmethod
    def of(cls, x: Tensor) -> _Rows:
        return cls(x.data_ptr(), x.stride(0))


class Heads(ctypes.Structure):
    """Heads of attention: how many, elements of each (a multiple of 32), and the factor of the scores."""

    _fields_ = (("count", ctypes.c_int64), ("size", ctypes.c_int64), ("scaling", ctypes.c_float))


class _Norm(ctypes.Structure):
    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("epsilon", ctypes.c_float),
        ("rows", ctypes.c_int64),
        ("size", ctypes.c_int64),
    )


class Texts:
    """Where the queries and the keys of each text are among the rows.

    Args:
        table: int64 ``(4, texts)``: first query, number of queries, first key, number of keys (at least one).
        used: Rows of queries, and of keys, from the first on that belong to texts without a gap; 0 where there are
            gaps.
    """

    def __init__(self, table: Tensor, *, used: tuple[int, int]) -> None:
        self.table, self.used = table.contiguous(), used
        self.c = _Texts(*(row.data_ptr() for row in self.table), self.table.shape[1])

    @classmethod
    def of_lengths(cls, lengths: Tensor, *, width: int | None = None) -> Texts:
        """Return texts of these lengths, one after another; each padded to ``width`` rows if that is given."""
        if width is None:
            starts = torch.cumsum(lengths, 0) - lengths
        else:
            starts = width * torch.arange(len(lengths))
        gaps = width is not None and bool((lengths < width).any())
        used = 0 if gaps else int(lengths.sum())
        return cls(torch.stack([starts, lengths, starts, lengths]), used=(used, used))

    def first_tokens(self) -> Texts:
        """Return the same keys, and one query a text, in rows of their own."""
        texts = self.table.shape[1]
        table = torch.stack([torch.arange(texts), torch.ones(texts, dtype=torch.int64), *self.table[2:]])
        return Texts(table, used=(texts, self.used[1]))

    def new_queries(self, like: Tensor, size: int) -> Tensor:
        """Return ``(rows of queries, size)`` to be written, zero in the rows that belong to no text."""
        return _new(like, size, self.used[0])

    def new_keys(self, like: Tensor, size: int) -> Tensor:
        """Return ``(rows of keys, size)`` to be written, zero in the rows that belong to no text."""
        return _new(like, size, self.used[1])


def _new(like: Tensor, size: int, used: int) -> Tensor:
    result = like.new_empty(len(like), size)
    result[used:].zero_()
    return result


@dataclass(frozen=True)
class Normed:
    """What a norm's forward pass gives: its result, and what the backward pass reads."""

    result: Tensor
    sums: Tensor
    means: Tensor
    deviations: Tensor


class Library:
    """The compiled kernels.

    Matrices of activations are ``(rows, D)`` in one number type, contiguous, and ``D`` is a multiple of 32.
    Parameters and sums are fp32.

    Args:
        path: Of the compiled file.
        dtype: The number type of activations: bf16 or fp32.

    Attributes:
        dtype: See above.

    Raises:
        OSError: It cannot be loaded.
    """

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        self._c, self.dtype = ctypes.CDLL(str(path)), dtype
        pointer, size = ctypes.c_void_p, ctypes.c_int64
        dropout, norm, rows = (ctypes.POINTER(kind) for kind in (Dropout, _Norm, _Rows))
        attention = [ctypes.POINTER(_Texts), ctypes.POINTER(Heads), rows, rows, pointer, size]
        functions = {
            "attention_forward": [*attention, dropout],
            "attention_backward": [*attention, rows, dropout],
            "norm_forward": [norm, *[pointer] * 7, dropout],
            "norm_backward": [norm, *[pointer] * 8, dropout],
            "gelu_forward": [pointer, pointer, pointer, size, size],
            "gelu_backward": [*[pointer] * 6, size, size],
            "dropout_rows": [pointer, pointer, size, size, dropout],
            "column_sums": [pointer, size, pointer, pointer, size, size],
        }
        if dtype == torch.bfloat16:
            functions["weight_gradient"] = [rows, rows, pointer, size, size, size]
        for name, arguments in functions.items():
            function = getattr(self._c, name)
            function.argtypes, function.restype = arguments, None
        self._c.body.restype = ctypes.c_char_p

    @property
    def body(self) -> str:
        """The instructions that products are made of: ``AMX``, ``AVX512-BF16``, ``AVX-512`` or ``AVX2``."""
        return str(self._c.body().decode())

    @property
    def has_amx(self) -> bool:
        """Whether products are made by AMX."""
        return self.body == "AMX"

    def prepare(self) -> bool:
        """Ask the operating system for the instructions; the kernels may run where it agrees."""
        return bool(self._c.prepare())

    def attention(
        self, parts: list[Tensor], texts: Texts, heads: Heads, dropout: Dropout, *, differentiable: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attend.

        Args:
            parts: Query, key and value, ``(rows, D)`` each, which may be views of columns.
            texts: Where the texts are.
            heads: The heads.
            dropout: Of the probabilities.
            differentiable: Whether there will be a backward pass.

        Returns:
            ``(rows of queries, D)``, and the logarithms ``(heads, rows of queries)`` that the backward pass reads.
        """
        query = parts[0]
        out = texts.new_queries(query, query.shape[1])
        logs = torch.empty(heads.count, len(query)) if differentiable else None
        self._c.attention_forward(
            texts.c,
            heads,
            _several(parts),
            _Rows.of(out),
            None if logs is None else logs.data_ptr(),
            len(query),
            dropout,
        )
        return out, logs

    def attention_gradients(
        self,
        parts: list[Tensor],
        outputs: list[Tensor],
        logs: Tensor,
        into: list[Tensor],
        texts: Texts,
        heads: Heads,
        dropout: Dropout,
    ) -> None:
        """Write the gradients of query, key and value.

        Args:
            parts: As of the forward pass.
            outputs: Its result, and the gradient of that.
            logs: As the forward pass returned them.
            into: Where to write, in the layout of ``parts``. Rows that belong to no text are left alone.
            texts: As of the forward pass.
            heads: As of the forward pass.
            dropout: As of the forward pass.
        """
        self._c.attention_backward(
            texts.c,
            heads,
            _several(parts),
            _several(outputs),
            logs.data_ptr(),
            logs.shape[1],
            _several(into),
            dropout,
        )

    def norm(
        self,
        x: Tensor,
        x_bias: Tensor | None,
        residual: Tensor,
        norm: tuple[Tensor, Tensor, float],
        dropout: Dropout,
    ) -> Normed:
        """Return the norm of ``residual + dropout(x + x_bias)``; a norm is its weight, its bias and its epsilon."""
        result, sums = torch.empty_like(residual), torch.empty_like(residual)
        means, deviations = torch.empty(2, len(x)).unbind(0)
        self._c.norm_forward(
            _norm(*norm, x),
            x.data_ptr(),
            _address(x_bias),
            *(part.data_ptr() for part in (residual, sums, result, means, deviations)),
            dropout,
        )
        return Normed(result, sums, means, deviations)

    def norm_gradients(
        self, grad: Tensor, weight: Tensor, saved: tuple[Tensor, Tensor, Tensor], dropout: Dropout, *, learns: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return gradients of the residual, of ``x``, and ``(3, D)`` of norm weight, norm bias and ``x_bias``.

        Args:
            grad: Of the result.
            weight: Of the norm.
            saved: Sums, means and deviations of the forward pass.
            dropout: As of the forward pass.
            learns: Whether the gradients of parameters are wanted.
        """
        residual = torch.empty_like(grad)
        x = torch.empty_like(grad) if dropout.threshold else residual
        totals = torch.empty(3, grad.shape[1]) if learns else None
        parts = torch.empty(_PARTS, 3, grad.shape[1]) if learns else None
        self._c.norm_backward(
            _norm(weight, weight, 0.0, grad),
            *(part.data_ptr() for part in (grad, *saved, residual, x)),
            _address(totals),
            _address(parts),
            dropout,
        )
        return residual, x, totals

    def gelu(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Return ``gelu(x + bias)``."""
        y = torch.empty_like(x)
        self._c.gelu_forward(x.data_ptr(), _address(bias), y.data_ptr(), *x.shape)
        return y

    def gelu_gradients(
        self, grad: Tensor, x: Tensor, bias: Tensor | None, *, learns: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return the gradients of ``x``, and of the bias if they are wanted."""
        result, size = torch.empty_like(x), x.shape[1]
        totals = torch.empty(size) if learns else None
        parts = torch.empty(_PARTS, size) if learns else None
        self._c.gelu_backward(
            *(part.data_ptr() for part in (grad, x)),
            _address(bias),
            result.data_ptr(),
            _address(totals),
            _address(parts),
            *x.shape,
        )
        return result, totals

    def dropped(self, x: Tensor, dropout: Dropout) -> Tensor:
        """Return ``dropout(x)``."""
        y = torch.empty_like(x)
        self._c.dropout_rows(x.data_ptr(), y.data_ptr(), *x.shape, dropout)
        return y

    def column_sums(self, x: Tensor) -> Tensor:
        """Return the sums over rows, ``(D,)``; ``x`` may be a view of columns."""
        size = x.shape[1]
        totals, parts = torch.empty(size), torch.empty(_PARTS, size)
        self._c.column_sums(x.data_ptr(), x.stride(0), totals.data_ptr(), parts.data_ptr(), *x.shape)
        return totals

    def weight_gradient(self, grad: Tensor, x: Tensor) -> Tensor:
        """Return ``grad.T @ x`` in fp32, of bf16 alone; both may be views of columns."""
        result = torch.empty(grad.shape[1], x.shape[1])
        self._c.weight_gradient(_Rows.of(grad), _Rows.of(x), result.data_ptr(), len(x), *result.shape)
        return result


def _several(tensors: list[Tensor]) -> ctypes.Array[_Rows]:
    return (_Rows * len(tensors))(*(_Rows.of(x) for x in tensors))


def _address(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _norm(weight: Tensor, bias: Tensor, epsilon: float, x: Tensor) -> _Norm:
    return _Norm(weight.data_ptr(), bias.data_ptr(), epsilon, *x.shape)
