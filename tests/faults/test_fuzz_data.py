"""A short run of the fuzzing of data readers; ``make fuzz`` runs it for long."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings

from faults.fuzz_data import Counts, Written, check, tables


def test_no_row_and_no_class_is_lost_without_a_word(tmp_path: Path) -> None:
    counts = Counts()

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(tables())
    def fuzz(written: Written) -> None:
        check(written, tmp_path, counts)

    fuzz()
    # Tables that are sound are read: a reader that refuses everything loses nothing either.
    assert counts.read > sum(counts.refused.values()) / 3
