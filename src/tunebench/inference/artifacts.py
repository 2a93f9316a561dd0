"""The contents of a folder with a trained classifier, read without loading its weights.

Five kinds are known: a merged folder (``save_pretrained``), a PEFT adapter folder, an ONNX folder, a linear
classifier, and the folder of a complete run of a study. Ours carry an ``export.json``; for others its facts are
derived.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tunebench.data.inputs import ONE_TEXT, Inputs
from tunebench.errors import ModelError, StoreError
from tunebench.files import local_path, read_foreign_object
from tunebench.formatting import command
from tunebench.inference.adapter_facts import adapter_base, checked_base, virtual_tokens
from tunebench.inference.stated_facts import (
    checked_names,
    configured_classes,
    export_facts,
    label_names,
    stated_inputs,
    stated_length,
    stated_task,
    stated_temperature,
    stated_truncation,
)
from tunebench.models.bounds import check_bounds, check_patterns
from tunebench.models.checks import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PICKLED,
    check_tokenizer_files,
    pickled_weights,
    refuse_trainer_output,
)
from tunebench.models.reference import ModelRef
from tunebench.models.sources import model_folder
from tunebench.models.weights import tensor_shapes
from tunebench.recipe import Recipe, Truncation
from tunebench.store.imported import trained_here
from tunebench.store.run_folder import RunFolder, is_run_id
from tunebench.strategies import capabilities_of
from tunebench.study.spec import RunSpec
from tunebench.tasks.base import Task
from tunebench.tasks.classification import CLASSIFICATION
from tunebench.training.linear.exports import LINEAR_FILE, LINEAR_WEIGHTS, linear_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

Format = Literal["adapter", "merged", "linear", "onnx", "onnx-int8"]

#: Names of the graphs, as Optimum writes them too.
ONNX_FILES: dict[Format, str] = {"onnx": "model.onnx", "onnx-int8": "model_quantized.onnx"}
#: PEFT puts this before the names of a wrapped model's parameters.
_PEFT_PREFIX = "base_model."
#: Last layer of the supported heads; its rows are the classes.
_OUTPUT_LAYER = re.compile(r"(?:^|\.)(?:classifier|score)(?:\.out_proj)?(?:\.modules_to_save(?:\.\w+)?)?\.weight$")


@dataclass(frozen=True)
class Artifact:
    """A folder that holds a trained classifier.

    Attributes:
        path: The folder.
        name: What to call it: the folder's name.
        format: How the classifier is stored.
        label_names: One name a class, in the order of the logits.
        max_length: Most tokens that are read of a text, special ones included; None where whole texts are read.
        truncation: Which tokens of a longer text these are.
        head_share: Their share from the beginning, under ``head_tail``.
        base: An adapter's base; None for the other formats.
        run: The run, where the folder is that of a run.
        inputs: What a text is; None where the folder does not say.
        temperature: What logits are divided by; None for nothing.
        task: What was learned.
    """

    path: Path
    name: str
    format: Format
    label_names: tuple[str, ...]
    max_length: int | None
    truncation: Truncation
    head_share: float
    base: ModelRef | None = None
    run: RunSpec | None = None
    inputs: Inputs | None = None
    temperature: float | None = None
    task: Task = CLASSIFICATION

    @property
    def reads_pairs(self) -> bool:
        """Whether a text is a pair, as far as the folder says."""
        return self.inputs is not None and self.inputs.pair

    @property
    def weights(self) -> Path:
        """The file that holds the weights (of several, the first)."""
        if self.run is not None:
            return RunFolder(self.path).weights
        if self.format == "linear":
            return self.path / LINEAR_WEIGHTS
        if self.format == "adapter":
            return self.path / ADAPTER_WEIGHTS
        if self.format == "merged":
            return next(iter(sorted(self.path.glob("*.safetensors"))))
        return self.path / ONNX_FILES[self.format]


def describe(path: str | Path) -> Artifact:
    """Say what a folder holds.

    Args:
        path: A merged, adapter, linear, ONNX or run folder.

    Raises:
        ModelError: It is no such folder, a part is missing, or an adapter's base is not the one it was
            trained over.
        StoreError: It is a run's folder, and damaged or not complete.
    """
    folder = local_path(path)
    if not folder.is_dir():
        raise ModelError(
            "There is no such folder.",
            value=str(path),
            allowed="a merged, adapter, linear or ONNX folder, or the folder of a complete run",
            fix="tunebench export DIR --out PATH writes one",
        )
    check_bounds(folder)
    if is_run_id(folder.name) and (folder / "spec.json").exists():
        return _describe_run(folder)
    facts = export_facts(folder)
    if (folder / LINEAR_FILE).exists():
        return _describe_linear(folder, facts)
    if (folder / ADAPTER_CONFIG).exists():
        return _describe_adapter(folder, facts)
    for kind, name in ONNX_FILES.items():
        if (folder / name).exists():
            return _describe_plain(folder, kind, facts)
    if (folder / "config.json").exists() and any(folder.glob("*.safetensors")):
        return _describe_plain(folder, "merged", facts)
    raise _not_a_classifier(folder, str(path))


def _describe_run(folder: Path) -> Artifact:
    run = RunFolder(folder)
    record = run.read()
    if record is None or record.status != "complete":
        raise StoreError(
            "The run is not complete.",
            value=f"{folder.name}: {'no record yet' if record is None else record.status}",
            fix="tunebench run STUDY --out FOLDER resumes it",
        )
    spec = trained_here(record.spec)
    strategy = capabilities_of(spec.kind)
    if not strategy.exportable:
        raise ModelError(
            "What this strategy trains cannot be loaded or exported.",
            value=f"{folder.name}: {strategy.name} trains {strategy.trains}",
            fix="choose the run of another strategy",
        )
    run.require_weights(record)
    wrapped = any(name.startswith(_PEFT_PREFIX) for name in tensor_shapes(run.weights))
    stored: Format = "adapter" if wrapped else "merged" if strategy.adapts_classifier else "linear"
    return Artifact(
        path=folder,
        name=folder.name,
        format=stored,
        label_names=spec.data.label_names,
        max_length=None if strategy.reads_whole_texts else spec.max_length,
        truncation=spec.truncation,
        head_share=spec.head_share,
        base=checked_base(spec.model) if wrapped else None,
        run=spec,
        task=record.task,
        temperature=record.temperature,
        inputs=spec.data.inputs or ONE_TEXT,
    )


def _describe_linear(folder: Path, facts: Mapping[str, Any]) -> Artifact:
    linear = linear_facts(folder)
    whole = linear.settings.get("windows", True)
    return Artifact(
        path=folder,
        name=folder.name,
        format="linear",
        label_names=linear.label_names,
        max_length=None if whole else linear.settings.get("max_length"),
        truncation="head",
        head_share=Recipe.model_fields["head_share"].default,
        task=linear.task,
        temperature=linear.temperature,
        inputs=stated_inputs(facts, folder),
    )


def _describe_adapter(folder: Path, facts: Mapping[str, Any]) -> Artifact:
    config = read_foreign_object(folder / ADAPTER_CONFIG)
    base = adapter_base(folder, config, facts)
    base_folder = model_folder(base.source, base.revision)
    check_patterns(
        folder, (name for file in sorted(base_folder.glob("*.safetensors")) for name in tensor_shapes(file))
    )
    base_config = read_foreign_object(base_folder / "config.json")
    own = read_foreign_object(folder / "config.json") if (folder / "config.json").exists() else {}
    task = stated_task((own or base_config).get("problem_type"), facts, folder)
    classes = _head_classes(tensor_shapes(folder / ADAPTER_WEIGHTS))
    names = label_names(own) or label_names(base_config)
    if classes is not None and (names is None or len(names) != classes):
        names = tuple(f"LABEL_{i}" for i in range(classes))
    tokens = folder if (folder / "tokenizer_config.json").exists() else model_folder(base.source, base.revision)
    check_tokenizer_files(tokens, str(tokens))
    truncation, head_share = stated_truncation(facts, tokens)
    return Artifact(
        path=folder,
        name=folder.name,
        format="adapter",
        label_names=checked_names(names or ("LABEL_0", "LABEL_1"), task, folder),
        max_length=stated_length(tokens, base_config, virtual_tokens=virtual_tokens(config, folder)),
        truncation=truncation,
        head_share=head_share,
        base=base,
        task=task,
        temperature=stated_temperature(facts, folder),
        inputs=stated_inputs(facts, folder),
    )


def _head_classes(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Return the number of classes of a stored head, or None where there is none."""
    found = [shape[0] for name, shape in shapes.items() if len(shape) == 2 and _OUTPUT_LAYER.search(name)]
    return found[0] if found else None


def _describe_plain(folder: Path, kind: Format, facts: Mapping[str, Any]) -> Artifact:
    if not (folder / "config.json").exists():
        raise ModelError("There is no config.json, which holds the label names.", value=str(folder))
    config = read_foreign_object(folder / "config.json")
    task = stated_task(config.get("problem_type"), facts, folder)
    check_tokenizer_files(folder, str(folder))
    names = label_names(config)
    if names is not None:
        checked_names(names, task, folder)
    classes = None
    if kind == "merged":
        stored = [tensor_shapes(file) for file in sorted(folder.glob("*.safetensors"))]
        classes = _head_classes({name: shape for shapes in stored for name, shape in shapes.items()})
    if names is None:
        # As Transformers calls them; what it takes as their number where there is no head, no answer depends on.
        names = tuple(f"LABEL_{i}" for i in range(classes or configured_classes(config)))
    elif classes is not None and len(names) != classes:
        raise ModelError(
            f"config.json names {len(names)} classes, and the head has {classes}.",
            value=f"{folder}: {', '.join(names)}",
            fix=f"name all {classes} in id2label of its config.json",
        )
    truncation, head_share = stated_truncation(facts, folder)
    return Artifact(
        path=folder,
        name=folder.name,
        format=kind,
        label_names=checked_names(names, task, folder),
        max_length=stated_length(folder, config),
        truncation=truncation,
        head_share=head_share,
        task=task,
        temperature=stated_temperature(facts, folder),
        inputs=stated_inputs(facts, folder),
    )


def _not_a_classifier(folder: Path, source: str) -> ModelError:
    if (folder / "plan.json").exists():
        return ModelError(
            "This is the folder of a study, which holds many models.",
            value=str(folder),
            allowed="the folder of one run (DIR/runs/RUN_ID), or an export",
            fix=command("export", folder, "--out", "PATH"),
        )
    refuse_trainer_output(folder, source)
    for name in PICKLED:
        if (folder / name).exists():
            return pickled_weights(source, name)
    return ModelError(
        "This folder holds no classifier.",
        value=str(folder),
        allowed=f"{ADAPTER_CONFIG}; config.json with *.safetensors; {LINEAR_FILE}; "
        f"{', '.join(ONNX_FILES.values())}; or a run",
        fix="tunebench export DIR --out PATH writes one",
    )
