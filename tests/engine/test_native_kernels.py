"""The native kernels in bf16 and in fp32 against PyTorch in fp32, with the masks that numpy computes."""

from __future__ import annotations

import multiprocessing
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import tunebench
from tunebench.engine.fast.masks import MaskStream
from tunebench.engine.native import build as building
from tunebench.engine.native import loading, self_test
from tunebench.engine.native.build import UnavailableError, build, check_machine, find_compiler
from tunebench.engine.native.functions import AttentionKernel, DropoutKernel, GeluKernel, NormKernel
from tunebench.engine.native.library import Heads, Library, Texts
from tunebench.engine.native.masks import Dropout, mask_of_attention, mask_of_rows
from tunebench.engine.native.self_test import attention_reference
from tunebench.machine.devices import compute_type, cpu_flags, default_precision
from tunebench.recipe import Precision
from wheels import built

#: Number type and flags of the bodies of the products, and the processor's features that running them takes.
_PLAIN = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma")
BODIES: dict[str, tuple[Precision, tuple[str, ...], set[str]]] = {
    "bf16 AVX-512": ("bf16", _PLAIN, {"avx512bw"}),
    "bf16 AVX512-BF16": ("bf16", (*_PLAIN, "-mavx512bf16"), {"avx512_bf16"}),
    "bf16 AMX": ("bf16", (*_PLAIN, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"), {"amx_bf16"}),
    # The same source, so that its layout of tiles is tested where there is no AMX.
    "bf16 AMX in software": (
        "bf16",
        (*_PLAIN, "-include", str(Path(__file__).parent / "amx_in_software.h")),
        {"avx512bw"},
    ),
    "fp32 AVX2": ("fp32", ("-mavx2", "-mfma"), {"avx2", "fma"}),
    "fp32 AVX-512": ("fp32", _PLAIN, {"avx512bw"}),
    # Vectors as wide as with AVX-512, so that their layout is tested where there is none.
    "fp32 AVX2, wide": ("fp32", ("-mavx2", "-mfma", "-DWIDE_VECTORS"), {"avx2", "fma"}),
}
#: How much closer fp32 has to be than what is allowed to bf16.
CLOSER = {torch.bfloat16: 1.0, torch.float32: 2e-4}
#: More flags for the compiler; ``make sanitizers`` sets them.
EXTRA = os.environ.get("TUNEBENCH_TEST_KERNEL_FLAGS", "").split()
LENGTHS = [1, 15, 16, 17, 31, 32, 33, 512]


def compiler() -> str:
    """Return the compiler, or skip the test and say why."""
    try:
        check_machine("fp32")
        return find_compiler()
    except UnavailableError as error:
        pytest.skip(f"no native kernels here: {error}")


@pytest.fixture(scope="module", params=list(BODIES))
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The kernels with each body of the products. All are compiled; what this processor lacks is not run."""
    numbers, flags, needed = BODIES[request.param]
    folder = tmp_path_factory.getbasetemp() / "native"
    library = Library(build(compiler(), folder, numbers, (*flags, *EXTRA)), compute_type(numbers))
    assert request.param.startswith(f"{numbers} {library.body}")
    if not needed <= cpu_flags() or not library.prepare():
        pytest.skip(f"compiled, and not run: this machine has no {request.param}")
    return library


@pytest.fixture(scope="module", params=["bf16", "fp32"])
def loaded(request: pytest.FixtureRequest) -> Library:
    """The kernels that a training here would use."""
    found = loading.load(request.param)
    if found.library is None:
        pytest.skip(f"no native kernels here: {found.reason}")
    return found.library


def drawn(kernels: Library) -> Callable[..., Tensor]:
    """Return what draws numbers of a shape by a seed, in the number type of the kernels."""

    def random(seed: int, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(kernels.dtype)

    return random


def off(found: Tensor, expected: Tensor) -> float:
    """Return the distance, relative to the norm of what is expected."""
    return float((found.detach().float() - expected.detach()).norm() / expected.detach().norm())


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("size", [32, 64])
def test_attention_is_attention_by_its_definition(kernels: Library, size: int, p: float) -> None:
    random, closer = drawn(kernels), CLOSER[kernels.dtype]
    heads, dropout = Heads(2, size, size**-0.5), Dropout.of(p, (12_345, 678))
    rows = random(1, sum(LENGTHS), 6 * size).requires_grad_()
    grad = random(2, sum(LENGTHS), 2 * size)
    texts = Texts.of_lengths(torch.tensor(LENGTHS))
    found = AttentionKernel.apply(rows, None, kernels, texts, heads, dropout)
    (gradient,) = torch.autograd.grad(found, rows, grad)
    exact = rows.detach().float().requires_grad_()
    expected = attention_reference(exact, LENGTHS, heads, dropout)
    (wanted,) = torch.autograd.grad(expected, exact, grad.float())
    # Each text by itself: a long one would hide what is wrong with a short one.
    for part in zip(*(x.split(LENGTHS) for x in (found, expected)), strict=True):
        assert off(*part) < 5e-3 * closer
    for got, want in zip(gradient.split(LENGTHS), wanted.split(LENGTHS), strict=True):
        query_and_key, value = (slice(0, 4 * size), slice(4 * size, None))
        assert off(got[:, value], want[:, value]) < 6e-3 * closer
        if len(want) > 1:  # with one key, scores do not matter
            assert off(got[:, query_and_key], want[:, query_and_key]) < 8e-3 * closer
        else:
            assert got[:, query_and_key].norm() < 0.02 * want[:, value].norm()


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_first_tokens_and_padding_are_the_same_attention(kernels: Library, p: float) -> None:
    """One query a text, with keys apart from it; and the same texts with padding behind them."""
    random = drawn(kernels)
    heads, dropout, lengths, width = Heads(2, 32, 0.2), Dropout.of(p, (3, 4)), torch.tensor([5, 40, 1]), 41
    packed = random(3, 46, 192)
    texts = Texts.of_lengths(lengths)
    whole = AttentionKernel.apply(packed, None, kernels, texts, heads, dropout)
    firsts = texts.table[0]
    query = packed[firsts, :64].contiguous().requires_grad_()
    others = packed[:, 64:].contiguous().requires_grad_()
    alone = AttentionKernel.apply(query, others, kernels, texts.first_tokens(), heads, dropout)
    assert torch.equal(alone, whole[firsts])
    inside = (torch.arange(width) < lengths[:, None]).flatten()
    padded = torch.full((3 * width, 192), torch.nan, dtype=kernels.dtype)
    padded[inside] = packed
    padded.requires_grad_()
    out = AttentionKernel.apply(padded, None, kernels, Texts.of_lengths(lengths, width=width), heads, dropout)
    assert torch.equal(out[inside], whole) and not out[~inside].any()
    grad = random(4, 3, 64)
    given = torch.zeros(3 * width, 64, dtype=kernels.dtype)
    given[torch.arange(3) * width] = grad
    wide = torch.autograd.grad(out, padded, given)[0]
    of_query, of_others = torch.autograd.grad(alone, [query, others], grad)
    assert not wide[~inside].any()
    assert torch.equal(wide[inside][:, 64:], of_others) and torch.equal(wide[inside][firsts, :64], of_query)


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize(("rows", "size"), [(1, 32), (33, 96), (700, 384)])
def test_dropout_residual_and_norm(kernels: Library, rows: int, size: int, p: float) -> None:
    random, closer = drawn(kernels), CLOSER[kernels.dtype]
    dropout, grad = Dropout.of(p, (7, 8)), random(4, rows, size)
    given = [random(0, rows, size), random(1, size).float(), random(2, rows, size)]
    given += [random(3, size).float() + 2, random(5, size).float()]
    inputs = [x.clone().requires_grad_() for x in given]
    found = NormKernel.apply(*inputs, 1e-12, kernels, dropout)
    exact = [x.float().requires_grad_() for x in given]
    kept = torch.from_numpy(mask_of_rows(rows, size, dropout)) * dropout.scale
    summed = exact[2] + (exact[0] + exact[1]) * kept
    expected = functional.layer_norm(summed, (size,), exact[3], exact[4], 1e-12)
    assert off(found, expected) < 5e-3 * closer
    gradients = torch.autograd.grad(found, inputs, grad)
    for got, want in zip(gradients, torch.autograd.grad(expected, exact, grad.float()), strict=True):
        assert off(got, want) < 6e-3 * closer
    # Where no parameter learns, sums over rows are left out.
    alone = [x.detach() for x in inputs]
    alone[0].requires_grad_()
    again = NormKernel.apply(*alone, 1e-12, kernels, dropout)
    assert torch.equal(torch.autograd.grad(again, alone[0], grad)[0], gradients[0])


@pytest.mark.parametrize("biased", [True, False])
def test_gelu_and_its_gradients(kernels: Library, biased: bool) -> None:
    random, closer = drawn(kernels), CLOSER[kernels.dtype]
    x, grad = (random(0, 333, 128) * 4).requires_grad_(), random(1, 333, 128)
    bias = random(2, 128).float().requires_grad_() if biased else None
    found = GeluKernel.apply(x, bias, kernels)
    exact, exact_bias = x.detach().float().requires_grad_(), random(2, 128).float().requires_grad_()
    expected = functional.gelu(exact + exact_bias if biased else exact)
    assert off(found, expected) < 3e-3 * closer
    got = torch.autograd.grad(found, [x, bias] if bias is not None else [x], grad)
    want = torch.autograd.grad(expected, [exact, exact_bias] if biased else [exact], grad.float())
    for a, b in zip(got, want, strict=True):
        assert off(a, b) < 3e-3 * closer
    ends = torch.tensor([[-1e30, -40.0, -9.0, 0.0, 40.0, 1e30, *[0.0] * 26]]).to(kernels.dtype)
    assert torch.allclose(kernels.gelu(ends, None).float(), functional.gelu(ends.float()), atol=1e-6)


@pytest.mark.parametrize(("rows", "outputs", "inputs"), [(1, 32, 64), (257, 96, 32), (600, 128, 416)])
def test_gradients_of_weights_and_sums_of_columns(kernels: Library, rows: int, outputs: int, inputs: int) -> None:
    random = drawn(kernels)
    grad, x = random(0, rows, outputs), random(1, rows, inputs + 32)[:, 32:]
    if kernels.dtype == torch.bfloat16:
        assert off(kernels.weight_gradient(grad, x), grad.float().t() @ x.float()) < 1e-5
    assert off(kernels.column_sums(x), x.float().sum(0)) < 1e-5


def test_dropout_is_its_own_gradient(kernels: Library) -> None:
    random = drawn(kernels)
    x, dropout = random(0, 50, 96).requires_grad_(), Dropout.of(0.2, (9, 10))
    kept = torch.from_numpy(mask_of_rows(50, 96, dropout)) * dropout.scale
    found = DropoutKernel.apply(x, kernels, dropout)
    assert torch.equal(found, (x.float() * kept).to(kernels.dtype))
    grad = random(1, 50, 96)
    assert torch.equal(torch.autograd.grad(found, x, grad)[0], (grad.float() * kept).to(kernels.dtype))


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_masks_keep_the_rate_and_look_independent(p: float) -> None:
    """Neighbours along a row, along a column, the two elements of one place, other calls and other heads."""
    stream = MaskStream(0)
    dropout, other = (Dropout.of(p, stream.keys()) for _ in range(2))
    masks = [mask_of_rows(1000, 256, dropout), mask_of_rows(1000, 256, other)]
    masks += [mask_of_attention(n, 500, 511, dropout) for n in (0, 1)]
    signs = [np.where(mask, dropout.scale - 1, -1.0) / (dropout.scale - 1) ** 0.5 for mask in masks]
    bound = 5 / 500**0.5 / 500**0.5
    for mask, sign in zip(masks, signs, strict=True):
        assert abs(mask.mean() - (1 - p)) < 5 * (p * (1 - p) / mask.size) ** 0.5 + 2**-16
        for shift in (1, 2, 16, 31):
            assert abs((sign[:, shift:] * sign[:, :-shift]).mean()) < bound
            assert abs((sign[shift:] * sign[:-shift]).mean()) < bound
    assert abs((signs[0] * signs[1]).mean()) < bound and abs((signs[2] * signs[3]).mean()) < bound


def test_results_do_not_depend_on_the_number_of_threads(kernels: Library) -> None:
    random = drawn(kernels)
    lengths, heads, dropout = [70, 9, 33, 128, 1], Heads(4, 32, 0.2), Dropout.of(0.2, (5, 6))
    texts, before = Texts.of_lengths(torch.tensor(lengths)), torch.get_num_threads()

    def run(threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        rows, wide = random(0, sum(lengths), 384).requires_grad_(), random(1, sum(lengths), 128).requires_grad_()
        weight, bias = (torch.ones(128) * x for x in (1.5, 0.5))
        parameters = [weight.requires_grad_(), bias.requires_grad_()]
        attended = AttentionKernel.apply(rows, None, kernels, texts, heads, dropout)
        inner = GeluKernel.apply(attended, parameters[1], kernels)
        out = NormKernel.apply(inner, parameters[1], wide, *parameters, 1e-5, kernels, dropout)
        grad = random(2, *out.shape)
        products = [kernels.column_sums(rows)]
        if kernels.dtype == torch.bfloat16:
            products.append(kernels.weight_gradient(grad, rows))
        return [out, *torch.autograd.grad(out, [rows, wide, *parameters], grad), *products]

    try:
        results = [run(threads) for threads in (1, 2, 3)]
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


# Building and loading ----------------------------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, and a process that has loaded nothing yet."""
    compiler()
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path))
    monkeypatch.delenv(loading.SWITCH, raising=False)
    loading._loaded.cache_clear()
    yield tmp_path
    loading._loaded.cache_clear()


def script(folder: Path, text: str) -> str:
    """Write an executable script, and return its path."""
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("compiler_", "said"),
    [
        ("echo 'x.h: error: no such thing' >&2; exit 1", "no such thing"),
        ('[ "$1" = --version ] && exit 0; echo broken >&2; exit 1', "broken"),
        # Says that all is well, and writes no library.
        ('while [ $# -gt 1 ]; do [ "$1" = -o ] && : > "$2"; shift; done', "cannot be loaded"),
        ("kill -9 $$", "exit code -9"),
    ],
)
def test_a_broken_compiler_is_a_reason_and_no_error(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, compiler_: str, said: str
) -> None:
    monkeypatch.setenv("CXX", script(fresh, compiler_))
    found = loading.load(default_precision("cpu", "fast"))
    assert found.library is None and found.reason is not None and said in found.reason
    assert found.reason in loading.kernels_finding().advice


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("compiler", "no-such-compiler"),
        ("flags", "AVX2"),
        ("system", "Darwin"),
        ("folder", "cannot be written"),
        ("switch", "TUNEBENCH_NATIVE=0"),
    ],
)
def test_a_machine_without_kernels_says_why(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, change: str, said: str
) -> None:
    if change == "compiler":
        monkeypatch.setenv("CXX", "no-such-compiler")
    elif change == "flags":
        monkeypatch.setattr(building, "cpu_flags", lambda: frozenset({"avx2"}))  # and no fma
    elif change == "system":
        monkeypatch.setattr(building.platform, "system", lambda: "Darwin")
    elif change == "folder":
        (fresh / "native").write_text("a file in the way", encoding="utf-8")
    else:
        monkeypatch.setenv(loading.SWITCH, "0")
    found = loading.load("fp32")
    assert found.library is None and said in str(found.reason)
    assert loading.kernels_here("cpu", ["bf16", "fp32"]) == {"bf16": "torch", "fp32": "torch"}


def test_each_number_type_needs_its_own_instructions(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without AVX-512 has the kernels in fp32, and a GPU or a type that is neither has none."""
    monkeypatch.setattr(building, "cpu_flags", lambda: frozenset({"avx2", "fma"}))
    assert "AVX-512" in str(loading.load("bf16").reason)
    assert loading.kernels_here("cpu", ["bf16", "fp32"]) == {"bf16": "torch", "fp32": "native"}
    assert loading.kernels_here("cuda", ["fp16", "fp32"]) == {"fp16": "torch", "fp32": "torch"}


def test_wrong_numbers_are_not_used(fresh: Path, loaded: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """The self-test sees a kernel that is a little off, or gives no numbers at all."""
    assert self_test.failure(loaded) is None
    right = Library.gelu
    for wrong in (lambda x: x * 1.02, lambda x: x * torch.nan):
        monkeypatch.setattr(Library, "gelu", lambda self, x, bias, wrong=wrong: wrong(right(self, x, bias)))
        assert "GELU" in str(self_test.failure(loaded))
    monkeypatch.setattr(loading, "build", lambda *_: Path(loaded._c._name))
    assert "self-test" in str(loading.load("bf16" if loaded.dtype == torch.bfloat16 else "fp32").reason)


@pytest.mark.parametrize("amx", [True, False])
def test_where_amx_fails_the_kernels_do_without_it(
    fresh: Path, loaded: Library, monkeypatch: pytest.MonkeyPatch, amx: bool
) -> None:
    if loaded.dtype == torch.float32:
        pytest.skip("the kernels in fp32 never use AMX")
    asked: list[tuple[str, ...]] = []

    def fails_once(compiler: str, folder: Path, numbers: str, flags: tuple[str, ...]) -> Path:
        asked.append(flags)
        return Path(loaded._c._name)

    monkeypatch.setattr(loading, "build", fails_once)
    monkeypatch.setattr(loading, "has_amx", lambda: amx)
    monkeypatch.setattr(Library, "prepare", lambda self: len(asked) == 2)
    found = loading.load("bf16")
    assert len(asked) == 1 + amx and ("-DWITHOUT_AMX" in asked[-1]) == amx
    assert (found.library is not None) == amx and (found.reason is None) == amx


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the kernels for every kind of processor, out of a wheel that was built with them."""
    compiler()
    folder = tmp_path_factory.mktemp("prebuilt")
    (wheel,) = built(folder, "--wheel", TUNEBENCH_PREBUILT="1")
    assert "-py3-none-linux_" in wheel.name
    place = building.PREBUILT.relative_to(Path(tunebench.__file__).parents[1])
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".so")]
        archive.extractall(folder, names)
    assert {Path(name).parent for name in names} == {place} and len(names) == len(building.VARIANTS)
    return folder / place


@pytest.mark.parametrize("numbers", ["bf16", "fp32"])
def test_without_a_compiler_the_wheels_kernels_are_used(
    fresh: Path, variants: Path, monkeypatch: pytest.MonkeyPatch, numbers: Precision
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(building, "PREBUILT", variants)
    fitting = building.prebuilt(numbers)
    if not fitting:
        pytest.skip(f"no kernel of the wheel in {numbers} is for this processor")
    best, *others = fitting
    found = loading.load(numbers)
    assert found.prebuilt and found.library is not None and found.library._c._name == str(best)
    if numbers == default_precision("cpu", "fast"):
        said = f"{found.library.body} in {numbers}, prebuilt and tested"
        assert loading.kernels_finding().value == said
    # What this processor can run besides is right, too, and older sources' files are passed over.
    libraries = [Library(file, compute_type(numbers)) for file in others]
    assert all(self_test.failure(library) is None for library in libraries)
    assert len({found.library.body, *(library.body for library in libraries)}) == 1 + len(others)
    monkeypatch.setattr(building, "_digest", lambda *words: "0" * 24)
    assert building.prebuilt(numbers) == []


def test_a_variant_is_for_processors_that_have_its_instructions(
    variants: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "PREBUILT", variants)
    for name, (numbers, needed, _) in building.VARIANTS.items():
        monkeypatch.setattr(building, "cpu_flags", lambda needed=needed: frozenset(needed))
        assert f"kernels-{name}-" in building.prebuilt(numbers)[0].name


def _build(folder: str) -> str:
    return str(build(find_compiler(), Path(folder), "fp32"))


def test_processes_that_build_at_once_get_one_whole_file(fresh: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = set(pool.map(_build, [str(fresh / "native")] * 3))
    (path,) = found
    assert [p.name for p in (fresh / "native").iterdir()] == [Path(path).name]
    assert self_test.failure(Library(Path(path), torch.float32)) is None


def test_what_is_built_is_built_once_and_anew_for_other_flags(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    run = building._run

    def spy(*words: str) -> str:
        calls.append(words)
        return run(*words)

    monkeypatch.setattr(building, "_run", spy)
    first = build(find_compiler(), fresh, "fp32")
    built = len(calls)
    assert build(find_compiler(), fresh, "fp32") == first
    assert [words[1:] for words in calls[built:]] == [("--version",)]
    monkeypatch.setattr(building, "cpu_flags", lambda: frozenset({"another"}))
    monkeypatch.setattr(building, "_run", lambda *words: "")
    assert building._key("g++", ()) != building._key("g++", ("-O1",))
