"""What the folder of a PEFT adapter says: its base model, and the virtual tokens it puts before a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunebench.errors import ModelError
from tunebench.inference.stated_facts import stated_base
from tunebench.models.checks import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from tunebench.models.sources import resolve_model

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tunebench.models.reference import ModelRef


def adapter_base(folder: Path, config: Mapping[str, Any], facts: Mapping[str, Any]) -> ModelRef:
    """Return the model that an adapter belongs to.

    Args:
        folder: The adapter's.
        config: Its PEFT configuration.
        facts: Of its ``export.json``; empty where another program wrote it.

    Raises:
        ModelError: No base is named, it cannot be found, or its files are not those of the training. Or the
            adapter's own weights are missing, which is cheaper to see than a base.
    """
    source = config.get("base_model_name_or_path")
    if not isinstance(source, str) or not source:
        raise ModelError(
            "The adapter does not name its base model.",
            value=str(folder / ADAPTER_CONFIG),
            fix="write its folder or Hub name there, as base_model_name_or_path",
        )
    if not (folder / ADAPTER_WEIGHTS).exists():
        raise ModelError(
            f"The adapter has no {ADAPTER_WEIGHTS}; pickled weights (adapter_model.bin) are not read.",
            value=str(folder),
            fix="convert once with model.save_pretrained(folder) in a process you trust",
        )
    stated = facts.get("base")
    if stated is not None:
        expected = stated_base(stated, folder)
        # A base that was moved since is where the configuration says, and still has to be the same.
        found = _named_base(folder, source, expected.revision if source == expected.source else None)
        return _same(expected, found)
    revision = config.get("revision")
    return _named_base(folder, source, revision if isinstance(revision, str) else None)


def checked_base(expected: ModelRef) -> ModelRef:
    """Return a model's reference after checking that its files are still those it was pinned with.

    Raises:
        ModelError: They are not there, or differ.
    """
    return _same(expected, resolve_model(expected.source, expected.revision))


def _same(expected: ModelRef, found: ModelRef) -> ModelRef:
    if found.fingerprint != expected.fingerprint:
        raise ModelError(
            "The base model is not the one this was trained on: its files differ.",
            value=f"{found.source}: {found.fingerprint}",
            allowed=expected.fingerprint,
            fix="put the original files back, or train again on these",
        )
    return found


def _named_base(folder: Path, source: str, revision: str | None) -> ModelRef:
    """Return the base that an adapter names, which may have been elsewhere when it was trained."""
    try:
        return resolve_model(source, revision)
    except ModelError as error:
        raise ModelError(
            f"The adapter's base model cannot be used: {error.what}",
            value=source,
            fix=f"write the base's folder here, or its Hub name, into {folder / ADAPTER_CONFIG} "
            "(base_model_name_or_path)",
        ) from None


def virtual_tokens(config: Mapping[str, Any], folder: Path) -> int:
    """Return how many tokens an adapter puts before a text."""
    count = config.get("num_virtual_tokens") or 0
    if isinstance(count, int) and count >= 0:
        return count
    raise ModelError(
        "The adapter's number of virtual tokens is not a number of tokens.",
        value=f"{folder / ADAPTER_CONFIG}: num_virtual_tokens: {count}",
        allowed="a whole number, 0 or more",
    )
