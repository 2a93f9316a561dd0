"""What ``tunebench bench --wall`` measured, and its table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tunebench.formatting import counted

#: What a side's time is told apart into. The rest is tokenising (tunebench's), loading models and saving.
STAGES = {
    "start": "until the first run begins",
    "training": "training",
    "evaluation": "evaluation",
    "test": "prediction of test",
    "end": "after the last run",
}


@dataclass
class Process:
    """Measurements of one side.

    Attributes:
        seconds: From start to end of the process, one value a round.
        stages: Seconds of each of :data:`STAGES` that is known, one value a round.
        scores: Macro F1 on test, by strategy, one value a round; ``own`` is that of another package.
    """

    seconds: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)

    def add(self, seconds: float, stages: Mapping[str, float], scores: Mapping[str, float]) -> None:
        """Add what one round measured."""
        self.seconds.append(seconds)
        for kept, new in ((self.stages, stages), (self.scores, scores)):
            for name, value in new.items():
                kept.setdefault(name, []).append(value)

    @classmethod
    def of(cls, rounds: Iterable[Process]) -> Process:
        """Return the measurements of several rounds as one."""
        found = cls()
        for one in rounds:
            found.seconds += one.seconds
            for kept, new in ((found.stages, one.stages), (found.scores, one.scores)):
                for name, values in new.items():
                    kept.setdefault(name, []).extend(values)
        return found

    @property
    def rest(self) -> list[float]:
        """Seconds that are in no stage, one value a round."""
        known = np.sum(list(self.stages.values()), axis=0)
        return (np.asarray(self.seconds) - known).tolist()  # type: ignore[no-any-return]


@dataclass
class WallResult:
    """Everything measured.

    Attributes:
        labels: Texts that train.
        precision: Of tunebench, and of the careful script.
        strategies: That script and study train.
        sides: By name; ``ours`` is the last one.
    """

    model: str
    data: str
    labels: int
    validation: int
    test: int
    epochs: int
    threads: int
    rounds: int
    precision: str
    strategies: list[str]
    machine: dict[str, Any]
    versions: dict[str, str]
    sides: dict[str, Process]

    def ratio(self, side: str) -> tuple[float, float, float]:
        """Return median, smallest and largest ratio over rounds of a side's time against ours."""
        found = [a / b for a, b in zip(self.sides[side].seconds, self.sides["ours"].seconds, strict=True)]
        return statistics.median(found), min(found), max(found)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ratios included."""
        return asdict(self) | {"ratio": {name: self.ratio(name) for name in self.sides if name != "ours"}}


def render_wall(result: WallResult) -> str:
    """Return the result as text."""
    info, sides = result.machine, result.sides
    careful = "bf16 autocast" if result.precision == "bf16" else "fp32"
    said = {
        "paper": "trainer_script.py: fp32, padded to 256",
        "careful": f"trainer_script.py --careful: {careful}, padded to the batch's longest text, scored by length",
        "ours": f"tunebench run: {result.precision}; with plan, records and report",
    }
    lines = [
        f"{result.model} on {info['cpu']}, {info['cores']} cores, {result.threads} threads; "
        f"{counted(result.rounds, 'round')}",
        f"{' and '.join(result.strategies)} on {result.labels:,} labels of {result.data}, epochs: {result.epochs}; "
        f"{result.validation:,} validation and {result.test:,} test texts",
        "",
        *(f"{name:<10}{said.get(name, 'one model, trained its own way')}" for name in sides),
        "",
        f"{'seconds, median':<28}" + "".join(f"{name:>10}" for name in sides),
    ]
    measured = {words: [side.stages.get(stage) for side in sides.values()] for stage, words in STAGES.items()}
    measured["rest"] = [side.rest if side.stages else None for side in sides.values()]
    measured["whole process"] = [side.seconds for side in sides.values()]
    lines += [f"{words:<28}{_cells(rounds, '.1f')}" for words, rounds in measured.items()]
    for way in dict.fromkeys(way for side in sides.values() for way in side.scores):
        lines.append(f"{'macro F1, ' + way:<28}{_cells([side.scores.get(way) for side in sides.values()], '.4f')}")
    lines.append("")
    for name in (name for name in sides if name != "ours"):
        middle, low, high = result.ratio(name)
        lines.append(f"{name} takes {middle:.2f} times as long as ours ({low:.2f} to {high:.2f} over rounds)")
    return "\n".join(lines) + "\n"


def _cells(rounds: Iterable[list[float] | None], style: str) -> str:
    shown = ("-" if values is None else format(statistics.median(values), style) for values in rounds)
    return "".join(f"{text:>10}" for text in shown)
