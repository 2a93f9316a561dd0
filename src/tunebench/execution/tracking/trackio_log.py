"""Trackio: a project a study, a run a run, on this machine or wherever its own environment variables say.

The Trainer's own callback would print to standard output, which is ours, and start a thread in every run that
samples the processor while it is measured. This uses Trackio's client, from one process.
"""

from __future__ import annotations

import contextvars
import importlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunebench.execution.tracking.base import (
    Ending,
    StudyLog,
    final_metrics,
    last_step,
    metrics,
    parameters,
    record_state,
)
from tunebench.store.record import RunRecord
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

_LOG = logging.getLogger(__name__)
#: Modules that print on what is standard output for them.
_PRINTING = ("trackio", "trackio.run", "trackio.utils")


class TrackioLog(StudyLog):
    """A study as a Trackio project.

    Args:
        study: The study; its name is the project's.
    """

    def __init__(self, study: StudyConfig) -> None:
        import trackio

        for name in _PRINTING:
            importlib.import_module(name).print = _to_log  # type: ignore[attr-defined]
        self._trackio: Any = trackio
        self._project = study.name
        self._open: dict[str, Any] = {}
        #: The last step of earlier sessions, and what this one has logged.
        self._before: dict[str, int] = {}
        self._logged: dict[str, set[tuple[str, int]]] = {}
        self._states: dict[str, str] = {}

    def log(self, spec: RunSpec, entries: Sequence[Mapping[str, Any]]) -> None:
        """Log what is new; see :class:`.base.StudyLog`."""
        run = self._begin(spec)
        known = self._logged[spec.run_id]
        for entry in entries:
            step = int(entry.get("step", 0))
            new = {name: value for name, value in metrics(entry).items() if (name, step) not in known}
            if step > self._before[spec.run_id] and new:
                run.log(new, step=step)
                known.update((name, step) for name in new)

    def end(self, spec: RunSpec, record: RunRecord, files: Sequence[Path]) -> None:
        """Log scores and costs of a run of this session; see :class:`.base.StudyLog`."""
        if spec.run_id not in self._before or self._states.get(spec.run_id) == record_state(record):
            return
        self._states[spec.run_id] = record_state(record)
        self.log(spec, record.log_history)
        run = self._begin(spec)
        final = {f"final/{name}": value for name, value in final_metrics(spec, record).items()}
        run.log(final, step=last_step(record))
        run.finish()
        del self._open[spec.run_id]

    def close(self, ending: Ending, files: Sequence[Path]) -> None:
        """Finish what is open; see :class:`.base.StudyLog`."""
        for run in self._open.values():
            run.finish()
        self._open.clear()

    def _begin(self, spec: RunSpec) -> Any:
        """Return the run; one of an earlier session is resumed."""
        if spec.run_id not in self._open:
            # In a context of its own: Trackio has one current run, and would finish it when the next begins.
            run = contextvars.Context().run(
                self._trackio.init,
                project=self._project,
                name=spec.run_id,
                group=spec.label,
                config=parameters(spec),
                resume="allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
            self._open[spec.run_id] = run
            self._before.setdefault(spec.run_id, run._next_step - 1)
            self._logged.setdefault(spec.run_id, set())
        return self._open[spec.run_id]


def _to_log(*words: object, **_: Any) -> None:
    _LOG.info(" ".join(map(str, words)).strip())
