"""Cases that repeat a property over more models, formats and settings than each change needs: ``make thorough``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

#: Marks a test that ``make test`` leaves out, because another one shows the same property for less time.
thorough = pytest.mark.thorough


def mostly_thorough(cases: Iterable[Any], keep: Callable[[Any], bool]) -> list[Any]:
    """Return the cases, all but those to keep marked as thorough.

    Args:
        cases: Values for ``parametrize``; tuples are several.
        keep: Tells whether ``make test`` has a case.
    """
    every = list(cases)
    kept = [case for case in every if keep(case)]
    assert kept, "make test would have none of the cases"
    return [
        case if case in kept else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=thorough)
        for case in every
    ]
