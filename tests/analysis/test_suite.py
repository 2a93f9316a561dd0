"""The verdict over data sets: what it is made of, and what few data sets cannot say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from factories import HONEST, compare, make_cell, with_predictions
from report.suites import make_suite_folder
from tunebench.analysis.analysis import analyse
from tunebench.analysis.load_suite import load_suite_analysis, suite_rows
from tunebench.analysis.suite import SuiteAnalysis
from tunebench.analysis.suite_data import DataSet
from tunebench.analysis.suite_words import suite_answer
from tunebench.errors import ConfigError
from tunebench.files import write_json
from tunebench.report.suite.tables import suite_tables
from tunebench.stats import MeanRanks, MetaMean, Refusal, mean_ranks, random_effects
from tunebench.store.suite_folder import Member
from tunebench.tasks.metrics import METRICS

#: Full fine-tuning is far better on all data sets, by different distances.
CLEAR = {f"set-{i}": {"full": 2.2 + 0.2 * i, "lora": 0.5 + 0.05 * i, "lora-r2": 0.5} for i in range(6)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    gone = Member(name="gone", sizes={}, left_out={"200": "the data has 120 texts to train on"})
    return make_suite_folder(tmp_path_factory.mktemp("six"), CLEAR, members=[gone], texts=80)


@pytest.fixture(scope="module")
def six(folder: Path) -> SuiteAnalysis:
    return load_suite_analysis(folder)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> SuiteAnalysis:
    skills = {name: CLEAR[name] for name in ("set-0", "set-1")}
    return load_suite_analysis(make_suite_folder(tmp_path_factory.mktemp("two"), skills))


def test_the_mean_is_that_of_the_differences_of_each_report(six: SuiteAnalysis) -> None:
    pair = six.at["200"].pair("full", "lora")
    assert pair is not None and isinstance(pair.mean, MetaMean) and pair.test is not None
    own = []
    for one in six.data_sets[:6]:
        assert one.analysis is not None
        table = {(p.first.label, p.second.label): p.difference for p in one.analysis.pairs}
        own.append(table["full", "lora"])
    effects, variances = np.array([d.estimate for d in own]), np.array([d.standard_error**2 for d in own])
    slow = random_effects(effects, variances, bounds=(-1.0, 1.0))
    assert pair.mean == slow
    assert pair.test.p_value == pytest.approx(min(1, 3 * pair.mean.p_value))
    turned = six.at["200"].pair("lora", "full")
    assert turned is not None and isinstance(turned.mean, MetaMean) and turned.test is not None
    assert turned.mean.estimate == pytest.approx(-pair.mean.estimate)
    assert turned.test.p_value == pytest.approx(pair.test.p_value)
    assert turned.counts["worse"] == pair.counts["better"]


def test_standings_are_those_of_each_report(six: SuiteAnalysis) -> None:
    pair = six.at["200"].pair("full", "lora")
    assert pair is not None
    for on in pair.on:
        assert on.data_set.analysis is not None
        table = {(p.first.label, p.second.label): p.verdict for p in on.data_set.analysis.pairs}
        verdict = table["full", "lora"]
        assert (on.standing == "equal") == verdict.equivalent
        assert (on.standing == "better") == (verdict.different and not verdict.equivalent)


def test_ranks_are_those_of_the_scores(six: SuiteAnalysis) -> None:
    at = six.at["200"]
    scores = np.array([[own[label].interval().estimate for label in at.everywhere] for own in at.entries.values()])
    assert at.ranks == mean_ranks(scores)
    assert isinstance(at.ranks, MeanRanks) and at.ranks.ranks[at.everywhere.index("full")] == 1


def test_the_answer(six: SuiteAnalysis) -> None:
    answer = suite_answer(six)
    assert answer.verdict == "Over 6 data sets with 200 labels, choose full; worse: lora, lora-r2."
    assert answer.lines[0].startswith("full minus lora: +")
    assert "On another data set like these, expect " in answer.lines[0]
    assert answer.limits[0] == "gone has no scores: not begun."
    assert "gone is left out with 200 labels: the data has 120 texts to train on." in answer.limits


def test_few_data_sets_say_less_and_say_so(two: SuiteAnalysis) -> None:
    at = two.at["200"]
    pair = at.pair("full", "lora")
    assert pair is not None and isinstance(pair.mean, MetaMean)
    assert isinstance(at.ranks, Refusal) and isinstance(pair.mean.prediction, Refusal)
    answer = suite_answer(two)
    assert answer.limits[0].startswith("2 data sets are too few for mean ranks")
    assert not any("another data set like these" in line for line in answer.lines)


def test_one_data_set_and_none(tmp_path: Path) -> None:
    one = make_suite_folder(tmp_path, {"alone": CLEAR["set-0"]})
    answer = suite_answer(load_suite_analysis(one))
    assert answer.chosen is None and answer.verdict.startswith("Only alone has scores with 200 labels")
    later = make_suite_folder(tmp_path / "empty", {}, members=[Member(name="later", sizes={"200": 200})])
    answer = suite_answer(load_suite_analysis(later))
    assert answer.verdict.startswith("No data set has scores yet")


def test_a_strategy_that_a_data_set_lacks_is_not_ranked(tmp_path: Path) -> None:
    skills = {name: dict(own) for name, own in CLEAR.items()}
    del skills["set-3"]["lora-r2"]
    suite = load_suite_analysis(make_suite_folder(tmp_path, skills))
    at = suite.at["200"]
    assert at.everywhere == ("full", "lora") and at.labels == ("full", "lora", "lora-r2")
    pair = at.pair("full", "lora-r2")
    assert pair is not None and len(pair.on) == 5
    answer = suite_answer(suite)
    assert answer.standings["lora-r2"] == "not on all data sets"
    assert any(line.startswith("lora-r2 has no score on set-3.") for line in answer.limits)


def test_a_damaged_study_is_named_and_the_others_speak(folder: Path, six: SuiteAnalysis, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "studies" / "set-2" / "plan.json").write_text("{")
    error = {"type": "E", "message": "m", "traceback": ""}
    write_json(copy / "failures" / "set-1.json", {"time": "now", "error": error})
    suite = load_suite_analysis(copy)
    assert [one.why for one in suite.data_sets[:3]] == [None, "failed: m", suite.data_sets[2].why]
    assert suite.data_sets[2].analysis is None and suite.data_sets[1].analysis is not None
    assert len(suite.at["200"].data_sets) == 5


def test_other_metrics_margins_and_rows(folder: Path) -> None:
    suite = load_suite_analysis(folder, metric="accuracy", margin=100)
    assert suite.metric.name == "accuracy"
    assert "as good within 100 points" in suite_answer(suite).verdict
    for wrong in ({"metric": "nonsense"}, {"margin": 0.0}):
        with pytest.raises(ConfigError):
            load_suite_analysis(folder, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no such preference"):
        suite_answer(suite, prefer="taste")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="No data set has scores at this size"):
        suite_answer(suite, size="7")
    assert {row["data_set"] for row in suite_rows(folder)} == set(CLEAR)


def test_the_level_is_that_of_the_studies(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "suite")
    for path in (tmp_path / "suite").rglob("study.yaml"):
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"alpha": 1e-9}), encoding="utf-8")
    strict = load_suite_analysis(tmp_path / "suite")
    pair = strict.at["200"].pair("full", "lora")
    assert pair is not None and pair.test is not None and pair.test.alpha == 1e-9
    for on in pair.on:
        assert on.data_set.analysis is not None
        own = next(p for p in on.data_set.analysis.pairs if {p.first.label, p.second.label} == {"full", "lora"})
        assert (on.standing in ("better", "worse")) == own.verdict.different


def data_set(name: str, texts: int, rates: dict[str, float]) -> DataSet:
    """Return a data set with three runs of each strategy; where texts are few, each errs on texts of its own."""
    cells = []
    order = np.random.default_rng(len(name)).permutation(texts)
    for seed in (1, 2, 3):
        for place, (label, rate) in enumerate(rates.items()):
            wrong = np.zeros(texts, dtype=bool)
            hard = np.roll(order, place * texts // 2) if texts < 100 else order
            wrong[hard[: int(rate * texts) + (seed + place) % 2]] = True
            cell = make_cell(label, seed=seed, size=200, test_size=texts, **HONEST)
            cells.append(with_predictions(cell, wrong, n=texts))
    return DataSet(name, {"200": 200}, {}, analyse(compare(cells, name=name)))


@pytest.mark.parametrize("prefer", ["score", "cost", "size"])
def test_a_strategy_that_its_test_shows_to_be_worse_is_not_chosen_for_its_mean(prefer: Any) -> None:
    """On one data set with few texts lora is far ahead by luck; on five with many texts it is behind."""
    sets = [data_set(f"set-{i}", 6_000, {"full": 0.10, "lora": 0.115}) for i in range(5)]
    sets.append(data_set("small", 40, {"full": 0.30, "lora": 0.15}))
    suite = SuiteAnalysis("s", "", tuple(sets), METRICS["macro_f1"], 0.5)
    at = suite.at["200"]
    assert at.by_mean == ["lora", "full"]
    found = suite_answer(suite, prefer=prefer)
    assert found.verdict == "Over 6 data sets with 200 labels, choose full; worse: lora."
    assert found.lines[0].startswith("full minus lora: +1.4")
    assert any("lora has the best mean score, but full is shown to be better." in line for line in found.limits)
    (table,) = suite_tables(suite, ["strategies"])
    rows = {row["strategy"]: row for row in table.rows}
    assert rows["full"]["standing"] == "the best by the tests" and rows["lora"]["standing"] == "worse"
    assert rows["lora"]["difference"].estimate < 0 < rows["lora"]["score"] - rows["full"]["score"]
