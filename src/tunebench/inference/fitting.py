"""The one run that an estimator trains: resolved as a study of it would be, and kept to be saved."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.data.text import Text
from tunebench.errors import DataError, ErrorGroup, StoreError, TunebenchError

if TYPE_CHECKING:
    from tunebench.data import TextDataset
    from tunebench.inference.predictor import Predictor
    from tunebench.machine.settings import Execution
    from tunebench.store.record import RunRecord
    from tunebench.study.spec import RunSpec

#: What the study of the run is called.
STUDY = "text-classifier"


class Fitted:
    """A trained run. Its weights stay in a temporary folder for as long as this object lives.

    Args:
        spec: The run.
        dataset: What it is trained on.
        device: See :func:`tunebench.load`.
        threads: See :func:`tunebench.load`.

    Attributes:
        record: Its record.
        predictor: Its classifier.
    """

    def __init__(self, spec: RunSpec, dataset: TextDataset, *, device: str, threads: int | None) -> None:
        from tunebench.inference.predictor import load
        from tunebench.store.run_folder import RunFolder
        from tunebench.strategies import STRATEGIES
        from tunebench.training.attempt import Attempt
        from tunebench.training.registry import run_one

        execution = _execution(device, threads)
        place = Path(tempfile.mkdtemp(prefix="tunebench-"))
        weakref.finalize(self, _remove, place, os.getpid())
        assert dataset.test is not None
        self._tested: list[Text] = list(dataset.test.texts)
        self._folder = RunFolder(place / spec.run_id)
        self._folder.begin(spec)
        try:
            self.record: RunRecord = run_one(Attempt(spec, dataset, self._folder, execution))
        except DataError as error:
            # What a study's message advises is an edit of its file.
            fix = "add texts, or set validation_fraction=0" if spec.validation_fraction else "add texts"
            raise ValueError(str(error.with_fix(fix))) from None
        self._folder.commit(self.record)
        # What has no encoder refuses to be asked for another precision than fp32. Nothing predicts in fp16.
        asked = STRATEGIES[spec.kind].adapts_classifier or spec.precision == "fp32"
        precision = spec.precision if asked and spec.precision != "fp16" else "auto"
        self.predictor: Predictor = load(self._folder.path, device=device, precision=precision)

    def save(self, out: Path) -> Path:
        """Export the run to a new folder, which is returned; for the errors see :func:`export_source`.

        Raises:
            StoreError: The temporary folder was removed.
        """
        from tunebench.inference.export.source import fitted_source
        from tunebench.inference.export.write import export_source

        if not self._folder.path.is_dir():
            raise StoreError(
                "The weights of this estimator are gone: its temporary folder was removed.",
                value=str(self._folder.path),
                fix="call fit again, and save soon after it",
            )
        return export_source(fitted_source(self._folder, STUDY, self._tested), out=out).folder


def _remove(place: Path, process: int) -> None:
    """Remove the folder of a run; a forked process only has a copy of what it belongs to."""
    if os.getpid() == process:
        shutil.rmtree(place, ignore_errors=True)


def resolve_run(estimator: Any, dataset: TextDataset, *, seed: int, metric: str) -> RunSpec:
    """Resolve the parameters of an estimator as a study of one run would be.

    Args:
        estimator: Its parameters are attributes, as scikit-learn keeps them.
        dataset: What it is trained on.
        seed: Of head, adapter, order and dropout.
        metric: Selects a checkpoint where there is a validation part.

    Raises:
        ValueError: Parameters are not usable.
        TunebenchError: The encoder cannot be found.
    """
    from tunebench.data.reference import DataRef
    from tunebench.engine.native.loading import kernels_here
    from tunebench.machine import devices
    from tunebench.models.loading import inspect_base
    from tunebench.models.sources import model_folder, resolve_model
    from tunebench.study.expand import expand, kernel_precisions
    from tunebench.study.yaml_file import check_study

    params = estimator.strategy_params or {}
    if not isinstance(params, Mapping):
        raise ValueError(
            f"strategy_params is of type {type(params).__name__}; a mapping of names to values is needed"
        )
    rate = {} if estimator.learning_rate is None else {"learning_rate": estimator.learning_rate}
    try:
        study = check_study(
            {
                "name": STUDY,
                "model": estimator.model,
                "data": "memory",
                "strategies": {estimator.strategy: {"params": dict(params), **rate}},
                "train_sizes": ["all"],
                "seeds": [seed],
                "selection": "validation" if estimator.validation_fraction else "last",
                "validation_fraction": estimator.validation_fraction,
                "metric": metric,
                "epochs": estimator.epochs,
                "batch_size": estimator.batch_size,
                "max_length": estimator.max_length,
                "precision": estimator.precision,
            }
        )
    except TunebenchError as error:
        raise ValueError(_of_parameters(error, estimator.strategy)) from None
    device = devices.resolve_device(estimator.device)
    if estimator.precision == "fp16" and device != "cuda":
        raise ValueError(f"precision='fp16' is for CUDA GPUs, and this trains on {device}; use 'auto'")
    fast = devices.default_precision(device, "fast")
    precision: dict[Any, Any] = {"fast": fast, "reference": "fp32"}
    assert dataset.test is not None
    model = resolve_model(estimator.model)
    base = inspect_base(model_folder(estimator.model))
    (spec,) = expand(
        study,
        model=model,
        data=DataRef(
            source="memory",
            fingerprint=dataset.fingerprint,
            label_names=dataset.label_names,
            inputs=dataset.inputs,
        ),
        train_examples=len(dataset.train),
        test_examples=len(dataset.test),
        precision=precision,
        kernels=kernels_here(device, kernel_precisions(study, precision)),
        base_head=base.use_of_head(keep=False, label_names=dataset.label_names),
        task=dataset.task.name,
    )
    return spec


def _of_parameters(error: TunebenchError, strategy: str) -> str:
    """Return what is wrong with a study in the names of an estimator's parameters.

    What a study's messages advise is an edit of its file, so it is left out.
    """
    errors = error.errors if isinstance(error, ErrorGroup) else [error]
    said = "\n".join(str(one.with_fix(None)) for one in errors)
    key = f"strategies.{strategy}"
    return said.replace(f"{key}.params.", "strategy_params.").replace(f"{key}.", "").replace(f"{key}:", "strategy:")


def _execution(device: str, threads: int | None) -> Execution:
    """Return where to train; ValueError where an estimator's parameters are no such place."""
    from pydantic import ValidationError

    from tunebench.machine.settings import Execution

    try:
        return Execution.model_validate({"device": device, "threads": threads})
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}, not {item['input']!r}" for item in error.errors()
        ]
        raise ValueError("; ".join(problems)) from None
