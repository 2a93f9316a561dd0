"""Parameters with a learning-rate multiplier of their own: layer-wise decay and gradual unfreezing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

#: Given a parameter's name: its learning rate over the run's, and the share of training after which it begins.
Multiplier = Callable[[str], tuple[float, float]]


class Multipliers:
    """The learning-rate multipliers of a model's trained parameters.

    Args:
        model: The prepared model.
        multiplier: Gives that of each; None trains all alike.
    """

    def __init__(self, model: nn.Module, multiplier: Multiplier | None) -> None:
        self._trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._multipliers = {} if multiplier is None else {name: multiplier(name) for name in self._trained}
        self._delays: list[float] = []

    @property
    def differ(self) -> bool:
        """Whether any parameter has another multiplier than the rest."""
        return len(set(self._multipliers.values())) > 1

    def groups(self, *, learning_rate: float, weight_decay: float, decayed: set[str]) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups.

        Args:
            learning_rate: The run's.
            weight_decay: Of the parameters that have one.
            decayed: Their names.
        """
        groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
        for name, parameter in self._trained.items():
            groups.setdefault((*self._multipliers[name], name in decayed), []).append(parameter)
        self._delays = [delay for _, delay, _ in groups]
        return [
            {
                "params": parameters,
                "lr": learning_rate * scale,
                "weight_decay": weight_decay if decays else 0.0,
            }
            for (scale, _, decays), parameters in groups.items()
        ]

    def hold_back(self, scheduler: Any, *, steps: int) -> None:
        """Hold groups that begin later at a learning rate of 0 until then.

        Args:
            scheduler: A ``LambdaLR`` over the groups made here; changed.
            steps: Of the whole training.
        """
        if not any(self._delays):
            return
        starts = [delay * steps for delay in self._delays]
        scheduler.lr_lambdas = [
            _delayed(base, start) for base, start in zip(scheduler.lr_lambdas, starts, strict=True)
        ]
        groups = scheduler.optimizer.param_groups
        for group, schedule in zip(groups, scheduler.lr_lambdas, strict=True):
            group["lr"] = group["initial_lr"] * schedule(0)
        scheduler._last_lr = [group["lr"] for group in groups]


def _delayed(base: Callable[[int], float], start: float) -> Callable[[int], float]:
    """Return a schedule that is 0 before a step.

    A plain function, as checkpoints need: ``LambdaLR`` stores the attributes of anything else.
    """

    def rate(step: int) -> float:
        return base(step) if step >= start else 0.0

    return rate
