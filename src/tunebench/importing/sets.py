"""Which sets a Trainer evaluated, and which of them is the validation set and which the test set.

A Trainer with several evaluation sets puts the name of each into its metrics: ``eval_validation_accuracy``,
``eval_test_accuracy``. An evaluation with the prefix ``test`` or ``predict`` is of a set of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunebench.errors import ConfigError

#: Key of an entry of a log that holds the name of its set, where it has one.
SET = "of_set"
#: The set of metrics that name none: ``eval_accuracy``.
PLAIN = ""
#: Names that say which set it is.
_TEST = frozenset({"test", "testing", "predict", "test_set", "testset"})
_VALIDATION = frozenset({"validation", "valid", "val", "dev", "development", "eval", "validation_set"})
_TRAIN = frozenset({"train", "training", "train_set"})
#: What the Trainer itself measures of every evaluation, and so tells the name of a set from that of a metric.
_MEASURED = re.compile(
    r"(?:eval_(?P<name>.+)|(?P<bare>test|predict))_(?:runtime|samples_per_second|steps_per_second)"
)
_LOSS = re.compile(r"(?:eval_(?P<name>.+)|(?P<bare>test|predict))_loss")


@dataclass(frozen=True)
class Sets:
    """The sets of a run and what they are for; None where that is not known.

    Attributes:
        names: All of them but those of training texts.
        test: The one whose scores are the run's.
        validation: The one that is evaluated during training and is not the test set.
        training: Those whose names say that they hold training texts.
    """

    names: tuple[str, ...] = ()
    test: str | None = None
    validation: str | None = None
    training: tuple[str, ...] = ()

    @property
    def several(self) -> bool:
        """Whether scores of the one say nothing about the other."""
        return len(self.names) > 1

    def in_words(self, *, has_scores: bool) -> str:
        """Say which sets were evaluated and what each was taken for; empty for a single set without a name.

        Args:
            has_scores: Whether scores were read from something else where the test set is not known.
        """
        names = ", ".join(name or "one without a name" for name in self.names)
        aside = "" if not self.training else f" Not used, as training texts: {', '.join(self.training)}."
        if not self.several:
            named = names.strip() and self.names != (PLAIN,)
            return f"the evaluated set is called {names}.{aside}" if named else aside[1:]
        said = f"{len(self.names)} sets were evaluated: {names}.{aside}"
        if self.test is None:
            lacking = "" if has_scores else " No score is read from them."
            return f"{said} Which of them is the test set is not known.{lacking} State it: --set test_set=NAME."
        validation = "not known" if self.validation is None else self.validation or "the one without a name"
        return (
            f"{said} Taken as the test set, which gives the scores: {self.test}. "
            f"As the validation set: {validation}."
        )


def set_names(keys: Iterable[str]) -> list[str]:
    """Return the names of the sets that metrics are of, by their keys; metrics without a set have none."""
    keys = list(keys)
    found = [match for key in keys if (match := _MEASURED.fullmatch(key))]
    if not found and "eval_loss" not in keys:
        # Times were left out: then only a name that can be nothing else is one.
        named = [match for key in keys if (match := _LOSS.fullmatch(key))]
        found = [m for m in named if (m["name"] or m["bare"]) in _TEST | _VALIDATION | _TRAIN]
    return list(dict.fromkeys(match["name"] or match["bare"] for match in found))


def prefix_of(name: str, keys: Iterable[str]) -> str:
    """Return what the keys of a set's metrics begin with."""
    if name == PLAIN:
        return "eval_"
    own = f"eval_{name}_"
    return own if any(key.startswith(own) for key in keys) else f"{name}_"


def of_set(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of a log with its set under :data:`SET` and its metrics under the names without a set."""
    names = set_names(entry)
    if "eval_runtime" in entry or "train_runtime" in entry or len(names) != 1:
        return dict(entry)
    prefix = prefix_of(names[0], entry)
    renamed = {f"eval_{k.removeprefix(prefix)}" if k.startswith(prefix) else k: v for k, v in entry.items()}
    return renamed | {SET: names[0]}


def with_set(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of :func:`of_set` with the set in the names of its metrics."""
    name = entry.get(SET)
    if name is None:
        return dict(entry)
    return {
        k.replace("eval_", f"eval_{name}_", 1) if k.startswith("eval_") else k: v
        for k, v in entry.items()
        if k != SET
    }


def tell_apart(names: Sequence[str], *, test: str | None, validation: str | None) -> Sets:
    """Say which set is which: by what is stated, else by their names.

    Args:
        names: The sets that were evaluated.
        test: The test set, as stated.
        validation: The validation set, as stated.

    Raises:
        ConfigError: A stated set is none of them.
    """
    for key, stated in (("test_set", test), ("validation_set", validation)):
        if stated is not None and stated not in names:
            raise ConfigError(
                f"{key} names a set that was not evaluated.",
                value=stated,
                allowed=", ".join(filter(None, names)) or "none: the evaluations name no set",
            )
    if test is not None and test == validation:
        raise ConfigError("The same set is stated as test_set and as validation_set.", value=test)
    kept = tuple(name for name in names if name.lower() not in _TRAIN or name in (test, validation))
    training = tuple(name for name in names if name not in kept)
    rest = [name for name in kept if name not in (test, validation)]
    if validation is None:
        validation = _only([name for name in rest if name.lower() in _VALIDATION or name == PLAIN])
    if test is None:
        test = _only([name for name in rest if name.lower() in _TEST])
    if len(kept) == 1:
        # The only set gives the scores, whatever it is called.
        return Sets(kept, kept[0], None, training)
    return Sets(kept, test, validation, training)


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
