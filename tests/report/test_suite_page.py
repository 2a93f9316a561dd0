"""The page of a suite in a real browser, with few and with many data sets."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from report.studies import EIGHT
from report.suites import make_suite_folder
from report.test_page import DESKTOP, PHONE, Open, opened  # noqa: F401
from tunebench import cli
from tunebench.analysis.load_suite import load_suite_analysis
from tunebench.api import write_suite_report
from tunebench.errors import ConfigError
from tunebench.report.figures.style import MARKERS
from tunebench.report.suite.figures import SUITE_FIGURES
from tunebench.report.suite.tables import SUITE_TABLES, suite_tables
from tunebench.report.tables.render import RENDERERS, to_csv
from tunebench.stats import MeanRanks, critical_difference
from tunebench.store.suite_folder import Member

LABELS = ("full", "lora", "lora-r2", "lora-mlp")
EVIL = "<script>window.hacked = 1</script> & {{ 7 * 7 }}"


def skills(number: int) -> dict[str, dict[str, float]]:
    return {
        f"data-set-{i}": {label: 0.6 + 0.1 * ((i * 7 + j * 3) % 5) + 0.2 * j for j, label in enumerate(LABELS)}
        for i in range(number)
    }


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gone = Member(name="gone", sizes={"200": 200}, left_out={"1000": EVIL})
    folder = make_suite_folder(tmp_path_factory.mktemp("many"), skills(6), sizes=(200, 1000), members=[gone])
    (folder / "studies" / "data-set-0" / "report.html").write_text("<p>a study</p>")
    write_suite_report(folder)
    return folder


@pytest.mark.parametrize("number", [1, 2])
def test_few_data_sets_fit_and_say_what_is_missing(opened: Open, tmp_path: Path, number: int) -> None:  # noqa: F811
    report = write_suite_report(make_suite_folder(tmp_path, skills(number)))
    for size in (DESKTOP, PHONE):
        page = opened(report, size)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        assert ("are too few for mean ranks" in page.content()) == (number == 2)
        assert page.locator(".ranks").count() == 0


@pytest.mark.parametrize(("alpha", "words"), [(0.05, "5 %"), (0.01, "1 %")])
def test_the_level_of_the_critical_difference_is_the_studies_own(tmp_path: Path, alpha: float, words: str) -> None:
    folder = make_suite_folder(tmp_path, skills(5), alpha=alpha)
    page = write_suite_report(folder).read_text(encoding="utf-8")
    assert f"(Nemenyi, {words} for all pairs together)" in page
    (found,) = load_suite_analysis(folder).at.values()
    assert isinstance(found.ranks, MeanRanks)
    assert found.ranks.critical_difference == critical_difference(len(LABELS), 5, alpha=alpha)


def test_many_data_sets(opened: Open, many: Path) -> None:  # noqa: F811
    page = opened(many / "report.html", PHONE)
    page.evaluate("document.querySelectorAll('main details').forEach((fold) => { fold.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert page.locator(".verdict").first.inner_text().startswith("Over 6 data sets with 1,000 labels, choose ")
    assert page.locator("#size-1000 .forest:not(.ranks) tbody tr").count() == 3 * 6
    assert page.locator(".ranks").count() == 2
    links = {link.get_attribute("href") for link in page.locator("main a").all()}
    assert "studies/data-set-0/report.html" in links and "studies/data-set-1/report.html" not in links
    assert page.evaluate("window.hacked") is None
    assert EVIL in page.locator("#data-sets").inner_text()


def test_page_and_figures_are_the_same_to_the_byte_when_they_are_made_again(many: Path) -> None:
    files = [many / "report.html", *(many / "figures").iterdir()]
    before = [path.read_bytes() for path in files]
    write_suite_report(many)
    assert [path.read_bytes() for path in files] == before


def test_tables_are_written_in_every_format(many: Path) -> None:
    analysis = load_suite_analysis(many)
    for table in suite_tables(analysis):
        assert table.rows
        assert all(render(table) for render in RENDERERS.values())
    with pytest.raises(ConfigError, match="no such table"):
        suite_tables(analysis, ["nothing"])


def run(*words: str) -> Any:
    return CliRunner().invoke(cli.app, list(words))


def test_commands_take_the_folder_of_a_suite(many: Path) -> None:
    said = run("status", str(many))
    assert said.exit_code == 0 and "96 complete, 1 not begun" in said.output
    said = run("recommend", str(many), "--size", "200")
    assert said.exit_code == 0 and "Over 6 data sets with 200 labels, choose" in said.output
    assert "What this cannot say:" in said.output
    said = run("tables", str(many), "mean_differences", "--format", "csv")
    assert said.exit_code == 0 and said.output.startswith("size,first,second,data_sets")
    said = run("results", str(many), "--csv")
    assert said.exit_code == 0 and said.output.count("\n") == 6 * 16 + 1
    assert set(SUITE_TABLES) == {path.stem for path in (many / "tables").glob("*.csv")}


def test_figures_show_every_strategy_and_data_set(many: Path) -> None:
    suite = load_suite_analysis(many)
    written = {f"{name}.{ending}" for name in SUITE_FIGURES for ending in ("png", "svg")}
    assert {path.name for path in (many / "figures").iterdir()} == written
    scores = SUITE_FIGURES["scores"](suite)
    for at, axes in zip(suite.at.values(), scores.axes, strict=True):
        drawn = sorted(float(line.get_xdata()[0]) for line in axes.lines)  # type: ignore[index]
        wanted = [entry.interval().estimate for own in at.entries.values() for entry in own.values()]
        assert drawn == pytest.approx(sorted(wanted))
        assert [text.get_text() for text in axes.get_yticklabels()] == [one.name for one in at.data_sets]
    means = SUITE_FIGURES["mean_differences"](suite)
    for at, axes in zip(suite.at.values(), means.axes, strict=True):
        labels = [text.get_text() for text in axes.get_yticklabels()]
        assert {*labels, at.best} == set(LABELS)
        estimates = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() in MARKERS]  # type: ignore[index]
        assert estimates == pytest.approx([100 * at.tests[label].interval.estimate for label in labels])


def test_a_suite_of_one_data_set_has_figures_that_say_what_is_missing(tmp_path: Path) -> None:
    suite = load_suite_analysis(make_suite_folder(tmp_path, skills(1)))
    means = SUITE_FIGURES["mean_differences"](suite)
    assert [text.get_text() for text in means.axes[0].texts] == ["no strategy to compare with the best"]


def test_with_many_strategies_csv_has_all_pairs_and_people_read_those_with_the_best(tmp_path: Path) -> None:
    labels = list(EIGHT)[:7]
    made = {f"set-{n}": {label: 0.5 + 0.2 * i for i, label in enumerate(labels)} for n in range(2)}
    suite = load_suite_analysis(make_suite_folder(tmp_path, made))
    best = suite.at["200"].best
    for name, times in (("mean_differences", 1), ("differences", 2)):
        table = SUITE_TABLES[name](suite)
        assert len(table.rows) == 6 * times and all(best in (row["first"], row["second"]) for row in table.rows)
        assert "CSV has all pairs" in table.notes[-1]
        pairs = {frozenset((row["first"], row["second"])) for row in csv.DictReader(to_csv(table).splitlines())}
        assert len(pairs) == 21


def test_costs_are_means_over_the_data_sets_that_all_strategies_have(many: Path) -> None:
    suite = load_suite_analysis(many)
    table = SUITE_TABLES["costs"](suite)
    assert [column.header for column in table.columns][2] == "Training time"
    assert {cell[2].split()[-1] for cell in table.body()} <= {"ms", "s", "min", "h"}
    for row in table.rows:
        runs = [
            [cell for cell in one.analysis.comparison.cells if cell.spec.label == row["strategy"]]
            for one in suite.data_sets
            if one.analysis is not None
        ]
        seconds = [
            np.mean([cell.row["train_seconds"] for cell in own if str(cell.spec.train_size) == row["size"]])
            for own in runs
        ]
        assert row["train_seconds"] == pytest.approx(np.mean(seconds))
        assert row["artifact_bytes"] > 0
