"""Bounds on what a model's folder may claim, checked before anything is built from it.

A configuration of a few bytes can ask for a million layers, a tokenizer for hours, a pattern for more steps than
there are atoms. All of these are read by libraries that take them at their word.
"""

from __future__ import annotations

import json
import math
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunebench.errors import ModelError, StoreError
from tunebench.files import read_foreign_object
from tunebench.models.weights import tensor_shapes

#: Most bytes of a file of text in a model's folder. The largest tokenizers of encoders have 17 MB.
TEXT_BYTES = 2**25
#: Most tokens that were added to a vocabulary; each is searched for in every text.
ADDED_TOKENS = 10_000
#: Most layers; the deepest encoders have 48.
LAYERS = 1_000
#: Most classes.
CLASSES = 100_000
#: Largest whole number in a configuration, and largest number of positions.
NUMBER, POSITIONS = 2**24, 2**17
#: Seconds that all patterns of an adapter may take over all names.
PATTERN_SECONDS = 5.0

#: Levels of a configuration that are looked at; none has so many.
_LEVELS = 20
_TEXT_ENDINGS = (".json", ".txt", ".model", ".jinja")
#: Keys of a configuration that count layers, that give the width of matrices, and their rows; and positions.
_LAYER_KEYS = ("num_hidden_layers", "num_layers", "n_layers")
_WIDTH_KEYS = ("hidden_size", "dim", "embedding_size")
_ROW_KEYS = ("vocab_size", "intermediate_size", "hidden_dim", *_WIDTH_KEYS)
_POSITION_KEYS = ("max_position_embeddings", "n_positions")
#: Keys of an adapter's configuration whose values are patterns, and those whose keys are.
_PATTERNS = ("target_modules", "exclude_modules", "layers_pattern")
_PATTERN_KEYS = ("rank_pattern", "alpha_pattern")
#: Keys of an adapter's configuration that give sizes. Others count steps, or are seeds.
_ADAPTER_SIZES = frozenset(
    {
        *("r", "init_r", "target_r", "num_virtual_tokens", "token_dim", "num_layers", "num_attention_heads"),
        *("num_transformer_submodules", "encoder_hidden_size", "encoder_num_layers", "rank_pattern"),
    }
)
#: Name, mode, size and time of change of a file.
Entry = tuple[str, int, int, int]
#: Tries patterns on names; run in a process of its own.
_MATCH = """
import json, re, sys
patterns, names = json.load(sys.stdin)
for pattern in patterns:
    for form in (pattern, rf"(.*\\.)?({pattern})$", rf".*\\.{pattern}\\.(\\d+)\\."):
        try:
            compiled = re.compile(form)
        except (re.error, RecursionError, OverflowError):
            continue  # for the library to refuse
        for name in names:
            compiled.fullmatch(name), compiled.match(name)
"""


def check_bounds(folder: Path) -> None:
    """Raise where a model's folder holds or claims more than any model does.

    Raises:
        ModelError: With the file, and what was expected.
    """
    try:
        entries = entries_of(folder)
    except OSError:
        return  # for whoever opens it next to say
    _check(folder, entries)


def entries_of(folder: Path) -> tuple[Entry, ...]:
    """Return what lies in a folder, by name: equal for a folder that has not changed.

    Raises:
        OSError: The folder cannot be read.
    """
    return tuple((path.name, *_stamp(path)) for path in sorted(folder.iterdir()))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)  # a link to nothing
    return (found.st_mode, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _check(folder: Path, entries: tuple[Entry, ...]) -> None:
    for name, mode, size, _ in entries:
        if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise ModelError("A model's folder holds something that is no file.", value=str(folder / name))
        if name.endswith(_TEXT_ENDINGS) and size > TEXT_BYTES:
            raise ModelError(
                "A file of the model is too large to be what it should be.",
                value=f"{folder / name}: {size:,} bytes",
                allowed=f"at most {TEXT_BYTES:,} bytes",
            )
    _check_added_tokens(folder)
    _check_config(folder)
    _check_adapter(folder)


def _check_added_tokens(folder: Path) -> None:
    for name, key in (
        ("tokenizer.json", "added_tokens"),
        ("tokenizer_config.json", "added_tokens_decoder"),
        ("tokenizer_config.json", "additional_special_tokens"),
        ("added_tokens.json", None),
    ):
        content = _read(folder / name)
        found = content.get(key) if key is not None else content
        if isinstance(found, (list, dict)) and len(found) > ADDED_TOKENS:
            raise ModelError(
                "The tokenizer has more added tokens than any.",
                value=f"{folder / name}: {len(found):,}",
                allowed=f"at most {ADDED_TOKENS:,}",
            )


def _check_config(folder: Path) -> None:
    path = folder / "config.json"
    config = _read(path)
    for place, number in _numbers(config):
        name = place.rsplit(".", 1)[-1]
        if name.endswith("theta"):  # the base of an angle
            continue
        most = LAYERS if name in _LAYER_KEYS else CLASSES if name == "num_labels" else NUMBER
        most = POSITIONS if name in _POSITION_KEYS else most
        if abs(number) > most:
            raise _out_of_bounds(path, place, number, most)
    if isinstance(names := config.get("id2label"), dict) and len(names) > CLASSES:
        raise _out_of_bounds(path, "id2label", len(names), CLASSES)
    _check_against_weights(folder, config)


def _check_against_weights(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a configuration whose largest matrices, or whose layers, the weights cannot hold."""
    try:
        shapes = [shape for file in sorted(folder.glob("*.safetensors")) for shape in tensor_shapes(file).values()]
    except ModelError:
        return  # for whoever loads them to say
    if not shapes or (folder / "adapter_config.json").exists():
        return
    stored = sum(math.prod(shape) for shape in shapes)
    sizes = {name: value for name, value in config.items() if isinstance(value, int)}
    width = min((sizes[name] for name in _WIDTH_KEYS if sizes.get(name, 0) > 0), default=1)
    claims = {name: sizes[name] * width for name in _ROW_KEYS if name in sizes}
    # Every layer has many tensors.
    claims |= {name: sizes[name] * width * width for name in _LAYER_KEYS if name in sizes}
    for name, numbers in claims.items():
        if numbers > stored:
            raise ModelError(
                "The configuration describes a larger model than the weights hold.",
                value=f"{folder / 'config.json'}: {name}: {sizes[name]:,}, for which at least {numbers:,} numbers "
                f"are needed; stored are {stored:,}",
                fix="put the config.json there that was saved with the weights",
            )


def _check_adapter(folder: Path) -> None:
    path = folder / "adapter_config.json"
    config = _read(path)
    for place, number in _numbers(config):
        if abs(number) > POSITIONS and not _ADAPTER_SIZES.isdisjoint(place.split(".")):
            raise _out_of_bounds(path, place, number, POSITIONS)
    copies = config.get("layer_replication")
    if isinstance(copies, list):
        layers = sum(abs(part[1] - part[0]) for part in copies if _is_range(part))
        if layers > LAYERS:
            raise _out_of_bounds(path, "layer_replication", layers, LAYERS)


def check_patterns(adapter: Path, names: Iterable[str]) -> None:
    """Raise where the patterns of an adapter's configuration take too long over the names of its base.

    Some patterns take longer with every letter, twice as long each time. None can be told by its look, so they are
    tried in a process of their own, which can be ended.

    Args:
        adapter: The adapter's folder.
        names: Names of the base's parameters.

    Raises:
        ModelError: They had not ended in time.
    """
    config = _read(adapter / "adapter_config.json")
    patterns = [pattern for key in _PATTERNS for pattern in _texts(config.get(key))]
    patterns += [str(pattern) for key in _PATTERN_KEYS for pattern in _keys(config.get(key))]
    if not patterns:
        return
    modules = {name[:end] for name in names for end in range(len(name)) if name[end] == "."}
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MATCH],
            input=json.dumps([patterns, sorted(modules)]),
            text=True,
            check=False,
            capture_output=True,
            timeout=PATTERN_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(
            "A pattern of the adapter's configuration takes too long to be matched.",
            value=f"{adapter / 'adapter_config.json'}: {', '.join(patterns)[:200]}",
            allowed=f"at most {PATTERN_SECONDS:g} seconds over all modules of the base",
            fix="name the modules as a list instead",
        ) from None


def _read(path: Path) -> Mapping[str, Any]:
    """Return a JSON object; empty where there is none, which those who need it say."""
    try:
        return read_foreign_object(path, limit=TEXT_BYTES) if path.exists() else {}
    except StoreError:
        return {}


def _numbers(value: Any, place: str = "") -> Iterator[tuple[str, int]]:
    """Yield the whole numbers in JSON values, with their places; none that lies deeper than any setting does."""
    if place.count(".") > _LEVELS:
        return
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _numbers(part, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for part in value:
            yield from _numbers(part, f"{place}.")
    elif isinstance(value, int) and not isinstance(value, bool):
        yield place.rstrip("."), value


def _is_range(part: Any) -> bool:
    return isinstance(part, list) and len(part) == 2 and all(isinstance(end, int) for end in part)


def _texts(value: Any) -> list[str]:
    """Return what PEFT takes as patterns: a text; the entries of a list are compared as they are."""
    return [value] if isinstance(value, str) else []


def _keys(value: Any) -> list[Any]:
    return list(value) if isinstance(value, dict) else []


def _out_of_bounds(path: Path, name: str, number: int, most: int) -> ModelError:
    # Python refuses to write a number of thousands of digits.
    shown = f"{number:,}" if abs(number) < 10**30 else "a number of more than 30 digits"
    return ModelError(
        "The configuration holds a number that is larger than in any model.",
        value=f"{path}: {name}: {shown}",
        allowed=f"at most {most:,}",
    )
