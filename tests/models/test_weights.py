"""Weights that do not fit their model, and a head that is there already."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import TINY
from factories import compare, make_cell, make_spec
from tunebench.analysis.analysis import analyse
from tunebench.errors import ModelError
from tunebench.execution.plan import make_plan
from tunebench.machine.settings import Execution
from tunebench.models.architectures import ARCHITECTURES, architecture_of
from tunebench.models.loading import inspect_base, load_classifier
from tunebench.models.reference import ModelRef
from tunebench.models.weights import INDEX_FILE, stored_weights
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec
from tunebench.training.encoder.prepare import prepare_model

Model = Callable[[str], Path]
Tensors = dict[str, torch.Tensor]
NAMES = ("no", "yes")


@pytest.fixture
def rewrite(tiny_model: Model, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that copies a tiny model, with its weights and its configuration changed."""

    def build(model_type: str, change: Callable[[Tensors], Tensors], **config: Any) -> Path:
        folder = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(tiny_model(model_type), folder)
        tensors = change(load_file(folder / "model.safetensors"))
        save_file({name: t.clone().contiguous() for name, t in tensors.items()}, folder / "model.safetensors")
        found = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(found))
        return folder

    return build


def weights_of(folder: Path, seed: int = 7, **options: Any) -> Tensors:
    torch.manual_seed(seed)
    return load_classifier(folder, label_names=options.pop("label_names", NAMES), **options).state_dict()


def equal(first: Tensors, second: Tensors) -> set[str]:
    """Return the names of tensors that differ; both hold the same names."""
    assert first.keys() == second.keys()
    return {name for name in first if not torch.equal(first[name], second[name])}


def without_new_head(model_type: str) -> Callable[[Tensors], Tensors]:
    family = ARCHITECTURES[model_type]
    return lambda tensors: {name: t for name, t in tensors.items() if not family.is_new_head(name)}


@pytest.mark.parametrize("model_type", sorted(TINY))
def test_a_finished_classifier_gets_the_head_that_its_encoder_would_get(
    tiny_model: Model, rewrite: Callable[..., Path], model_type: str
) -> None:
    finished = tiny_model(model_type)
    encoder = rewrite(model_type, without_new_head(model_type))
    assert inspect_base(encoder).use_of_head(keep=False, label_names=NAMES) is None
    assert inspect_base(finished).use_of_head(keep=False, label_names=NAMES) == "fresh"
    fresh = weights_of(finished, base_head="fresh")
    assert equal(fresh, weights_of(encoder)) == set()
    stored = weights_of(finished)
    # Only weights are drawn at random; biases begin at 0 and norms at 1 either way.
    head = {
        n for n in fresh if ARCHITECTURES[model_type].is_new_head(n) and n.endswith("weight") and "norm" not in n
    }
    assert head <= equal(fresh, stored)
    assert head <= equal(fresh, weights_of(finished, seed=8, base_head="fresh"))


@pytest.mark.parametrize("model_type", ["bert", "roberta"])
def test_a_kept_head_follows_the_names_of_its_classes(rewrite: Callable[..., Path], model_type: str) -> None:
    folder = rewrite(
        model_type, lambda tensors: tensors, id2label={"0": "yes", "1": "no"}, label2id={"yes": 0, "no": 1}
    )
    assert inspect_base(folder).use_of_head(keep=True, label_names=NAMES) == "kept"
    stored, kept = weights_of(folder), weights_of(folder, base_head="kept")
    output = "classifier.weight" if model_type == "bert" else "classifier.out_proj.weight"
    assert torch.equal(kept[output], stored[output].flip(0))
    assert {name.rpartition(".")[0] for name in equal(stored, kept)} == {output.rpartition(".")[0]}
    same = weights_of(folder, base_head="kept", label_names=("yes", "no"))
    assert equal(same, weights_of(folder, label_names=("yes", "no"))) == set()


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        (without_new_head("bert"), {}, "no classification head"),
        (lambda t: t, {"id2label": {"0": "no", "1": "maybe"}}, "not those of the data"),
        (lambda t: t, {}, "not those of the data"),
        (lambda t: t, {"problem_type": "multi_label_classification"}, "not trained for one class per text"),
        (lambda t: {n: x for n, x in t.items() if n != "classifier.bias"}, {}, "incomplete"),
    ],
)
def test_a_head_that_cannot_be_kept_is_refused(
    rewrite: Callable[..., Path], change: Callable[[Tensors], Tensors], config: dict[str, Any], message: str
) -> None:
    folder = rewrite("bert", change, **config)
    with pytest.raises(ModelError, match=message) as caught:
        inspect_base(folder).use_of_head(keep=True, label_names=NAMES)
    assert "remove keep_head" in str(caught.value)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("model_type", sorted(TINY))
def test_known_prefixes_are_taken_off_and_said(
    tiny_model: Model, rewrite: Callable[..., Path], model_type: str, prefix: str
) -> None:
    wrapped = rewrite(model_type, lambda tensors: {f"{prefix}{name}": t for name, t in tensors.items()})
    base = inspect_base(wrapped)
    assert base.stored.prefix == prefix
    assert any(repr(prefix) in line for line in base.remarks("fresh"))
    for use in (None, "fresh"):
        assert equal(weights_of(wrapped, base_head=use), weights_of(tiny_model(model_type), base_head=use)) == set()


def test_a_prefix_before_a_bare_encoder_is_taken_off(rewrite: Callable[..., Path], tiny_model: Model) -> None:
    """As DataParallel's state of a BertModel, which has no name of its own."""
    bare = without_new_head("bert")
    plain = rewrite("bert", bare)
    wrapped = rewrite("bert", lambda t: {f"module.{name.removeprefix('bert.')}": x for name, x in bare(t).items()})
    assert equal(weights_of(plain), weights_of(wrapped)) == set()


def test_an_unknown_or_ambiguous_prefix_is_refused_by_its_name(rewrite: Callable[..., Path]) -> None:
    unknown = rewrite("bert", lambda t: {f"student.{name}": x for name, x in t.items()})
    two = rewrite("bert", lambda t: {f"{side}.{name}": x for side in ("module", "net") for name, x in t.items()})
    for folder, words in ((unknown, ["student.bert."]), (two, ["module.", "net.", "several encoders"])):
        for load in (inspect_base, lambda f: load_classifier(f, label_names=NAMES)):
            with pytest.raises(ModelError) as caught:
                load(folder)
            assert all(word.removesuffix("bert.") in str(caught.value) for word in words)


@pytest.mark.parametrize("model_type", sorted(TINY))
def test_whatever_is_missing_outside_the_head_is_refused_by_name(
    tiny_model: Model, rewrite: Callable[..., Path], model_type: str
) -> None:
    tensors = load_file(tiny_model(model_type) / "model.safetensors")
    family = ARCHITECTURES[model_type]
    encoder = [name for name in tensors if not family.is_head(name)]
    for lost in (encoder[0], encoder[len(encoder) // 2], encoder[-1]):
        folder = rewrite(model_type, lambda t, lost=lost: {name: x for name, x in t.items() if name != lost})
        for load in (inspect_base, lambda f: load_classifier(f, label_names=NAMES)):
            with pytest.raises(ModelError, match="1 parameters of the encoder are missing") as caught:
                load(folder)
            assert lost in str(caught.value)


def test_weights_under_other_names_are_named(rewrite: Callable[..., Path]) -> None:
    folder = rewrite("bert", lambda t: {name.replace(".layer.1.", ".layer.one."): x for name, x in t.items()})
    with pytest.raises(ModelError, match=r"names that are not the model's: bert\.encoder\.layer\.one\."):
        inspect_base(folder)


def test_weights_of_another_shape_are_refused_with_both(rewrite: Callable[..., Path]) -> None:
    folder = rewrite("bert", lambda t: t, intermediate_size=48)
    with pytest.raises(ModelError, match=r"is 64 x 32 in the file and 48 x 32 by config"):
        load_classifier(folder, label_names=NAMES)
    with pytest.raises(ModelError, match="The weights do not fit config"):
        inspect_base(folder)


def test_a_missing_pooler_is_drawn_with_the_head_and_said(rewrite: Callable[..., Path]) -> None:
    """Masked language models have none, and an extra head of their own."""

    def masked(tensors: Tensors) -> Tensors:
        kept = {name: x for name, x in without_new_head("bert")(tensors).items() if "pooler" not in name}
        old = {n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): x for n, x in kept.items()}
        return old | {"cls.predictions.bias": torch.zeros(len(kept["bert.embeddings.word_embeddings.weight"]))}

    folder = rewrite("bert", masked)
    base = inspect_base(folder)
    assert base.lacking == ("bert.pooler.dense.bias", "bert.pooler.dense.weight")
    assert any("bert.pooler.dense.weight" in line for line in base.remarks(None))
    assert equal(weights_of(folder), weights_of(folder)) == set()


def test_checking_draws_nothing(tiny_model: Model) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    inspect_base(tiny_model("bert"))
    assert torch.equal(before, torch.get_rng_state())


def test_weights_in_several_files_are_read_alike(tiny_model: Model, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = shutil.copytree(tiny_model("bert"), tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    whole = AutoModelForSequenceClassification.from_pretrained(tiny_model("bert"))
    whole.save_pretrained(folder, max_shard_size="100kB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    for use in (None, "fresh"):
        assert equal(weights_of(folder, base_head=use), weights_of(tiny_model("bert"), base_head=use)) == set()
    next(folder.glob("*.safetensors")).unlink()
    with pytest.raises(ModelError):
        inspect_base(folder)


def test_an_index_that_holds_something_else_than_names_is_refused(tmp_path: Path) -> None:
    for shards in ({"a": ["b"]}, {"a": 1, "b": "2"}):
        (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": shards}))
        with pytest.raises(ModelError, match="cannot be read"):
            stored_weights(tmp_path, ARCHITECTURES["bert"])


@pytest.mark.parametrize("name", ["../x.safetensors", "/x.safetensors", "inner/x.safetensors"])
def test_an_index_that_leads_out_of_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / INDEX_FILE).write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ModelError, match="outside the model's folder"):
        stored_weights(tmp_path, ARCHITECTURES["bert"])


def test_every_family_has_a_head_that_classification_alone_brings(tiny_model: Model) -> None:
    for model_type in TINY:
        model = load_classifier(tiny_model(model_type), label_names=NAMES)
        family = architecture_of(model.config)
        new = {name for name, _ in model.named_parameters() if family.is_new_head(name)}
        assert new and all(family.is_head(name) for name in new)


def planned(model: Path, data: Path, **changes: Any) -> tuple[list[RunSpec], list[str]]:
    """Return the specs of a small study over a model, and what is said while it is planned."""
    said: list[str] = []
    study = {"name": "it", "model": str(model), "data": str(data), "strategies": ["full", "tfidf"]}
    plan = make_plan(
        StudyConfig.model_validate(study | {"train_sizes": [40], "max_length": 16, "epochs": 1} | changes),
        execution=Execution(device="cpu", threads=1),
        measure=False,
        on_progress=said.append,
    )
    return [run.spec for run in plan.runs], said


def test_a_plan_says_what_becomes_of_a_head_and_so_does_each_spec(
    tiny_model: Model, rewrite: Callable[..., Path], reviews: Path
) -> None:
    finished = rewrite("bert", lambda t: t, id2label={"0": "pos", "1": "neg"}, label2id={"pos": 0, "neg": 1})
    (full, tfidf), said = planned(finished, reviews)
    assert (full.base_head, tfidf.base_head) == ("fresh", None)
    assert any("already a classifier (pos, neg)" in line and "keep_head: true" in line for line in said)
    (kept, _), said = planned(finished, reviews, keep_head=True)
    assert kept.base_head == "kept"
    assert any("kept, its classes matched by name" in line for line in said)
    assert len({full.run_id, kept.run_id, full.model_copy(update={"base_head": None}).run_id}) == 3
    begun = prepare_model(kept, device="cpu").model.state_dict()
    stored = load_file(finished / "model.safetensors")
    # The data's classes are neg and pos.
    assert torch.equal(begun["classifier.weight"], stored["classifier.weight"].flip(0))
    drawn = prepare_model(full, device="cpu").model.state_dict()
    assert not torch.equal(drawn["classifier.weight"], stored["classifier.weight"])
    with pytest.raises(ModelError, match="not those of the data"):
        planned(tiny_model("bert"), reviews, keep_head=True)


def test_without_a_head_in_the_base_nothing_enters_a_runs_id(rewrite: Callable[..., Path], reviews: Path) -> None:
    (full, _), said = planned(rewrite("bert", without_new_head("bert")), reviews)
    assert full.base_head is None
    assert "base_head" not in full.identity
    assert not any(line.startswith("model:") for line in said)
    with pytest.raises(ModelError, match="no classification head"):
        planned(rewrite("bert", without_new_head("bert")), reviews, keep_head=True)


def test_a_baseline_beside_a_fresh_head_is_no_difference_of_recipes() -> None:
    cells = [make_cell("full", base_head="fresh"), make_cell("tfidf", kind="tfidf")]
    assert not any("base_head" in line for line in analyse(compare(cells)).warnings)
    cells = [make_cell("full", base_head="kept"), make_cell("lora", base_head="fresh")]
    found = analyse(compare(cells)).warnings
    assert any("differ in" in line and "base_head" in line for line in found)
    assert any("1 of 2 runs began with the classification head" in line for line in found)


def test_a_few_shot_encoder_takes_the_prefix_off_too(rewrite: Callable[..., Path], tiny_model: Model) -> None:
    pytest.importorskip("setfit")
    from tunebench.training.setfit.model import sentence_encoder

    wrapped = rewrite("bert", lambda tensors: {f"module.{name}": t for name, t in tensors.items()})
    found = []
    for folder in (tiny_model("bert"), wrapped):
        spec = make_spec("full", max_length=16, model=ModelRef(source=str(folder), fingerprint="a"))
        found.append(sentence_encoder(spec, device="cpu").encode(["a lovely film"])[0])
    assert (found[0] == found[1]).all()
