"""``tunebench bench --profile``: where the time of our training step goes, operator by operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from transformers import TrainerCallback

from tunebench.benchmarks.sides import BATCH, WAYS, build_model, our_trainer, review_lengths
from tunebench.engine.flops import count
from tunebench.machine import devices, environment, memory

#: Operators worth a line of their own; what takes less is summed.
_SHOWN = 0.01
#: Passes over the texts before the one that is profiled: memory is mapped in the first.
_WARM_UP = 4


@dataclass(frozen=True)
class Line:
    """One operator's own time, what it calls left out.

    Attributes:
        share: Of all operators' own time.
        milliseconds: A step.
        calls: A step.
    """

    operator: str
    share: float
    milliseconds: float
    calls: float


@dataclass(frozen=True)
class Profile:
    """The profile of one strategy's steps."""

    strategy: str
    steps: int
    lines: tuple[Line, ...]


def run_profile(
    model: str,
    *,
    attention_dropout: float | None = None,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Profile a pass over texts with the lengths of film reviews, after some that warm up.

    Args:
        model: ``distilbert`` or ``modernbert`` (real size, random weights), ``minilm``, or a folder.
        attention_dropout: None leaves the model's own.
        threads: Compute threads.
        tell: Told what is being profiled.

    Returns:
        Plain values: machine, versions and one profile per strategy of the paper.
    """
    import torch

    count_ = devices.set_threads(threads)
    precision = devices.default_precision("cpu", "fast")
    texts = review_lengths()
    found = []
    for way in WAYS:
        tell(f"profiling {model}, {way}")
        prepared, architecture = build_model(model, way, attention_dropout)
        memory.release_memory()
        memory.keep_memory(True)
        workload = count(prepared, architecture)
        with our_trainer(prepared, architecture, workload, texts, precision, passes=_WARM_UP + 1) as trainer:
            steps = trainer.args.max_steps // (_WARM_UP + 1)
            profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
            trainer.add_callback(_StartAt(profiler, steps * _WARM_UP))
            trainer.train()
            profiler.stop()
        events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in events)
        lines = [
            Line(
                event.key.removeprefix("aten::"),
                event.self_cpu_time_total / total,
                event.self_cpu_time_total / 1e3 / steps,
                event.count / steps,
            )
            for event in events
        ]
        found.append(Profile(way, steps, _grouped(lines)))
    return {
        "model": model,
        "machine": environment.describe(),
        "versions": environment.versions(),
        "threads": count_,
        "precision": precision,
        "attention_dropout": attention_dropout,
        "batch": BATCH,
        "mean_tokens": float(texts.lengths.mean()),
        "profiles": [asdict(profile) for profile in found],
    }


class _StartAt(TrainerCallback):
    """Starts a profiler at a step, in the middle of training."""

    def __init__(self, profiler: Any, step: int) -> None:
        self._profiler, self._step = profiler, step

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start when the step has come."""
        if state.global_step == self._step:
            self._profiler.start()


def render_profile(found: dict[str, Any]) -> str:
    """Return profiles as text."""
    lines = [f"{found['model']} on {found['machine']['cpu']}, {found['threads']} threads, {found['precision']}"]
    for profile in found["profiles"]:
        lines += ["", f"{profile['strategy']}, {profile['steps']} steps; own time of each operator"]
        for line in profile["lines"]:
            cost = f"{line['share']:>7.1%}{line['milliseconds']:>10.1f} ms{line['calls']:>8.0f} calls"
            lines.append(f"{line['operator']:<48}{cost}")
    return "\n".join(lines) + "\n"


def _grouped(lines: list[Line]) -> tuple[Line, ...]:
    shown = [line for line in lines if line.share >= _SHOWN]
    rest = [line for line in lines if line.share < _SHOWN]
    other = Line(
        f"{len(rest)} others",
        sum(line.share for line in rest),
        sum(line.milliseconds for line in rest),
        sum(line.calls for line in rest),
    )
    return (*shown, other)
