"""The command line as a user meets it: help, output, errors, exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

import factories
from faults.commands import refused, tunebench
from thorough import thorough
from tunebench import __version__, cli
from tunebench.analysis.analysis import analyse
from tunebench.analysis.answer import answer_of
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import recommended
from tunebench.cli.console import print_rows
from tunebench.execution.runner import Summary
from tunebench.execution.study import StudyResult
from tunebench.report.words import closing_lines, recommendation_text
from tunebench.study.yaml_file import presets

RESULT_KEYS = (
    "run_id status strategy train_size seed learning_rate trainable_params adapter_params head_params total_params "
    "macro_f1 accuracy test_loss train_seconds eval_seconds wall_seconds train_flops peak_memory_bytes "
    "artifact_bytes score_per_million"
).split()


def process(*args: str) -> subprocess.CompletedProcess[str]:
    """Run ``tunebench ARGS`` as a user does; the other tests do without a new interpreter."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    command = [sys.executable, "-m", "tunebench", *args]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def commands() -> list[list[str]]:
    found = [[command.name or command.callback.__name__] for command in cli.app.registered_commands]  # type: ignore[union-attr]
    return [*found, ["data", "audit"], ["leaderboard", "add"], ["leaderboard", "render"]]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_and_most_an_example(command: list[str]) -> None:
    name = command[-1].replace("_", "-")
    result = CliRunner().invoke(cli.app, [*command[:-1], name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output
    if name not in ("version",):
        assert "Example:" in result.output


def test_the_version_is_a_command_and_an_option() -> None:
    told = [CliRunner().invoke(cli.app, [word]).output for word in ("version", "--version")]
    assert told == [f"{__version__}\n"] * 2


@pytest.fixture(scope="module")
def finished(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished study of two runs, and its study file."""
    root = tmp_path_factory.mktemp("cli")
    lines = ["text,label"]
    lines += [f"{'a great film' if i % 2 else 'a dull film'} number {i},{i % 2}" for i in range(120)]
    (root / "data.csv").write_text("\n".join(lines) + "\n")
    study = root / "tiny.yaml"
    study.write_text(
        f"model: {tiny_model('bert')}\ndata: {root / 'data.csv'}\n"
        "strategies:\n  full: {learning_rate: 1e-3}\n  lora: {learning_rate: 5e-3, rank: 2}\n"
        "train_sizes: [60]\nmax_length: 16\nepochs: 1\nbatch_size: 16\n"
    )
    out = root / "out"
    with mock.patch("tunebench.api._write_report", lambda comparison, folder, **options: folder / "report.html"):
        result = tunebench("run", study, "--out", out, "--no-measure", "--threads", "1")
    assert result.code == 0, result.err + result.crash
    assert "Report:" in result.out
    assert len(result.out.splitlines()) <= 11 and "Next:" in result.out
    return out, study


def test_results_have_the_promised_columns(finished: tuple[Path, Path]) -> None:
    out, _ = finished
    rows = json.loads(tunebench("results", str(out), "--json").out)
    assert len(rows) == 2
    assert all(set(RESULT_KEYS) <= row.keys() for row in rows)
    assert all(row["status"] == "complete" and 0 <= row["macro_f1"] <= 1 for row in rows)
    table = list(csv.DictReader(io.StringIO(tunebench("results", str(out), "--csv").out)))
    assert [row["run_id"] for row in table] == [row["run_id"] for row in rows]


def test_two_formats_at_once_are_refused() -> None:
    for command in (["results", ".", "--json", "--csv"], ["predict", ".", "a", "--json", "--format", "csv"]):
        refused = tunebench(*command)
        assert refused.code == 2 and "drop one" in refused.err and not refused.out


def test_results_in_csv_hold_no_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"error": "=1+1", "difference": -0.5, "per_class": {"-": -1}, "label": "-0.3", "seed": None}
    comparison = type("It", (), {"rows": lambda self: [row]})()
    monkeypatch.setattr("tunebench.execution.looks.read_results", lambda folder: comparison)
    (found,) = csv.DictReader(io.StringIO(tunebench("results", ".", "--csv").out))
    assert list(found.values()) == ["'=1+1", "-0.5", '{"-": -1}', "-0.3", ""]


def test_results_in_csv_have_every_column_of_some_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"status": "failed"}, {"status": "complete", "theirs": 0.5}]
    comparison = type("It", (), {"rows": lambda self: rows})()
    monkeypatch.setattr("tunebench.execution.looks.read_results", lambda folder: comparison)
    assert tunebench("results", ".", "--csv").out == "status,theirs\nfailed,\ncomplete,0.5\n"


def test_rows_hold_one_line_a_cell(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{"error": "one\ntwo", "empty": "", "none": None, "count": 1234}])
    assert capsys.readouterr().out == "error\tempty\tnone\tcount\none\t\t-\t1,234\n"


def test_a_study_ends_with_the_answer_its_trust_and_what_to_type_next(finished: tuple[Path, Path]) -> None:
    out, _ = finished
    analysis = analyse(load_comparison(out))
    found = recommended(analysis)
    assert not isinstance(found, str)
    answer = answer_of(analysis, found)
    lines = closing_lines(analysis, out, out / "report.html")
    assert lines[: len(answer.lines)] == answer.lines and len(lines) <= 11
    assert lines[0] == answer.verdict and {found.beside, answer.trust} <= set(lines)
    assert f"  tunebench recommend {out}" in lines
    text = recommendation_text(analysis, found)
    assert text.startswith("\n".join(answer.lines)) and all(doubt in text for doubt in found.doubts)
    for status, word in (("pending", "run"), ("failed", "status")):
        nothing = analyse(factories.compare([factories.make_cell(status=status)]))
        lines = closing_lines(nothing, out, out / "report.html")
        assert lines[0] == recommended(nothing) and lines[-1] == f"  tunebench {word} {out}"


@pytest.mark.usefixtures("no_report")
def test_a_folder_goes_on_with_the_study_inside(finished: tuple[Path, Path]) -> None:
    out, study = finished
    ended = tunebench("run", str(out), "--no-measure")
    assert ended.code == 0 and "Next:" in ended.out, ended.err + ended.crash
    changed = tunebench("run", str(out), "--set", "epochs=3", "--out", "elsewhere")
    assert changed.code == 2 and "the study inside it" in changed.err and "--set --out" in changed.err
    assert tunebench("run", str(study.parent / "nothing")).code == 2


@pytest.mark.usefixtures("no_report")
def test_running_again_trains_nothing(finished: tuple[Path, Path]) -> None:
    out, study = finished
    before = {p: p.stat().st_mtime_ns for p in out.glob("runs/*/*.*")}
    result = tunebench("run", str(study), "--out", str(out), "--no-measure", "--json")
    assert result.code == 0, result.err + result.crash
    assert len(json.loads(result.out)) == 2
    assert {p: p.stat().st_mtime_ns for p in out.glob("runs/*/*.*")} == before


def test_status_tables_and_report_of_a_finished_study(finished: tuple[Path, Path]) -> None:
    out, _ = finished
    assert "2 complete" in tunebench("status", str(out)).out
    assert "| strategy" in tunebench("tables", str(out), "macro_f1", "--format", "markdown").out.lower()
    assert tunebench("report", str(out)).code == 0
    for place in ("report.md", "tables/scores.csv", "tables/time.md", "figures/loss_curves.png", "study.yaml"):
        assert (out / place).stat().st_size > 0
    figures = {p.stem for p in out.glob("figures/runs/*/*.svg")}
    assert figures >= {"loss_by_step", "loss_by_epoch", "confusion"}


def test_status_names_the_command_that_mends_a_damaged_run(finished: tuple[Path, Path], tmp_path: Path) -> None:
    whole, _ = finished
    assert "tunebench run" not in tunebench("status", str(whole)).out
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    predictions = next(folder.glob("runs/*/predictions.npz"))
    predictions.write_bytes(predictions.read_bytes()[:-1])
    said = tunebench("status", str(folder)).out
    assert "1 failed" in said and "is damaged" in said
    assert f"tunebench run {folder} trains what is pending, and trains again what failed." in said


def test_paths_are_printed_as_they_are(
    finished: tuple[Path, Path], tiny_model: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, study = finished
    place = Path("o[/x]")
    result = StudyResult(load_comparison(folder), place / "report.html", Summary(failed=["lora"]))
    monkeypatch.setattr("tunebench.api.run_study", lambda *_, **__: result)
    ended = tunebench("run", str(study), "--out", str(place))
    assert ended.code == 1 and not ended.crash, ended.crash
    assert f"Report: {place / 'report.html'}" in ended.out and f"tunebench status '{place}'" in ended.err
    model = tmp_path / "m[/x]"
    shutil.copytree(tiny_model("bert"), model)
    ended = tunebench("strategies", "lora", "--model", str(model))
    assert ended.code == 0 and f"on {model}: trains" in ended.out, ended.crash


def test_a_dry_run_writes_nothing(finished: tuple[Path, Path], tmp_path: Path) -> None:
    _, study = finished
    result = tunebench("run", str(study), "--dry-run", "--no-measure", "--out", str(tmp_path / "x"), "--json")
    rows = json.loads(result.out)
    assert {row["steps"] for row in rows} == {4}
    assert all(row["seconds"] > 0 and row["memory_bytes"] > 0 and row["trainable_params"] > 0 for row in rows)
    assert not (tmp_path / "x").exists()


def test_a_dry_run_of_a_begun_study_says_what_is_complete(finished: tuple[Path, Path]) -> None:
    out, study = finished
    args = ("run", str(study), "--dry-run", "--no-measure", "--out", str(out), "--set", "seeds=[42, 2]")
    rows = json.loads(tunebench(*args, "--json").out)
    complete = [row["complete"] for row in rows]
    assert sorted(complete) == [False, False, True, True]
    said = tunebench(*args).out
    assert "2 of 4 runs, about" in said and "; 2 runs complete" in said
    assert [line.rsplit("\t")[-1] for line in said.splitlines()[1:5]].count("complete") == 2


@pytest.mark.usefixtures("no_report")
def test_a_budget_leaves_rows_not_holes(finished: tuple[Path, Path], tmp_path: Path) -> None:
    _, study = finished
    args = ("run", str(study), "--set", "train_sizes=[30, 60]", "--no-measure", "--threads", "1", "--json")
    rows = json.loads(tunebench(*args, "--dry-run").out)
    budget = 1 + sum(row["seconds"] for row in rows if row["train_size"] == 30)
    result = tunebench(*args, "--budget", f"{budget:.0f}s", "--out", str(tmp_path / "b"))
    assert result.code == 0, result.err + result.crash
    states = {(r["strategy"], r["train_size"]): r["status"] for r in json.loads(result.out)}
    assert states == {
        ("full", 30): "complete",
        ("lora", 30): "complete",
        ("full", 60): "left_out",
        ("lora", 60): "left_out",
    }
    for name in ("scores", "time", "score_per_million", "runs"):
        text = tunebench("tables", str(tmp_path / "b"), name).out
        assert "left out" in text, name


@thorough
def test_workers_share_a_study_and_say_so(finished: tuple[Path, Path], tmp_path: Path) -> None:
    out, study = finished
    args = ("--no-measure", "--workers", "2", "--threads", "1", "--out", str(tmp_path / "w"), "--json")
    result = process("run", str(study), *args)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr, "what libraries say of each other"
    rows = {row["run_id"]: row for row in json.loads(result.stdout)}
    serial = {row["run_id"]: row for row in json.loads(tunebench("results", str(out), "--json").out)}
    assert rows.keys() == serial.keys()
    for run_id, row in rows.items():
        assert (row["status"], row["macro_f1"]) == ("complete", serial[run_id]["macro_f1"])
        record = json.loads((tmp_path / "w" / "runs" / run_id / "record.json").read_text())
        assert record["timing"]["workers"] == 2


@thorough
def test_bench_measures_both_sides(tiny_model: Callable[[str], Path]) -> None:
    result = tunebench("bench", "--model", str(tiny_model("bert")), "--seconds", "1", "--threads", "1", "--json")
    assert result.code == 0, result.err + result.crash
    found = json.loads(result.out)
    assert found["rounds"] == 2
    for way in ("full", "lora"):
        plain, ours = found["sides"][way]["plain"], found["sides"][way]["ours"]
        ratios = [p / o for p, o in zip(plain["step_seconds"], ours["step_seconds"], strict=True)]
        assert found["step_ratio"][way][1:] == pytest.approx([min(ratios), max(ratios)])
        assert found["mfu"][way] > 0
    total = found["grid_seconds"]["plain"]
    steps = 3 * (157 + 313 + 782)
    expected = sum(steps * sum(found["sides"][way]["plain"]["step_seconds"]) / 2 for way in ("full", "lora"))
    assert total["training"] == pytest.approx(expected)


BAD = {
    "unknown preset": (["run", "quickstrat"], "did you mean 'quickstart'"),
    "unknown key": (["run", "quickstart", "--set", "epoch=3"], "epochs"),
    "bad value": (["run", "quickstart", "--set", "batch_size=none"], "batch_size"),
    "bad strategy": (["run", "quickstart", "--set", "strategies.lora.rank=0"], "rank"),
    "bad set": (["run", "quickstart", "--set", "epochs"], "KEY=VALUE"),
    "missing data": (["run", "quickstart", "--data", "nowhere.csv"], "nowhere.csv"),
    "wrong column": (["run", "quickstart", "--set", "data.text_column=body"], "body"),
    "size too large": (["run", "quickstart", "--set", "train_sizes=[999999]"], "999999"),
    "too small": (["run", "quickstart", "--set", "train_sizes=[3]"], "too small"),
    "no model": (["run", "quickstart", "--model", "./nothing/here"], "nothing/here"),
    "budget": (["run", "quickstart", "--budget", "soon"], "90m"),
    "no study": (["tables", "nowhere"], "no study"),
    "no such table": (["tables", "nowhere", "macro"], "no study"),
    "audit": (["data", "audit", "nope"], "nope"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_message_and_exit_code_two(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args, needle = BAD[name]
    monkeypatch.chdir(tmp_path)
    assert (problem := refused(tunebench(*args), [needle])) == "", problem
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("args", [("--model", "distilbert-base-uncased"), ("--data", "stanfordnlp/imdb")])
def test_what_is_on_the_hub_only_is_named_where_there_is_no_hub(
    args: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ended = tunebench("run", "quickstart", *args, "--out", tmp_path / "out")
    assert (problem := refused(ended, ["Hub"])) == "", problem
    assert list(tmp_path.iterdir()) == []


BAD_DATA = {
    "single class": "text,label\na,1\nb,1\nc,1\n",
    "empty text": "text,label\na,1\n ,0\nc,1\n",
    "missing label": "text,label\na,1\nb,\nc,0\n",
    "ragged": 'text,label\n"a,1\nb,0\n',
    "empty file": "",
    "not utf-8": b"text,label\ncaf\xe9,1\nb,0\n",
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_refused_before_anything_is_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = BAD_DATA[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    result = tunebench("run", "quickstart", "--data", "d.csv", "--out", "out", "--no-measure")
    assert (problem := refused(result)) == "", problem
    assert "d.csv" in result.err or "train" in result.err
    assert [p.name for p in tmp_path.iterdir()] == ["d.csv"]


def test_several_errors_are_said_together() -> None:
    result = tunebench("run", "quickstart", "--set", "epochs=0", "--set", "wurm=1", "--set", "seeds=[]")
    assert (problem := refused(result, ["epochs", "wurm", "seeds"])) == "", problem


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.txt").write_text("mine")
    result = tunebench("run", "quickstart", "--out", out, "--no-measure")
    assert (problem := refused(result, ["something else"])) == "", problem
    assert [p.name for p in out.iterdir()] == ["chapter.txt"]


def test_doctor_answers() -> None:
    found = json.loads(tunebench("doctor", "--json").out)
    topics = {finding["topic"] for finding in found}
    assert topics >= {"processor", "memory", "disk", "Hub", "torch", "products, fp32"}


def test_presets_load() -> None:
    listed = tunebench("presets").out
    assert all(name in listed for name in presets())


def test_reading_results_needs_no_torch() -> None:
    code = (
        "import sys; import tunebench.api, tunebench.cli, tunebench.report.tables, tunebench.report.figures\n"
        "bad = {'torch', 'transformers', 'peft', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'imports {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_takes_the_keys_of_a_study(tiny_model: Callable[[str], Path], tmp_path: Path) -> None:
    rows = [("a", "pos"), ("b", "neg"), ("c", "nan"), ("d", "pos"), ("e", "neg"), ("d", "pos")]
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    options = ("--model", str(tiny_model("distilbert")), "--set", "data.labels.drop=[nan]")
    shown = tunebench("data", "audit", str(tmp_path / "x.csv"), *options).out
    assert "passed over: 1 of 6 rows of train (the label is 'nan'; left out by data.labels.drop)" in shown
    assert "train: 5 texts; neg 2 (40.0%), pos 3 (60.0%)" in shown
