"""The rows and groups of a comparison."""

from __future__ import annotations

import subprocess
import sys

from factories import compare, make_cell, make_grid
from tunebench.store.rows import to_row

MODULES = (
    "tasks.metrics analysis.comparison analysis.warnings analysis.published report.tables report.tables.render "
    "analysis.log_history report.figures report.figures.style report.figures.runs report report.markdown"
)


def test_nothing_here_imports_torch() -> None:
    code = "import sys\n" + "".join(f"import tunebench.{name}\n" for name in MODULES.split())
    code += "print([m for m in ('torch', 'transformers', 'datasets', 'matplotlib.pyplot') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_are_the_records_rows() -> None:
    cells = [*make_grid(sizes=(5_000,)), make_cell("lora", size=10_000, status="left_out")]
    comparison = compare(cells)
    expected = [to_row(cell.spec, status=cell.status, record=cell.record) for cell in cells]
    expected[-1]["error"] = cells[-1].note
    assert comparison.rows() == expected
    frame = comparison.frame()
    assert list(frame["status"]) == ["complete", "complete", "left_out"]
    assert frame["macro_f1"].isna().tolist() == [False, False, True]


def test_changing_a_row_changes_nothing() -> None:
    comparison = compare(make_grid())
    comparison.rows()[0]["macro_f1"] = -1
    assert comparison.rows()[0]["macro_f1"] > 0


def test_groups_run_by_strategy_then_size() -> None:
    comparison = compare(make_grid(sizes=(10_000, 5_000)))
    keys = [(group.label, group.train_size) for group in comparison.groups()]
    assert keys == [("full", 5_000), ("full", 10_000), ("lora", 5_000), ("lora", 10_000)]
    assert comparison.group("full", 7) is None
