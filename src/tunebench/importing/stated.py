"""What the user states about an imported run: ``tunebench.yaml`` in its folder, and ``--set``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from tunebench.errors import ConfigError, TunebenchError, raise_all
from tunebench.recipe import Precision, Schedule, Selection
from tunebench.schema import Frozen
from tunebench.study.strict_yaml import parse_yaml

#: In a run's folder; YAML holds JSON too.
SIDECARS = ("tunebench.yaml", "tunebench.json")


class Stated(Frozen):
    """What a folder does not say; nothing in it is needed where the folder does.

    Attributes:
        strategy: What the run is called in tables.
        kind: A kind of strategy that tunebench knows, or a word for another one.
        task: What was learned of a text.
        plain_f1: Says which F1 a metric called just ``f1`` is.
        label_names: Class names, in the order of their numbers; of a number to predict, its name.
        test_set: Name of the evaluated set whose scores are the run's, where several were evaluated.
        validation_set: Name of the evaluated set that is the validation part.
    """

    strategy: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")
    kind: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")
    train_size: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    learning_rate: float | None = Field(default=None, gt=0, le=10)
    model: str | None = Field(default=None, min_length=1)
    data: str | None = Field(default=None, min_length=1)
    label_names: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(default=None, min_length=1)
    task: Literal["single_label", "multi_label", "regression"] | None = None
    plain_f1: Literal["macro", "micro"] | None = None
    test_set: str | None = Field(default=None, min_length=1)
    validation_set: str | None = Field(default=None, min_length=1)
    trainable_params: int | None = Field(default=None, ge=0)
    adapter_params: int | None = Field(default=None, ge=0)
    head_params: int | None = Field(default=None, ge=0)
    subset_seed: int | None = Field(default=None, ge=0, lt=2**63)
    validation_fraction: float | None = Field(default=None, ge=0, lt=1)
    selection: Selection | None = None
    max_length: int | None = Field(default=None, ge=1)
    epochs: int | None = Field(default=None, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    optimizer: str | None = Field(default=None, min_length=1)
    weight_decay: float | None = Field(default=None, ge=0, lt=1)
    schedule: Schedule | None = None
    warmup_ratio: float | None = Field(default=None, ge=0, lt=1)
    max_grad_norm: float | None = Field(default=None, ge=0)
    evaluations_per_epoch: int | None = Field(default=None, ge=1)
    precision: Precision | None = None

    @property
    def given(self) -> dict[str, Any]:
        """What was stated, as plain values."""
        return self.model_dump(mode="json", exclude_none=True)


def read_stated(folder: Path, text: str | None, *, where: Path, settings: Sequence[str], names: set[str]) -> Stated:
    """Collect what is stated about one folder; ``--set FOLDER:...`` wins over ``--set``, that over the file.

    Args:
        folder: The run's folder.
        text: Content of its sidecar, if it has one.
        where: The sidecar, for messages.
        settings: ``KEY=VALUE`` and ``FOLDER:KEY=VALUE``, as given.
        names: Names and paths of all folders that are imported.

    Raises:
        ConfigError: Everything that is wrong with it.
    """
    raw: Any = {} if text is None else parse_yaml(text, where=str(where))
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError("This file is not a mapping of keys to values.", value=str(where))
    sources = dict.fromkeys(raw, str(where))
    for own in (False, True):
        for setting in settings:
            target, key, value = parse_setting(setting, names)
            if (target is not None) == own and target in (None, folder.name, str(folder)):
                raw[key], sources[key] = value, f"--set {setting}"
    raise_all([_boolean(key, value, sources[key]) for key, value in raw.items() if isinstance(value, bool)])
    try:
        return Stated.model_validate(raw)
    except ValidationError as error:
        raise_all([_explain(item, sources) for item in error.errors(include_url=False)])
        raise AssertionError("unreachable") from None


def parse_setting(setting: str, names: set[str]) -> tuple[str | None, str, Any]:
    """Split ``KEY=VALUE`` or ``FOLDER:KEY=VALUE`` into folder, key and value.

    Raises:
        ConfigError: It is neither, or the folder is none of those that are imported.
    """
    left, separator, text = setting.partition("=")
    folder, colon, key = left.rpartition(":")
    if not separator or not key.strip() or (colon and not folder):
        raise ConfigError(
            "--set takes KEY=VALUE or FOLDER:KEY=VALUE.", value=setting, fix="for example: --set lora_5k:seed=42"
        )
    if colon and folder not in names:
        raise ConfigError(
            "--set names a folder that is not imported.", value=folder, allowed=", ".join(sorted(names))
        )
    return (folder if colon else None), key.strip(), parse_yaml(text, where=f"--set {setting}")


def _boolean(key: Any, value: Any, source: str) -> TunebenchError:
    return ConfigError(f"{source}: {key}: true and false are not allowed here.", value=value)


def _explain(item: Any, sources: dict[Any, str]) -> TunebenchError:
    key = item["loc"][0] if item["loc"] else ""
    place = f"{sources[key]}: " if key in sources else ""
    if item["type"] in ("extra_forbidden", "invalid_key"):
        return ConfigError(f"{place}there is no key {key!r}.", allowed=", ".join(Stated.model_fields))
    return ConfigError(f"{place}{key}: {item['msg']}.", value=item["input"])
