"""The tables of docs/tasks.md: they name what is registered, and what they call left out or refused is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from execution.task_studies import NUMBERS, SEVERAL, TaskStudy
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.execution.plan import make_plan
from tunebench.inference.export.base import EXPORTERS
from tunebench.machine.settings import Execution
from tunebench.report.figures import FIGURES, figures_of
from tunebench.report.sections import PARTS
from tunebench.report.source import Source
from tunebench.report.tables import TABLES, tables_of
from tunebench.strategies import STRATEGIES
from tunebench.tasks.registry import TASKS

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
#: Studies by the column of their task.
STUDIES = {"several labels a text": SEVERAL, "one number a text": NUMBERS}
#: Words of refusals that do not name their setting.
WORDS = {"keep_head": "always a new one", "label_smoothing": "not smoothed"}
_NAME = re.compile("`(.+?)`")
#: A value of each setting that some task may refuse.
SETTINGS: dict[str, Any] = {
    "keep_head": True,
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "focal_gamma": 2.0,
    "oversampling": True,
    "thresholds: tuned": "tuned",
    "calibration: temperature": "temperature",
}


def rows_of(heading: str) -> dict[str, dict[str, str]]:
    """Return the table under a heading: what its columns say, by each name in the first one."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    head, _, *body = lines
    return {
        name: dict(zip(head[1:], cells, strict=True))
        for first, *cells in body
        for name in re.findall("`(.+?)`", first)
    }


def test_the_page_names_everything_that_is_registered() -> None:
    assert set(rows_of("Strategies")) == set(STRATEGIES)
    assert set(rows_of("Tables")) == set(TABLES)
    assert set(rows_of("Figures")) == set(FIGURES)
    assert set(rows_of("The report")) == set(PARTS)
    assert set(EXPORTERS) <= set(rows_of("Trained models"))
    assert set(SETTINGS) <= set(rows_of("Settings"))


def test_strategies_that_the_page_calls_refused_are() -> None:
    labels = {task.label: task for task in TASKS.values()}
    for name, cells in rows_of("Strategies").items():
        strategy = STRATEGIES[name]
        for column, said in cells.items():
            able = strategy.reads_pairs if column == "pairs of texts" else strategy.learns(labels[column])
            assert able != said.startswith("refused: "), (name, column)


@pytest.mark.parametrize("column", STUDIES)
def test_what_the_page_calls_left_out_is_and_nothing_else(column: str, trained: Callable[..., Path]) -> None:
    folder = trained(STUDIES[column])
    source = Source(analyse(load_comparison(folder)), folder)
    made = {name for name, part in PARTS.items() if part.build(source) is not None}
    shown = {"Tables": tables_of(source.analysis), "Figures": figures_of(source.analysis), "The report": made}
    for heading, names in shown.items():
        for name, cells in rows_of(heading).items():
            left_out = re.match("left out: ", cells[column]) is not None
            # What is about several sizes or rates is not shown of a study without them.
            optional = heading == "Figures" or name == "by_size"
            assert name not in names if left_out else name in names or optional, (heading, name)


@pytest.mark.parametrize("column", STUDIES)
def test_settings_that_the_page_calls_refused_are_and_others_are_planned(
    column: str, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    study: TaskStudy = STUDIES[column]
    model, here = tiny_model("distilbert"), Execution(device="cpu")
    refused = {name for name, cells in rows_of("Settings").items() if cells[column].startswith("refused: ")}
    assert refused <= set(SETTINGS) | {"data.labels.merge", "drop"}
    for name, value in SETTINGS.items():
        changes = {name.partition(":")[0]: value, "strategies": ["full"], "seeds": [1]}
        if name in refused:
            key = name.partition(":")[0]
            study.check_refused(model, tmp_path, WORDS.get(key, key), changes)
        elif name != "keep_head":  # which wants a base with a head for these labels
            make_plan(study.config(model, study.write_data(tmp_path), **changes), execution=here, measure=False)
