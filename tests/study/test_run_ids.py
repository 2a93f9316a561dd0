"""A run's id is made of what reaches the run, and ids that an older schema made are found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes import make_record, make_specs, make_study
from tunebench.data.inputs import Inputs
from tunebench.data.reference import DataRef
from tunebench.errors import StoreError
from tunebench.execution.begun import begun_ids, begun_kernels, begun_precision
from tunebench.models.reference import ModelRef
from tunebench.recipe import Kernels, Precision, Recipe
from tunebench.store.plan_file import PlannedRun
from tunebench.store.study_folder import StudyStore
from tunebench.strategies import STRATEGIES
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand
from tunebench.study.spec import RunSpec

#: Another value of every setting that a study shares among its strategies.
OTHER: dict[str, Any] = {
    "max_length": 16,
    "epochs": 5,
    "batch_size": 8,
    "weight_decay": 0.1,
    "schedule": "cosine",
    "warmup_ratio": 0.2,
    "max_grad_norm": 0.5,
    "engine": "reference",
    "precision": "bf16",
    "attention_dropout": 0.3,
    "label_smoothing": 0.1,
    "pooling": "mean",
    "truncation": "tail",
    "head_share": 0.5,
    "frozen_dropout": False,
    "batches": "by_length",
    "min_steps": 100,
    "patience": 2,
    "class_weights": "balanced",
    "focal_gamma": 2.0,
    "oversampling": True,
    "gradient_accumulation": 2,
    "gradient_checkpointing": True,
    "max_steps": 50,
    "warmup_steps": 5,
    "restarts": 3,
    "randomness": "fast_engine",
    "evaluations_per_epoch": 7,
}
#: Settings that are refused without another one.
SWITCHED_ON_BY: dict[str, dict[str, Any]] = {
    "head_share": {"truncation": "head_tail"},
    "restarts": {"schedule": "cosine_with_restarts"},
    "randomness": {"engine": "reference"},
}
#: What reaches the strategies that do not train in the Trainer's way, as their backends read it.
REACHING = {
    "tfidf": {"class_weights"},
    "embeddings": {"max_length", "class_weights"},
    "static": {"class_weights"},
    "zero_shot": {"max_length"},
    "setfit": {"max_length", "precision"},
    "head_only": set(OTHER) - {"pooling"},
}


def make(kind: str, *, model: str = "m", kernels: Kernels = "torch", **settings: Any) -> RunSpec:
    """Return the one run of a study of one strategy."""
    raw = {"name": "s", "model": "m", "data": "d", "train_sizes": [20], "strategies": {kind: {}}}
    study = StudyConfig.model_validate(raw | {"precision": "fp32"} | settings)
    (spec,) = expand(
        study,
        model=ModelRef(source="m", fingerprint=model),
        data=DataRef(source="d", fingerprint="d", label_names=("a", "b")),
        train_examples=100,
        test_examples=50,
        precision={"fast": "bf16", "reference": "fp32"},
        kernels=dict.fromkeys(("bf16", "fp32"), kernels),
    )
    return spec


def as_schema_1(spec: RunSpec) -> RunSpec:
    """Return a spec as it was written before ids left anything out."""
    return RunSpec.model_validate(spec.model_dump(mode="json", exclude={"without_effect"}) | {"schema_version": 1})


def test_another_value_is_known_of_every_setting() -> None:
    assert set(Recipe.model_fields) <= set(OTHER)


@pytest.mark.parametrize("kind", sorted(STRATEGIES))
def test_an_id_changes_with_what_reaches_the_run_and_with_nothing_else(kind: str) -> None:
    reaching = REACHING.get(kind, set(OTHER))
    for key, value in OTHER.items():
        given = SWITCHED_ON_BY.get(key, {})
        before, after = make(kind, **given), make(kind, **given | {key: value})
        assert (before.run_id != after.run_id) == (key in reaching), key
        assert as_schema_1(before).run_id != as_schema_1(after).run_id, f"schema 1 made an id of {key}"
    assert (make(kind).run_id != make(kind, model="other").run_id) == (kind != "tfidf")


def test_a_run_of_the_fast_engine_is_the_same_whoever_takes_its_masks() -> None:
    strategies = {"a": {"kind": "full"}, "b": {"kind": "full", "engine": "reference"}}
    alone, shared = (
        make_specs(make_study(strategies=strategies, randomness=given)) for given in ("own", "fast_engine")
    )
    same = [before.run_id == after.run_id for before, after in zip(alone, shared, strict=True)]
    assert same == [spec.label == "a" for spec in alone]


def test_the_machine_is_in_no_id_that_precision_does_not_reach() -> None:
    for kind in ("tfidf", "embeddings"):
        assert make(kind, precision="auto").run_id == make(kind, precision="fp32").run_id
    # SetFit computes in it, and the engine does not choose it.
    fast, reference = (make("setfit", precision="auto", engine=engine) for engine in ("fast", "reference"))
    assert fast.precision == reference.precision == "bf16" and fast.run_id == reference.run_id


def test_an_id_holds_where_the_strategy_declares_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make("embeddings")
    run_id = spec.run_id
    monkeypatch.setattr(type(STRATEGIES["embeddings"]), "recipe_keys", None)
    assert RunSpec.model_validate(spec.model_dump(mode="json")).run_id == run_id


def test_the_same_pairs_under_other_column_names_are_the_same_study(tmp_path: Path) -> None:
    study = make_study()
    specs = make_specs(study)
    StudyStore.create(tmp_path / "s", study, [PlannedRun(spec) for spec in specs])
    data = specs[0].data.model_copy(update={"inputs": Inputs(columns=("question", "answer"))})
    assert [spec.model_copy(update={"data": data}).run_id for spec in specs] == [spec.run_id for spec in specs]
    more = [spec.model_copy(update={"data": data, "seed": 99}) for spec in specs]
    store = StudyStore.create(tmp_path / "s", study, [PlannedRun(spec) for spec in more])
    assert len(store.begun()) == len(specs) + len(more)


def test_runs_of_schema_1_are_found_and_others_are_added(tmp_path: Path) -> None:
    strategies: dict[str, Any] = {"tfidf": {}, "embeddings": {}, "full": {}}
    study = make_study(strategies=strategies)

    old = [as_schema_1(spec) for spec in make_specs(study)]
    store = StudyStore.create(tmp_path / "s", study, [PlannedRun(spec) for spec in old])
    for spec in old:
        folder = store.run_folder(spec.run_id)
        folder.begin(spec)
        folder.commit(make_record(spec, folder))
    assert begun_ids(make_specs(study), store.begun()) == old

    more = begun_ids(make_specs(study.model_copy(update={"seeds": (1, 2)})), store.begun())
    assert [spec for spec in more if spec.seed == 1] == old
    assert {spec.schema_version for spec in more if spec.seed == 2} == {2}
    StudyStore.create(tmp_path / "s", study, [PlannedRun(spec) for spec in more])
    assert sum(cell.trained for cell in store.cells()) == len(old) and len(store.cells()) == 2 * len(old)

    # What reaches two of the three makes another study of them; the third stays the run that it is.
    longer = begun_ids(make_specs(study.model_copy(update={"epochs": 9})), store.begun())
    assert [spec.label for spec in longer if spec in old] == ["tfidf", "embeddings"] * 2
    with pytest.raises(StoreError, match="strategy full: epochs: 3 -> 9") as caught:
        StudyStore.check(tmp_path / "s", longer)
    assert "tfidf" not in str(caught.value)


def test_a_setting_that_no_cell_feels_does_not_make_another_study(tmp_path: Path) -> None:
    def cell(**settings: Any) -> RunSpec:
        return make("tfidf", **settings)

    study = make_study(strategies={"tfidf": {}}, train_sizes=[20], epochs=3)
    StudyStore.create(tmp_path / "s", study, [PlannedRun(cell())])
    StudyStore.check(tmp_path / "s", [cell(evaluations_per_epoch=4, batch_size=3)])
    for changes, said in (
        ({"metric": "mcc"}, "metric: macro_f1 -> mcc"),
        ({"selection": "last"}, "selection"),
        ({"model": "other"}, "model"),
    ):
        with pytest.raises(StoreError, match=said):
            StudyStore.check(tmp_path / "s", [cell(**changes)])
    with pytest.raises(StoreError, match="metric: mcc -> macro_f1"):
        StudyStore.create(tmp_path / "t", study, [PlannedRun(cell(metric="mcc"))])
        StudyStore.check(tmp_path / "t", [cell()])


def test_setfit_keeps_the_precision_it_was_begun_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunebench.machine.devices.gains_from_bf16", lambda device: False)
    study = make_study(strategies={"setfit": {}}, precision="auto", train_sizes=[20], seeds=[1])
    begun = as_schema_1(make("setfit", precision="bf16"))
    assert begun_precision(study, [begun], "cpu", lambda line: None)["fast"] == "bf16"
    assert begun_precision(study, [], "cpu", lambda line: None)["fast"] == "fp32"


def test_the_kernels_are_in_the_id_of_what_they_compute_and_of_nothing_else() -> None:
    def ids(kind: str, kernels: Kernels, **settings: Any) -> str:
        return make(kind, kernels=kernels, **settings).run_id

    with_bf16 = {"precision": "bf16"}
    for precision in ("bf16", "fp32"):
        assert ids("full", "torch", precision=precision) != ids("full", "native", precision=precision)
    for kind, settings in (
        ("full", {"engine": "reference", **with_bf16}),
        ("full", {"engine": "reference", "randomness": "fast_engine", **with_bf16}),
        ("tfidf", {}),
        ("setfit", with_bf16),
    ):
        assert ids(kind, "torch", **settings) == ids(kind, "native", **settings), (kind, settings)
    # What was recorded before there was a choice.
    for precision in ("bf16", "fp32"):
        before = make("full", precision=precision)
        assert before.kernels == "torch" and "kernels" not in before.identity


def test_runs_that_share_masks_with_the_reference_engine_have_those_that_it_can_take() -> None:
    strategies = {"a": {"kind": "full"}, "b": {"kind": "full", "engine": "reference"}}
    for randomness, wanted in (("own", ["native", "torch"]), ("fast_engine", ["torch", "torch"])):
        study = make_study(strategies=strategies, randomness=randomness, precision="bf16")
        specs = make_specs(study, kernels="native")
        assert [next(s.kernels for s in specs if s.label == label) for label in "ab"] == wanted


@pytest.mark.parametrize("here", ["torch", "native"])
@pytest.mark.parametrize("begun", ["torch", "native"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_study_keeps_the_kernels_it_was_begun_with(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, here: Kernels, begun: Kernels
) -> None:
    monkeypatch.setattr(
        "tunebench.engine.native.loading.kernels_here", lambda device, wanted: dict.fromkeys(wanted, here)
    )
    said: list[str] = []
    other: Precision = "fp32" if precision == "bf16" else "bf16"
    runs = [make("tfidf"), make("full", precision=other), make("full", precision=precision, kernels=begun)]

    def kept(runs: list[RunSpec], **study: Any) -> dict[Precision, Kernels]:
        strategies = study.pop("strategies", {"full": None})
        made = make_study(precision="auto", strategies=strategies, **study)
        return begun_kernels(made, runs, {"fast": precision, "reference": "fp32"}, "cpu", said.append)

    assert kept(runs) == {precision: begun}
    assert bool(said) == (here != begun)
    assert kept(runs[:2]) == {precision: here}
    # Where no run could use them, nobody asks for them.
    assert kept(runs[:2], strategies={"tfidf": None}) == kept(runs[:2], engine="reference") == {}
