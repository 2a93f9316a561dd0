"""MLflow: an experiment a study, a parent run for its folder, a child run a run.

The Trainer's own callback would log each run through MLflow's global state of the process it trains in: no
parents across processes and machines, and hundreds of settings of the Trainer as parameters. This uses the
client, from one process.
"""

from __future__ import annotations

import os
import time
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

#: What holds unless the user's environment says otherwise: a server that is down is given up after seconds,
#: not minutes; nothing is printed where our own output goes; nothing is told to others.
_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_PARENT, _NAME, _NOTE = "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content"
#: Which study folder a parent is, which run a child is, and which state of its record was logged.
_KEY, _RUN, _STATE = "tunebench.key", "tunebench.run_id", "tunebench.record"
_AT_ONCE = 500
_ENDINGS = {"complete": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


class MlflowLog(StudyLog):
    """A study at an MLflow server, or in a database in the study's folder.

    Args:
        study: The study.
        folder: Its folder.
        key: What the folder is known by at the server.

    Raises:
        Exception: Whatever MLflow raises where nothing answers.
    """

    def __init__(self, study: StudyConfig, *, folder: Path, key: str) -> None:
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        place = folder.absolute()
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self._client: Any = MlflowClient(tracking_uri=given or f"sqlite:///{place / 'mlflow.db'}")
        self._folder = place
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or study.name
        self._experiment = self._experiment_id(name, None if given else (place / "mlartifacts").as_uri())
        self._parent = self._find_parent(study, key)
        found = self._search(f"tags.`{_PARENT}` = '{self._parent}'")
        self._children: dict[str, Any] = {run.data.tags.get(_RUN, ""): run for run in found}
        self._states = {run_id: run.data.tags.get(_STATE) for run_id, run in self._children.items()}
        self._logged: dict[str, set[tuple[str, int]]] = {}
        self._open: set[str] = set()

    def log(self, spec: RunSpec, entries: Sequence[Mapping[str, Any]]) -> None:
        """Log what is new; see :class:`~tunebench.execution.tracking.base.StudyLog`."""
        from mlflow.entities import Metric

        run_id = self._begin(spec)
        known, now = self._logged[spec.run_id], int(time.time() * 1000)
        new = []
        for entry in entries:
            step = int(entry.get("step", 0))
            for name, value in metrics(entry).items():
                if (name, step) not in known:
                    known.add((name, step))
                    new.append(Metric(name, value, now, step))
        for start in range(0, len(new), _AT_ONCE):
            self._client.log_batch(run_id, metrics=new[start : start + _AT_ONCE])

    def end(self, spec: RunSpec, record: RunRecord, files: Sequence[Path]) -> None:
        """Log scores, costs and files; see :class:`~tunebench.execution.tracking.base.StudyLog`."""
        from mlflow.entities import Metric, RunTag

        state = record_state(record)
        if self._states.get(spec.run_id) == state:
            return
        self.log(spec, record.log_history)
        run_id, now = self._children[spec.run_id].info.run_id, int(time.time() * 1000)
        step = last_step(record)
        for path in files:
            self._client.log_artifact(run_id, str(path))
        # The state comes last: what was cut short is logged again.
        tags = {"tunebench.status": record.status, _STATE: state}
        if record.error is not None:
            tags = {"tunebench.error": record.error.message[:500]} | tags
        self._client.log_batch(
            run_id, metrics=[Metric(name, value, now, step) for name, value in final_metrics(spec, record).items()]
        )
        failed = record.status in ("failed", "out_of_memory")
        self._client.set_terminated(run_id, "FAILED" if failed else "FINISHED")
        self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        self._states[spec.run_id] = state
        self._open.discard(spec.run_id)

    def close(self, ending: Ending, files: Sequence[Path]) -> None:
        """End the parent run, and what was begun; see :class:`~tunebench.execution.tracking.base.StudyLog`."""
        for run_id in sorted(self._open):
            self._client.set_terminated(self._children[run_id].info.run_id, "KILLED")
        for path in files:
            self._client.log_artifact(self._parent, str(path))
        self._client.set_terminated(self._parent, _ENDINGS[ending])

    def _experiment_id(self, name: str, artifacts: str | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name, artifact_location=artifacts))
        except Exception:
            # Another study of this name may have made it in the meantime.
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def _find_parent(self, study: StudyConfig, key: str) -> str:
        """Return the folder's run: the earlier one, or a new one."""
        for run in self._search(f"tags.`{_KEY}` = '{key}'"):
            self._client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        note = f"{study.model} on {study.data.source}: {', '.join(study.strategies)}"
        tags = {_KEY: key, _NOTE: note, "tunebench.folder": str(self._folder)}
        run = self._client.create_run(self._experiment, tags=tags, run_name=study.name)
        return str(run.info.run_id)

    def _search(self, filter_string: str) -> list[Any]:
        found: list[Any] = []
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment], filter_string, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _begin(self, spec: RunSpec) -> str:
        """Return the child's id; one of an earlier session is resumed."""
        from mlflow.entities import Param

        run = self._children.get(spec.run_id)
        if run is None:
            tags = {
                _PARENT: self._parent,
                _RUN: spec.run_id,
                "tunebench.folder": str(self._folder / "runs" / spec.run_id),
            }
            run = self._client.create_run(self._experiment, tags=tags, run_name=spec.run_id)
            self._children[spec.run_id], self._logged[spec.run_id] = run, set()
            recipe = [Param(name, value) for name, value in parameters(spec).items()]
            for start in range(0, len(recipe), 100):
                self._client.log_batch(run.info.run_id, params=recipe[start : start + 100])
        elif spec.run_id not in self._logged:
            self._client.update_run(run.info.run_id, status="RUNNING")
            self._logged[spec.run_id] = {
                (name, metric.step)
                for name in run.data.metrics
                for metric in self._client.get_metric_history(run.info.run_id, name)
            }
        self._open.add(spec.run_id)
        return str(run.info.run_id)
