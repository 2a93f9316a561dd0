"""A suite: one study over many data sets, written as a study whose ``data`` is a list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunebench.data.reference import DataConfig
from tunebench.errors import ConfigError, ErrorGroup, TunebenchError, did_you_mean, raise_all
from tunebench.recipe import Recipe
from tunebench.study.config import StudyConfig
from tunebench.study.yaml_file import check_study, read_study

#: What a data set is called, and its study's folder; and the name of a suite.
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
#: Keys of a study that a data set may have for itself. All others are the same for all data sets.
OWN_KEYS = frozenset(
    {
        "train_sizes",
        "test_size",
        "test_limit",
        "test_seed",
        "validation_fraction",
        "copies",
        "evaluations_per_epoch",
        "thresholds",
        "calibration",
        *Recipe.model_fields,
    }
)
#: Keys of a study that exclude each other: one of a data set's own stands in place of either.
_EITHER = ("test_size", "test_limit")


@dataclass(frozen=True)
class Suite:
    """A checked suite.

    Attributes:
        name: Its name.
        description: What the user says of it.
        studies: An ordinary study for each data set, by the data set's name.
        raw: The suite as plain values, each data set a mapping with its name.
    """

    name: str
    description: str
    studies: Mapping[str, StudyConfig]
    raw: Mapping[str, Any]


def is_suite(raw: Mapping[str, Any]) -> bool:
    """Tell whether a study as plain values is a suite."""
    return isinstance(raw.get("data"), list)


def load_suite(name_or_path: str, *, overrides: Sequence[str] = (), model: str | None = None) -> Suite:
    """Load and check a suite.

    Args:
        name_or_path: A YAML file.
        overrides: ``key=value`` with dotted keys and YAML values, as given to ``--set``.
        model: Replaces the suite's model.

    Raises:
        ConfigError: Everything that is wrong, together.
    """
    return check_suite(read_study(name_or_path, overrides=overrides, model=model))


def check_suite(raw: Mapping[str, Any]) -> Suite:
    """Check a suite given as plain values.

    Raises:
        ConfigError: Every error. One that all data sets share is stated once; others begin with their data set.
    """
    name = raw.get("name")
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise ConfigError("name: this is not a valid name.", value=name, allowed=f"text that matches {NAME}")
    entries = _entries(raw.get("data"))
    common = {key: value for key, value in raw.items() if key != "data"}
    studies: dict[str, StudyConfig] = {}
    errors: dict[str, list[TunebenchError]] = {}
    for label in entries:
        try:
            studies[label] = _checked_study(label, entries, common)
        except TunebenchError as error:
            errors[label] = error.errors if isinstance(error, ErrorGroup) else [error]
    raise_all(of_data_sets(errors, len(entries)))
    _refuse_looks(next(iter(studies.values())))
    described = raw.get("description", "")
    return Suite(name, described, studies, common | {"data": [{"name": k} | v for k, v in entries.items()]})


def _refuse_looks(study: StudyConfig) -> None:
    """Refuse a suite that is to be read more than once; when it is read is the same for all data sets."""
    if study.looks is None and study.design != "anytime":
        return
    raise ConfigError(
        "A suite is read once: its means over data sets have no test for several looks.",
        value="design: anytime" if study.looks is None else f"looks: {list(study.looks)}",
        fix="remove it, or run each data set as a study of its own",
    )


def of_data_sets(errors: Mapping[str, Sequence[TunebenchError]], number: int) -> list[TunebenchError]:
    """Return the errors of several data sets for one message.

    Args:
        errors: By the data set's name.
        number: How many data sets there are. What all of them have is stated once, without a name.
    """
    texts = [str(error) for found in errors.values() for error in found]
    common = {text for text in texts if number > 1 and texts.count(text) == number}
    named: dict[str, TunebenchError] = {}
    for label, found in errors.items():
        for error in found:
            if str(error) in common:
                named[str(error)] = error
            else:
                own = ConfigError(f"{label}: {error.what}", value=error.value, allowed=error.allowed, fix=error.fix)
                named[str(own)] = own
    return list(named.values())


def _entries(value: Any) -> dict[str, dict[str, Any]]:
    """Return the data sets as mappings without their names, by name."""
    if not isinstance(value, list) or not value:
        raise ConfigError(
            "data: a suite has a list of data sets.",
            value=value,
            allowed="names, paths, or mappings as a study's data, such as [sst2.csv, {source: trec.csv}]",
        )
    found: dict[str, dict[str, Any]] = {}
    errors: list[TunebenchError] = []
    for number, given in enumerate(value, start=1):
        entry = {"source": given} if isinstance(given, str) else given
        if not isinstance(entry, dict) or not isinstance(entry.get("source"), str):
            errors.append(
                ConfigError(
                    f"data: entry {number} names no data set.",
                    value=given,
                    allowed="a name, a path, or a mapping with the key source",
                )
            )
            continue
        errors += _unknown(number, entry)
        name = entry.get("name", _last_part(entry["source"]))
        if not isinstance(name, str) or not re.fullmatch(NAME, name):
            errors.append(
                ConfigError(
                    f"data: entry {number} has no valid name.", value=name, allowed=f"text that matches {NAME}"
                )
            )
        # Folders of the data sets must differ where upper and lower case are one.
        elif name.casefold() in {known.casefold() for known in found}:
            fix = "give one of them another name, as in {source: ..., name: ...}"
            errors.append(ConfigError("data: two data sets have the same name.", value=name, fix=fix))
        else:
            found[name] = {key: given for key, given in entry.items() if key != "name"}
    raise_all(errors)
    return found


def _unknown(number: int, entry: Mapping[Any, Any]) -> list[TunebenchError]:
    """Return what a data set cannot have for itself."""
    errors: list[TunebenchError] = []
    for key in entry:
        if key == "name" or key in OWN_KEYS or key in DataConfig.model_fields:
            continue
        if key in StudyConfig.model_fields or key == "models":
            what, fix = "is the same for all data sets.", "state it once, outside the list"
        else:
            known = [*DataConfig.model_fields, *OWN_KEYS]
            what, fix = "is unknown.", did_you_mean(key, known) or "remove it"
        allowed = (
            "name, the keys of a study's data (docs/data.md), train_sizes, test_size and the like, and how a run "
            "is trained (max_length, epochs, ...)"
        )
        errors.append(ConfigError(f"data: the key {key} of entry {number} {what}", allowed=allowed, fix=fix))
    return errors


def _last_part(source: str) -> str:
    """Return what a data set is called: the last part of its source, without a file's ending."""
    last = source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    last = re.sub(r"\.[A-Za-z]{2,8}(\.gz)?$", "", last)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", last).strip("-._")[:64] or "data"


def _checked_study(label: str, entries: Mapping[str, Mapping[str, Any]], common: Mapping[str, Any]) -> StudyConfig:
    """Return the study of a data set, checked; a strategy may be for sizes that only other data sets have."""
    raw = _study_of(label, entries[label], common)
    own = raw.get("train_sizes")
    if not isinstance(own, list) or not own:
        return check_study(raw)
    every = list(own)
    for each in (common, *entries.values()):
        sizes = each.get("train_sizes")
        every += [size for size in sizes if size not in every] if isinstance(sizes, list) else []
    return check_study(raw | {"train_sizes": every}).with_train_sizes(tuple(own))


def _study_of(label: str, entry: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """Return the study of a data set as plain values."""
    own = {key: value for key, value in entry.items() if key in OWN_KEYS}
    shared = {
        key: value for key, value in common.items() if not (key in _EITHER and any(k in own for k in _EITHER))
    }
    data = {key: value for key, value in entry.items() if key not in OWN_KEYS}
    return shared | own | {"name": f"{common['name']}-{label}"[:64].rstrip("-._"), "data": data}
