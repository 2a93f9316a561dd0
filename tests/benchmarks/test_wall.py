"""``bench --wall``: every side does the same, from its start to its predictions. Nothing here looks at a clock."""

from __future__ import annotations

import ast
import csv
import json
import math
import runpy
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import f1_score
from transformers import Trainer

from faults.commands import tunebench
from tunebench.benchmarks import wall
from tunebench.benchmarks.against import run_against, tfidf_side
from tunebench.benchmarks.others import find_others
from tunebench.benchmarks.scripts import other_tools, trainer_script
from tunebench.benchmarks.scripts.other_tools import Exam, setfit_side
from tunebench.benchmarks.wall import run_wall
from tunebench.benchmarks.wall_result import Process, WallResult, render_wall
from tunebench.errors import DataError, PlanError, TunebenchError


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Here:
    """Runs what would be a process of its own in this one, and keeps what it was given and what it answered."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.parts: dict[str, list[dict[str, str]]] = {}
        self.answered: list[list[dict[str, str]]] = []

    def __call__(
        self, command: Sequence[str], task: Any, folder: Path, *, python: str | None = None
    ) -> tuple[float, float]:
        self.commands.append(list(command))
        self.parts = {part: read(task.data / f"{part}.csv") for part in ("train", "validation", "test")}
        if command[:2] == ["-m", "tunebench"]:
            ended = tunebench(*command[2:], "--no-measure")
            assert ended.code == 0, ended.err + ended.crash
            return 0.0, 1.0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", list(command))
            if command[0] == other_tools.__file__:
                runpy.run_path(command[0], run_name="__main__")
            else:
                trainer_script.main()
                self.answered += [read(path) for path in sorted(folder.glob("*/predictions.csv"))]
        return 0.0, 1.0


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    found = Here()
    monkeypatch.setattr(wall, "_timed", found)
    return found


@pytest.mark.filterwarnings("ignore:.*pin_memory")
@pytest.mark.usefixtures("no_report")
def test_script_and_study_do_the_same_from_texts_to_predictions(
    here: Here, reviews: Path, tiny_model: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers: list[Trainer] = []
    usual = Trainer.__init__
    monkeypatch.setattr(Trainer, "__init__", lambda self, **given: (trainers.append(self), usual(self, **given))[1])
    model = str(tiny_model("bert"))
    result = run_wall(model, data=str(reviews), labels=40, validation=8, test=12, rounds=1, threads=1)
    assert [len(here.parts[part]) for part in ("train", "validation", "test")] == [40, 8, 12]
    assert len({row["text"] for rows in here.parts.values() for row in rows}) == 60
    # Full fine-tuning and LoRA, of the two ways to run the script and of the study.
    assert len(trainers) == 6
    for number, rate in enumerate((5e-5, 5e-4)):
        for trainer in trainers[number::2]:
            args = trainer.args
            assert (args.learning_rate, args.num_train_epochs, args.per_device_train_batch_size) == (rate, 1, 32)
            assert (len(trainer.train_dataset), len(trainer.eval_dataset)) == (40, 8)
            assert trainer.state.global_step == 2
            # The script's name of macro F1, and the study's.
            evaluated = [line for line in trainer.state.log_history if {"eval_f1", "eval_macro_f1"} & line.keys()]
            assert [line["step"] for line in evaluated] == [2]
    trained = [sum(p.numel() for p in trainer.model.parameters() if p.requires_grad) for trainer in trainers]
    assert trained == trained[:2] * 3 and trained[1] < trained[0]
    assert len(here.answered) == 4
    for rows in here.answered:
        assert [(row["text"], row["label"]) for row in rows] == [
            (row["text"], row["label"]) for row in here.parts["test"]
        ]
        assert {row["predicted"] for row in rows} <= {"neg", "pos"}
    assert all(set(side.scores) == {"full", "lora"} for side in result.sides.values())
    for name in ("paper", "careful"):
        answered = here.answered[2 * (name == "careful") :]
        for way, rows in zip(("full", "lora"), answered, strict=False):
            found = f1_score([row["label"] for row in rows], [row["predicted"] for row in rows], average="macro")
            assert result.sides[name].scores[way] == [pytest.approx(found)]


def test_sides_of_other_packages_train_one_model_and_so_do_all(
    here: Here,
    reviews: Path,
    tiny_model: Callable[[str], Path],
    autogluon: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(task: Any, folder: Path, found: Process, *options: str) -> None:
        found.add(1.0, {}, dict.fromkeys(task.strategies, 0.5))

    monkeypatch.setattr(wall, "_paper", nothing)
    monkeypatch.setattr(wall, "_ours", nothing)
    model, told = str(tiny_model("bert")), []
    result = run_wall(
        model, others=["autogluon"], data=str(reviews), labels=30, rounds=2, validation=8, test=12, tell=told.append
    )
    rounds = [line for line in told if line.startswith("round ")]
    assert rounds == [
        f"round {n} of 2: {name}" for n in (1, 2) for name in ("paper", "careful", "autogluon", "ours")
    ]
    assert [asked["optim.max_epochs"] for asked in autogluon] == [1, 1]
    assert list(autogluon[0]["data"]["text"]) == [row["text"] for row in here.parts["train"]]
    assert autogluon[0]["limit"] is None and autogluon[0]["model.hf_text.checkpoint_name"] == model
    assert result.strategies == ["full"] and set(result.sides["autogluon"].scores) == {"own"}
    most = autogluon[0]["data"]["label"].mode()[0]
    truth = [row["label"] for row in here.parts["test"]]
    score = f1_score(truth, [most] * 12, average="macro")
    assert result.sides["autogluon"].scores["own"] == [pytest.approx(score)] * 2
    assert "autogluon one model, trained its own way" in render_wall(result)


@pytest.mark.parametrize(("limit", "steps"), [({"epochs": 2}, 2), ({"seconds": 0.0}, 1)])
def test_setfit_ends_with_its_texts_or_its_time(
    limit: dict[str, Any],
    steps: int,
    tiny_model: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import setfit

    trainers: list[Any] = []
    usual = setfit.Trainer.train
    monkeypatch.setattr(setfit.Trainer, "train", lambda self: (trainers.append(self), usual(self))[1])
    texts, labels = [f"a {('great', 'dull')[i % 2]} film {i}" for i in range(24)], ["pos", "neg"] * 12
    settings: dict[str, Any] = {"seconds": math.inf, "threads": 1} | limit
    exam = Exam(texts[:20], labels[:20], texts[20:], tiny_model("bert"), folder=tmp_path, **settings)
    exam.write(tmp_path / "exam.json")
    answers = setfit_side(Exam.read(tmp_path / "exam.json"))
    assert len(answers) == 4 and set(answers) <= {"pos", "neg"}
    assert trainers[0].st_trainer.state.global_step == steps


@pytest.mark.parametrize(
    ("name", "pip"), [("setfit", "'tunebench[setfit]'"), ("autogluon", "autogluon.multimodal")]
)
def test_a_package_that_is_missing_is_told_once_and_before_anything_runs(
    name: str, pip: str, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    for refused in (
        lambda: run_wall(others=[name]),
        lambda: run_against("rotten-tomatoes", tfidf_side, others=[name]),
    ):
        with pytest.raises(PlanError, match=f"{name} is not installed here") as missing:
            refused()
        assert f"pip install {pip}" in str(missing.value) and f"leave --against {name} out" in str(missing.value)
    assert here.commands == []


def test_what_cannot_be_timed_is_said(here: Here, reviews: Path, tiny_model: Callable[[str], Path]) -> None:
    with pytest.raises(DataError, match="fewer different texts") as few:
        run_wall(str(tiny_model("bert")), data=str(reviews), labels=500)
    assert "500 for train, 100 for validation, 500 for test" in str(few.value) and "160 in all" in str(few.value)
    assert here.commands == []
    ended = tunebench("bench", "--against", "setfit")
    assert ended.code == 2 and "--wall" in ended.err


def test_a_process_has_its_threads_and_its_cache_and_tells_why_it_failed(tmp_path: Path) -> None:
    task = wall._Task(tmp_path, tmp_path, ("full",), 1, 3, False)
    code = "import os, sys; sys.exit(os.environ['OMP_NUM_THREADS'] + ' ' + os.environ['XDG_CACHE_HOME'])"
    with pytest.raises(TunebenchError, match="process of the benchmark failed") as failed:
        wall._timed(["-c", code], task, tmp_path / "1-ours")
    assert f"1-ours: 3 {tmp_path / '1-ours' / 'cache'}" in str(failed.value)


def test_the_script_is_a_plain_one() -> None:
    tree = ast.parse(Path(trainer_script.__file__).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [name for name in modules | names if str(name).startswith("tunebench")]
    # Python looks for modules beside a script first: one called like one of its own would be taken instead.
    beside = {path.stem for path in Path(trainer_script.__file__).parent.glob("*.py")}
    assert not beside & sys.stdlib_module_names


def test_every_stage_and_ratio_is_shown() -> None:
    stages = {"start": 2.0, "training": 20.0, "evaluation": 3.0, "test": 4.0, "end": 1.0}
    plain, ours = Process(), Process()
    for seconds in (40.0, 44.0, 36.0):
        plain.add(seconds, stages, {"full": 0.9, "lora": 0.8})
        ours.add(10.0, {stage: part / 4 for stage, part in stages.items()}, {"full": 0.9, "lora": 0.85})
    result = WallResult(
        model="m",
        data="reviews",
        labels=500,
        validation=100,
        test=500,
        epochs=1,
        threads=2,
        rounds=3,
        precision="bf16",
        strategies=["full", "lora"],
        machine={"cpu": "a processor", "cores": 2},
        versions={},
        sides={"paper": plain, "ours": ours},
    )
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values["ratio"] == {"paper": [4, 3.6, 4.4]} and values["sides"]["paper"]["stages"]["test"] == [4, 4, 4]
    lines = [line.split("  ") for line in render_wall(result).splitlines()]
    table = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert table["training"] == ["20.0", "5.0"] and table["rest"] == ["10.0", "2.5"]
    assert table["whole process"] == ["40.0", "10.0"] and table["macro F1, lora"] == ["0.8000", "0.8500"]
    assert "paper takes 4.00 times as long as ours (3.60 to 4.40 over rounds)" in table


def test_a_side_may_run_with_the_python_of_another_environment(tmp_path: Path) -> None:
    """An environment without tunebench: a package called setfit is all that it has."""
    (tmp_path / "setfit-1.2.dist-info").mkdir()
    (tmp_path / "setfit-1.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: setfit\nVersion: 1.2\n"
    )
    (tmp_path / "setfit.py").write_text("")
    python = tmp_path / "python"
    # Its own folder for packages; and an answer instead of a training.
    python.write_text(
        f"#!{sys.executable} -SE\n"
        "import runpy, sys\n"
        f"sys.path[:0] = [{str(tmp_path)!r}]\n"
        "if sys.argv[1] == '-c':\n"
        "    exec(sys.argv[2])\n"
        "else:\n"
        "    sys.argv = sys.argv[1:]\n"
        "    script = runpy.run_path(sys.argv[0])\n"
        "    exam = script['Exam'].read(script['Path'](sys.argv[2]))\n"
        "    script['Path'](sys.argv[3]).write_text(script['json'].dumps(exam.unseen))\n"
    )
    python.chmod(0o755)
    (other,) = find_others([f"setfit={python}"])
    assert other.version() == "1.2"
    exam = Exam(["a"], ["x"], ["b", "c"], tmp_path, math.inf, 1, tmp_path)
    assert list(other(exam)) == ["b", "c"]
    assert other.arguments(Path("e"), Path("a")) == [other_tools.__file__, "setfit", "e", "a"]
    with pytest.raises(PlanError, match="setfit is not installed for no-such-python"):
        find_others(["setfit=no-such-python"])
    with pytest.raises(PlanError, match="No module named 'autogluon'"):
        find_others([f"autogluon={python}"])
