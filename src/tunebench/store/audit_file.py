"""The audit of a study's data, as it is kept in the study's folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tunebench.data.audit_result import Audit
from tunebench.errors import StoreError
from tunebench.files import read_json


def read_audit(path: Path) -> dict[str, Any] | None:
    """Return a stored audit as plain values; None where there is none.

    Raises:
        StoreError: It is damaged.
    """
    if not path.exists():
        return None
    raw = read_json(path)
    try:
        _audits().validate_python(raw)
    except ValidationError:
        raise StoreError(
            "The stored audit of the data is damaged.",
            value=str(path),
            fix="tunebench run STUDY --out FOLDER sets it aside and makes it anew",
        ) from None
    assert isinstance(raw, dict)
    return raw


@cache
def _audits() -> TypeAdapter[Audit]:
    """Return what checks a stored audit; made once, and only if there is one: that takes longer than the check."""
    return TypeAdapter(Audit)
