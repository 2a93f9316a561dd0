"""The first layers of an encoder as a model of its own: ``minilm:3``.

Lower layers alone cost a share of the time and memory, and often score nearly as well.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunebench.errors import ModelError
from tunebench.files import default_cache_dir, local_path
from tunebench.models.reference import Pooling

if TYPE_CHECKING:
    from tunebench.models.architectures import Architecture

#: Patterns of the files that a tokenizer is read from.
TOKENIZER_FILES = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
)
_SOURCE = re.compile(r"(?P<model>.+):(?P<layers>[0-9]{1,4})")


def split_source(source: str) -> tuple[str, int | None]:
    """Return a model's source and how many of its layers are meant; None for all of them.

    What lies at that very path is a model by itself, whatever its name ends in.
    """
    found = _SOURCE.fullmatch(source)
    if found is None or local_path(source).exists():
        return source, None
    return found["model"], int(found["layers"])


def pooling_of(source: str) -> Pooling:
    """Return what a new classification head on a model reads.

    Training gave a meaning to the first token of the last layer alone. The first layers of a model end below it.
    """
    return "first" if split_source(source)[1] is None else "mean"


def first_layers(folder: Path, layers: int, fingerprint: str) -> Path:
    """Return a folder with the first layers of a model: made once, kept in the cache, with the same tokenizer.

    Args:
        folder: The whole model.
        layers: How many of its layers to keep. Embeddings, pooler and head are kept too.
        fingerprint: Of the whole model.

    Raises:
        ModelError: It does not have so many, or its files are damaged.
    """
    kept = default_cache_dir() / "models" / f"{fingerprint}-{layers}"
    if kept.is_dir():
        return kept
    from tunebench.models.architectures import architecture_of, load_configuration

    config = load_configuration(folder)
    architecture = architecture_of(config)
    if not 0 < layers < architecture.num_layers:
        raise ModelError(
            "This is no part of the model's layers.",
            value=f":{layers}",
            allowed=f"1 to {architecture.num_layers - 1}; without a number, all {architecture.num_layers}",
            fix="change the number behind the colon",
        )
    _write(folder, kept, layers, architecture, config)
    return kept


def _write(folder: Path, kept: Path, layers: int, architecture: Architecture, config: Any) -> None:
    """Write beside the place, then move there; another process may have been faster."""
    from safetensors.torch import save_file

    from tunebench.models.weights import SINGLE_FILE, stored_weights

    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{kept.name}.", dir=kept.parent))
    try:
        for path in _beside_the_weights(folder):
            shutil.copyfile(path, temporary / path.name)
        (temporary / "config.json").write_text(_shortened(folder, layers, config), encoding="utf-8")
        stored = stored_weights(folder, architecture)
        dropped = [name for name in stored.shapes if _layer(name, architecture) >= layers]
        save_file(stored.read(without=dropped), temporary / SINGLE_FILE, metadata={"format": "pt"})
        try:
            os.replace(temporary, kept)
        except OSError:
            if not kept.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _beside_the_weights(folder: Path) -> Iterator[Path]:
    """Yield the files of the tokenizer."""
    for name in TOKENIZER_FILES:
        yield from sorted(path for path in folder.glob(name) if path.is_file())


def _shortened(folder: Path, layers: int, config: Any) -> str:
    """Return the configuration of so many layers, all else as it is."""
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    raw[config.attribute_map.get("num_hidden_layers", "num_hidden_layers")] = layers
    if isinstance(raw.get("layer_types"), list):  # one a layer, where they differ
        raw["layer_types"] = raw["layer_types"][:layers]
    return json.dumps(raw, indent=2, sort_keys=True) + "\n"


def _layer(name: str, architecture: Architecture) -> int:
    """Return the layer of a stored parameter; -1 for what belongs to none."""
    inside = architecture.layers.partition(".")[2]
    found = re.search(rf"(?:^|\.){re.escape(inside)}\.(\d+)\.", name)
    return int(found[1]) if found else -1
