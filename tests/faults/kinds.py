"""The kinds of studies that the kill suite kills: by executor, by search, and by what the moment is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

#: Two learning rates a strategy: their runs are trained first, and the test part is opened for the chosen ones.
RATES = {
    "strategies": {
        "full": {"learning_rate": [1e-3, 4e-3]},
        "lora": {"placement": "attention", "rank": 4, "learning_rate": [2e-3, 8e-3], "dropout": 0.1},
    },
    "train_sizes": [40],
    "selection": "validation",
    "engine": "reference",
    "epochs": 1,
}
HALVING = RATES | {"search": {"method": "halving", "reduction": 2}, "seeds": [1, 2], "epochs": 3}


@dataclass(frozen=True)
class Kind:
    """One kind of study.

    Attributes:
        kills: Of it, in the long form.
        study: Keys of the study to set.
        execution: Settings of execution.
        starts: Processes that are started on the study at the same time.
        trained: Begin with all runs trained, so that every kill hits what comes after: the test part.
        may_fail: Exit code 1 is no fault where a child was killed: its run has failed, and the next start tries it.
        waits_for: Files whose appearance makes a moment to kill at.
    """

    kills: int
    study: Mapping[str, Any] = field(default_factory=dict)
    execution: Mapping[str, Any] = field(default_factory=dict)
    starts: int = 1
    trained: bool = False
    may_fail: bool = False
    waits_for: tuple[str, ...] = (
        "*/checkpoint/.tmp-*",
        "*/checkpoint/step-*",
        "*/predictions.npz",
        "*/record.json",
        "*/best-*.safetensors",
    )

    @property
    def has_children(self) -> bool:
        """Whether the process that runs a study starts others for it."""
        return bool(self.execution)


KINDS: dict[str, Kind] = {
    "one process, fast engine": Kind(60, {"engine": "fast", "epochs": 2}),
    "one process, reference engine": Kind(40, {"engine": "reference", "epochs": 2}),
    "two processes started on one study": Kind(50, RATES, starts=2),
    "two workers": Kind(80, RATES, {"workers": 2}),
    "search by halving in two workers": Kind(50, HALVING, {"workers": 2}),
    "search over learning rates, test part locked": Kind(50, RATES),
    "search by halving, test part locked": Kind(50, HALVING),
    "the test part is opened": Kind(
        60,
        RATES,
        starts=2,
        trained=True,
        waits_for=("*/record.json", "*/.record.json*", "*/run.log", "*/predictions.npz", "*/.predictions*"),
    ),
    "two processes train each run": Kind(
        50,
        {"engine": "reference", "train_sizes": [40], "epochs": 2},
        {"processes": 2},
        may_fail=True,
    ),
}


def job(study: Path, out: Path, kind: Kind, *, only_train: bool = False) -> Callable[[], int]:
    """Return what runs a study in a process of its own, and returns its exit code."""

    def run() -> int:
        from tunebench.api import run_study
        from tunebench.errors import TunebenchError
        from tunebench.execution.display import PlainDisplay
        from tunebench.machine.settings import Execution
        from tunebench.study.yaml_file import load_study

        _prepare(out, only_train=only_train)
        with open(os.devnull, "w") as nowhere:
            try:
                result = run_study(
                    load_study(str(study)),
                    folder=out,
                    execution=Execution(device="cpu", threads=1, **kind.execution),
                    display=PlainDisplay(nowhere, interval=60.0),
                    measure=False,
                )
            except TunebenchError as error:
                os.write(2, str(error).encode())
                return 2
        return 130 if result.summary.interrupted else int(bool(result.summary.failed))

    return run


def _prepare(out: Path, *, only_train: bool) -> None:
    """Change this process: no figures, and every look at a locked test part is written down."""
    import tunebench.api
    from tunebench.execution import test_part
    from tunebench.store.run_folder import RunFolder
    from tunebench.training import scoring

    # Figures take longer than the runs, and are made from the records whenever they are asked for.
    tunebench.api._write_report = lambda comparison, folder, **options: folder
    if only_train:
        test_part.score_selected = lambda store, **options: []
    backend_of = scoring.backend_of

    def watched(kind: str) -> Any:
        def predict_test(spec: Any, dataset: Any, parts: Any, folder: RunFolder, device: str) -> Any:
            record = folder.read()
            noted = record is not None and bool(record.test_access) and record.scores is None
            with looks_of(out).open("a") as file:
                file.write(f"{folder.path.name} {noted}\n")
            return backend_of(kind).predict_test(spec, dataset, parts, folder, device)

        return SimpleNamespace(predict_test=predict_test)

    scoring.backend_of = watched  # type: ignore[assignment]


def looks_of(out: Path) -> Path:
    """Return where the looks at a study's locked test part are written down, beside the study."""
    return out.with_name(f"{out.name}.looks")


def begin(out: Path, trained: Path | None) -> None:
    """Make the folder of a new study, with its runs trained where there is a study to take them from."""
    looks_of(out).write_bytes(b"")
    if trained is not None:
        shutil.copytree(trained, out)


def wrong_looks(out: Path) -> list[str]:
    """Return what is wrong with the looks at a locked test part of a study that has ended."""
    from tunebench.store.study_folder import StudyStore

    store = StudyStore.open(out)
    cells = {cell.spec.run_id: cell for cell in store.cells()}
    wrong, rates = [], {}
    for line in looks_of(out).read_text().splitlines():
        run_id, noted = line.split()
        spec = cells[run_id].spec
        rates.setdefault((spec.label, spec.train_size), set()).add(spec.learning_rate)
        if noted != "True":
            wrong.append(f"{run_id}: a look at the test part that its record did not tell of, or a second one")
    wrong += [f"{key}: the test part was opened for {found}" for key, found in rates.items() if len(found) > 1]
    for run_id, cell in cells.items():
        if cell.record is not None and len(cell.record.test_access) > 1:
            wrong.append(f"{run_id}: the test part was opened {len(cell.record.test_access)} times")
    return wrong


def done_twice(out: Path) -> list[str]:
    """Return the runs whose logs tell that they were completed more than once."""
    return [
        path.parent.name
        for path in (out / "runs").glob("*/run.log")
        if sum(line.endswith(" complete") for line in path.read_text().splitlines()) > 1
    ]
