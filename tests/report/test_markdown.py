"""The report: everything in it, every link resolves, and its study file gives the same runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from factories import HONEST, compare, make_cell, make_grid
from report.studies import make_study_folder
from tunebench.analysis.analysis import analyse
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.load import load_comparison
from tunebench.data.reference import DataRef
from tunebench.models.reference import ModelRef
from tunebench.report import write_all
from tunebench.report.figures import FIGURES, figures_of
from tunebench.report.markdown import render_report, write_report
from tunebench.report.reproduce import study_of
from tunebench.report.sections import PARTS
from tunebench.report.source import Source
from tunebench.report.tables import tables_of
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand

TITLES = {name: maker.title for name, maker in FIGURES.items()}


def text_of(comparison: Comparison) -> str:
    return render_report(Source(analyse(comparison), Path("no folder")), figures=TITLES)


def links(markdown: str) -> set[str]:
    found = set()
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        for child in token.children or []:
            found |= {str(child.attrs[key]) for key in ("href", "src") if key in child.attrs}
    return found


def test_everything_is_written_and_every_link_resolves(tmp_path: Path) -> None:
    comparison = compare([make_cell(size=500), make_cell("lora", size=500, status="failed")])
    assert write_all(comparison, tmp_path) == tmp_path / "report.html"
    report = tmp_path / "report.md"
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {
        f"{name}.{ending}" for name in tables_of(analyse(comparison)) for ending in ("txt", "md", "csv", "tex")
    }
    targets = links(report.read_text(encoding="utf-8"))
    assert {
        f"figures/{name}.{ending}" for name in figures_of(analyse(comparison)) for ending in ("png", "svg")
    } <= targets
    assert f"figures/runs/{comparison.cells[0].spec.run_id}/confusion.png" in targets
    for target in targets:
        assert not Path(target).is_absolute()
        assert (tmp_path / target).is_file(), target
    assert not [path for path in tmp_path.rglob(".*")], "temporary files are left"


def test_figures_of_a_complete_run_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunebench.report.figures.registry.FIGURES", {})
    comparison = compare([make_cell(size=500)])
    write_all(comparison, tmp_path)
    path = tmp_path / "figures" / "runs" / comparison.cells[0].spec.run_id / "confusion.svg"
    before = path.stat().st_mtime_ns
    write_all(comparison, tmp_path)
    assert path.stat().st_mtime_ns == before


def test_the_report_is_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunebench.report.figures.registry.FIGURES", {"score_by_size": FIGURES["score_by_size"]})
    comparison = compare([make_cell(size=500, status="pending")])
    first = write_report(Source(analyse(comparison), tmp_path)).read_bytes()
    assert write_report(Source(analyse(comparison), tmp_path)).read_bytes() == first


def test_tables_and_warnings_stand_in_the_report() -> None:
    comparison = compare([*make_grid(), make_cell("lora-r2", status="out_of_memory")])
    text = text_of(comparison)
    for table in Source(analyse(comparison), Path("no folder")).shown_tables:
        assert f"### {table.title}" in text
    assert "Selected on test: optimistic" in text.split("## Tables")[0]
    assert "1 out of memory" in text
    assert "\n\n\n" not in text


def test_names_are_no_markup() -> None:
    evil = "<script>alert(1)</script> | [x](http://y) *b* `c`"
    comparison = compare(
        [make_cell(data=DataRef(source=evil, fingerprint="f", label_names=("neg|a", "*pos*")), **HONEST)],
        name="a # title *with* signs",
    )
    parsed = MarkdownIt("commonmark").enable("table").parse(text_of(comparison))
    children = [child for token in parsed for child in token.children or []]
    assert not [child for child in children if child.type in ("html_inline", "em_open", "strong_open")]
    assert not [token for token in parsed if token.type == "html_block"]
    assert "http://y" not in links(text_of(comparison))
    shown = "".join(child.content for child in children)
    assert evil in shown and "a # title *with* signs" in shown


def test_a_class_name_breaks_no_table() -> None:
    data = DataRef(source="x", fingerprint="f", label_names=("a|b", "c\nd"))
    text = text_of(compare([make_cell(data=data, size=100)]))
    for token in (t for t in text.split("\n") if t.startswith("| Size | Split")):
        assert len(re.findall(r"(?<!\\)\|", token)) == 6


def test_the_study_in_the_report_gives_the_same_runs() -> None:
    # Nothing here is a default of a study: whatever the report forgets changes the ids.
    common = {"selection": "validation", "validation_fraction": 0.2, "weight_decay": 0.01, "warmup_ratio": 0.1}
    common |= {"schedule": "cosine", "max_length": 99, "epochs": 2, "batch_size": 8, "max_grad_norm": 0.5}
    common |= {"subset_seed": 3, "attention_dropout": 0.0, "evaluations_per_epoch": 1, "test_size": 700}
    axes = {"sizes": (500, 1_000), "seeds": (1, 2)}
    cells = make_grid(**axes, **common) + make_grid(("full",), learning_rate=2e-5, **axes, **common)
    block = re.search(r"```yaml\n(.*?)```", text_of(compare(cells, name="my study")), re.DOTALL)
    assert block is not None
    study = StudyConfig.model_validate(yaml.safe_load(block[1]))
    again = expand(
        study,
        model=ModelRef(source="elsewhere", fingerprint="a" * 16),
        data=DataRef(source="elsewhere", fingerprint="b" * 16, label_names=("neg", "pos")),
        train_examples=25_000,
        test_examples=700,
        precision="bf16",
    )
    assert {spec.run_id for spec in again} == {cell.spec.run_id for cell in cells}


def test_the_folders_own_study_is_given_where_there_is_one(tmp_path: Path) -> None:
    folder = make_study_folder(tmp_path, sizes=(5_000,))
    path = folder / "study.yaml"
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    raw |= {"search": {"method": "halving"}, "margin": 1.5, "pairs": [["lora", "full"]]}
    raw["strategies"]["lora"]["recipe"] = {"epochs": 7}
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    source = Source(analyse(load_comparison(folder)), folder)
    text = render_report(source, figures={})
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    assert StudyConfig.model_validate(yaml.safe_load(block[1])) == StudyStore.open(folder).study()
    assert block[1] == (PARTS["run_list"].build(source) or {})["study"]
    assert "add the names of the text" not in text


def test_no_study_is_invented_for_mixed_recipes() -> None:
    comparison = compare([make_cell("full"), make_cell("lora", precision="bf16")])
    assert study_of(comparison) is None
    assert "no single study file" in text_of(comparison)


def test_the_study_to_repeat_lets_each_seed_choose_where_it_did() -> None:
    cells = [make_cell(learning_rate=rate, **HONEST) for rate in (1e-5, 1e-4)]
    again = study_of(compare(cells, chosen_by_seed=["full"]))
    assert again is not None and again.search.seeds == "each"
    together = study_of(compare(cells))
    assert together is not None and together.search.seeds is None
    # No single study lets the seeds of one strategy choose alone, and those of another together.
    mixed = [*cells, *(make_cell("lora", learning_rate=rate, **HONEST) for rate in (1e-5, 1e-4))]
    assert study_of(compare(mixed, chosen_by_seed=["full"])) is None


def test_a_warning_is_not_said_again_below_a_table() -> None:
    text = text_of(compare([make_cell(learning_rate=rate, **HONEST) for rate in (1e-5, 1e-4)]))
    _, _, after = text.partition("## Before you believe a number")
    warnings, _, tables = after.partition("## Tables")
    lines = [line for line in warnings.splitlines() if line.startswith("- ")]
    assert lines and not any(line in tables for line in lines)


def test_unfinished_studies_have_a_report() -> None:
    text = text_of(compare([make_cell(status="pending")]))
    assert "1 run: 1 pending." in text and "## Single runs" not in text
