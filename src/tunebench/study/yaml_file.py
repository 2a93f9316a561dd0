"""From a YAML file or a preset to a checked study; all errors are reported together."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunebench.data.reference import DataConfig, ReadOptions
from tunebench.errors import ConfigError, did_you_mean, raise_all
from tunebench.files import local_path
from tunebench.study.config import StudyConfig
from tunebench.study.messages import check_booleans, explain
from tunebench.study.strict_yaml import parse_yaml

#: Signs alone, such as a comma between labels, are meant as they stand: a shell has taken the quotes off that YAML
#: needs around them. "~" is YAML's null, and the others left out here enclose a value.
_SIGNS = re.compile(r"""\s*[^\w\s~'"\[\]{}][^\w'"\[\]{}]*""")


def presets() -> dict[str, Path]:
    """Return the presets that ship with the package, by name."""
    folder = Path(str(importlib.resources.files("tunebench.study") / "presets"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_study(
    name_or_path: str, *, overrides: Sequence[str] = (), model: str | None = None, data: str | None = None
) -> StudyConfig:
    """Load and check a study; see :func:`read_study` for the arguments.

    Raises:
        ConfigError: Everything that is wrong, together.
    """
    raw = read_study(name_or_path, overrides=overrides, model=model, data=data)
    if isinstance(raw.get("data"), list):
        raise ConfigError(
            "This file holds a suite: its data is a list.",
            value=name_or_path,
            fix="read it with tunebench.load_suite, and run it with tunebench.run_suite or tunebench run",
        )
    return check_study(raw)


def read_study(
    name_or_path: str, *, overrides: Sequence[str] = (), model: str | None = None, data: str | None = None
) -> dict[str, Any]:
    """Read a study as plain values that are not checked yet.

    Args:
        name_or_path: A preset's name, or a YAML file.
        overrides: ``key=value`` with dotted keys and YAML values, as given to ``--set``.
        model: Replaces the study's model.
        data: Replaces the study's data source; columns and the like stay, revision and subset go. A preset's
            test size then is the most that is scored, unless an override sets it.

    Raises:
        ConfigError: There is no such file, or it holds no mapping.
    """
    known = presets()
    path = known.get(name_or_path) or local_path(name_or_path)
    if not path.is_file():
        raise ConfigError(
            "There is no such preset or study file.",
            value=name_or_path,
            allowed=f"{', '.join(known)}; or the path of a YAML file",
            fix=did_you_mean(name_or_path, known),
        )
    raw = _read_mapping(path)
    raw.setdefault("name", path.stem)
    if model is not None:
        raw["model"] = model
        for other in ("model_revision", "models"):
            raw.pop(other, None)
    own_source = _source(raw)
    if data is not None:
        given = raw.get("data")
        columns = given if isinstance(given, dict) else {}
        raw["data"] = {k: v for k, v in columns.items() if k not in ("revision", "subset")} | {"source": data}
    # Last, so that --set can say more about a model or data given beside it.
    for override in overrides:
        set_key(raw, override)
    if name_or_path in known and _source(raw) != own_source:
        _limit_test(raw, overrides)
    return raw


def _read_mapping(path: Path) -> dict[str, Any]:
    """Return what a study file holds."""
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"), where=str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The study file is not UTF-8 (byte {error.start}).",
            value=str(path),
            allowed="text in UTF-8",
            fix="save the file again with the encoding UTF-8",
        ) from None
    except OSError as error:
        raise ConfigError(f"The study file cannot be read: {error.strerror}.", value=str(path)) from None
    if not isinstance(raw, dict):
        found = "empty" if raw is None else f"a {type(raw).__name__}"
        raise ConfigError(
            f"The study file is {found}.",
            value=str(path),
            allowed="a mapping of keys to values, as in the presets",
            fix=f"start from the preset {next(iter(presets()))!r}",
        )
    return raw


def _source(raw: dict[str, Any]) -> Any:
    data = raw.get("data")
    return data.get("source") if isinstance(data, dict) else data


def _limit_test(raw: dict[str, Any], overrides: Sequence[str]) -> None:
    """Make a preset's test size a limit, as it was chosen for the preset's own data."""
    asked = {override.partition("=")[0].strip() for override in overrides}
    if "test_size" in raw and not asked & {"test_size", "test_limit"}:
        raw["test_limit"] = raw.pop("test_size")


def load_data_config(
    source: str, *, text_column: str | None = None, label_column: str | None = None, overrides: Sequence[str] = ()
) -> DataConfig:
    """Check the data options of a command that takes no study.

    Args:
        source: The source.
        text_column: Column of texts.
        label_column: Column of labels.
        overrides: ``data.key=value``, as :func:`load_study` takes them.

    Raises:
        ConfigError: Everything that is wrong, together.
    """
    other = [text for text in overrides if not text.strip().startswith("data.")]
    if other:
        raise ConfigError("Only keys of data can be set here.", value=other[0], allowed="data.KEY=VALUE")
    columns = {"text_column": text_column, "label_column": label_column}
    raw: dict[str, Any] = {"data": {"source": source} | {key: name for key, name in columns.items() if name}}
    for override in overrides:
        set_key(raw, override)
    # The rest of a study is there only because a whole one is checked.
    return check_study({"name": "data", "model": "none", "strategies": ["full"], "train_sizes": ["all"]} | raw).data


def load_read_options(overrides: Sequence[str]) -> ReadOptions:
    """Check how a file is to be read, for a command that reads one and takes no data options.

    Args:
        overrides: ``data.key=value``, as :func:`load_study` takes them.

    Raises:
        ConfigError: Another key, or everything that is wrong with the values, together.
    """
    keys = [f"data.{name}" for name in ReadOptions.model_fields]
    other = [text for text in overrides if text.partition("=")[0].strip() not in keys]
    if other:
        raise ConfigError("Only how the file is read can be set here.", value=other[0], allowed=", ".join(keys))
    data = load_data_config("file", overrides=overrides)
    return ReadOptions(**{name: getattr(data, name) for name in ReadOptions.model_fields})


def check_study(raw: dict[str, Any]) -> StudyConfig:
    """Validate a study given as plain values.

    Raises:
        ConfigError: Every error, each with key, value, what is allowed, and the fix.
    """
    raise_all(check_booleans(raw))
    try:
        return StudyConfig.model_validate(raw)
    except ValidationError as error:
        raise_all(explain(error, raw))
        raise AssertionError("unreachable") from None


def set_key(raw: dict[str, Any], override: str) -> None:
    """Set one key of a study given as plain values, from ``key=value`` as ``--set`` takes it.

    The value is YAML; signs alone are themselves, so that ``data.label_delimiter=,`` is a comma.

    Raises:
        ConfigError: It is no such text, or its key leads nowhere.
    """
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError("--set takes KEY=VALUE.", value=override, fix="for example: --set epochs=5")
    *parents, last = key.strip().split(".")
    target: Any = raw
    for parent in parents:
        if isinstance(target.get(parent), str) and parent == "data":
            target[parent] = {"source": target[parent]}
        if isinstance(target.get(parent), list) and parent == "strategies":
            if any(isinstance(label, (dict, list)) for label in target[parent]):
                raise ConfigError(
                    f"--set {key}: strategies is a list that holds more than labels.",
                    value=target[parent],
                    allowed="a list of labels, or a mapping from a label to the strategy's parameters",
                    fix="write a mapping in the study file: {full: , lora: {rank: 8}}",
                )
            target[parent] = {label: None for label in target[parent]}
        if target.get(parent) is None:
            target[parent] = {}
        target = target[parent]
        if not isinstance(target, dict):
            raise ConfigError(f"--set {key}: {parent} holds no keys.", value=target, fix=f"--set {parent}=VALUE")
    signs = _SIGNS.fullmatch(text) and text.isprintable()
    target[last] = text.strip() if signs else parse_yaml(text, where=f"--set {override}")
