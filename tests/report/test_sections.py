"""The sections of the HTML report, without a browser."""

from __future__ import annotations

import csv
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from markupsafe import escape

from factories import HONEST, accuracy_alone, compare, make_cell, with_predictions
from fakes import make_specs, make_study
from report.studies import make_recommendation, make_study_folder
from tunebench.analysis.analysis import analyse
from tunebench.analysis.answer import answer_of
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import Recommendation, recommend
from tunebench.analysis.wording import show_together
from tunebench.report.figures import FIGURES, figures_of
from tunebench.report.page import render_page
from tunebench.report.reproduce import study_of
from tunebench.report.sections import PARTS, SECTIONS, section_of
from tunebench.report.sections.answer import candidates
from tunebench.report.sections.runs import command, study_of_run
from tunebench.report.source import Source
from tunebench.report.tables import TABLES, make_tables, tables_of
from tunebench.report.tables.render import RENDERERS
from tunebench.stats import Anytime, Interval, calibration
from tunebench.store.cell import Cell
from tunebench.store.imported import ImportedData, ImportedModel, ImportedRun
from tunebench.study.yaml_file import load_study


def page_of(comparison: Comparison, *, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """Return a page without what it runs, and without its pictures, which would have to be drawn first."""
    monkeypatch.setattr("tunebench.report.page._figures", lambda source: [])
    return re.sub(
        r"<(script|style)\b.*?</\1>", "", render_page(Source(analyse(comparison), folder)), flags=re.DOTALL
    )


def test_ids_and_downloads_of_a_page_are_unique(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_study_folder(tmp_path)
    page = page_of(load_comparison(folder), monkeypatch=monkeypatch, folder=folder)
    for found in (re.findall(r'\bid="([^"]+)"', page), re.findall(r'\bdownload="([^"]+)"', page)):
        assert len(found) > len(SECTIONS)
        assert sorted(found) == sorted(set(found))
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page, target


def built(name: str, source: Source) -> dict[str, Any]:
    """Return what a part of the page is filled with."""
    found = PARTS[name].build(source)
    assert found is not None
    return found


def imported(label: str) -> Comparison:
    """Return a run that another script trained, of which little is known."""
    cell = make_cell(**HONEST)
    spec = ImportedRun(
        label=label, content="c", train_size=5_000, epochs=3, model=ImportedModel(), data=ImportedData()
    )
    assert cell.record is not None
    environment = cell.record.environment.model_copy(update={"device": None, "threads": None})
    changes = {"spec": spec, "run_id": spec.run_id, "environment": environment}
    theirs = Cell(spec, "complete", cell.record.model_copy(update=changes))
    return Comparison(name="imported", cells=[theirs], metric=theirs.spec.selects_by)


def ends(value: Interval) -> tuple[float, float, float]:
    return value.estimate, value.low, value.high


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_a_point_has_one_interval_in_chart_table_figure_and_recommendation(
    seeds: tuple[int, ...], tmp_path: Path
) -> None:
    folder = make_study_folder(tmp_path, sizes=(5_000, 10_000), seeds=seeds)
    source = Source(analyse(load_comparison(folder)), folder)
    (table,) = make_tables(source.analysis, ["intervals"])
    for column in ("macro_f1", "accuracy"):
        chart = {
            (row["strategy"], row["size"]): (row["y"], row["low"], row["high"])
            for row in built("by_size", source)["data"]["rows"]
            if row["kind"] == "mean" and row["view"] == column
        }
        assert chart == {(row["strategy"], row["train_size"]): ends(row[column]) for row in table.rows}
    (front,) = make_tables(source.analysis, ["front"])
    scores = {(row["strategy"], row["train_size"]): ends(row["macro_f1"]) for row in table.rows}
    assert scores == {(row["strategy"], row["train_size"]): ends(row["score"]) for row in front.rows}
    found = source.recommendation
    assert isinstance(found, Recommendation)
    largest = {label: score for (label, size), score in scores.items() if size == 10_000}
    assert largest == {one.label: ends(one.interval) for one in found.alternatives}
    assert largest == {row["label"]: ends(row["score"]) for row in built("answer", source)["chart"]["rows"]}
    middle, low, high = largest[found.strategy]
    # The answer's first line says what was picked: its interval is wider, holds for all together, and says so.
    entry = next(e for e in source.analysis.at(10_000) if e.label == found.strategy)
    wide = entry.interval(level=1 - 0.05 / 2)
    assert f"{middle:.4f} [{wide.low:.4f}, {wide.high:.4f}] (95 % for both together)" in found.sentence
    assert show_together(wide, 2) in answer_of(source.analysis, found).lines[1]
    assert wide.low < low < high < wide.high
    expected = sorted([low, high] for _, low, high in scores.values())
    for name in ("score_by_parameters", "score_by_size"):
        bars = [bar for axes in FIGURES[name](source.analysis).axes for bar in axes.containers]
        drawn = [bar.lines[2][0].get_segments()[0][:, 1].tolist() for bar in bars]
        assert np.allclose(sorted(drawn), expected), name
    costs = [row for row in built("cost_chart", source)["data"]["rows"] if row["kind"] == "point"]
    assert costs and all(row["y"] == scores[row["strategy"], row["size"]][0] for row in costs)


def test_chart_and_table_have_the_same_front(tmp_path: Path) -> None:
    folder = make_study_folder(tmp_path, labels=("full", "lora", "bitfit"), sizes=(5_000,))
    source = Source(analyse(load_comparison(folder)), folder)
    rows = built("cost_chart", source)["data"]["rows"]
    for kind in ("train_seconds", "peak_memory_bytes", "trainable_params", "artifact_bytes"):
        chart = {row["strategy"] for row in rows if row["view"] == kind and row["kind"] == "front"}
        assert chart == {p.config.label for p in source.analysis.fronts[5_000, kind] if p.on_front}


def test_the_diagram_of_reliability_has_the_bins_of_the_table(tmp_path: Path) -> None:
    folder = make_study_folder(tmp_path, labels=("full",), sizes=(5_000,), seeds=(1,))
    source = Source(analyse(load_comparison(folder)), folder)
    (entry,) = analyse(source.comparison).entries
    expected = calibration(entry.labels, entry.logits[0], rng=np.random.default_rng(0)).equal_mass.bins
    rows = [row for row in built("calibration", source)["data"]["rows"] if row["kind"] == "mean"]
    assert [row["count"] for row in rows] == [part.count for part in expected]


def test_runs_without_a_confusion_matrix_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [make_cell(seed=seed, **HONEST) for seed in (1, 2)]
    mixed = compare([accuracy_alone(cells[0]), cells[1]])
    found = built("confusion", Source(analyse(mixed), tmp_path))["sizes"]
    assert found == built("confusion", Source(analyse(compare(cells[1:])), tmp_path))["sizes"]
    nothing = compare([accuracy_alone(cell) for cell in cells])
    for comparison in (mixed, nothing):
        page = page_of(comparison, monkeypatch=monkeypatch, folder=tmp_path)
        assert len(re.findall(">macro F1", page)) == sum(c.row["macro_f1"] is not None for c in comparison.cells)


def test_facts_of_a_fact_are_in_words_too(tmp_path: Path) -> None:
    cell = make_cell(**HONEST)
    said = {"static": {"distilled": False}, "frozen_prefix": {"layers": 2, "kept": True, "reason": None}}
    environment = cell.record.environment.model_copy(update={"machine": said})
    cell = replace(cell, record=cell.record.model_copy(update={"environment": environment}))
    (machine,) = map(dict, built("setup", Source(analyse(compare([cell])), tmp_path))["machines"])
    assert machine["static, distilled"] == "no"
    assert (machine["frozen prefix, layers"], machine["frozen prefix, kept"]) == ("2", "yes")
    assert "frozen prefix, reason" not in machine


def test_what_is_not_known_of_an_imported_recipe_is_not_the_models_own(tmp_path: Path) -> None:
    cell = make_cell(**HONEST)
    theirs = imported("theirs")
    found = built("setup", Source(analyse(theirs), tmp_path))
    recipe, (machine,) = dict(found["recipe"]), map(dict, found["machines"])
    assert recipe["epochs"] == "3" and {"batch size", "attention dropout"} <= set(recipe["not known"].split(", "))
    assert {"device", "threads"} <= set(machine["not known"].split(", "))
    ours = dict(built("setup", Source(analyse(compare([cell])), tmp_path))["recipe"])
    assert ours["attention dropout"] == "the model's own"


@pytest.mark.parametrize(
    "draws",
    [
        {"subset_seed": (42, 7), "seeds": (1, 2)},
        {"subset_seed": "per_seed", "seeds": (5, 3)},
        {"subset_seed": (42,), "seeds": (1, 2), "test_seed": 9},
        {"subset_seed": (42,), "seeds": (1, 2)},
        {"seeds": (1, 2), "metric": "accuracy", "copies": "anywhere"},
        {"seeds": (1, 2, 3, 4), "looks": (3, 4)},
        {"seeds": (1, 2, 3, 4), "looks": (3, 4), "spending": "pocock"},
        {"seeds": (1, 2, 3, 4, 5), "design": "anytime"},
    ],
    ids=str,
)
def test_what_repeats_a_run_or_all_of_them_repeats_their_test_parts_too(
    draws: dict[str, Any], tmp_path: Path
) -> None:
    study = make_study(**draws)
    specs = make_specs(study)
    expected = [spec.run_id for spec in specs]
    assert len(set(expected)) == len(expected)
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(study.model_dump(mode="json")), encoding="utf-8")
    for spec in specs:
        words = shlex.split(command(Cell(spec, "pending", None), study))
        sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        assert [again.run_id for again in make_specs(load_study(str(file), overrides=sets))] == [spec.run_id]
        assert [again.run_id for again in make_specs(study_of_run(Cell(spec, "pending", None)))] == [spec.run_id]
    comparison = Comparison(name="again", cells=[Cell(spec, "pending", None) for spec in specs])
    whole = study_of(comparison)
    assert whole is not None and {again.run_id for again in make_specs(whole)} == set(expected)


def test_a_strategy_is_said_by_what_is_on_and_a_recipe_by_who_differs(tmp_path: Path) -> None:
    cells = [
        make_cell(label, **HONEST, kind="lora", params=params, truncation=cut)
        for label, params, cut in (
            ("plain", {}, "head"),
            ("dora", {"dora": True}, "head"),
            ("named", {"placement": ["query", "value"]}, "tail"),
        )
    ]
    found = built("setup", Source(analyse(compare(cells)), tmp_path))
    plain, dora, named = (strategy["params"].split(", ") for strategy in found["strategies"])
    assert "rank 8" in plain and not any("dora" in words or "None" in words for words in plain)
    assert "dora" in dora and "placement query value" in named
    assert dict(found["recipe"])["truncation"] == "head; named: tail"
    assert dict(found["recipe"])["epochs"] == str(cells[0].spec.epochs)


def test_every_part_table_and_figure_stands_in_a_section_that_is_there() -> None:
    assert {part.section for part in PARTS.values()} <= set(SECTIONS)
    named = [name for section in SECTIONS.values() for name in (*section.tables, *section.figures)]
    assert sorted(named) == sorted(set(named)) and set(named) <= {*TABLES, *FIGURES}
    assert section_of("tables", "of another package") in SECTIONS


def test_what_a_single_size_and_one_rate_cannot_show_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_study_folder(tmp_path, sizes=(5_000,), seeds=(1,))
    source = Source(analyse(load_comparison(folder)), folder)
    page = page_of(source.comparison, monkeypatch=monkeypatch, folder=folder)
    assert 'id="labels"' not in page and 'id="table-learning_curve"' not in page
    assert {"score_by_learning_rate", "learning_curves", "score_by_size"}.isdisjoint(figures_of(source.analysis))
    (variance,) = make_tables(source.analysis, ["variance"])
    hidden = {column.key for column in variance.columns} - {column.key for column in variance.visible}
    assert "seed_sd" in hidden and all(row["seed_sd"] is None for row in variance.rows if "seed_sd" in row)


@pytest.mark.parametrize("count", [2, 18, 60])
def test_the_chart_of_candidates_holds_all_scores_whatever_their_number(count: int) -> None:
    found = candidates(make_recommendation(count))
    assert [row["label"] for row in found["rows"]] == [f"c{i}" for i in range(count)]
    assert found["band"][1] > 0
    for row in found["rows"]:
        start, width = row["bar"]
        assert 0 <= start <= row["at"] <= start + width + 0.02 <= 100.02
    places = [row["at"] for row in found["rows"]]
    assert places == sorted(places, reverse=True) and len(set(places)) == count
    # The interval of two seeds may hold all values there are: it is cut, and says so.
    (wide,) = [row for row in found["rows"] if row["label"] == "c1"]
    assert "left" in wide["cut"]
    assert not any(row["cut"] for row in found["rows"] if row is not wide)


@pytest.mark.parametrize("seeds", [2, 3])
def test_an_interval_without_an_end_is_said_to_have_none_wherever_it_stands(
    seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    cells = [
        with_predictions(
            make_cell(label, seed=seed, size=size, metric="log_loss", **HONEST), rng.random(400) < wrong
        )
        for size in (100, 200)
        for seed in range(1, seeds + 1)
        for label, wrong in (("full", 0.1), ("lora", 0.2))
    ]
    comparison = compare(cells, design=Anytime())
    analysis = analyse(comparison)
    found = recommend(analysis)
    line = next(line for line in answer_of(analysis, found).lines if line.startswith("  full"))
    assert re.search(r"log loss 0\.\d{4} \[0\.0000, no end\] \(95 % for both together\)", line)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert {one["interval"]["high"] for one in plain["alternatives"]} == {None}
    (other,) = [one["difference"]["interval"] for one in plain["alternatives"] if one["difference"]]
    assert (other["low"], other["high"]) == (None, None)
    said = {name: [RENDERERS[name](table) for table in make_tables(analysis)] for name in RENDERERS}
    said["page"] = [page_of(comparison, monkeypatch=monkeypatch, folder=tmp_path)]
    for name, texts in said.items():
        for text in texts:
            # Neither a sentinel nor a word of the program stands in the place of an end.
            assert not re.search(r"\binf\b|\bnan\b|Infinity|Interval\(|(?<![.\d])\d{17}", text), (name, text)
    assert "[0.0000, no end]" in said["page"][0]
    assert "[no end, no end]" in said["text"][list(tables_of(analysis)).index("pairs")]
    pairs = csv.DictReader(said["csv"][list(tables_of(analysis)).index("pairs")].splitlines())
    assert {(row["difference_low"], row["difference_high"], row["detectable"]) for row in pairs} == {("", "", "")}
    for draw in figures_of(analysis).values():
        for axes in draw(analysis).axes:
            assert max(map(abs, (*axes.get_xlim(), *axes.get_ylim()))) < 1e9


def test_a_label_with_markup_stays_text_in_the_answer_the_filter_and_the_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "<img src=x onerror='alert(1)'> \"--> {{ 7 * 7 }}"
    comparison = imported(evil)
    found = make_recommendation(1, strategy=evil, doubts=(evil,), conclusive=False, beside=evil)
    found = replace(found, alternatives=(replace(found.alternatives[0], label=evil),))
    monkeypatch.setattr(Source, "recommendation", found)
    monkeypatch.setattr(Source, "predictions", {})
    page = page_of(comparison, monkeypatch=monkeypatch, folder=tmp_path)
    assert "<img src=x" not in page and "49" not in re.findall(r"<p class=\"verdict\">.*?</p>", page)[0]
    for place in ("verdict", "trust open"):
        assert str(escape(evil)) in re.findall(rf'<p class="{place}">.*?</p>', page)[0]
    assert page.count(str(escape(evil))) > 8


def test_imported_runs_without_predictions_show_no_empty_figure_or_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(analyse(imported("theirs")), tmp_path)
    assert {"reliability", "differences", "score_by_parameters"}.isdisjoint(figures_of(source.analysis))
    page = page_of(source.comparison, monkeypatch=monkeypatch, folder=tmp_path)
    assert "There is nothing to recommend from" in page and 'id="table-intervals"' not in page
    for table in source.shown_tables:
        assert all(any(row.get(column.key) is not None for row in table.rows) for column in table.visible)
