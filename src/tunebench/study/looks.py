"""When a study is read: once, at looks that it declares, or at any time."""

from __future__ import annotations

from typing import Any

from tunebench.stats.sequential import Anytime, Looks
from tunebench.study.config import StudyConfig

#: Keys of a study that say when it is read.
DESIGN_KEYS = ("design", "looks", "spending", "alpha")


def design_of(study: StudyConfig) -> Looks | Anytime | None:
    """Return the design of a study; None where it is read once."""
    if study.looks is not None:
        return Looks(study.looks, study.spending)
    return Anytime() if study.design == "anytime" else None


def declared(study: StudyConfig) -> dict[str, Any]:
    """Return what a study declares about when it is read, as plain values."""
    found = study.model_dump(mode="json", include=set(DESIGN_KEYS))
    return found | ({"seeds": list(study.seeds)} if study.looks is not None else {})
