"""Studies that are read more than once: they end when they are decided, and every other look is said."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from baselines import SEEDS, run_baselines, two_baselines, write_texts
from conftest import leave_report_out
from factories import compare, make_cell, with_predictions
from tunebench.analysis.analysis import Analysis, analyse
from tunebench.analysis.answer import answer_of
from tunebench.analysis.load import load_comparison
from tunebench.analysis.looks import PEEKING_COST, PEEKING_EFFECT, seeds_seen
from tunebench.analysis.outcome import outcome_of
from tunebench.analysis.recommend import recommend
from tunebench.cli import app
from tunebench.errors import ConfigError, ErrorGroup, StoreError
from tunebench.execution.looks import check_declared, decided_at, note_added_seeds, note_reading, stages_left
from tunebench.files import read_json
from tunebench.report.tables import make_tables
from tunebench.report.words import closing_lines
from tunebench.stats import Anytime, Looks
from tunebench.store.looks import LookLog
from tunebench.study.yaml_file import check_study

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.fixture(scope="module", autouse=True)
def _no_report() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        leave_report_out(patch)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> dict[str, Any]:
    """A study with two looks."""
    texts = write_texts(tmp_path_factory.mktemp("texts") / "texts.csv")
    return two_baselines(texts, tiny_model("distilbert"), looks=[3, 4])


def test_a_study_ends_at_the_look_that_decides_it(base: dict[str, Any], tmp_path: Path) -> None:
    told: list[str] = []
    result = run_baselines(base, tmp_path, told)
    assert {cell.spec.seed for cell in result.comparison.cells} == set(SEEDS[:3])
    assert any("Look after 3 of at most 4 seeds: decided, the study ends" in line for line in told)
    assert any("weak" in line and "equal within 40 points" in line for line in told)
    (entry,) = LookLog(tmp_path).read()
    assert (entry.kind, entry.seeds, entry.planned, entry.decided) == ("declared", 3, 4, True)
    # Resumed, it is as it was: nothing is trained, and the look is not written down twice.
    again = run_baselines(base, tmp_path)
    assert not again.summary.complete and len(LookLog(tmp_path).read()) == 1
    # Tables, warnings and intervals say which look it is.
    analysis = analyse(load_comparison(tmp_path))
    said = "Look 1 of 2, after 3 of at most 4 seeds (declared: 3 and 4)"
    assert any(line.startswith(said) for line in analysis.warnings)
    for table in make_tables(analysis, ["scores", "pairs", "intervals"]):
        assert any(note.startswith(said) for note in table.notes), table.name
    assert all(entry.interval().method.endswith("repeated") for entry in analysis.entries)
    (pair,) = analysis.pairs
    assert pair.difference.look == Looks((3, 4)).at(3)


def test_a_study_that_is_not_decided_goes_on_to_the_last_look_and_no_further(
    base: dict[str, Any], tmp_path: Path
) -> None:
    told: list[str] = []
    strict = base | {"margin": 0.01}
    result = run_baselines(strict, tmp_path, told)
    looks = [line for line in told if line.startswith("Look after")]
    assert [line.split(": ")[1] for line in looks] == ["goes on", "not decided, and the study ends"]
    assert {cell.spec.seed for cell in result.comparison.cells} == set(SEEDS)
    assert len(result.summary.complete) == 8 and not result.summary.skipped
    found = recommend(analyse(result.comparison))
    assert not any("next look" in line for line in found.would_change)
    with pytest.raises(StoreError, match="can no longer change"):
        check_declared(check_study(strict | {"spending": "pocock"}), tmp_path)
    with pytest.raises(StoreError, match="can no longer change"):
        check_declared(check_study({key: value for key, value in strict.items() if key != "looks"}), tmp_path)
    assert stages_left(check_study(strict), ()) == (3, 4)


def test_a_dry_run_tells_what_each_look_costs(base: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(json.dumps(base), encoding="utf-8")
    words = ["run", str(file), "--dry-run", "--no-measure", "--out", str(tmp_path / "new")]
    done = CliRunner().invoke(app, words)
    assert "Cost up to each look: 3 seeds" in done.output and "; 4 seeds" in done.output


def test_a_study_for_any_time_ends_when_it_is_decided_and_takes_more_seeds(
    base: dict[str, Any], tmp_path: Path
) -> None:
    anytime = {key: value for key, value in base.items() if key != "looks"} | {"design": "anytime", "margin": 0.01}
    first = run_baselines(anytime | {"seeds": SEEDS[:3]}, tmp_path)
    assert seeds_seen(first.comparison) == 3 and recommend(analyse(first.comparison)).would_change[0].startswith(
        "More seeds"
    )
    more = run_baselines(anytime | {"seeds": SEEDS, "margin": 40}, tmp_path)
    found = analyse(more.comparison)
    assert not any("Seeds were added" in line for line in found.warnings)
    assert any("design: anytime" in line for line in found.warnings)
    assert isinstance(more.comparison.design, Anytime) and outcome_of(found).decided
    assert [entry.seeds for entry in LookLog(tmp_path).read()] == [3, seeds_seen(more.comparison)]


def test_seeds_that_are_added_to_results_are_said_everywhere(base: dict[str, Any], tmp_path: Path) -> None:
    fixed = {key: value for key, value in base.items() if key != "looks"}
    run_baselines(fixed | {"seeds": SEEDS[:2]}, tmp_path)
    assert not LookLog(tmp_path).path.exists()
    comparison = run_baselines(fixed | {"seeds": SEEDS[:3]}, tmp_path).comparison
    (entry,) = LookLog(tmp_path).read()
    assert (entry.kind, entry.seeds, entry.planned) == ("added", 2, 2)
    warned = (
        "Seeds were added after results were there (after 2 seeds; now 3), and the study had not declared looks. "
        f"{PEEKING_EFFECT}"
    )
    analysis = analyse(comparison)
    found = recommend(analysis)
    assert warned in analysis.warnings and warned in found.doubts and not found.conclusive
    assert all(warned in table.notes for table in make_tables(analysis, ["scores", "pairs"]))
    # A run again adds nothing.
    note_added_seeds(check_study(fixed | {"seeds": SEEDS[:3]}), tmp_path)
    assert len(LookLog(tmp_path).read()) == 1


def grid(seeds: int, *, missing: str = "left_out", **options: Any) -> Any:
    """A comparison of two strategies of which the first ``seeds`` of five seeds have scores."""
    rng = np.random.default_rng(1)
    cells = []
    for seed in range(5):
        for label in ("full", "lora"):
            if seed < seeds:
                cells.append(with_predictions(make_cell(label, seed=seed, test_size=400), rng.random(400) < 0.15))
            else:
                cells.append(make_cell(label, seed=seed, test_size=400, status=missing))
    return compare(cells, **options)


def test_results_that_are_read_before_all_seeds_are_there_are_written_down_and_said_later(tmp_path: Path) -> None:
    (tmp_path / "runs" / ".locks").mkdir(parents=True)
    note_reading(grid(5), tmp_path)
    assert not LookLog(tmp_path).read()
    note_reading(grid(2), tmp_path)
    note_reading(grid(2), tmp_path)
    (entry,) = LookLog(tmp_path).read()
    assert (entry.kind, entry.seeds, entry.planned) == ("read", 2, 5)
    note_reading(grid(3), tmp_path / "nowhere")  # a folder that cannot be written is read all the same
    later = analyse(grid(5, looks=LookLog(tmp_path).read()))
    (warning,) = [line for line in later.warnings if line.startswith("Results were read before all seeds")]
    assert "after 2 seeds; now 5" in warning and PEEKING_EFFECT[1:] in warning
    assert not any("were read" in line for line in analyse(grid(2, looks=LookLog(tmp_path).read())).warnings)


def test_between_looks_nothing_is_conclusive_and_tests_are_those_of_the_look_before() -> None:
    analysis = Analysis(grid(4, design=Looks((3, 5))))
    found = recommend(analysis)
    assert any("There are 4: nothing is decided before the next look" in line for line in found.doubts)
    assert "The next look, after 5 seeds, may decide what is open." in (found.would_change or ())
    assert answer_of(analysis, found).settling == "The next look, after 5 seeds, may decide what is open."
    (pair,) = analysis.pairs
    assert pair.difference.look == Looks((3, 5)).at(3)


def test_run_shows_no_score_between_looks(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    for seeds, status in ((4, "pending"), (2, "running")):
        stopped = Analysis(grid(seeds, missing=status, design=Looks((3, 5))))
        lines = closing_lines(stopped, tmp_path, report)
        assert f"There are {seeds}" in lines[0] and "0." not in "\n".join(lines).replace(str(tmp_path), "")
        assert lines[1:] == [f"Report: {report}", "Next:", f"  tunebench run {tmp_path}"]
    # At a look, or where nothing is left to run, the answer is there.
    for seeds, status in ((3, "left_out"), (4, "failed")):
        ended = Analysis(grid(seeds, missing=status, design=Looks((3, 5))))
        assert closing_lines(ended, tmp_path, report)[0] == answer_of(ended, recommend(ended)).verdict


def test_a_run_that_ends_between_looks_names_no_score(base: dict[str, Any], tmp_path: Path) -> None:
    once = {key: value for key, value in base.items() if key != "looks"} | {"seeds": SEEDS[:3]}
    ends = {}
    for name, study in (("looks", base), ("once", once)):
        told: list[str] = []
        run_baselines(study, tmp_path / name, told)
        ends[name] = [line.split(": ")[1] for line in told if re.search(r"-s\d+: ", line)]
    assert len(ends["once"]) == len(ends["looks"]) == 6
    assert all(re.match(r"macro F1 0\.\d{4}", end) for end in ends["once"])
    assert all(end.startswith("scored, shown at the next look") for end in ends["looks"])


def test_the_level_is_the_studys() -> None:
    strict, usual = (analyse(grid(5, alpha=alpha)) for alpha in (0.001, 0.05))
    assert strict.pairs[0].verdict.alpha == 0.001 and usual.pairs[0].verdict.alpha == 0.05
    (table,) = make_tables(strict, ["pairs"])
    assert any("two one-sided tests at 0.1 %" in note for note in table.notes)
    assert recommend(strict).alternatives[1].difference.alpha == 0.001  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"looks": [4, 3]}, "ascending"),
        ({"looks": [3]}, "at least two"),
        ({"looks": [3, 5]}, "seeds lists 4"),
        ({"looks": [2, 4]}, "at least 3"),
        ({"design": "anytime"}, "remove one of them"),
        ({"looks": None, "spending": "pocock"}, "no effect without looks"),
        ({"spending": "haybittle"}, "pocock"),
        ({"alpha": 0.7}, "alpha"),
    ],
)
def test_looks_that_contradict_the_study_are_refused(
    base: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises((ConfigError, ErrorGroup), match=said):
        check_study(base | changes)


def test_a_study_without_looks_has_one_stage(base: dict[str, Any]) -> None:
    once = {key: value for key, value in base.items() if key != "looks"}
    assert check_study(once).stages == (4,)
    assert check_study(base).stages == (3, 4)
    assert check_study(once | {"design": "anytime", "seeds": [1, 2, 3, 4, 5]}).stages == (4, 5)
    assert check_study(once | {"design": "anytime", "seeds": [1, 2]}).stages == (2,)


def test_a_changed_file_of_looks_is_found(tmp_path: Path) -> None:
    (tmp_path / "runs" / ".locks").mkdir(parents=True)
    log = LookLog(tmp_path)
    log.add("read", seeds=2, planned=5)
    raw = read_json(log.path)
    raw["looks"][0]["seeds"] = 5
    log.path.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(StoreError, match="changed after it was written"):
        log.read()


def test_the_size_of_the_warned_effect_is_that_of_the_study_of_errors() -> None:
    readings = read_json(RESULTS / "coverage.json")["readings"]
    shares = [one["different at any look"] for name, one in readings.items() if name.startswith("not declared")]
    assert PEEKING_COST == (round(100 * min(shares)), round(100 * max(shares)))
    declared = [
        one["different at any look"] for name, one in readings.items() if not name.startswith("not declared")
    ]
    assert max(declared) < 0.06


def test_a_look_asks_for_the_scores_of_what_the_study_holds_now(tmp_path: Path) -> None:
    """A strategy that was taken out, as one that never fits into memory, keeps no look from deciding."""
    rng = np.random.default_rng(0)
    sound = [
        with_predictions(make_cell(label, seed=seed, size=64), rng.random(400) < share, seed=seed)
        for label, share in (("full", 0.05), ("lora", 0.3))
        for seed in (1, 2, 3)
    ]
    removed = [make_cell("big", seed=seed, size=64, status="out_of_memory", kind="full") for seed in (1, 2, 3)]
    comparison = compare([*sound, *removed], design=Looks((3, 4)))
    told: list[str] = []
    every = [cell.spec for cell in comparison.cells]
    assert decided_at(comparison, 3, (3, 4), tmp_path, told.append, planned=every)
    assert "nothing is decided" in told[-1] and not LookLog(tmp_path).read()
    assert decided_at(comparison, 3, (3, 4), tmp_path, told.append, planned=[cell.spec for cell in sound])
    assert "decided, the study ends" in told[-1]
