"""The sections of the HTML report, without a browser."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from factories import HONEST, accuracy_alone, compare, make_cell
from fakes import make_specs, make_study
from report.studies import make_study_folder
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import Recommendation
from tunebench.report.figures import FIGURES
from tunebench.report.page import render_page
from tunebench.report.reproduce import study_of
from tunebench.report.sections import SECTIONS
from tunebench.report.sections.runs import command, study_of_run
from tunebench.report.source import Source
from tunebench.report.tables import make_tables
from tunebench.stats import Interval, calibration
from tunebench.store.cell import Cell
from tunebench.store.imported import ImportedData, ImportedModel, ImportedRun
from tunebench.study.yaml_file import load_study


def page_of(comparison: Comparison, *names: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> str:
    """Return a page of some sections, without what it runs."""
    monkeypatch.setattr("tunebench.report.page.SECTIONS", {name: SECTIONS[name] for name in names})
    return re.sub(
        r"<(script|style)\b.*?</\1>", "", render_page(Source(analyse(comparison), folder)), flags=re.DOTALL
    )


def test_ids_and_downloads_of_a_page_are_unique(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_study_folder(tmp_path)
    others = [name for name in SECTIONS if name != "figures"]  # its pictures would have to be drawn first
    page = page_of(load_comparison(folder), *others, monkeypatch=monkeypatch, folder=folder)
    for found in (re.findall(r'\bid="([^"]+)"', page), re.findall(r'\bdownload="([^"]+)"', page)):
        assert len(found) > len(SECTIONS)
        assert sorted(found) == sorted(set(found))
    for target in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{target}"' in page, target


def ends(value: Interval) -> tuple[float, float, float]:
    return value.estimate, value.low, value.high


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_a_point_has_one_interval_in_chart_table_figure_and_recommendation(
    seeds: tuple[int, ...], tmp_path: Path
) -> None:
    folder = make_study_folder(tmp_path, sizes=(5_000,), seeds=seeds)
    source = Source(analyse(load_comparison(folder)), folder)
    for column in ("macro_f1", "accuracy"):
        chart = {
            row["strategy"]: (row["y"], row["low"], row["high"])
            for row in SECTIONS["by_size"].build(source)["data"]["rows"]
            if row["kind"] == "mean" and row["view"] == column
        }
        (table,) = make_tables(source.analysis, ["intervals"])
        assert chart == {row["strategy"]: ends(row[column]) for row in table.rows}
    (front,) = make_tables(source.analysis, ["front"])
    (table,) = make_tables(source.analysis, ["intervals"])
    scores = {row["strategy"]: ends(row["macro_f1"]) for row in table.rows}
    assert scores == {row["strategy"]: ends(row["score"]) for row in front.rows}
    found = source.recommendation
    assert isinstance(found, Recommendation)
    assert scores == {one.label: ends(one.interval) for one in found.alternatives}
    middle, low, high = scores[found.strategy]
    assert f"{middle:.4f} [{low:.4f}, {high:.4f}]" in found.sentence
    bars = FIGURES["score_by_parameters"](source.analysis).axes[0].containers
    drawn = [bar.lines[2][0].get_segments()[0][:, 1].tolist() for bar in bars]
    assert np.allclose(sorted(drawn), sorted([low, high] for _, low, high in scores.values()))
    costs = [row for row in SECTIONS["cost"].build(source)["data"]["rows"] if row["kind"] == "point"]
    assert costs and all(row["y"] == scores[row["strategy"]][0] for row in costs)


def test_chart_and_table_have_the_same_front(tmp_path: Path) -> None:
    folder = make_study_folder(tmp_path, labels=("full", "lora", "bitfit"), sizes=(5_000,))
    source = Source(analyse(load_comparison(folder)), folder)
    rows = SECTIONS["cost"].build(source)["data"]["rows"]
    for kind in ("train_seconds", "peak_memory_bytes", "trainable_params", "artifact_bytes"):
        chart = {row["strategy"] for row in rows if row["view"] == kind and row["kind"] == "front"}
        assert chart == {p.config.label for p in source.analysis.fronts[5_000, kind] if p.on_front}


def test_the_diagram_of_reliability_has_the_bins_of_the_table(tmp_path: Path) -> None:
    folder = make_study_folder(tmp_path, labels=("full",), sizes=(5_000,), seeds=(1,))
    source = Source(analyse(load_comparison(folder)), folder)
    (entry,) = analyse(source.comparison).entries
    expected = calibration(entry.labels, entry.logits[0], rng=np.random.default_rng(0)).equal_mass.bins
    rows = [row for row in SECTIONS["calibration"].build(source)["data"]["rows"] if row["kind"] == "mean"]
    assert [row["count"] for row in rows] == [part.count for part in expected]


def test_runs_without_a_confusion_matrix_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [make_cell(seed=seed, **HONEST) for seed in (1, 2)]
    mixed = compare([accuracy_alone(cells[0]), cells[1]])
    found = SECTIONS["confusion"].build(Source(analyse(mixed), tmp_path))["sizes"]
    assert found == SECTIONS["confusion"].build(Source(analyse(compare(cells[1:])), tmp_path))["sizes"]
    nothing = compare([accuracy_alone(cell) for cell in cells])
    for comparison in (mixed, nothing):
        page = page_of(comparison, "confusion", "runs", monkeypatch=monkeypatch, folder=tmp_path)
        assert len(re.findall(">macro F1", page)) == sum(c.row["macro_f1"] is not None for c in comparison.cells)


def test_what_is_not_known_of_an_imported_recipe_is_not_the_models_own(tmp_path: Path) -> None:
    cell = make_cell(**HONEST)
    spec = ImportedRun(
        label="theirs", content="c", train_size=5_000, epochs=3, model=ImportedModel(), data=ImportedData()
    )
    record = cell.record
    assert record is not None
    environment = record.environment.model_copy(update={"device": None, "threads": None})
    changes = {"spec": spec, "run_id": spec.run_id, "environment": environment}
    theirs = Comparison.from_cells(
        [type(cell)(spec, "complete", record.model_copy(update=changes))], name="imported"
    )
    found = SECTIONS["setup"].build(Source(analyse(theirs), tmp_path))
    recipe, (machine,) = dict(found["recipe"]), map(dict, found["machines"])
    assert (recipe["epochs"], recipe["batch size"], recipe["attention dropout"]) == ("3", "not known", "not known")
    assert machine["threads"] == "not known"
    ours = dict(SECTIONS["setup"].build(Source(analyse(compare([cell])), tmp_path))["recipe"])
    assert ours["attention dropout"] == "the model's own"


@pytest.mark.parametrize(
    "draws",
    [
        {"subset_seed": (42, 7), "seeds": (1, 2)},
        {"subset_seed": "per_seed", "seeds": (5, 3)},
        {"subset_seed": (42,), "seeds": (1, 2), "test_seed": 9},
        {"subset_seed": (42,), "seeds": (1, 2)},
        {"seeds": (1, 2), "metric": "accuracy", "copies": "anywhere"},
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
    comparison = Comparison.from_cells([Cell(spec, "pending", None) for spec in specs], name="again")
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
    found = SECTIONS["setup"].build(Source(analyse(compare(cells)), tmp_path))
    plain, dora, named = (strategy["params"].split(", ") for strategy in found["strategies"])
    assert "rank 8" in plain and not any("dora" in words or "None" in words for words in plain)
    assert "dora" in dora and "placement query value" in named
    assert dict(found["recipe"])["truncation"] == "head; named: tail"
    assert dict(found["recipe"])["epochs"] == str(cells[0].spec.epochs)
