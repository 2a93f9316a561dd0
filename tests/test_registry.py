"""What other packages add is found by name; what is broken is said once, and is left out or refused."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tunebench.registry
from tunebench.errors import ConfigError
from tunebench.registry import Registry
from tunebench.strategies import base as strategies
from tunebench.tasks import metrics

#: Source of the module ``{package}.py`` of a package that adds a member.
GOOD = "MEMBER = ('{name}', '{package}')"
#: The same with something wrong, and what is said of it.
BROKEN = {
    "import": ("import not_installed", "ModuleNotFoundError: No module named 'not_installed'"),
    "exit": ("raise SystemExit('no licence')", "SystemExit: no licence"),
    "attribute": ("OTHER = 1", "AttributeError: module 'broken_attribute' has no attribute 'MEMBER'"),
    "wrong": ("MEMBER = 17", "TypeError: a pair is needed, got 17"),
    "names": ("MEMBER = ('other', 1)", "has two names"),
    "taken": ("MEMBER = ('ours', 'not ours')", "whose name is taken: ours"),
}


def made(found: object) -> tuple[str, object]:
    if not isinstance(found, tuple):
        raise TypeError(f"a pair is needed, got {found!r}")
    return found


def new_registry() -> Registry[object]:
    found: Registry[object] = Registry("tests.things", "thing", made)
    found["ours"] = "ours"
    return found


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Return a function that installs a package with one entry point ``name = package:MEMBER``."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(package: str, name: str, source: str, group: str = "tests.things") -> None:
        (tmp_path / f"{package}.py").write_text(source, encoding="utf-8")
        about = tmp_path / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[{group}]\n{name} = {package}:MEMBER\n")

    return install


def add_good(add: Callable[[str, str, str], None], package: str, name: str) -> None:
    add(package, name, GOOD.format(name=name, package=package))


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_left_out_with_a_warning(
    case: str, add: Callable[[str, str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    source, complaint = BROKEN[case]
    name = "ours" if case == "taken" else case
    add(f"broken_{case}", name, source)
    add_good(add, f"fine_{case}", "fine")
    registry = new_registry()
    with caplog.at_level(logging.WARNING):
        assert dict(registry) == {"ours": "ours", "fine": f"fine_{case}"}
        assert len(registry) == 2
    (said,) = (record.getMessage() for record in caplog.records)
    assert complaint in said
    assert f"{name} = broken_{case}:MEMBER" in said and "tests.things" in said
    assert f"pip uninstall broken_{case}" in said


@pytest.mark.parametrize("case", [case for case in BROKEN if case != "taken"])
def test_what_is_broken_is_an_error_where_it_is_asked_for(
    case: str, add: Callable[[str, str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    source, complaint = BROKEN[case]
    add(f"broken_{case}", case, source)
    registry = new_registry()
    for _ in range(2):  # the second time, too
        with pytest.raises(ConfigError) as caught:
            registry[case]
        assert complaint in str(caught.value) and f"broken_{case}" in str(caught.value)
    with pytest.raises(ConfigError):
        assert case not in registry
    assert registry["ours"] == "ours" and not caplog.records


def test_a_name_imports_its_own_package_only(add: Callable[[str, str, str], None]) -> None:
    add_good(add, "wanted_package", "wanted")
    add_good(add, "idle_package", "idle")
    registry = new_registry()
    assert registry["ours"] == "ours" and "wanted_package" not in sys.modules
    assert registry["wanted"] == "wanted_package" and "idle_package" not in sys.modules
    assert registry.get("nobody") is None and "idle_package" not in sys.modules
    assert registry.known == ("ours", "wanted")
    assert set(registry) == {"ours", "wanted", "idle"} and "idle_package" in sys.modules


def test_two_packages_with_one_name_are_told_apart_by_nobody(
    add: Callable[[str, str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    for package in ("first_twin", "second_twin"):
        add_good(add, package, "twin")
    registry = new_registry()
    with pytest.raises(ConfigError, match="first_twin, second_twin"):
        registry["twin"]
    assert list(registry) == ["ours"]
    assert "Several packages have a thing of the same name: twin" in caplog.text


@pytest.mark.parametrize("listed", [False, True])
def test_a_package_may_register_and_list_while_it_is_imported(
    listed: bool, add: Callable[[str, str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = new_registry()
    monkeypatch.setattr(tunebench.registry, "HERE", registry, raising=False)
    package = f"eager_{listed}"
    source = "from tunebench.registry import HERE\nMEMBER = ('eager', 'it')\nHERE.add(*MEMBER)\nSEEN = list(HERE)\n"
    add(package, "eager", source)
    if listed:
        assert list(registry) == ["ours", "eager"]
    assert registry["eager"] == "it"
    assert sys.modules[package].SEEN == ["ours", "eager"]


def test_a_package_that_registers_and_then_fails_adds_nothing(
    add: Callable[[str, str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = new_registry()
    monkeypatch.setattr(tunebench.registry, "HERE", registry, raising=False)
    add("half_package", "half", "from tunebench.registry import HERE\nHERE.add('half', 'it')\nMEMBER = 1 / 0\n")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        registry["half"]
    assert list(registry) == ["ours"]


@pytest.mark.parametrize(
    ("group", "source", "complaint"),
    [
        ("strategies", "MEMBER = object()", "a subclass of tunebench.strategies.Strategy is needed, got <object"),
        (
            "strategies",
            "from tunebench.strategies import Strategy\nclass MEMBER(Strategy): name = 'odd'",
            "the class MEMBER lacks summary, source, params, default_learning_rate",
        ),
        (
            "strategies",
            "from tunebench.strategies import LoRA\n"
            "class Half(LoRA.__base__):\n name = 'odd'; summary = source = ''; params = LoRA.params\n"
            " default_learning_rate = 1.0\nMEMBER = Half",
            "TypeError: Can't instantiate abstract class Half",
        ),
        ("metrics", "MEMBER = max", "a tunebench.tasks.metric.Metric is needed, got builtin_function_or_method"),
    ],
)
def test_strategies_and_metrics_refuse_what_is_none(
    group: str,
    source: str,
    complaint: str,
    add: Callable[[str, str, str], None],
) -> None:
    package = f"odd_{group}_{abs(hash(source))}"
    add(package, "odd", source, group=f"tunebench.{group}")
    member = {"strategies": strategies._member, "metrics": metrics.member}[group]
    registry: Registry[object] = Registry(f"tunebench.{group}", "thing", member)
    with pytest.raises(ConfigError) as caught:
        registry["odd"]
    assert complaint in str(caught.value) and package in str(caught.value)


def test_a_registered_strategy_may_be_an_entry_point_too(
    add: Callable[[str, str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    add("lora_again", "lora", "from tunebench.strategies import LoRA as MEMBER", group="tunebench.strategies")
    registry: Registry[strategies.Strategy] = Registry("tunebench.strategies", "strategy", strategies._member)
    registry.add("lora", strategies.STRATEGIES["lora"])
    assert list(registry) == ["lora"] and not caplog.records


def test_a_command_goes_on_without_what_is_broken_and_refuses_it_by_name(
    add: Callable[[str, str, str], None], tmp_path: Path
) -> None:
    add("broken_command", "broken", "import not_installed", group="tunebench.strategies")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])

    def tunebench(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tunebench", *words]
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)

    study = tmp_path / "study.yaml"
    study.write_text("{name: a, model: minilm, data: imdb-reviews, strategies: {broken: {}}, train_sizes: [100]}")
    listed, asked = tunebench("strategies"), tunebench("run", str(study), "--dry-run")
    assert listed.returncode == 0 and "lora" in listed.stdout
    assert listed.stderr.startswith("warning: left out: A strategy of the package broken_command cannot be loaded")
    assert asked.returncode == 2 and not asked.stdout
    assert asked.stderr.startswith("error: A strategy of the package broken_command cannot be loaded")
    assert "Traceback" not in listed.stderr + asked.stderr
