"""A study's plan on disk: every run of it, and why the budget leaves runs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunebench.errors import StoreError
from tunebench.files import read_json, write_json
from tunebench.store.imported import AnyRun, parse_spec
from tunebench.study.spec import SCHEMA_VERSION, RunSpec


@dataclass(frozen=True)
class StoredRun:
    """A cell of the plan as stored.

    Attributes:
        left_out: Why the budget leaves it out; None when it is to be run.
        seconds: What it was estimated to take when it was planned; None where nobody did.
    """

    spec: AnyRun
    left_out: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class PlannedRun(StoredRun):
    """A cell that can be trained."""

    spec: RunSpec


def write_plan(path: Path, name: str, planned: Sequence[StoredRun]) -> None:
    """Write a plan.

    Args:
        path: Its file.
        name: The study's name.
        planned: The cells, in their order.
    """
    cells = [
        {"spec": p.spec.model_dump(mode="json"), "left_out": p.left_out, "seconds": p.seconds} for p in planned
    ]
    write_json(path, {"schema_version": SCHEMA_VERSION, "name": name, "cells": cells})


def read_plan(path: Path) -> list[StoredRun]:
    """Return the cells of a plan, in its order.

    Raises:
        StoreError: The plan is damaged.
    """
    raw = read_json(path)
    try:
        cells = [StoredRun(parse_spec(c["spec"]), c["left_out"], c.get("seconds")) for c in raw["cells"]]
        if any(not isinstance(cell.left_out, (str, type(None))) for cell in cells):
            raise TypeError("a reason is text")
        if any(not isinstance(cell.seconds, (int, float, type(None))) for cell in cells):
            raise TypeError("seconds are a number")
        if len({cell.spec.run_id for cell in cells}) < len(cells):
            raise ValueError("a run stands in it twice")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise StoreError(
            "The stored plan is damaged.",
            value=str(path),
            fix="tunebench run STUDY --out FOLDER sets it aside and makes it anew",
        ) from None
    return cells
