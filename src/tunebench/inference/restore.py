"""Load a torch model from a folder: complete, or an error. No parameter is drawn at random."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.errors import ModelError, first_line
from tunebench.inference.artifacts import Artifact
from tunebench.machine.random_state import kept_random_state
from tunebench.models.architectures import architecture_of
from tunebench.models.checks import lacking_head
from tunebench.models.loading import load_stored
from tunebench.models.sources import model_folder
from tunebench.models.weights import tensor_shapes
from tunebench.strategies import capabilities_of
from tunebench.training.linear.exports import read_linear

if TYPE_CHECKING:
    from torch import nn

    from tunebench.training.backend import TextModel


def restore_model(artifact: Artifact) -> tuple[nn.Module, Path]:
    """Load a torch model in fp32, with its adapter unmerged; also return the folder of its tokenizer.

    Torch's, NumPy's and Python's random generators are as before afterwards.

    Raises:
        ModelError: A part is missing, so that it would be random; or something does not fit.
    """
    with kept_random_state():
        if artifact.run is not None:
            model = _of_run(artifact)
            tokens = model_folder(artifact.run.model.source, artifact.run.model.revision)
        elif artifact.format == "adapter":
            model = load_adapter(artifact)
            assert artifact.base is not None
            own = (artifact.path / "tokenizer_config.json").exists()
            tokens = artifact.path if own else model_folder(artifact.base.source, artifact.base.revision)
        else:
            stored = load_stored(
                artifact.path, label_names=artifact.label_names, problem_type=artifact.task.problem_type
            )
            model = stored.model
            if stored.drawn:
                raise lacking_head(artifact.path, stored.drawn, architecture_of(stored.model.config).is_new_head)
            tokens = artifact.path
    return model.eval(), tokens


def load_adapter(artifact: Artifact) -> nn.Module:
    """Load an adapter folder over its base with PEFT, and check that nothing in it is left to chance.

    Args:
        artifact: Of the format ``adapter``, and no run.

    Returns:
        The ``PeftModel``, not merged.

    Raises:
        ModelError: Parts of the head are neither in the base nor in the adapter, or the two do not fit.
    """
    from peft import PeftModel, get_peft_model_state_dict

    assert artifact.base is not None
    folder = model_folder(artifact.base.source, artifact.base.revision)
    base = load_stored(folder, label_names=artifact.label_names, problem_type=artifact.task.problem_type)
    try:
        with warnings.catch_warnings():
            # PEFT warns of missing parameters and goes on; below they are an error.
            warnings.filterwarnings("ignore", message="Found missing adapter keys")
            model: nn.Module = PeftModel.from_pretrained(base.model, str(artifact.path), is_trainable=False)
    except KeyError as error:
        # What it raises for a head that is missing.
        _refuse_missing([str(error.args[0])], artifact.path)
        raise
    except MemoryError:
        raise
    except Exception as error:
        # PEFT checks few values of a configuration; the others fail anywhere in it.
        raise ModelError(
            f"The adapter does not fit its base: {first_line(error)}", value=str(artifact.path)
        ) from None
    stored = set(tensor_shapes(artifact.weights))
    lost = set(get_peft_model_state_dict(model, save_embedding_layers=False)) - stored
    _refuse_missing(sorted(lost), artifact.path)
    carried = [f".{_plain(name)}" for name in stored]
    # What the base's files lack must be in the adapter, or it was drawn at random just now.
    random_ = [name for name in base.drawn if not any(other.endswith(f".{name}") for other in carried)]
    _refuse_missing(random_, artifact.path)
    return model


def _plain(name: str) -> str:
    """Return a parameter's name without what PEFT adds for the modules it keeps a trained copy of."""
    head, _, tail = name.partition(".modules_to_save.")
    return f"{head}.{tail.removeprefix('default.')}" if tail else head


def restore_text_model(artifact: Artifact, *, device: str) -> TextModel:
    """Load a classifier that reads texts by itself: an exported one, or that of a run.

    The random generators are as before afterwards.

    Raises:
        ModelError: A part is missing or damaged.
        StoreError: A run's weights are.
    """
    with kept_random_state():
        if artifact.run is None:
            return read_linear(artifact.path, device=device)
        found: TextModel = _of_run(artifact, device=device)
    return found


def _of_run(artifact: Artifact, *, device: str = "cpu") -> Any:
    """Have a run's backend load its model: what was pretrained, and what was trained."""
    from safetensors import SafetensorError

    from tunebench.inference.adapter_facts import checked_base
    from tunebench.store.run_folder import RunFolder
    from tunebench.training.registry import backend_of

    assert artifact.run is not None
    if capabilities_of(artifact.run.kind).uses_encoder:
        checked_base(artifact.run.model)
    # fp32 and the reference engine: plain layers, which can be merged, exported and compared.
    spec = artifact.run.model_copy(update={"precision": "fp32", "engine": "reference"})
    try:
        return backend_of(spec.kind).load(spec, RunFolder(artifact.path), device=device)
    except (ValueError, SafetensorError) as error:
        raise ModelError(f"The run's weights do not fit: {error}", value=str(artifact.weights)) from None


def _refuse_missing(names: Sequence[str], folder: Path) -> None:
    if names:
        raise ModelError(
            f"Trained parameters are missing and would be random: {', '.join(names[:4])}"
            f"{', ...' if len(names) > 4 else ''}.",
            value=str(folder),
            fix="save the head as well (PEFT: modules_to_save must name every module of it)",
        )


def merge_adapter(model: nn.Module) -> nn.Module:
    """Fold a PEFT adapter into its base, in place; one of a kind that is never merged is returned as it is.

    Raises:
        ModelError: Its settings forbid it.
    """
    from peft import PeftModel
    from peft.utils import ModulesToSaveWrapper

    if not isinstance(model, PeftModel) or not hasattr(model, "merge_and_unload"):
        return model
    base: Any = model.get_base_model()
    # Except for LoRA, PEFT unwraps only trained copies that have a weight of their own; BERT's pooler has none.
    for name, module in list(base.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            base.set_submodule(name, module.modules_to_save["default"])
    try:
        merged: nn.Module = model.merge_and_unload(safe_merge=True)
    except Exception as error:
        # PEFT raises its own types, some without a common base, for weights and for settings that cannot be merged.
        raise ModelError(f"The adapter cannot be merged into its base: {first_line(error)}") from None
    return merged
