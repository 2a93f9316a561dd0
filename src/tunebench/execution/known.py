"""What a job has read and measured so far, so that its later plans need not do it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tunebench.data import TextDataset, load_dataset
from tunebench.data.reference import DataConfig, DataRef
from tunebench.store.timings import Timings


@dataclass
class Known:
    """Data and measurements of one job.

    Attributes:
        profiles: Speed of each way of training that was measured, or derived.
        derived: Whether they are derived, as the study is short.
        first: Whether nothing has been read or measured yet.
        timings: Measurements as numbers, which a study's folder keeps.
    """

    profiles: dict[Any, Any] = field(default_factory=dict)
    derived: bool = False
    first: bool = True
    timings: Timings = field(default_factory=Timings)
    _datasets: dict[tuple[str, str | None], TextDataset] = field(default_factory=dict, repr=False)

    def dataset(self, config: DataConfig, recorded: DataRef | None = None) -> TextDataset:
        """Return a data set, read once; the arguments are those of :func:`~tunebench.data.load.load_dataset`."""
        # Of what is recorded only the columns of texts matter.
        columns = None if recorded is None or recorded.inputs is None else repr(recorded.inputs)
        key = repr(config), f"recorded: {columns}" if recorded is not None else None
        if key not in self._datasets:
            self._datasets[key] = load_dataset(config, recorded=recorded)
        return self._datasets[key]
