"""From a YAML file or a preset to a checked study, with everything that is wrong said at once."""

from __future__ import annotations

import difflib
import importlib.resources
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from tunebench.config import DataConfig, StudyConfig
from tunebench.errors import ConfigError, TunebenchError, raise_all


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads 5e-5 as the number it is."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            raise yaml.constructor.ConstructorError(None, None, "this key is no plain value", key_node.start_mark)
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands here twice", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def presets() -> dict[str, Path]:
    """Return the presets that ship with the package, by name."""
    folder = Path(str(importlib.resources.files("tunebench") / "presets"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_study(
    name_or_path: str, *, overrides: Sequence[str] = (), model: str | None = None, data: str | None = None
) -> StudyConfig:
    """Load and check a study.

    Args:
        name_or_path: A preset's name, or a YAML file.
        overrides: ``key=value`` with dotted keys and YAML values, as given to ``--set``.
        model: Replaces the study's model.
        data: Replaces the study's data source; columns stay, revision and subset go.

    Raises:
        ConfigError: Everything that is wrong, together.
    """
    known = presets()
    path = known.get(name_or_path) or Path(name_or_path).expanduser()
    if not path.is_file():
        close = difflib.get_close_matches(name_or_path, known, n=1)
        raise ConfigError(
            "There is no such preset or study file.",
            value=name_or_path,
            allowed=f"{', '.join(known)}; or the path of a YAML file",
            fix=f"did you mean {close[0]!r}?" if close else None,
        )
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"), where=str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"The study file is not UTF-8 (byte {error.start}).", value=str(path)) from None
    if not isinstance(raw, dict):
        raise ConfigError("A study is a mapping of keys to values.", value=str(path), fix="see: tunebench presets")
    raw.setdefault("name", path.stem)
    for override in overrides:
        _override(raw, override)
    if model is not None:
        raw["model"] = model
        raw.pop("model_revision", None)
    if data is not None:
        columns = raw.get("data") if isinstance(raw.get("data"), dict) else {}
        raw["data"] = {k: v for k, v in columns.items() if k in ("text_column", "label_column")} | {"source": data}
    return check_study(raw)


def parse_yaml(text: str, *, where: str) -> Any:
    """Parse YAML safely.

    Raises:
        ConfigError: Bad YAML, with line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"This is no valid YAML{place}: {problem}", value=where) from None


def check_study(raw: dict[str, Any]) -> StudyConfig:
    """Validate a study given as plain values.

    Raises:
        ConfigError: Every error, each with key, value, what is allowed, and the fix.
    """
    try:
        return StudyConfig.model_validate(raw)
    except ValidationError as error:
        raise_all(list(_translate(error, raw)))
        raise AssertionError("unreachable") from None


def _translate(error: ValidationError, raw: dict[str, Any]) -> Iterator[TunebenchError]:
    """Turn pydantic's errors into ours, one a key."""
    seen = set()
    for item in error.errors(include_url=False):
        path = [
            part for part in item["loc"] if not (isinstance(part, str) and part.startswith(("literal[", "const")))
        ]
        if item["type"] in ("too_short",) and any(str(k).startswith(f"{path[0]}.") for k in seen):
            continue  # the empty remains of values that were refused one by one
        key = ".".join(str(part) for part in path)
        if key in seen:
            continue
        seen.add(key)
        yield _one(item, key, path, raw)


def _one(item: Any, key: str, path: list[Any], raw: dict[str, Any]) -> TunebenchError:
    kind = item["type"]
    if kind == "missing":
        return ConfigError(f"{key}: this key is missing.", fix=f"add {key}: ... to the study")
    if kind == "extra_forbidden":
        model: type[BaseModel] = DataConfig if path[0] == "data" else StudyConfig
        allowed = list(model.model_fields)
        close = difflib.get_close_matches(str(path[-1]), allowed, n=1)
        return ConfigError(
            f"{key}: unknown key.",
            value=path[-1],
            allowed=", ".join(allowed),
            fix=f"did you mean {close[0]!r}?" if close else "remove it",
        )
    if path and path[0] == "train_sizes" and len(path) == 2:
        return ConfigError(f"{key}: no training size.", value=item["input"], allowed="an integer >= 2, or 'all'")
    message = str(item["msg"]).removeprefix("Value error, ")
    value = item["input"] if kind != "value_error" or len(path) != 0 else None
    return ConfigError(f"{key or 'study'}: {message}", value=None if isinstance(value, dict) else value)


def _override(raw: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError("--set takes KEY=VALUE.", value=override, fix="for example: --set epochs=5")
    *parents, last = key.strip().split(".")
    target: Any = raw
    for parent in parents:
        if isinstance(target.get(parent), str) and parent == "data":
            target[parent] = {"source": target[parent]}
        if target.get(parent) is None:
            target[parent] = {}
        target = target[parent]
        if not isinstance(target, dict):
            raise ConfigError(f"--set {key}: {parent} holds no keys.", value=target)
    target[last] = parse_yaml(text, where=f"--set {override}")
