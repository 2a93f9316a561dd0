"""Suites on disk as a finished run leaves them. Nothing was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from report.studies import make_study_folder
from tunebench.files import write_json
from tunebench.store.suite_folder import Member, SuiteIndex, SuiteStore


def make_suite_folder(
    root: Path,
    skills: Mapping[str, Mapping[str, float]],
    *,
    sizes: Sequence[int] = (200,),
    members: Sequence[Member] = (),
    **options: Any,
) -> Path:
    """Write a suite.

    Args:
        root: Where data and suite are written.
        skills: By data set, how far from chance its strategies are.
        sizes: Training sizes.
        members: Data sets without a study.
        options: As :func:`report.studies.make_study_folder` takes them.
    """
    store = SuiteStore(root / "suite")
    found = []
    for name, skill in skills.items():
        made = make_study_folder(root / name, labels=tuple(skill), sizes=sizes, name=name, skill=skill, **options)
        target = store.study_folder(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        made.rename(target)
        found.append(Member(name=name, sizes={str(size): size for size in sizes}))
    index = SuiteIndex(name="ladder", description="A made-up suite.", data_sets=[*found, *members])
    write_json(store.index_file, index.model_dump(mode="json"))
    return store.folder
