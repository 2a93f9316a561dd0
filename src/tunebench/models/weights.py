"""Stored weights against the classifier they are loaded into: names, prefixes and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from tunebench.errors import ModelError
from tunebench.files import read_foreign_object
from tunebench.tasks.classification import CLASSIFICATION

if TYPE_CHECKING:
    from torch import Tensor

    from tunebench.models.architectures import Architecture

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
#: Names that wrappers (DataParallel, torch.compile, Lightning and the like) put before those of a model.
_WRAPPERS = frozenset({"module", "_orig_mod", "model", "encoder", "backbone", "net", "auto_model", "0"})
#: Every family has one of these, and the name says where its encoder begins.
_ANCHORS = ("embeddings.word_embeddings.weight", "embeddings.tok_embeddings.weight")
#: The layer of a head whose rows are the classes.
_OUTPUTS = ("classifier", "classifier.out_proj")
_SHOWN = 4
#: The problem type of a classifier whose configuration names none.
SINGLE_LABEL = CLASSIFICATION.problem_type


@dataclass(frozen=True)
class StoredWeights:
    """Names and shapes of a folder's safetensors, the tensors unread.

    Attributes:
        files: The files, in order.
        prefix: A wrapper's prefix before the names of the encoder; taken off when the weights are loaded.
        shapes: Without the prefix, in the order of the files.
    """

    files: tuple[Path, ...]
    prefix: str
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def classes(self) -> int | None:
        """Number of classes of the classification head that is stored; None where there is none."""
        rows = [self.shapes[f"{name}.weight"][0] for name in _OUTPUTS if f"{name}.weight" in self.shapes]
        return rows[0] if rows else None

    def head(self, architecture: Architecture) -> tuple[str, ...]:
        """Return the names of what classification alone brings; none where the model is no classifier yet."""
        if self.classes is None:
            return ()
        return tuple(name for name in self.shapes if architecture.is_new_head(name))

    def read(self, *, without: Iterable[str] = (), rows: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Read the tensors.

        Args:
            without: Names to leave out.
            rows: The order in which to take the classes of the head; None leaves it.
        """
        from safetensors.torch import load_file

        dropped = set(without)
        outputs = {f"{name}.{kind}" for name in _OUTPUTS for kind in ("weight", "bias")}
        found: dict[str, Tensor] = {}
        for file in self.files:
            for stored, tensor in load_file(file).items():
                name = stored.removeprefix(self.prefix)
                if name not in dropped:
                    found[name] = tensor[list(rows)] if rows is not None and name in outputs else tensor
        return found


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a safetensors file; the tensors are not read.

    Raises:
        ModelError: The file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The weights cannot be read: {error}", value=str(path)) from None


def stored_weights(folder: Path, architecture: Architecture) -> StoredWeights:
    """Read names and shapes of the weights in a folder.

    Raises:
        ModelError: A file is missing or damaged, or the encoder has an unknown prefix.
    """
    files = _files(folder)
    shapes = {name: shape for file in files for name, shape in tensor_shapes(file).items()}
    prefix = _prefix(shapes, architecture, folder)
    return StoredWeights(files, prefix, {name.removeprefix(prefix): shape for name, shape in shapes.items()})


def _files(folder: Path) -> tuple[Path, ...]:
    if (folder / SINGLE_FILE).exists():
        return (folder / SINGLE_FILE,)
    if not (folder / INDEX_FILE).exists():
        raise ModelError(
            f"The weights file does not have the name that Transformers looks for ({SINGLE_FILE}).",
            value=", ".join(sorted(path.name for path in folder.glob("*.safetensors"))) or str(folder),
            fix=f"rename the file to {SINGLE_FILE}",
        )
    shards = read_foreign_object(folder / INDEX_FILE).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ModelError("The index of the weights names no files.", value=str(folder / INDEX_FILE))
    names = sorted({str(name) for name in shards.values()})
    outside = [name for name in names if PurePath(name).name != name]
    if outside:
        raise ModelError(
            "The index of the weights names files outside the model's folder.",
            value=f"{folder / INDEX_FILE}: {outside[0]}",
            allowed="names of files in the folder",
        )
    return tuple(folder / name for name in names)


def _prefix(names: Iterable[str], architecture: Architecture, folder: Path) -> str:
    """Return what wrappers put before the encoder's names, which end as in every model of the family."""
    base = f"{architecture.layers.split('.')[0]}."
    found = dict.fromkeys(
        name.removesuffix(anchor).removesuffix(base)
        for name in names
        for anchor in _ANCHORS
        if name == anchor or name.endswith(f".{anchor}")
    )
    if not found or "" in found:
        return ""
    prefix, *others = found
    if not others and set(prefix.removesuffix(".").split(".")) <= _WRAPPERS:
        return prefix
    raise ModelError(
        "The weights hold several encoders, and none under its own name."
        if others
        else "The names of the encoder's weights begin with an unknown prefix.",
        value=", ".join(found),
        allowed=f"the names that save_pretrained() writes, or the prefixes {', '.join(sorted(_WRAPPERS))}",
        fix=f"save the {architecture.model_type} encoder itself, without what is around it, and its tokenizer "
        f"with save_pretrained() (here: {folder})",
    )


def refuse_unfit(
    architecture: Architecture,
    folder: Path,
    *,
    missing: Iterable[str],
    mismatched: Iterable[tuple[str, Any, Any]],
    unexpected: Iterable[str],
) -> None:
    """Raise where anything outside the classification head would be drawn at random.

    Args:
        architecture: The family.
        folder: The model's folder, for the message.
        missing: Parameters that the files do not hold.
        mismatched: Those of another shape, each with the stored shape and that of the configuration.
        unexpected: Stored names that no parameter has.

    Raises:
        ModelError: With the names.
    """
    shapes = [
        f"{name} is {_shape(there)} in the file and {_shape(wanted)} by config.json"
        for name, there, wanted in sorted(mismatched, key=lambda found: found[0])
        if not architecture.is_head(name)
    ]
    if shapes:
        raise ModelError(
            f"The weights do not fit config.json: {few_of(shapes)}.",
            value=str(folder),
            fix="use the config.json that was saved with the weights",
        )
    lacking = sorted(name for name in missing if not architecture.is_head(name))
    if not lacking:
        return
    marks = {"embeddings", architecture.layers.rpartition(".")[2]}
    strangers = sorted(name for name in unexpected if marks & set(name.split(".")))
    instead = f" The files hold, under names that are not the model's: {few_of(strangers)}." if strangers else ""
    raise ModelError(
        f"{len(lacking)} parameters of the encoder are missing and would be random: {few_of(lacking)}.{instead}",
        value=str(folder),
        fix="save the whole model again with save_pretrained(); config.json must state the sizes and the number of "
        "layers that the weights have",
    )


def _shape(shape: Iterable[int]) -> str:
    return " x ".join(str(size) for size in shape)


def few_of(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
