"""The short form of ``make fuzz-readers``: every reader of stored files refuses damage or reads on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from faults.fuzz_readers import Target
from faults.readers import READERS
from thorough import mostly_thorough
from tunebench.web.watching.run import _points

#: Damaged inputs of each reader; those that build models or make tables take longer.
_INPUTS = {"model": 6, "adapter": 6, "study": 6, "watch": 8}
#: What stands where a file should hold an object.
_OTHER: list[Any] = [[], "text", 1, None]


@pytest.mark.parametrize("name", list(READERS))
def test_damage_is_refused_or_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))
    target, generator = Target(name, tmp_path), random.Random(name)
    inputs = [bytes([number, 0]) for number in range(len(target.files))]
    inputs += [
        bytes([generator.randrange(256), generator.randrange(1, 4)]) + generator.randbytes(40)
        for _ in range(_INPUTS.get(name, 16))
    ]
    found = {data.hex(): place for data in inputs if (place := target.read(data)) is not None}
    assert found == {}


@pytest.mark.parametrize(
    ("name", "file"),
    mostly_thorough(
        [
            ("model", "config.json"),
            ("model", "tokenizer_config.json"),
            ("adapter", "adapter/adapter_config.json"),
            ("adapter", "adapter/export.json"),
            ("adapter", "base/config.json"),
        ],
        keep=lambda case: "base" not in case[1],
    ),
)
def test_json_that_is_no_object_is_refused(name: str, file: str, tmp_path: Path) -> None:
    target = Target(name, tmp_path)
    for value in _OTHER:
        (target.folder / file).write_text(json.dumps(value))
        assert target.refusal() is not None, value


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("adapter_config.json", {"num_virtual_tokens": "many"}, "virtual tokens"),
        ("adapter_config.json", {"num_virtual_tokens": -1}, "virtual tokens"),
        ("export.json", {"base": {"source": 1}}, "a base that is none"),
        ("export.json", {"thresholds": "x"}, "thresholds that are none"),
    ],
)
def test_values_of_another_kind_are_named(file: str, values: dict[str, Any], said: str, tmp_path: Path) -> None:
    target = Target("adapter", tmp_path)
    path = target.folder / "adapter" / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    refused = target.refusal()
    assert refused is not None and file in refused and said in refused


@pytest.mark.parametrize(
    ("name", "file", "changes"),
    [
        ("import", "run/trainer_state.json", {"total_flos": "1e12"}),
        ("import", "run/trainer_state.json", {"total_flos": 10**400}),
        ("model", "config.json", {"model_type": {"a": 1}}),
        ("model", "config.json", {"is_decoder": True}),
        ("model", "tokenizer_config.json", {"model_max_length": "x"}),
    ],
)
def test_what_the_fuzzer_found_is_refused_or_read(
    name: str, file: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    target = Target(name, tmp_path)
    path = target.folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    target.refusal()  # any other error than a refusal is raised


def test_a_step_that_no_run_reaches_is_not_shown(tmp_path: Path) -> None:
    steps = (1, 2**63, -(2**70), 2)
    history = [{"step": step, "epoch": 1.0, "loss": 0.5} for step in steps]
    assert _points(history, "loss")["step"] == [1, 2]
