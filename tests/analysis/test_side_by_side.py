"""Several studies as one comparison: what may stand side by side, and what is refused with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from report.studies import make_study_folder
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import recommend
from tunebench.analysis.side_by_side import load_side_by_side
from tunebench.api import compare_studies
from tunebench.errors import ConfigError, StoreError
from tunebench.stats import Looks
from tunebench.store.confirmation import Confirmation, ConfirmationFile
from tunebench.store.looks import LookLog
from tunebench.store.test_texts import LedgerNote, write_note


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two studies of the same data: full and lora, and lora-r2 and lora with other seeds."""
    root = tmp_path_factory.mktemp("studies")
    first = make_study_folder(root, sizes=[200], name="one", skill={"full": 2.4})
    first = first.rename(root / "one")
    second = make_study_folder(root, labels=("lora-r2", "lora"), sizes=[200], seeds=(1, 2, 3), name="two")
    return [first, second.rename(root / "two")]


def test_strategies_of_both_studies_are_compared_on_the_same_texts(studies: list[Path]) -> None:
    both = load_side_by_side(studies)
    assert both.labels == ["full", "lora.one", "lora-r2", "lora.two"]
    pairs = {(p.first.label, p.second.label): p for p in analyse(both).pairs}
    assert len(pairs) == 6
    own = {(p.first.label, p.second.label): p for p in analyse(load_comparison(studies[0])).pairs}
    assert pairs["full", "lora.one"].difference.estimate == own["full", "lora"].difference.estimate
    # Across studies it is paired by the seeds that both have.
    assert pairs["full", "lora-r2"].difference.interval.n_seeds == 2
    assert recommend(analyse(both)).strategy == "full"
    assert any("were not planned together" in note for note in both.notes)


def test_the_same_runs_in_two_studies_stand_there_once(studies: list[Path], tmp_path: Path) -> None:
    shutil.copytree(studies[0], tmp_path / "copy")
    both = load_side_by_side([studies[0], tmp_path / "copy"])
    assert both.labels == ["full", "lora"]
    assert "full is the same runs in one and copy; it stands here once." in both.notes


@pytest.mark.parametrize("unfinished_first", [True, False])
def test_of_the_same_runs_the_results_that_one_study_has_are_kept(
    studies: list[Path], tmp_path: Path, unfinished_first: bool
) -> None:
    copy = shutil.copytree(studies[0], tmp_path / "copy")
    lost, cut = sorted(copy.glob("runs/lora-*"))[:2]
    shutil.rmtree(lost)
    (cut / "record.json").write_bytes((cut / "record.json").read_bytes()[:200])
    both = load_side_by_side([copy, studies[0]] if unfinished_first else [studies[0], copy])
    whole = {cell.spec.run_id: cell.score("macro_f1") for cell in load_comparison(studies[0]).cells}
    assert {cell.spec.run_id: cell.score("macro_f1") for cell in both.cells} == whole
    (said,) = [note for note in both.notes if note.startswith("lora is the same runs")]
    assert said.endswith("stands here once, and 2 runs of it are from one.") == unfinished_first


def test_the_same_plan_with_other_results_is_not_the_same_runs(studies: list[Path], tmp_path: Path) -> None:
    again = make_study_folder(tmp_path, sizes=[200], name="again", skill={"full": 1.2})
    both = load_side_by_side([studies[0], again])
    assert both.labels == ["full.one", "lora.one", "full.again", "lora.again"]
    for study, name in ((studies[0], "one"), (again, "again")):
        own = sorted(cell.row["macro_f1"] for cell in load_comparison(study).cells)
        assert sorted(c.row["macro_f1"] for c in both.cells if c.spec.label.endswith(f".{name}")) == own
    assert not any("the same runs" in note for note in both.notes)


def test_studies_whose_names_begin_alike_are_not_mixed(studies: list[Path], tmp_path: Path) -> None:
    name = "customer-questions-from-the-spring-of-2026"
    folders = [rewritten(folder, tmp_path / f"{name}-{n}", name=f"{name}-{n}") for n, folder in enumerate(studies)]
    both = load_side_by_side(folders)
    own = [load_comparison(folder) for folder in folders]
    assert len(both.labels) == sum(len(study.labels) for study in own)


def rewritten(folder: Path, target: Path, **changes: Any) -> Path:
    """Copy a study whose file says something else."""
    shutil.copytree(folder, target)
    path = target / "study.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes), encoding="utf-8")
    return target


def test_level_and_looks_are_kept(studies: list[Path], tmp_path: Path) -> None:
    strict = rewritten(studies[0], tmp_path / "strict", alpha=0.001)
    both = load_side_by_side([strict, studies[1]])
    assert both.alpha == 0.001
    assert not any(pair.verdict.alpha != 0.001 for pair in analyse(both).pairs)
    design = {"seeds": [1, 2, 3, 4], "looks": [3, 4]}
    looks = [rewritten(folder, tmp_path / folder.name, **design) for folder in studies]
    assert load_side_by_side(looks).design == Looks((3, 4))
    mixed = load_side_by_side([looks[0], studies[1]])
    assert mixed.design is None and any("declare different looks (one)" in note for note in mixed.notes)


def test_choices_by_each_seed_are_kept(studies: list[Path], tmp_path: Path) -> None:
    each = rewritten(studies[0], tmp_path / "each", search={"seeds": "each"})
    both = load_side_by_side([each, studies[1]])
    assert {g.label for g in both.groups() if g.by_seed} == {"full", "lora.one"}
    assert not any(group.by_seed for group in load_side_by_side(studies).groups())


def test_readings_that_a_study_did_not_declare_are_said(studies: list[Path], tmp_path: Path) -> None:
    early = rewritten(studies[1], tmp_path / "two")
    (early / "runs" / ".locks").mkdir(exist_ok=True)
    LookLog(early).add("read", seeds=2, planned=3)
    both = load_side_by_side([studies[0], early])
    assert any(note.startswith("two: Results were read before all seeds were there") for note in both.notes)
    assert both.doubts == []


def test_what_is_a_doubt_of_a_study_is_one_beside_another(studies: list[Path], tmp_path: Path) -> None:
    added = rewritten(studies[1], tmp_path / "two")
    (added / "runs" / ".locks").mkdir(exist_ok=True)
    LookLog(added).add("added", seeds=2, planned=2)
    looks = rewritten(studies[0], tmp_path / "one", seeds=[1, 2, 3, 4], looks=[3, 4])
    (own,) = [line for line in recommend(analyse(load_comparison(added))).doubts if "were added" in line]
    both = analyse(load_side_by_side([looks, added]))
    found = recommend(both)
    assert f"two: {own}" in found.doubts and f"two: {own}" in both.warnings
    assert any(line.startswith("The studies declare different looks (one)") for line in found.doubts)


def test_what_became_of_the_test_texts_of_a_study_is_said_beside_another(
    studies: list[Path], tmp_path: Path
) -> None:
    opened, sealed = (rewritten(folder, tmp_path / folder.name, sealed=True) for folder in studies)
    assert "still sealed" in (recommend(analyse(load_comparison(opened))).confirmed or "")
    found = {"score": 0.9, "low": 0.88, "high": 0.92, "level": 0.95, "over": "test examples", "on_test": 0.91}
    confirmation = Confirmation(
        time="2026-01-01", strategy="full", train_size=200, runs=("a",), metric="macro_f1", texts=60, **found
    )
    ConfirmationFile(opened).write(confirmation)
    for folder, runs in ((opened, 12), (sealed, 44)):
        write_note(folder, LedgerNote(time="2026-01-01", texts=60, runs=runs, studies=4, times=3.0))
    both = analyse(load_side_by_side([opened, sealed]))
    # There is no sealed part of several studies to open.
    assert recommend(both).confirmed is None
    (said,) = [line for line in both.warnings if "sealed texts" in line]
    assert said.startswith("one: Confirmed on 60 sealed texts") and "recommended now" not in said
    (counted,) = [line for line in both.warnings if "were scored by" in line]
    assert "44 runs of 4 studies" in counted


def test_other_data_test_parts_and_metrics_are_refused_with_the_reason(studies: list[Path], tmp_path: Path) -> None:
    other = make_study_folder(tmp_path, sizes=[200], name="other", texts=40)
    with pytest.raises(StoreError) as caught:
        load_side_by_side([studies[0], other])
    text = str(caught.value)
    assert "data (fingerprint) (one: " in text and "test_size (one: 60, other: 40)" in text
    assert "make a suite" in text


def test_too_few_folders_and_the_same_one_twice(studies: list[Path]) -> None:
    with pytest.raises(ConfigError, match="two studies or more"):
        load_side_by_side(studies[:1])
    with pytest.raises(ConfigError, match="named twice"):
        load_side_by_side([studies[0], studies[0] / "."])


def test_the_report_does_not_go_into_a_study(studies: list[Path], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="needs its own"):
        compare_studies(studies, studies[0])
    page = compare_studies(studies, tmp_path / "both").read_text(encoding="utf-8")
    assert "lora.two" in page and "tunebench export" not in page
