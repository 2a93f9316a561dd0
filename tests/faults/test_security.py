"""Nothing that is read can run code, leave its folder, or tell a secret."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fakes
from faults.commands import refused, tunebench
from tunebench.errors import ConfigError, StoreError
from tunebench.models.loading import load_classifier
from tunebench.models.sources import resolve_model
from tunebench.models.tokenizer import load_tokenizer
from tunebench.store.record import RunRecord
from tunebench.store.study_folder import StudyStore
from tunebench.study.strict_yaml import parse_yaml
from tunebench.training.attempt import Attempt

FORBIDDEN = ("torch.load", "eval", "exec", "yaml.unsafe_load", "yaml.full_load", "os.system")
SOURCE = Path(__file__).parents[2] / "src" / "tunebench"


class Payload:
    """Unpickling this makes a file."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> Any:
        return (open, (str(self.sentinel), "w"))


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "the-payload-ran"


def test_the_payload_would_run(sentinel: Path) -> None:
    """Else the tests below could not fail."""
    pickle.loads(pickle.dumps(Payload(sentinel))).close()
    assert sentinel.exists()


def test_pickled_files_beside_a_model_and_a_run_are_never_read(
    tiny_model: Callable[[str], Path], sentinel: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("bert"), folder)
    names = ("pytorch_model.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "model.pkl")
    for name in (*names, "adapter_model.bin"):
        (folder / name).write_bytes(pickle.dumps(Payload(sentinel)))
    resolve_model(str(folder))
    load_tokenizer(folder)
    load_classifier(folder, label_names=("a", "b"))
    shutil.copy(fakes.__file__, folder / "fakes.py")
    out = tmp_path / "import"
    tunebench("import", folder, "--out", out)
    (folder / "model.safetensors").unlink()
    for command in (("predict", folder, "x"), ("strategies", "full", "--model", folder)):
        assert (problem := refused(tunebench(*command))) == "", problem
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    assert (problem := refused(tunebench("predict", folder, "x"), ["adapter_model.bin"])) == "", problem
    assert not sentinel.exists()


@pytest.mark.parametrize("place", ["predictions", "import"])
def test_arrays_of_objects_are_refused(place: str, sentinel: Path, tmp_path: Path) -> None:
    poison = np.empty(2, dtype=object)
    poison[:] = [Payload(sentinel), Payload(sentinel)]
    if place == "predictions":
        study = fakes.make_study(strategies=["full"], train_sizes=[10])
        fakes.run(tmp_path / "out", study)
        run = StudyStore.open(tmp_path / "out").run_folder(fakes.make_specs(study)[0].run_id)
        np.savez(run.predictions, logits=poison, labels=poison, indices=poison)
        with pytest.raises(StoreError, match=r"predictions\.npz"):
            run.read_predictions()
    else:
        folder = tmp_path / "theirs"
        folder.mkdir()
        np.savez(folder / "predictions.npz", labels=poison, predictions=poison)
        ended = tunebench("import", folder, "--out", tmp_path / "out")
        assert (problem := refused(ended, ["never unpickled"])) == "", problem
        assert not (tmp_path / "out").exists()
    assert not sentinel.exists()


def test_no_source_file_unpickles_or_trusts_remote_code() -> None:
    """Over the syntax tree: a call of torch.load, pickle, joblib, eval, exec, yaml.load without our loader."""
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                if ast.unparse(node) == "from joblib import cpu_count":
                    continue  # it counts, and loads nothing
                names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
                assert not names & {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}, path
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert called not in (
                "torch.load",
                "eval",
                "exec",
                "yaml.unsafe_load",
                "yaml.full_load",
                "os.system",
            ), path
            assert keywords.get("trust_remote_code", "False") == "False", path
            assert keywords.get("shell", "False") == "False", path
            assert keywords.get("allow_pickle", "False") == "False", path
            if called == "np.load":
                assert keywords.get("allow_pickle") == "False", path
            if called == "yaml.load":
                assert keywords.get("Loader") == "_Loader", path


def test_a_model_that_wants_its_own_code_is_refused(
    tiny_model: Callable[[str], Path], sentinel: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("bert"), folder)
    code = f"open({str(sentinel)!r}, 'w')\nfrom transformers import BertConfig as Evil, BertModel as EvilModel\n"
    (folder / "evil.py").write_text(code)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "evil.Evil",
        "AutoModelForSequenceClassification": "evil.EvilModel",
        "AutoTokenizer": ["evil.Evil", None],
    }
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"auto_map": config["auto_map"]}))
    (folder / "config.json").write_text(json.dumps(config))
    # A family that is known without the code is loaded without it; another one is refused.
    tunebench("strategies", "full", "--model", folder)
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil"}))
    for command in (("strategies", "full", "--model", folder), ("predict", folder, "x")):
        assert (problem := refused(tunebench(*command))) == "", problem
    assert not sentinel.exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {}']",
        "!!python/object/new:os.system ['touch {}']",
        "!!python/name:os.system",
        "!!python/module:os",
        "a: !!python/object/apply:builtins.open ['{}', 'w']",
        "[!!python/tuple [1, 2]]",
    ],
)
def test_yaml_makes_no_objects(text: str, sentinel: Path) -> None:
    with pytest.raises(ConfigError, match="constructor"):
        parse_yaml(text.format(sentinel), where="test")
    assert not sentinel.exists()


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b", "..", "a\\b", "a\x00b", "~", "-rf", " "])
def test_names_do_not_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run id"):
        StudyStore(tmp_path).run_folder(name)
    with pytest.raises(StoreError, match="no run id"):
        StudyStore(tmp_path).run_folder(f"{name}-0123456789abcdef")
    for changes in ({"name": name}, {"strategies": {name: {"kind": "full"}}}):
        with pytest.raises(ValueError):
            fakes.make_study(**changes)


def test_a_record_cannot_name_files_outside_its_run(tmp_path: Path) -> None:
    study = fakes.make_study(strategies=["full"], train_sizes=[10])
    fakes.run(tmp_path, study)
    run = StudyStore.open(tmp_path).run_folder(fakes.make_specs(study)[0].run_id)
    record = run.read()
    assert record is not None
    outside = tmp_path / "outside"
    outside.write_text("x")
    moved = record.model_copy(update={"files": {"../../outside": record.files["weights.safetensors"]}})
    with pytest.raises(StoreError, match=r"missing(.|\n)*runs(.|\n)*outside"):
        run.verify(moved)


def test_a_planned_cell_cannot_lead_outside(tmp_path: Path) -> None:
    fakes.run(tmp_path, fakes.make_study(strategies=["full"], train_sizes=[10]))
    plan = json.loads((tmp_path / "plan.json").read_text())
    plan["cells"][0]["spec"]["label"] = "../../../outside"
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    ended = tunebench("status", tmp_path)
    assert (problem := refused(ended)) == "", problem


def test_secrets_of_the_environment_are_in_no_file_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hf_" + "s3cr3t" * 5
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "AWS_SECRET"):
        monkeypatch.setenv(name, secret)

    def fails(attempt: Attempt) -> RunRecord:
        if attempt.spec.kind == "lora":
            raise RuntimeError("no")
        return fakes.train(attempt)

    fakes.run(tmp_path, fakes.make_study(), fails)
    assert [path.name for path in tmp_path.rglob("failure.json")]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
    from tunebench.machine import environment

    assert secret not in json.dumps([environment.describe(), environment.versions()])
    assert os.environ["HF_TOKEN"] == secret
