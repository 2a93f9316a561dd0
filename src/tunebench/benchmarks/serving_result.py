"""What ``tunebench bench --serve`` measured, and its table."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Load:
    """One stretch of load.

    Attributes:
        requests: How many were answered.
        seconds: From the first to the last.
        p50_ms: Median latency, seen by the client.
        p99_ms: 99th percentile of it.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def throughput(self) -> float:
        """Texts a second."""
        return self.requests / self.seconds


@dataclass
class ServeSide:
    """Measurements of one way to serve.

    Attributes:
        loads: By the number of requests at a time.
        score: Macro F1 on the reviews of the last of them.
        equal_predictions: Share of reviews with the label that the plain pipeline gives.
        memory_bytes: Resident memory of the server after that load.
    """

    loads: dict[int, Load] = field(default_factory=dict)
    score: float = 0.0
    equal_predictions: float = 0.0
    memory_bytes: int = 0


@dataclass
class ServeResult:
    """Everything measured."""

    model: str
    machine: dict[str, Any]
    versions: dict[str, str]
    threads: int
    precision: str
    reviews: int
    max_length: int
    sides: dict[str, ServeSide]
    #: Why a side is missing: its export was refused.
    left_out: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, throughputs and ratios included."""
        found = asdict(self)
        for name, side in self.sides.items():
            for count, load in side.loads.items():
                found["sides"][name]["loads"][count]["throughput"] = load.throughput
        found["throughput_ratio"] = {name: self.throughput_ratio(name) for name in self.sides}
        found["memory_ratio_8_adapters"] = self.memory_ratio()
        return found

    def throughput_ratio(self, name: str) -> float:
        """Return a side's throughput over the pipeline's, both at the most requests at a time."""
        most = max(self.sides[name].loads)
        return self.sides[name].loads[most].throughput / self.sides["pipeline"].loads[most].throughput

    def memory_ratio(self) -> float | None:
        """Return the memory of eight adapters over one base, over that of one; None unless both were measured."""
        if not {"1 adapter", "8 adapters"} <= self.sides.keys():
            return None
        return self.sides["8 adapters"].memory_bytes / self.sides["1 adapter"].memory_bytes


def render_serve(result: ServeResult) -> str:
    """Return the result as text."""
    info = result.machine
    counts = list(next(iter(result.sides.values())).loads)
    heads = "".join(f"{f'p50 / p99 ms at {count}':>22}{'texts/s':>9}" for count in counts)
    lines = [
        f"{result.model} on {info['cpu']}, {info['cores']} cores, {result.threads} threads; one text a request, "
        f"at most {result.max_length} tokens; {result.reviews} reviews; client on the same machine",
        f"merged and adapters compute in {result.precision}, the pipeline in fp32",
        "",
        f"{'served':<12}{heads}{'ratio':>8}{'MB':>8}{'macro F1':>10}{'equal':>9}",
    ]
    for name, side in result.sides.items():
        cells = "".join(
            f"{f'{load.p50_ms:.1f} / {load.p99_ms:.1f}':>22}{load.throughput:>9.1f}" for load in side.loads.values()
        )
        lines.append(
            f"{name:<12}{cells}{result.throughput_ratio(name):>7.2f}x{side.memory_bytes / 1e6:>8.0f}"
            f"{side.score:>10.4f}{side.equal_predictions:>9.2%}"
        )
    lines += [f"{name:<12} left out: {why}" for name, why in result.left_out.items()]
    ratio = result.memory_ratio()
    if ratio is not None:
        lines.append(f"\n8 adapters take {ratio:.2f} times the memory of one")
    return "\n".join(lines) + "\n"
