"""Build a spec and a record from a folder and what is stated about it. Nothing is guessed."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np

from tunebench.errors import StoreError
from tunebench.importing.family import head_parameters, settle_family
from tunebench.importing.files import is_finite, is_number, sha256_of
from tunebench.importing.folder import Contents
from tunebench.importing.log import times, train_size
from tunebench.importing.names import label_names
from tunebench.importing.predictions import settle_arrays
from tunebench.importing.recipe import settle_batch_size, settle_learning_rate, settle_recipe
from tunebench.importing.scored import Scored
from tunebench.importing.scores import score_run
from tunebench.importing.stated import Stated
from tunebench.importing.tasks import settle_task
from tunebench.importing.untold import UNCOSTED, UNTIMED
from tunebench.importing.values import Values
from tunebench.store.imported import DETAILS, ImportedData, ImportedModel, ImportedRun, Provenance
from tunebench.store.record import Cost, Environment, Examples, Parameters, RunRecord, Selected, Timing

#: PEFT's switches that make another method of LoRA.
_LORA_VARIANTS = ("use_dora", "use_rslora", "use_qalora", "rank_pattern", "alpha_pattern", "layers_to_transform")
#: Names of query and value projections, by which LoRA's placement is told.
_QUERY_VALUE = ({"q_lin", "v_lin"}, {"query", "value"}, {"query_proj", "value_proj"}, {"q_proj", "v_proj"})


def build_record(contents: Contents, stated: Stated) -> tuple[RunRecord, dict[str, np.ndarray] | None]:
    """Make a record of what is known of a run.

    Args:
        contents: The folder.
        stated: What its user says about it.

    Returns:
        The record, and logits, labels and indices where logits are known.

    Raises:
        StoreError: The files contradict each other, or what every row of a table needs is not known.
        ConfigError: A statement contradicts the folder.
    """
    values = Values(stated.given, str(contents.path))
    task = settle_task(contents, values)
    names, named = label_names(contents, values, task)
    settle_arrays(contents, task)
    settle_family(contents, values)
    scored = score_run(contents, task=task, names=names, stated=stated)
    if not names and scored.classes:
        names = tuple(str(i) for i in range(scored.classes))
    settle_recipe(contents, values)
    values.settle("selection", scored.selection)
    values.settle("test_size", *scored.test_sizes)
    kind, params = _strategy(contents, values)
    size = _train_size(contents, values)
    settle_batch_size(contents, values, size)
    hashes = {path.relative_to(contents.path).as_posix(): sha256_of(path) for path in contents.files}
    sidecar = contents.sidecar_path.name
    content = hashlib.sha256(repr(sorted((n, h) for n, h in hashes.items() if n != sidecar)).encode()).hexdigest()
    spec = ImportedRun(
        label=_label(contents, stated),
        content=content,
        kind=kind,
        params=params,
        learning_rate=settle_learning_rate(contents, values),
        train_size=size,
        seed=values.known["seed"],
        model=ImportedModel(source=values.known["model"]),
        data=ImportedData(
            source=values.settle("data"), label_names=names, named=named, test_labels=fingerprint(contents.labels)
        ),
        task=task.name,
        **{name: values.known.get(name, values.stated.get(name)) for name in DETAILS},
    )
    timing, remarks = _timing(contents, scored)
    parameters = _parameters(contents, values, kind)
    used = {name: value for name, value in stated.given.items() if name not in values.found}
    record = RunRecord(
        run_id=spec.run_id,
        status="complete",
        spec=spec,
        started=None,
        finished=None,
        environment=Environment(versions={}, machine={}, device=None, threads=None, world_size=None),
        parameters=parameters,
        examples=_examples(spec, contents, scored),
        scores=scored.scores,
        selected=_selected(spec, scored),
        timing=timing,
        cost=_cost(contents),
        log_history=scored.history,
        imported=Provenance(
            folder=contents.path.resolve().name,
            files=hashes,
            found=values.found | scored.found,
            stated=used,
            remarks=[*contents.notes.sentences, *scored.remarks, *remarks],
        ),
    )
    return record, _predictions(contents)


def _label(contents: Contents, stated: Stated) -> str:
    name = stated.strategy or contents.script_label or contents.path.resolve().name
    return re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"[^A-Za-z0-9_.-]+", "-", name))[:40] or "run"


def fingerprint(labels: np.ndarray | None) -> str | None:
    """Return sha256 over the labels of scored texts, in their order; None where they are not known."""
    if labels is None:
        return None
    stored = "<i8" if np.issubdtype(labels.dtype, np.integer) else "<f8"
    return hashlib.sha256(np.ascontiguousarray(labels, dtype=stored).tobytes()).hexdigest()


def _strategy(contents: Contents, values: Values) -> tuple[str | None, dict[str, Any]]:
    raw, path = contents.adapter, contents.adapter_path
    if not raw:
        return values.settle("kind"), {}
    peft: str = raw["peft_type"]
    kind = values.settle("kind", (peft.lower(), path.name))
    if peft.upper() != "LORA":
        return kind, {}
    params: dict[str, Any] = {"rank": contents.number(raw, "r", path, whole=True)}
    params |= {
        "alpha": contents.number(raw, "lora_alpha", path),
        "dropout": contents.number(raw, "lora_dropout", path),
    }
    targets = raw.get("target_modules")
    if isinstance(targets, list) and {str(name) for name in targets} in _QUERY_VALUE:
        params["placement"] = "query_value"
    else:
        params["target_modules"] = sorted(map(str, targets)) if isinstance(targets, list) else targets
    return kind, params | {name: raw[name] for name in _LORA_VARIANTS if raw.get(name)}


def _train_size(contents: Contents, values: Values) -> int:
    names = ("train_samples", "train_size", "dataset_size", "train_dataset_size")
    from_metrics = [
        (
            contents.number(contents.metrics, name, contents.path / contents.metrics_from[name], whole=True),
            f"{contents.metrics_from[name]}: {name}",
        )
        for name in names
        if name in contents.metrics
    ]
    derived = train_size(contents.log, values.known["epochs"]) if contents.log else None
    if from_metrics:
        # A script may count a validation part in; the log only decides where nothing is written down.
        derived = None
    source = f"{contents.log_from}: train_runtime x train_samples_per_second / epochs"
    size: int | None = values.settle("train_size", *from_metrics, (derived, source))
    if size is None or size < 1:
        raise StoreError(
            "The training size is not known, and every table needs it.",
            value=str(contents.path),
            allowed="train_samples in a file of metrics, or a finished log from which it follows",
            fix=f"state it: --set {contents.path.name}:train_size=... (or tunebench.yaml in the folder)",
        )
    return size


def _parameters(contents: Contents, values: Values, kind: str | None) -> Parameters | None:
    names = ("trainable_params", "trainable_parameters", "num_trainable_params")
    told = [
        (int(value), f"{contents.metrics_from[name]}: {name}")
        for name in names
        if (value := contents.metrics.get(name)) is not None
    ]
    total = sum(contents.counts.values()) or None
    adapter = sum(n for name, n in contents.counts.items() if "lora_" in name) or None
    source = contents.weights_from
    trained = total if contents.adapter or kind == "full" else None
    trainable = values.settle("trainable_params", *told, (None if told else trained, source))
    if trainable is None:
        return None
    of_adapter = total is not None and trainable == total and adapter is not None
    head = trainable - (adapter or 0) if of_adapter else None
    if kind == "full" and trainable == total:
        head = head_parameters(contents)
        adapter, of_adapter = trainable - (head or 0), head is not None
    return Parameters(
        # The base model's own parameters are not in an adapter's folder.
        total=None if contents.adapter else total,
        trainable=trainable,
        adapter=values.settle("adapter_params", (adapter if of_adapter else None, source)),
        head=values.settle("head_params", (head, source)),
    )


def _examples(spec: ImportedRun, contents: Contents, scored: Scored) -> Examples:
    counts: list[int] = []
    numbers: dict[str, float] = {}
    if contents.labels is not None and scored.classes:
        counts = scored.task.counts(contents.labels, scored.classes)
        numbers = scored.task.summary(contents.labels)
    return Examples(
        train=spec.train_size,
        validation=None,
        test=spec.test_size,
        train_per_class=[],
        validation_per_class=[],
        test_per_class=counts,
        test_held_out=False,
        numbers={"test": numbers} if numbers else {},
    )


def _selected(spec: ImportedRun, scored: Scored) -> Selected | None:
    if scored.step is None:
        return None
    by = spec.selection or "not known"
    return Selected(by=by, step=scored.step, epoch=scored.epoch, score=scored.selection_score)


def _timing(contents: Contents, scored: Scored) -> tuple[Timing | None, list[str]]:
    found = times(contents.log) if contents.log else None
    total = found.total if found else None
    if contents.log is None or (not contents.log.summary and found is not None):
        total = contents.metrics.get("train_runtime")
    parts = found is not None and found.total is not None
    told = {
        "train_seconds": found.training if parts and found else None,
        "eval_seconds": found.evaluations if parts and found else None,
        "test_seconds": scored.seconds,
        "wall_seconds": total,
    }
    timing = Timing.model_validate(UNTIMED | told)
    known = any(value is not None for value in (timing.wall_seconds, timing.test_seconds))
    return timing if known else None, [found.remark] if found and found.remark else []


def _cost(contents: Contents) -> Cost | None:
    flos = contents.log.summary.get("total_flos") if contents.log else None
    if flos is None:
        flos = contents.metrics.get("total_flos", contents.state.get("total_flos"))
    trained = contents.weight_bytes if contents.adapter else None
    if not flos and trained is None:
        return None
    counted = float(flos) if flos and is_number(flos) and is_finite(flos) else None
    return Cost.model_validate(UNCOSTED | {"trainer_total_flos": counted, "artifact_bytes": trained})


def _predictions(contents: Contents) -> dict[str, np.ndarray] | None:
    if contents.labels is None or contents.predictions is None:
        return None
    told = {"predicted": contents.predictions} if contents.logits is None else {"logits": contents.logits}
    return told | {"labels": contents.labels, "indices": np.arange(len(contents.labels))}
