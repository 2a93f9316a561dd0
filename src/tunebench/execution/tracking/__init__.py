"""Experiment trackers: one experiment a study, one run a run. One that fails never stops anything.

TensorBoard's files lie in the runs' folders, so each run writes its own, through the Trainer's integration
(:mod:`~tunebench.execution.tracking.in_run`). MLflow and Trackio hold whole studies: the process that shows the
progress of all runs, wherever they train, tells it too (:mod:`~tunebench.execution.tracking.study`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from tunebench.errors import ConfigError, MissingExtraError
from tunebench.execution.tracking.in_run import run_callbacks
from tunebench.execution.tracking.study import StudyTrackers, track_study

#: The extra that brings each tracker; the tracker's name is also its package's.
TRACKERS = {"mlflow": "trackers", "tensorboard": "trackers", "trackio": "trackio"}


def check_trackers(names: Sequence[str]) -> None:
    """Raise unless all trackers are known and installed.

    Raises:
        ConfigError: One is unknown.
        MissingExtraError: One is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise ConfigError("There is no such tracker.", value=name, allowed=", ".join(sorted(TRACKERS)))
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(name, TRACKERS[name])


__all__ = ["TRACKERS", "StudyTrackers", "check_trackers", "run_callbacks", "track_study"]
