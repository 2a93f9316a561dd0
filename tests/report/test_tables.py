"""Tables: nothing is missing, what is averaged is right, and every rendering says the same."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from factories import HONEST, compare, make_cell, make_grid
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import MeanOverSeeds
from tunebench.analysis.published import reference
from tunebench.errors import ConfigError
from tunebench.formatting import (
    BYTES,
    COUNTS,
    SHORT_TIMES,
    Units,
    common_unit,
    escape_markdown,
    learning_rate,
    p_value,
    quantity,
    significant,
)
from tunebench.models.reference import ModelRef
from tunebench.report.tables import TABLES, make_tables, tables_of
from tunebench.report.tables.render import RENDERERS, Column, ReportTable, to_csv, to_markdown, to_rich, to_text
from tunebench.stats import Interval
from tunebench.store.record import Status

STATES: tuple[Status, ...] = ("failed", "out_of_memory", "pending", "running", "left_out")
BY_STRATEGY = ("scores", "time", "cost", "score_per_million")


def mixed() -> Comparison:
    """Return one complete run and one of every other state, each of its own size."""
    rest = [make_cell("lora", size=1_000 * (i + 1), status=state) for i, state in enumerate(STATES)]
    return compare([make_cell("full"), *rest])


#: Tables of a study of labels.
OF_LABELS = tables_of(analyse(compare([make_cell()])))


def table(name: str, comparison: Comparison) -> ReportTable:
    return make_tables(analyse(comparison), [name])[0]


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize("render", [*RENDERERS.values()])
def test_every_table_renders_one_run_and_none(name: str, render: Any) -> None:
    for comparison in (compare([make_cell()]), compare([make_cell(status="pending")]), mixed()):
        assert render(table(name, comparison)).endswith("\n")


@pytest.mark.parametrize("name", OF_LABELS)
def test_no_state_is_missing_from_any_table(name: str) -> None:
    for text in (to_text(table(name, mixed())), to_markdown(table(name, mixed()))):
        for state in STATES:
            assert re.search(rf"\b{state.replace('_', ' ')}\b", text), f"{state} is missing from {name}"


@pytest.mark.parametrize("name", BY_STRATEGY)
def test_cells_and_counts_add_up(name: str) -> None:
    cells = make_grid(seeds=(1, 2, 3), **HONEST)
    cells[0] = make_cell("full", seed=1, status="failed", **HONEST)
    rows = table(name, compare(cells)).rows
    assert sum(row["n"] for row in rows) == len(cells)
    assert [(row["n"], row["status"], row["seeds"]) for row in rows[:2]] == [
        (2, "complete", "2 3"),
        (1, "failed", "1"),
    ]


@pytest.mark.parametrize("name", OF_LABELS)
def test_selection_on_test_is_flagged_in_every_table(name: str) -> None:
    flagged, honest = table(name, compare(make_grid())), table(name, compare(make_grid(**HONEST)))
    assert sum("Selected on test: optimistic" in note for note in flagged.notes) == 1
    assert not any("optimistic" in note for note in honest.notes)
    assert {row["selection"] for row in csv.DictReader(io.StringIO(to_csv(flagged)))} == (
        {"test"} if flagged.rows else set()
    )


def test_macro_f1_is_mean_and_deviation_over_seeds() -> None:
    comparison = compare([make_cell(seed=seed, f1=f1) for seed, f1 in ((1, 0.9), (2, 0.8), (3, 0.85))])
    values = [row["macro_f1"] for row in comparison.rows()]
    mean = sum(values) / 3
    sd = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
    made = table("scores", comparison)
    assert f"{mean:.4f} ± {sd:.4f}" in to_text(made)
    row = next(csv.DictReader(io.StringIO(to_csv(made))))
    assert float(row["macro_f1"]) == pytest.approx(mean)
    assert float(row["macro_f1_sd"]) == pytest.approx(sd)
    assert row["n"] == "3"


def test_published_values_stand_beside_the_papers_cells() -> None:
    comparison = compare([*make_grid(), make_cell("lora-r32")], reference="paper")
    cells = reference("paper").cells
    for row in table("scores", comparison).rows:
        expected = cells.get(row["strategy"], {}).get(row["train_size"], {})
        assert row["published_macro_f1"] == expected.get("macro_f1")
    minutes = {(r["strategy"], r["train_size"]): r["published_minutes"] for r in table("time", comparison).rows}
    assert minutes["full", 25_000] == 56.8 and minutes["lora-r32", 5_000] is None
    headers = [column.title for column in table("time", comparison).columns]
    assert "Total, paper (min)" in headers


def test_another_model_is_said_where_published_values_stand() -> None:
    comparison = compare(make_grid(model=ModelRef(source="minilm", fingerprint="m"), **HONEST), reference="paper")
    made = table("scores", comparison)
    assert "Macro F1, paper (DistilBERT)" in [column.title for column in made.columns]
    assert any("model minilm" in note and "selection validation" in note for note in made.notes)


def test_without_published_values_there_is_no_column_for_them() -> None:
    for name in BY_STRATEGY:
        made = table(name, compare(make_grid(sizes=(500,)), reference="paper"))
        assert not any(column.key.startswith("published") for column in made.columns)


def test_time_counts_training_evaluation_and_both() -> None:
    comparison = compare([make_cell()])
    (row,), raw = table("time", comparison).rows, comparison.rows()[0]
    assert row["train_minutes"].mean == pytest.approx(raw["train_seconds"] / 60)
    assert row["eval_minutes"].mean == pytest.approx(raw["eval_seconds"] / 60)
    assert row["total_minutes"].mean == pytest.approx((raw["train_seconds"] + raw["eval_seconds"]) / 60)


def test_adapter_and_head_are_counted_apart() -> None:
    made = table("score_per_million", compare(make_grid(), reference="paper"))
    lora = next(row for row in made.rows if row["strategy"] == "lora")
    assert (lora["trainable_params"], lora["adapter_params"], lora["head_params"]) == (739_586, 147_456, 592_130)
    assert lora["score_per_million"].mean == pytest.approx(made_f1(lora) / 0.739586)
    assert any("592,130 of the paper's 739,586" in note for note in made.notes)
    assert any("lora 80%" in note for note in made.notes)


def made_f1(lora: Any) -> float:
    comparison = compare(make_grid())
    rows = [r for r in comparison.rows() if r["strategy"] == "lora" and r["train_size"] == lora["train_size"]]
    value: float = rows[0]["macro_f1"]
    return value


def test_data_shows_each_part_once_and_the_audit() -> None:
    audit = {"splits": {"train": {"per_class": {"neg": 30, "pos": 70}}}, "warnings": ["2 texts stand there twice."]}
    made = table("data", compare(make_grid(sizes=(1_000, 2_000), **HONEST), audit=audit))
    found = [(row.get("train_size"), row["split"], row["samples"]) for row in made.rows]
    assert found == [
        (None, "train (whole)", 100),
        (1_000, "train", 900),
        (1_000, "validation", 100),
        (2_000, "train", 1_800),
        (2_000, "validation", 200),
        (None, "test", 25_000),
    ]
    assert made.rows[0]["balance"] == "30.0 / 70.0"
    assert "2 texts stand there twice." in made.notes


def test_only_the_chosen_rate_is_shown_and_every_rate_stands_among_the_runs() -> None:
    rates = (1e-5, 5e-5, 1e-4)
    comparison = compare([make_cell(learning_rate=rate, f1=0.8 + rate * 1e3) for rate in rates])
    shown = table("scores", comparison).rows
    assert [row["learning_rate"] for row in shown] == [1e-4]
    assert [row["learning_rate"] for row in table("runs", comparison).rows] == list(rates)


@pytest.mark.parametrize(
    "name", [name for name in OF_LABELS if TABLES[name].__module__.endswith(("scores", "labels", "runs"))]
)
def test_a_failure_at_a_rate_that_was_not_chosen_is_shown_too(name: str) -> None:
    cells = [make_cell(learning_rate=1e-5), make_cell(learning_rate=3e-3, status="failed")]
    text = to_text(table(name, compare(cells)))
    assert "failed" in text
    assert name == "data" or "3e-3" in text


def test_with_nothing_to_choose_by_all_rates_are_shown() -> None:
    cells = [make_cell(learning_rate=rate, selection="last") for rate in (1e-5, 5e-5)]
    assert [row["learning_rate"] for row in table("scores", compare(cells)).rows] == [1e-5, 5e-5]


def test_runs_show_the_first_line_of_an_error() -> None:
    text = to_text(table("runs", mixed()))
    assert "unable to allocate 9.1 GiB" in text and "left out by the budget" in text


def test_unknown_tables_are_named() -> None:
    with pytest.raises(ConfigError, match="scores") as caught:
        make_tables(analyse(mixed()), ["macro_f1", "nonsense"])
    assert "nonsense" in str(caught.value)


# Rendering ------------------------------------------------------------------------------------------

ANYTHING = st.characters(exclude_categories=["C"])
SIGNS = st.sampled_from("<>/#-+=*_`|[]()!&;~$\\\"':.1 ab")
CELLS = st.text(ANYTHING | SIGNS, min_size=1, max_size=20).map(str.strip).filter(bool)
MARKUP = (
    "<b>x",
    "<http://x>",
    "# x",
    "- x",
    "+ x",
    "1. x",
    "2) x",
    "---",
    "===",
    "*x*",
    "`x`",
    "[x](y)",
    "&amp;",
    "a\\|b",
)


def with_markup(test: Callable[[str], None]) -> Callable[[str], None]:
    """Add what random text seldom holds."""
    for text in MARKUP:
        test = example(text)(test)
    return test


def one_cell(text: str) -> ReportTable:
    return ReportTable("t", "Title", (Column("a", "A", align="left"), Column("b", "B")), ({"a": text, "b": 1},))


@with_markup
@settings(max_examples=40, deadline=None)
@given(CELLS)
def test_markdown_shows_exactly_the_cell(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(to_markdown(one_cell(text)))
    cells = [t for i, t in enumerate(tokens) if t.type == "inline" and tokens[i - 1].type == "td_open"]
    shown = "".join(child.content for child in cells[0].children or [])
    assert shown == " ".join(text.split())
    assert {child.type for child in cells[0].children or []} <= {"text", "text_special"}


@with_markup
@settings(max_examples=40, deadline=None)
@given(CELLS)
def test_escaped_text_is_one_paragraph_of_text(text: str) -> None:
    tokens = MarkdownIt("commonmark").parse(escape_markdown(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert "".join(child.content for child in tokens[1].children or []) == " ".join(text.split())


@pytest.mark.parametrize("text", ["0.8948", "1,267.1", "full", "5e-5", "neg / pos (%)"])
def test_ordinary_cells_need_no_escape(text: str) -> None:
    assert escape_markdown(text) == text


@settings(max_examples=20, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=4))
def test_csv_gives_back_what_went_in(texts: list[str]) -> None:
    made = ReportTable("t", "T", (Column("a", "A"), Column("b", "B")), tuple({"a": t, "b": None} for t in texts))
    rows = list(csv.reader(io.StringIO(to_csv(made))))
    assert [rows[0], *([cell.removeprefix("'"), b] for cell, b in rows[1:])] == [
        ["a", "b"],
        *([t.removeprefix("'"), ""] for t in texts),
    ]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "-", "--", "-1-", "=-1", "\t=1", "\r\n=1", "-1 cmd|' /C calc'!A0"]
)
def test_csv_holds_no_formulas(text: str) -> None:
    made = ReportTable("t", "T", (Column("a", "A"), Column("b", "B")), ({"a": text, "b": f"a{text}"},))
    assert list(csv.reader(io.StringIO(to_csv(made), newline="")))[1] == [f"'{text}", f"a{text}"]


NUMBERS = (-1, -0.5, float("-inf"), np.float32(-2.5), "-1", "-0.3", "+1,234.50", "-5e-05")


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_stay_numbers_in_csv(value: Any) -> None:
    interval = Interval(-0.1, -0.2, -0.05, 0.95, "method", "seeds")
    made = ReportTable("t", "T", (Column("a", "A"), Column("b", "B")), ({"a": value, "b": interval},))
    assert list(csv.reader(io.StringIO(to_csv(made))))[1] == [str(value), "-0.1", "-0.2", "-0.05"]


def test_plain_text_is_aligned() -> None:
    rows = ({"a": "中文", "b": 5}, {"a": "x", "b": 1000}, {"a": "[red]y[/red]", "b": None})
    made = ReportTable("t", "T", (Column("a", "A", align="left"), Column("b", "B", "s")), rows, ("A note.",))
    assert to_text(made).splitlines() == [
        "T",
        "",
        "A             B (s)",
        "------------  -----",
        "中文              5",
        "x              1000",
        "[red]y[/red]      –",
        "",
        "- A note.",
    ]


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_terminal_table_keeps_numbers_whole(width: int) -> None:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    made = ReportTable(
        "t", "T", (Column("a", "A", align="left"), Column("b", "Long header")), ({"a": "[b]x", "b": 66_955_010},)
    )
    console.print(to_rich(made))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "66955010" in text and "[b]x" in text


@pytest.mark.parametrize(
    ("value", "shown"), [(5e-5, "5e-5"), (1e-4, "1e-4"), (1.5e-4, "1.5e-4"), (0.01, "0.01"), (2.5e-6, "2.5e-6")]
)
def test_learning_rates_are_written_as_people_write_them(value: float, shown: str) -> None:
    assert learning_rate(value) == shown
    assert float(shown) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [(24.16, "24.2"), (118.6, "119"), (0.013416, "0.0134"), (1.2, "1.20"), (999.9, "1,000"), (0.0, "0.00")],
)
def test_significant_digits(value: float, shown: str) -> None:
    assert significant(3)(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.0, "1.0"),
        (0.0312, "0.031"),
        (1e-4, "0.00010"),
        (9.99e-5, "< 0.0001"),
        (9e-203, "< 0.0001"),
        (0, "< 0.0001"),
    ],
)
def test_a_p_is_never_longer_than_anybody_reads(value: float, shown: str) -> None:
    assert p_value(value) == shown


@pytest.mark.parametrize(
    ("value", "units", "shown"),
    [
        (0.0042, SHORT_TIMES, "4.2 ms"),
        (59, SHORT_TIMES, "59 s"),
        (90, SHORT_TIMES, "1.5 min"),
        (0, SHORT_TIMES, "0.0 ms"),
        (770, COUNTS, "770"),
        (22_700_000, COUNTS, "23 M"),
        (6312, BYTES, "6.3 kB"),
    ],
)
def test_a_quantity_has_the_unit_that_suits_it(value: float, units: Units, shown: str) -> None:
    assert quantity(value, units) == shown


def test_an_axis_has_the_unit_of_its_geometric_middle() -> None:
    assert common_unit([0.2, 90, 20], SHORT_TIMES) == (1, "s")
    assert common_unit([30, 7200], SHORT_TIMES) == (60, "min")
    assert common_unit([0, 0], SHORT_TIMES) == (1e-3, "ms") == common_unit([], SHORT_TIMES)
    assert common_unit([5, 5e15, 0], BYTES) == (1e6, "MB")


def test_an_interval_has_one_unit() -> None:
    column = Column("time", "Time", units=SHORT_TIMES)
    assert column.text(Interval(90, 50, 7200, 0.95, "t", "seeds")) == "1.50 [0.833, 120] min"


def test_a_mean_of_one_has_no_deviation() -> None:
    column = Column("a", "A", show="{:.2f}".format)
    assert column.text(MeanOverSeeds((0.5,))) == "0.50"
    assert column.text(MeanOverSeeds((0.5, 0.7))) == "0.60 ± 0.14"
    assert column.text(None) == "–"
    giga = Column("a", "A", "GB", show=significant(3), per=1e9)
    assert giga.text(MeanOverSeeds((1.2e9, 1.3e9, 1.4e9))) == "1.30 ± 0.10"
