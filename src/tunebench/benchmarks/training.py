"""``tunebench bench``: steps and evaluation of plain Trainer scripts and of tunebench, in one session.

All sides run in one process, in turn, so that what the machine does to one it does to the others. The plain sides
get the memory settings of an ordinary script back before each of their turns.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import chain, product
from typing import Any

from tunebench.benchmarks.rounds import take_rounds
from tunebench.benchmarks.sides import (
    BATCH,
    MAX_LENGTH,
    PLAIN,
    WAYS,
    Job,
    Turn,
    build_model,
    check_compiler,
    ours,
    review_lengths,
    without_native,
)
from tunebench.data.tokens import TokenizedTexts
from tunebench.engine.flops import Workload, count
from tunebench.engine.native.loading import load
from tunebench.formatting import counted
from tunebench.machine import devices, environment
from tunebench.machine.memory import keep_memory, peak_memory_bytes, release_memory, reset_peak_memory

#: The paper's study.
EPOCHS, EVALUATIONS, TEST = 3, 6, 25_000
SIZES = (5_000, 10_000, 25_000)
#: Share set aside for selection on our side.
VALIDATION = 0.1
#: Sides that are tunebench, by name; the second one is measured only where it is asked for.
OURS = {"ours": ours, "without": without_native}


@dataclass
class Side:
    """Measurements of one side of one strategy.

    Attributes:
        step_seconds: Of a step, one value a round.
        texts_per_second: Evaluation, one value a round.
        peak_memory_bytes: Of the process in this side's turns.
    """

    step_seconds: list[float] = field(default_factory=list)
    texts_per_second: list[float] = field(default_factory=list)
    peak_memory_bytes: int = 0


@dataclass
class Result:
    """Everything one benchmark measured.

    Attributes:
        gemm_gflops: Best product rates, by type.
        precision: Of our side, and of the plain ones that do not stay with fp32.
        sides: By strategy, then by name; ``ours`` is the last one. ``without`` is ours without native kernels.
        kernels: The instructions that the native kernels of our side use, or why there are none.
        step_flops: Operations of one of our steps without padding, mean over the texts, by strategy.
        attention_dropout: Of our side; None means the model's own, as on the plain sides.
    """

    model: str
    machine: dict[str, Any]
    versions: dict[str, str]
    threads: int
    rounds: int
    mean_tokens: float
    precision: str
    attention_dropout: float | None
    gemm_gflops: dict[str, float]
    sides: dict[str, dict[str, Side]]
    step_flops: dict[str, float]
    kernels: str = "none"

    @property
    def others(self) -> list[str]:
        """Names of the sides that ours is compared with."""
        return [name for name in self.sides[next(iter(self.sides))] if name != "ours"]

    def ratio(self, way: str, side: str, what: str) -> tuple[float, float, float]:
        """Return median, smallest and largest ratio over rounds of a measurement, another side against ours."""
        plain, our = getattr(self.sides[way][side], what), getattr(self.sides[way]["ours"], what)
        pairs = list(zip(plain, our, strict=True))
        found = [p / o if what == "step_seconds" else o / p for p, o in pairs]
        return statistics.median(found), min(found), max(found)

    def ratios(self, what: str) -> dict[str, dict[str, tuple[float, float, float]]]:
        """Return the ratios of every strategy and other side."""
        return {way: {side: self.ratio(way, side, what) for side in self.others} for way in self.sides}

    def mfu(self, way: str) -> float:
        """Return executed matrix operations of our step over the measured peak product rate."""
        seconds = statistics.median(self.sides[way]["ours"].step_seconds)
        return self.step_flops[way] / seconds / (self.gemm_gflops[self.precision] * 1e9)

    def grid(self) -> dict[str, dict[str, float]]:
        """Return seconds of the whole paper grid, by part, on every side.

        Plain: every label trains, and the whole test split is scored six times a run. Ours: a tenth of
        the labels selects (scored six times), the rest trains, and test is scored once.
        """
        total = {side: {"training": 0.0, "evaluation": 0.0} for side in (*self.others, "ours")}
        for sides in self.sides.values():
            for side, measured in sides.items():
                step = statistics.median(measured.step_seconds)
                rate = statistics.median(measured.texts_per_second)
                for size in SIZES:
                    held = round(size * VALIDATION)
                    trained = size - held if side in OURS else size
                    scored = EVALUATIONS * held + TEST if side in OURS else EVALUATIONS * TEST
                    total[side]["training"] += math.ceil(trained / BATCH) * EPOCHS * step
                    total[side]["evaluation"] += scored / rate
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ratios included."""
        found = asdict(self)
        found["step_ratio"] = self.ratios("step_seconds")
        found["evaluation_ratio"] = self.ratios("texts_per_second")
        found["mfu"] = {way: self.mfu(way) for way in self.sides}
        found["grid_seconds"] = self.grid()
        return found


def run_bench(
    model: str,
    *,
    seconds: float = 500.0,
    attention_dropout: float | None = None,
    compiled: bool = False,
    without: bool = False,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Result:
    """Measure all sides in turn until the time is used up, two rounds at least. Ctrl-C ends with the whole rounds.

    Args:
        model: ``distilbert`` or ``modernbert`` (real size, random weights), ``minilm``, or a folder.
        seconds: Time to use, roughly.
        attention_dropout: For our side; None leaves the model's own.
        compiled: Whether the careful Trainer is measured with ``torch.compile`` too.
        without: Whether tunebench is measured without its native kernels too.
        threads: Compute threads.
        tell: Called with a line for each measurement.

    Raises:
        ModelError: The model cannot be loaded.
        PlanError: ``torch.compile`` is asked for and does not work here.
    """
    device = "cpu"
    count_ = devices.set_threads(threads)
    if compiled:
        check_compiler()
    precision = devices.default_precision(device, "fast")
    native = ["bf16"] if devices.has_native_bf16(device) else []  # what it gains says why it is taken, or not
    texts = review_lengths()
    turns = {name: turn for name, turn in PLAIN.items() if compiled or name != "compiled"}
    turns |= {name: OURS[name] for name in (["without"] if without else []) + ["ours"]}
    sides = {way: {name: Side() for name in turns} for way in WAYS}
    flops: dict[str, float] = {}

    def measure(way: str, name: str) -> tuple[Turn, int]:
        """Let a side take its turn; return what it measured, and its peak memory."""
        prepared, architecture = build_model(model, way, attention_dropout if name in OURS else None)
        job = Job(prepared, architecture, count(prepared, architecture), texts, precision)
        del prepared
        release_memory()
        keep_memory(name in OURS)
        reset_peak_memory()
        found = turns[name](job)
        if name == "ours":
            flops[way] = _mean_step_flops(job.workload, texts, first_token_only=found.first_token_only)
        return found, peak_memory_bytes(device)

    def take(number: int) -> dict[tuple[str, str], tuple[Turn, int]]:
        found = {}
        for way, name in product(WAYS, turns):
            tell(f"round {number}: {model}, {way}, {name}")
            found[way, name] = measure(way, name)
        return found

    rounds = take_rounds(take, fewest=2, seconds=seconds, tell=tell)
    for (way, name), (found, peak) in chain.from_iterable(each.items() for each in rounds):
        side = sides[way][name]
        side.step_seconds.append(found.step_seconds)
        side.texts_per_second.append(found.texts_per_second)
        side.peak_memory_bytes = max(side.peak_memory_bytes, peak)
    kernels = load(precision)
    return Result(
        model=model,
        machine=environment.describe(),
        versions=environment.versions(),
        threads=count_,
        rounds=len(rounds),
        mean_tokens=float(texts.lengths.mean()),
        precision=precision,
        attention_dropout=attention_dropout,
        gemm_gflops={kind: environment.gemm_gflops(kind) for kind in ("fp32", *native)},
        sides=sides,
        step_flops=flops,
        kernels=str(kernels.reason) if kernels.library is None else kernels.library.body,
    )


def _mean_step_flops(workload: Workload, texts: TokenizedTexts, *, first_token_only: bool) -> float:
    """Count texts one by one, as they are: what a batch pads besides is no work that MFU should credit."""
    one = (workload.step(texts=1, length=int(n), first_token_only=first_token_only) for n in texts.lengths)
    return BATCH * statistics.fmean(one)


def render(result: Result, *, grid: bool) -> str:
    """Return the result as text, with the arithmetic of the grid if asked for."""
    info = result.machine
    lines = [
        f"{result.model} on {info['cpu']}, {info['cores']} cores, {result.threads} threads; "
        f"{counted(result.rounds, 'round')}, batch {BATCH}, mean length {result.mean_tokens:.0f} tokens",
        "products: " + ", ".join(f"{k} {v:.0f} GFLOP/s" for k, v in result.gemm_gflops.items()),
        "",
        *(f"{name:<10}{line}" for name, line in _described(result).items()),
        "Ratios: how many times as fast tunebench is, median and range over rounds.",
    ]
    for way, sides in result.sides.items():
        measured = "".join(f"{unit:>11}{'ratio':>8}   {'range':<16}" for unit in ("s/step", "reviews/s"))
        lines += ["", f"{way:<10}{measured}{'peak GB':>9}"]
        lines += [f"  {name:<8}{_row(result, way, name)}" for name in sides]
        lines.append(f"  MFU of ours: {result.mfu(way):.0%}")
    return "\n".join([*lines, *(_grid_lines(result) if grid else ())]) + "\n"


def _described(result: Result) -> dict[str, str]:
    """Return what each side does, by name."""
    own = result.attention_dropout is None
    dropout = "the model's own" if own else f"{result.attention_dropout:g}"
    precision = "bf16 autocast" if result.precision == "bf16" else "fp32"
    said = {
        "paper": f"Trainer, fp32, padded to {MAX_LENGTH}",
        "careful": f"Trainer, {precision}, padded to the batch's longest text, evaluation sorted by length",
        "compiled": "careful, with torch.compile",
        "without": "ours, without native kernels",
        "ours": f"tunebench, {result.precision}, without padding, attention dropout {dropout}",
    }
    return {name: line for name, line in said.items() if name in (*result.others, "ours")}


def _row(result: Result, way: str, name: str) -> str:
    side, found = result.sides[way][name], ""
    for what in ("step_seconds", "texts_per_second"):
        found += f"{statistics.median(getattr(side, what)):>11.3f}"
        if name == "ours":
            found += " " * 27
            continue
        middle, low, high = result.ratio(way, name, what)
        found += f"{middle:>7.2f}x   {f'{low:.2f} to {high:.2f}':<16}"
    return f"{found}{side.peak_memory_bytes / 1e9:>9.2f}"


def _grid_lines(result: Result) -> list[str]:
    total = result.grid()
    hours = {side: {part: spent / 3600 for part, spent in parts.items()} for side, parts in total.items()}
    ours_ = sum(hours["ours"].values())
    lines = ["", f"paper grid ({' + '.join(f'{n:,}' for n in SIZES)} labels, {EPOCHS} epochs, both strategies):"]
    for side, parts in hours.items():
        steps, reviews = "steps x s/step", f"{EVALUATIONS} x {TEST:,} reviews a run / (reviews/s)"
        if side in OURS:
            steps, reviews = (
                "steps of 90 % of the labels",
                f"{EVALUATIONS} x 10 % of the labels + {TEST:,} reviews a run",
            )
        lines.append(
            f"  {side + ':':<10}{steps} = {parts['training']:.2f} h, and {reviews} = {parts['evaluation']:.2f} h"
        )
    for side in result.others:
        plain = sum(hours[side].values())
        lines.append(f"  {side}: {plain:.2f} h against {ours_:.2f} h: {plain / ours_:.1f}x")
    return lines
