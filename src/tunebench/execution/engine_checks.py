"""Whether the device can compute as runs ask, and the reference engine take the fast engine's dropout masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tunebench.errors import PlanError, TunebenchError
from tunebench.strategies import STRATEGIES
from tunebench.study.spec import RunSpec

if TYPE_CHECKING:
    from tunebench.models.architectures import Architecture

_SETTING = "randomness: fast_engine"


def check_precision(specs: Sequence[RunSpec], device: str) -> list[TunebenchError]:
    """Return an error where runs are to be trained in fp16 and the device is no GPU that scales losses."""
    asked = [spec for spec in specs if spec.precision == "fp16" and STRATEGIES[spec.kind].uses_encoder]
    if device == "cuda" or not asked:
        return []
    return [
        PlanError(
            f"fp16 is for CUDA GPUs, and this study runs on {device}.",
            value="precision: fp16",
            allowed="auto, fp32, bf16",
            fix="leave precision out; what was begun in fp16 resumes on a GPU, or begins anew with another --out",
        )
    ]


def check_randomness(
    specs: Sequence[RunSpec], architectures: Mapping[str, Architecture], device: str
) -> list[TunebenchError]:
    """Return which strategies cannot take the fast engine's masks and order of texts; each is named once.

    Args:
        specs: The runs.
        architectures: By label.
        device: Where they are trained.
    """
    errors: dict[tuple[str, str], TunebenchError] = {}
    for spec in specs:
        reason = _reason(spec, architectures[spec.label], device) if spec.takes_fast_draws else None
        if reason is not None:
            why, fix = reason
            errors.setdefault(
                (spec.label, why),
                PlanError(
                    f"Strategy {spec.label!r} cannot be trained with {_SETTING}: {why}.", value=_SETTING, fix=fix
                ),
            )
    return list(errors.values())


def _reason(spec: RunSpec, architecture: Architecture, device: str) -> tuple[str, str] | None:
    """Return why a run cannot take them, and what to do; None where it can."""
    from tunebench.engine.fast.families import LAYER_FAMILIES

    family, remove = architecture.model_type, "remove randomness"
    able_families = [name for name, layers in LAYER_FAMILIES.items() if not layers.relative]
    if family not in able_families:
        why = f"{family} has no fast layers"
        if family in LAYER_FAMILIES:
            why = f"the attention of {family} is not the one of PyTorch that the masks are given to"
        return why, f"{remove}, or choose a model of {', '.join(able_families)}"
    if device != "cpu":
        return f"the fast layers are for CPUs, and this study runs on {device}", f"{remove}, or add --device cpu"
    if not STRATEGIES[spec.kind].shares_dropout:
        able = [name for name, strategy in STRATEGIES.items() if strategy.shares_dropout]
        return f"it is not supported for {spec.kind}", f"{remove}, or choose one of {', '.join(able)}"
    if spec.batches == "by_length":
        return "the fast engine's order of texts is followed for random batches only", "set batches: random"
    return None
