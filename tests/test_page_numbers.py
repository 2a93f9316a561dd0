"""Intervals that pages quote are those of the committed studies, as computed today."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import statistics
from collections import Counter
from itertools import permutations
from pathlib import Path

import pytest

from tunebench.analysis.analysis import analyse
from tunebench.analysis.evidence import POINTS, collect
from tunebench.analysis.load import load_comparison
from tunebench.analysis.pairs import difference_of
from tunebench.analysis.recommend import recommend
from tunebench.benchmarks.training import Result, Side, render
from tunebench.benchmarks.wall_result import Process, WallResult, render_wall
from tunebench.stats import equivalence

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ["encoders.md", "findings.md", "paper.md", "speed.md", "design/engine.md", "../README.md"]
#: Studies whose pairs a page compares one by one, at 90 %; their reports have them corrected for all pairs.
ONE_BY_ONE = ["methods", "without-regret"]
#: Studies of whose tests of equality a page gives the intervals, at 90 % for all pairs together.
OF_EQUALITY = ["parity", "honest-minilm", "without-regret", "engines", "engines-lora"]
#: The tables of the suite that docs/encoders.md is about, and those of the study of its costs.
LADDER = DOCS / "results" / "encoders"
INTERVAL = re.compile(r"\[([+-]?\d+\.\d+),\s+([+-]?\d+\.\d+)\]")


def quoted(text: str) -> set[tuple[str, str]]:
    found = INTERVAL.findall(text.replace("\\[", "[").replace("\\]", "]"))
    return {(str(low), str(high)) for low, high in found}


def mirrored(intervals: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The same differences, taken the other way round."""
    swap = str.maketrans("+-", "-+")
    return {(high.translate(swap), low.translate(swap)) for low, high in intervals if low[0] in "+-"}


def one_by_one(study: str) -> set[tuple[str, str]]:
    comparison = load_comparison(DOCS / "results" / study)
    found = set()
    for first, second in permutations(collect(comparison), 2):
        difference = difference_of(first, second)
        interval = equivalence(difference, margin=0.005, p_value=difference.p_value, comparisons=1).interval
        found.add((f"{interval.low * POINTS:+.2f}", f"{interval.high * POINTS:+.2f}"))
    return found


def of_equality(study: str) -> set[tuple[str, str]]:
    """The intervals of the tests of equality with the best, for all pairs together."""
    found = recommend(analyse(load_comparison(DOCS / "results" / study))).alternatives
    tests = [one.difference for one in found if one.difference is not None]
    return {(f"{t.interval.low * POINTS:+.2f}", f"{t.interval.high * POINTS:+.2f}") for t in tests}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def over_data_sets() -> set[tuple[str, str]]:
    """The intervals of differences in the tables of the ladder, in points."""
    rows = [row for name in ("mean_differences", "differences") for row in rows_of(LADDER / f"{name}.csv")]
    ends = [(row["difference_low"], row["difference_high"]) for row in rows if row["difference_low"]]
    return {(f"{POINTS * float(low):+.2f}", f"{POINTS * float(high):+.2f}") for low, high in ends}


@pytest.fixture(scope="module")
def computed() -> set[tuple[str, str]]:
    reports = [path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("results/*/report.md"))]
    found = set().union(*map(quoted, reports)) | over_data_sets()
    found |= set().union(*map(of_equality, OF_EQUALITY))
    return found | mirrored(found) | set().union(*map(one_by_one, ONE_BY_ONE))


@pytest.mark.parametrize("page", PAGES)
def test_intervals_of_a_page_are_those_of_a_study(page: str, computed: set[tuple[str, str]]) -> None:
    intervals = quoted((DOCS / page).read_text(encoding="utf-8"))
    assert intervals
    assert intervals - computed == set()


@pytest.mark.parametrize("page", ["encoders.md", "../README.md"])
def test_scores_and_costs_of_the_ladder_are_those_of_its_tables(page: str) -> None:
    """Each cell of a row that begins with a strategy of the ladder stands in that strategy's rows of the tables."""
    scores = rows_of(LADDER / "strategies.csv")
    costs = rows_of(LADDER / "costs.csv")
    units = {"ms": 1e-3, "s": 1, "min": 60, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    seen = set()
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        found = re.match(r"\| `([\w@-]+)` \| (.*) \|$", line)
        own = [row for row in [*scores, *costs] if found and row["strategy"] == found[1]]
        for cell in found[2].split(" | ") if found and own else ():
            if re.fullmatch(r"0\.\d{4}", cell):
                assert cell in {f"{float(row['score']):.4f}" for row in own if "train_seconds" not in row}, line
            elif measured := re.fullmatch(r"([\d.]+) (\w+)", cell):
                number, unit = float(measured[1]), units[measured[2]]
                kinds = ("train_seconds", "test_seconds") if unit <= 60 else ("peak_memory_bytes", "artifact_bytes")
                values = [float(row[kind]) for row in own for kind in kinds if row.get(kind)]
                assert any(float(f"{value / unit:.3g}") == number for value in values), (line, cell)
            else:
                continue
            seen.add((found[1] if found else "", cell))
    assert len(seen) > 15


def test_what_heads_on_three_layers_scored_is_what_both_suites_gave() -> None:
    page = (DOCS / "encoders.md").read_text(encoding="utf-8")
    said = re.findall(r"^\| `(\S+)`, (first token|mean) \| (.+) \|$", page, re.M)
    assert len(said) == 4
    for label, read, cells in said:
        rows = rows_of(LADDER / ("scores.csv" if read == "mean" else "first_token.csv"))
        assert cells.split(" | ") == [f"{float(r[f'score_{label}']):.4f}" for r in rows if r["size"] == "2000"]


def test_scores_of_the_tasks_page_are_those_of_its_studies() -> None:
    """Each row of the measured table, with the columns that it names, against what ``tunebench results`` wrote."""
    section = (DOCS / "tasks.md").read_text(encoding="utf-8").partition("## Measured on real data")[2]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    head, _, *rows = lines
    assert len(rows) == len(list(DOCS.glob("results/tasks/*.json")))
    for row in rows:
        name, metric = (re.findall("`(.+?)`", cell)[0] for cell in (row[0], row[2]))
        runs = json.loads((DOCS / "results" / "tasks" / f"{name}.json").read_text(encoding="utf-8"))
        said = {title.strip("`"): cell for title, cell in zip(head, row, strict=True)}
        assert {run["train_size"] for run in runs} == {int(said["labels"].replace(",", ""))}
        for run in runs:
            assert said[run["strategy"]] == f"{run[metric]:.4f}", (name, run["strategy"])


def test_what_comparing_by_the_metric_brings_is_what_the_suite_gave() -> None:
    """Each row of the measured table of docs/embeddings.md, against the table that ``tunebench tables`` wrote."""
    rows = rows_of(DOCS / "results" / "linear-choice" / "mean_differences.csv")
    measured = {(row["first"], row["second"], row["size"]): row for row in rows}
    page = (DOCS / "embeddings.md").read_text(encoding="utf-8")
    said = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| (\d) \| (\S+) \[(\S+), (\S+)\] \|$", page, re.M)
    assert len(said) == 4
    for kind, labels, data_sets, *numbers in said:
        row = measured[f"{kind}-by-metric", f"{kind}-by-loss", labels.replace(",", "")]
        assert row["data_sets"] == data_sets
        found = [float(row[f"difference{end}"]) for end in ("", "_low", "_high")]
        assert numbers == [f"{100 * value:+.2f}" for value in found]


def section(page: str, title: str) -> str:
    """Return a section of a page, without its title."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_what_choose_found_on_four_data_sets_is_what_it_answered() -> None:
    """Each row of the measured table of docs/choose.md, against the answer that ``tunebench recommend`` wrote."""
    table = section("choose.md", "On four data sets")
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line
    ]
    assert len(rows) == len(list(DOCS.glob("results/choose/*.json")))
    for row in rows:
        data, minutes = re.findall("`(.+?)`", row[0])[0], row[1].split()[0]
        answer = json.loads((DOCS / "results" / "choose" / f"{data}-{minutes}.json").read_text(encoding="utf-8"))
        scores = {one["label"]: f"{one['interval']['estimate']:.4f}" for one in answer["alternatives"]}
        scores[answer["strategy"]] = f"**{scores[answer['strategy']]}**"
        said = {title.strip("`"): cell for title, cell in zip(head, row, strict=True)}
        assert said["compared at"] == f"{answer['train_size']:,}"
        assert {label: said[label] for label in scores} == scores
        assert all(said[label.strip("`")] == "-" for label in head[3:] if label.strip("`") not in scores)


def test_what_the_kills_came_to_is_what_was_counted() -> None:
    """The counts of docs/reliability.md, against the file that ``make faults`` wrote."""
    told = json.loads((DOCS / "results" / "kills.json").read_text(encoding="utf-8"))
    victims = sum((Counter(kind["victims"]) for kind in told["kinds"].values()), Counter[str]())
    workers = victims["worker"] + victims["worker in its first second"]
    on_ray = victims["a run's process"]
    total = Counter({key: sum(kind[key] for kind in told["kinds"].values()) for key in ("resumed", "looks")})
    page = " ".join((DOCS / "reliability.md").read_text(encoding="utf-8").split())
    assert told["wrong"] == 0
    assert (
        f"made {told['kills']} kills: {victims['driver']} of the process that was started, {victims['child']} of a "
        f"child, {victims['all']} of all at once, {workers} of a worker that started as a user's does, and on Ray "
        f"{victims['node']} of a node and {on_ray} of a run's process. {told['studies']} studies came to their "
        f"end. Of their {told['runs_compared']} runs, {total['resumed']} had resumed from a checkpoint."
    ) in page
    assert f"looked at {total['looks']} times" in page


def test_what_the_fuzzer_read_is_what_was_counted() -> None:
    """The counts of docs/reliability.md, against the file that ``make fuzz-readers`` wrote."""
    told = json.loads((DOCS / "results" / "fuzz-readers.json").read_text(encoding="utf-8"))
    inputs, findings = (sum(reader[key] for reader in told.values()) for key in ("inputs", "findings"))
    page = " ".join((DOCS / "reliability.md").read_text(encoding="utf-8").split())
    assert f"{len(told)} readers were given {inputs:,} inputs" in page
    assert f"There were {findings} findings" in page


def test_what_reading_takes_is_what_was_measured() -> None:
    """Each cell of the table of docs/scaling.md, against the file that ``make reading`` wrote."""
    measured = json.loads((DOCS / "results" / "reading.json").read_text(encoding="utf-8"))
    section = (DOCS / "scaling.md").read_text(encoding="utf-8").partition("## Reading and auditing")[2]
    kinds = {"JSON lines": "jsonl", "CSV": "csv", "Parquet": "parquet"}
    said = set()
    for what, kind, *cells in re.findall(
        r"^\| (read and audit|read) ([\w ]+) \| (.+) \| (.+) \| (.+) \|$", section, re.M
    ):
        for size, cell in zip((25, 100, 500), cells, strict=True):
            name = f"{'audit' if 'audit' in what else 'read'} {kinds[kind]} {size} MB"
            if cell != "-":
                found = measured[name]
                assert cell == f"{found['cpu_seconds']:.1f} s, {found['megabytes']:,} MB", name
                said.add(name)
    assert said == set(measured)


def test_the_grid_that_choose_is_compared_with_is_what_it_answered() -> None:
    def scores(name: str) -> dict[str, float]:
        answer = json.loads((DOCS / "results/choose" / name).read_text(encoding="utf-8"))
        return {one["label"]: one["interval"]["estimate"] for one in answer["alternatives"]}

    page = " ".join((DOCS / "choose.md").read_text(encoding="utf-8").split())
    for data, chosen in (("trec", "lora"), ("tweet-emotion", "full")):
        grid, found = scores(f"grid/{data}.json"), scores(f"{data}-30.json")[chosen]
        assert f"2e-4, with macro F1 {max(grid.values()):.4f} over three seeds" in page
        less = 100 * (grid["full"] - found)
        assert f"whose one run has {found:.4f}: {abs(less):.2f} points {'less' if less > 0 else 'more'}" in page
    assert f"its `lora` has {scores('grid/trec.json')['lora']:.4f}" in page


def test_what_stands_beside_choose_is_what_the_benchmark_measured() -> None:
    page = (
        (DOCS / "choose.md").read_text(encoding="utf-8").partition("## Beside other tools")[2].partition("\n## ")[0]
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if "|" in line][2:]
    said = {(row[0].split("`")[1], row[1].strip("`")): row[2:] for row in rows}
    files = sorted((DOCS / "results/choose/against").glob("*.json"))
    results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    found = {
        (file.stem, entry["name"]): [
            *(
                f"{score['estimate']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"
                for score in entry["scores"].values()
            ),
            f"{entry['seconds'][0]:.0f}",
        ]
        for file, result in zip(files, results, strict=True)
        for entry in result["entries"]
    }
    assert said == found
    assert all(f"`{file.stem}`, {one['labels']:,}" in page for file, one in zip(files, results, strict=True))
    for file, one in zip(files, results, strict=True):
        scores = {entry["name"]: entry["scores"]["macro_f1"] for entry in one["entries"]}
        ours, other = scores["tunebench choose"], scores["autogluon"]
        assert ours["estimate"] > other["estimate"] and (ours["low"] > other["high"]) == (file.stem == "banking77")


def test_how_long_the_last_training_is_rests_on_what_was_measured() -> None:
    page = (
        (DOCS / "choose.md").read_text(encoding="utf-8").partition("## The last training")[2].partition("\n## ")[0]
    )
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in page.splitlines() if "|" in line]
    assert len(rows) == 2 + 6
    for data, draw, seed, *said in rows[2:]:
        file = DOCS / "results/choose/last" / f"{data}-{int(draw) - 1}.json"
        runs = json.loads(file.read_text(encoding="utf-8"))
        found = {run["strategy"]: run["macro_f1"] for run in runs if run["seed"] == int(seed)}
        assert said == [f"{found[name]:.4f}" for name in ("full-160", "full-320", "lora-160", "lora-320")]
    numbers = [[float(value) for value in row[3:]] for row in rows[2:]]
    most = max(100 * (row[at] - row[at + 1]) for row in numbers for at in (0, 2))
    assert f"All of them cost {most:.1f} points at most" in page
    assert f"costs {100 * min(row[1] - row[0] for row in numbers[:2]):.0f} points here" in page


def test_what_the_benchmark_printed_is_what_its_file_holds() -> None:
    """The benchmark of MiniLM in docs/speed.md, against the file that the same command wrote with ``--json``."""
    told = json.loads((DOCS / "results" / "bench-minilm-epyc.json").read_text(encoding="utf-8"))
    fields = {field.name: told[field.name] for field in dataclasses.fields(Result)}
    sides = {way: {name: Side(**side) for name, side in each.items()} for way, each in told["sides"].items()}
    printed = render(Result(**fields | {"sides": sides}), grid=True)
    assert f"--without-native\n{printed}```" in (DOCS / "speed.md").read_text(encoding="utf-8")


def test_what_is_said_of_a_processor_without_bf16_is_what_was_measured() -> None:
    told, profile = (
        json.loads((DOCS / "results" / f"{name}-minilm-avx2.json").read_text(encoding="utf-8"))
        for name in ("bench", "profile")
    )
    assert told["machine"]["simd"] == ["avx2"] and told["precision"] == "fp32"
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    hours = {side: sum(times.values()) for side, times in told["grid_seconds"].items()}
    assert told["kernels"] == "AVX2"
    for side in ("paper", "careful", "without"):
        full, lora, *scored = (
            f"{told[what][way][side][0]:.2f}x"
            for what in ("step_ratio", "evaluation_ratio")
            for way in ("full", "lora")
        )
        grid = f"{hours[side] / hours['ours']:.1f}x"
        assert f"| `{side}` | {full} | {lora} | {', '.join(scored)} | {grid} |\n" in page
    shares = [
        f"{100 * sum(line['share'] for line in one['lines'] if line['operator'] in ('mm', 'addmm')):.0f} %"
        for one in profile["profiles"]
    ]
    full, lora = (f"{100 * told['mfu'][way]:.0f} %" for way in ("full", "lora"))
    assert f"steps reach {full} (full) and {lora} (LoRA) of the peak that was measured" in page
    assert f"Products with weights are {' and '.join(shares)} of a step" in page


def test_what_whole_processes_took_is_what_the_file_holds() -> None:
    """The table of ``bench --wall`` in docs/speed.md, against the file that its ``--json`` wrote."""
    told = json.loads((DOCS / "results" / "wall-minilm-epyc.json").read_text(encoding="utf-8"))
    fields = {field.name: told[field.name] for field in dataclasses.fields(WallResult)}
    result = WallResult(**fields | {"sides": {name: Process(**side) for name, side in told["sides"].items()}})
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    assert f"--rounds 3\n{render_wall(result)}```" in page
    ours = {name: statistics.median(values) for name, values in result.sides["ours"].stages.items()}
    fixed = (ours["start"] + ours["end"]) / statistics.median(result.sides["ours"].seconds)
    assert f"after its last is {100 * fixed:.0f} % of its time\nhere" in page


def test_what_is_said_of_modernbert_is_what_its_benchmark_measured() -> None:
    told = json.loads((DOCS / "results" / "bench-modernbert-epyc.json").read_text(encoding="utf-8"))
    page = (DOCS / "speed.md").read_text(encoding="utf-8")
    for side in ("paper", "careful"):
        full, lora, *scored = (
            f"{told[what][way][side][0]:.2f}x"
            for what in ("step_ratio", "evaluation_ratio")
            for way in ("full", "lora")
        )
        assert f"| `{side}` | {full} | {lora} | {', '.join(scored)} |\n" in page
    share, ratio = told["mfu"]["full"], told["step_ratio"]["full"]["careful"][0]
    assert f"ModernBERT reaches {100 * share:.0f} % of the peak" in page
    # A bound is rounded up.
    bound = math.ceil(20 * ratio / share) / 20
    assert f"more than {bound:.2f} times as fast as `careful`" in " ".join(page.split())
