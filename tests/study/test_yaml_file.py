from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebench.errors import ConfigError, ErrorGroup, TunebenchError
from tunebench.strategies import LoraParams
from tunebench.study.config import StudyConfig
from tunebench.study.strict_yaml import parse_yaml
from tunebench.study.yaml_file import check_study, load_study, presets

GOOD = "model: minilm\ndata: reviews.csv\nstrategies: [full, lora]\ntrain_sizes: [100, all]\n"


def write(folder: Path, text: str | bytes) -> str:
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def errors_of(folder: Path, text: str | bytes, *overrides: str) -> list[TunebenchError]:
    with pytest.raises(TunebenchError) as caught:
        load_study(write(folder, text), overrides=overrides)
    assert caught.value.exit_code == 2
    return caught.value.errors if isinstance(caught.value, ErrorGroup) else [caught.value]


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_is_valid_and_survives_being_written(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    assert study.name == name
    stored = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False)
    assert load_study(write(tmp_path, stored)) == study


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_s_test_size_is_a_limit_for_other_data_only(name: str, tmp_path: Path) -> None:
    own = load_study(name)
    assert own.test_limit is None
    assert load_study(name, data=own.data.source) == own
    for options in ({"data": "other.csv"}, {"overrides": ["data=other.csv"]}):
        other = load_study(name, **options)  # type: ignore[arg-type]
        assert (other.test_size, other.test_limit) == (None, own.test_size)
    assert load_study(name, data="other.csv", overrides=["test_size=7"]).test_size == 7
    # What a user writes is asked for.
    mine = yaml.safe_dump(own.model_dump(mode="json", exclude={"name"}))
    assert load_study(write(tmp_path, mine), data="other.csv").test_size == own.test_size


def test_a_test_size_and_a_limit_exclude_each_other(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, GOOD + "test_size: 10\ntest_limit: 20\n")
    assert "drop one of them" in str(error)


def test_the_paper_preset_is_the_report_to_the_letter() -> None:
    study = load_study("paper")
    assert (study.model, study.data.source) == ("distilbert-base-uncased", "stanfordnlp/imdb")
    assert study.strategies["full"].learning_rate == (5e-5,)
    assert study.strategies["lora"].learning_rate == (1e-4,)
    stated = {"rank": 8, "alpha": 16.0, "dropout": 0.2, "placement": "query_value"}
    assert study.strategies["lora"].params == LoraParams(**stated).model_dump(mode="json")
    assert {**stated, "init": "default", "top_layers": None}.items() <= study.strategies["lora"].params.items()
    assert (study.train_sizes, study.seeds, study.subset_seed) == ((5000, 10000, 25000), (42,), (42,))
    assert (study.epochs, study.batch_size, study.max_length) == (3, 32, 256)
    assert (study.schedule, study.warmup_ratio, study.weight_decay) == ("linear", 0.0, 0.0)
    assert (study.evaluations_per_epoch, study.selection) == (2, "test")
    assert (study.engine, study.precision, study.attention_dropout) == ("reference", "fp32", None)


def test_paper_minilm_is_the_papers_grid_with_honest_selection() -> None:
    paper, minilm = load_study("paper"), load_study("paper-minilm")
    changed = {k for k, v in minilm.model_dump().items() if v != paper.model_dump()[k]}
    assert changed == {"name", "description", "model", "selection", "engine", "precision"}
    assert (minilm.model, minilm.selection, minilm.engine) == ("minilm", "validation", "fast")


def test_a_file_takes_its_name_from_itself_and_its_numbers_as_they_are_meant(tmp_path: Path) -> None:
    text = GOOD.replace(
        "[full, lora]", "{full: {learning_rate: 5e-5}, lora: {learning_rate: [1E-4, 5.e-4, 0.001]}}"
    )
    study = load_study(write(tmp_path, text))
    assert study.name == "mine"
    assert study.strategies["full"].learning_rate == (5e-5,)
    assert study.strategies["lora"].learning_rate == (1e-4, 5e-4, 1e-3)


@given(st.floats(min_value=1e-300, max_value=1e300), st.sampled_from(["{:e}", "{:.0e}", "{!r}", "{:g}"]))
def test_every_way_of_writing_a_float_is_a_number(value: float, style: str) -> None:
    text = style.format(value)
    assert parse_yaml(f"x: {text}", where="test")["x"] == float(text)


def test_byte_order_marks_and_comments_do_no_harm(tmp_path: Path) -> None:
    assert load_study(write(tmp_path, "\ufeff# mine\n" + GOOD)).train_sizes == (100, "all")


@pytest.mark.parametrize("sign", [",", "|", ";", "#", "||", "*", "&", "%", ">", "-", ":", "/", ", "])
def test_signs_alone_are_set_as_they_stand(tmp_path: Path, sign: str) -> None:
    path = write(tmp_path, GOOD)
    for text in (sign, repr(sign.strip())):
        study = load_study(path, overrides=[f"data.label_delimiter={text}"])
        assert study.data.label_delimiter == sign.strip()
    assert load_study(path, overrides=["data.label_delimiter=~"]).data.label_delimiter is None


def test_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "model_revision: v1\nseeds: [1]\n")
    study = load_study(
        path,
        overrides=["strategies.lora.rank=16", "seeds=[1, 2]", "data.text_column=review", "epochs=5"],
        model="other",
        data="other.csv",
    )
    assert study.strategies["lora"].params["rank"] == 16
    assert study.strategies["full"].kind == "full"
    assert (study.seeds, study.epochs) == ((1, 2), 5)
    assert (study.data.source, study.data.text_column) == ("other.csv", "review")
    # The old model's revision says nothing about the new one; one that is asked for counts.
    assert (study.model, study.model_revision) == ("other", None)
    assert load_study(path, overrides=["model_revision=v2"], model="other").model_revision == "v2"


def test_several_errors_come_together_each_with_key_value_allowed_and_fix(tmp_path: Path) -> None:
    text = """
model: minilm
data: {sorce: x}
strategies:
  full: {learning_rate: quick}
  lora: {rank: 0, dropuot: 0.1, placement: querry_value}
  lor:
train_sizes: [1, some, 2.5, 100]
epochs: 0
selection: validaton
evaluations: 3
"""
    found = {error.what.split(":")[0]: error for error in errors_of(tmp_path, text)}
    assert set(found) == {
        "data.source",
        "data.sorce",
        "strategies.full.learning_rate",
        "strategies.lora.rank",
        "strategies.lora.dropuot",
        "strategies.lora.placement",
        "strategies.lor",
        "train_sizes.0",
        "train_sizes.1",
        "train_sizes.2",
        "epochs",
        "selection",
        "evaluations",
    }
    for key, error in found.items():
        assert error.fix, key
        assert error.allowed, key
        assert error.value is not None or key == "data.source", key
    assert found["train_sizes.0"].value == 1
    assert found["epochs"].allowed == "an integer at least 1 and at most 1000"
    assert "all" in str(found["train_sizes.1"].allowed)
    hints = {
        "data.sorce": "source",
        "strategies.lora.dropuot": "dropout",
        "strategies.lora.placement": "query_value",
        "strategies.lor": "lora",
        "selection": "validation",
        "evaluations": "evaluations_per_epoch",
    }
    for key, hint in hints.items():
        assert f"did you mean '{hint}'?" in str(found[key].fix)
    text = "\n".join(str(error) for error in found.values())
    for noise in ("pydantic", "https://", "constrained", "literal[", "Input should", "Value error", "tuple"):
        assert noise not in text


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("epochs: yes", "epochs"),
        ("seeds: [true]", "seeds.0"),
        ("batch_size: .nan", "batch_size"),
        ("weight_decay: .inf", "weight_decay"),
        ("seeds: []", "seeds"),
        ("seeds: 3", "seeds"),
        ("seeds: [1, 1]", "seeds"),
        ("seeds: [-1]", "seeds.0"),
        ("name: ../x", "name"),
        ("max_length: long", "max_length"),
        ("1: 2", "1"),
        ("selection: test\nvalidation_fraction: 0.1", "study"),
        ("selection: validation\nvalidation_fraction: 0", "study"),
    ],
)
def test_single_errors(tmp_path: Path, change: str, key: str) -> None:
    (error,) = errors_of(tmp_path, GOOD + change + "\n")
    assert error.what.startswith(f"{key}: ")
    assert isinstance(error, ConfigError)


@pytest.mark.parametrize(
    ("strategies", "key"),
    [
        ("{}", "strategies"),
        ("5", "strategies"),
        ("{full: 5}", "strategies.full"),
        ("{x y: }", "strategies"),
        ("{z: {kind: 3}}", "strategies.z.kind"),
        ("{full: {learning_rate: []}}", "strategies.full.learning_rate"),
        ("{full: {learning_rate: }}", "strategies.full.learning_rate"),
        ("{full: {learning_rate: [1e-4, 11]}}", "strategies.full.learning_rate.1"),
        ("{full: {learning_rate: {multiples_of: a, values: [1]}}}", "strategies.full.learning_rate"),
        ("{full: {rank: 3}}", "strategies.full.rank"),
        ("{mine: {kind: lora, rank: many}}", "strategies.mine.rank"),
        ("{lora: {params: [1]}}", "strategies.lora.params"),
        ("{a: {kind: full}, b: {kind: full}}", "study"),
    ],
)
def test_single_errors_of_strategies(tmp_path: Path, strategies: str, key: str) -> None:
    (error,) = errors_of(tmp_path, GOOD.replace("[full, lora]", strategies))
    assert error.what.startswith(f"{key}: ")


@pytest.mark.parametrize("value", ["multiples_of: a, values: [1]", "multiples_of: 1, values: [a]"])
def test_multiples_that_are_text_are_refused_in_our_words(tmp_path: Path, value: str) -> None:
    (error,) = errors_of(tmp_path, GOOD.replace("[full, lora]", f"{{full: {{learning_rate: {{{value}}}}}}}"))
    assert error.what.endswith("multiples_of is a number, and values is a list of numbers")


@pytest.mark.parametrize(
    ("strategies", "key"),
    [
        ("{full: {max_grad_norm: .inf}}", "strategies.full.max_grad_norm"),
        ("{lora: {alpha: .inf}}", "strategies.lora.alpha"),
        ("{adalora: {alpha: .inf}}", "strategies.adalora.alpha"),
        ("{adalora: {orthogonality: .inf}}", "strategies.adalora.orthogonality"),
        ("{vera: {d_initial: .nan}}", "strategies.vera.d_initial"),
        ("{tfidf: {c: [1, .inf]}}", "strategies.tfidf.c.1"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, strategies: str, key: str) -> None:
    (error,) = errors_of(tmp_path, GOOD.replace("[full, lora]", strategies))
    assert error.what == f"{key}: this is out of range."
    assert str(error.allowed).startswith("a finite number"), error.allowed


def test_who_wants_no_clipping_is_told_how(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, GOOD + "max_grad_norm: .inf\n")
    assert error.allowed == "a finite number at least 0 (0 clips nothing)"


@pytest.mark.parametrize(
    ("strategies", "keys"),
    [
        ("{full: {epochs: true}}", ["strategies.full.epochs"]),
        (
            "{a.b: {kind: lora, rank: yes, learning_rate: [true]}}",
            ["strategies.a.b.rank", "strategies.a.b.learning_rate.0"],
        ),
        (
            "{lora: {params: {rank: true}, recipe: {epochs: true}}}",
            ["strategies.lora.params.rank", "strategies.lora.recipe.epochs"],
        ),
        (
            "{full: {learning_rate: {multiples_of: true, values: [1]}}}",
            ["strategies.full.learning_rate.multiples_of"],
        ),
        ("{full: true}", ["strategies.full"]),
        ("{lora: {kind: [x], rank: true}}", ["strategies.lora.kind"]),
        # An unknown key is wrong whatever its value.
        ("{lora: {rslroa: true}}", ["strategies.lora.rslroa"]),
    ],
)
def test_true_is_no_number_in_a_strategy_either(tmp_path: Path, strategies: str, keys: list[str]) -> None:
    found = errors_of(tmp_path, GOOD.replace("[full, lora]", strategies))
    assert [error.what.split(":")[0] for error in found] == keys


def test_true_stays_where_it_is_meant(tmp_path: Path) -> None:
    strategies = "{lora: {rslora: true, frozen_dropout: false}, l2: {kind: lora, params: {dora: true}}}"
    study = load_study(write(tmp_path, GOOD.replace("[full, lora]", strategies)))
    assert study.strategies["lora"].params["rslora"] and study.strategies["l2"].params["dora"]
    assert study.strategies["lora"].recipe == {"frozen_dropout": False}


@pytest.mark.parametrize(
    ("strategies", "key", "hint", "more"),
    [
        ("{full: {epoch: 3}}", "strategies.full.epoch", "epochs", "batch_size"),
        ("{full: {recipe: {epoch: 3}}}", "strategies.full.recipe.epoch", "epochs", "batch_size"),
        ("{lora: {params: {rnak: 3}}}", "strategies.lora.params.rnak", "rank", "alpha"),
        ("{setfit: {max_lenght: 3}}", "strategies.setfit.max_lenght", "max_length", "iterations"),
    ],
)
def test_a_slip_in_a_strategys_recipe_is_seen(
    tmp_path: Path, strategies: str, key: str, hint: str, more: str
) -> None:
    (error,) = errors_of(tmp_path, GOOD.replace("[full, lora]", strategies))
    assert error.what == f"{key}: unknown key." and error.fix == f"did you mean {hint!r}?"
    assert {hint, more} <= set(str(error.allowed).split(", "))
    # Only what reaches the strategy.
    assert ("epochs" in str(error.allowed)) == ("full" in strategies)


def test_missing_keys_are_all_named(tmp_path: Path) -> None:
    found = errors_of(tmp_path, "epochs: 3\n")
    assert [e.what.split(":")[0] for e in found] == ["model", "data", "strategies", "train_sizes"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"# nothing\n", "empty"),
        (b"- a\n- b\n", "list"),
        (b"just text", "str"),
        (b"model: \xff\xfe\n", "UTF-8"),
        ("model: é".encode("latin-1"), "UTF-8"),
        (b"a: [1, 2\nb: 3\n", r"line 2, column \d"),
        (b"a: 1\n\tb: 2\n", "line 2"),
        (b"epochs: 1\nepochs: 2\n", r"line 2, column 1.*'epochs' occurs here twice"),
        (b"data: {source: a, source: b}\n", "'source' occurs here twice"),
        (b"a: !!python/object/apply:os.system ['true']\n", "line 1"),
        (b"a: 1\n---\nb: 2\n", "YAML"),
        (b"a: &a [*a]\n", "recursive"),
        (b"[" * 900, "deeply"),
        (b"a: \x00\n", "YAML"),
        (b"? [a, b]\n: 1\n", "key"),
        (rb'{"name": "\ud83d"}', "half of a character"),
    ],
)
def test_files_that_are_no_study(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_study(write(tmp_path, content))
    assert "mine.yaml" in str(caught.value)


def test_an_override_of_a_list_that_holds_more_than_labels_is_an_error(tmp_path: Path) -> None:
    text = GOOD.replace("[full, lora]", "[full, lora: {rank: 8}]")
    (error,) = errors_of(tmp_path, text, "strategies.lora.learning_rate=1e-4")
    assert "strategies is a list that holds more than labels" in error.what
    assert "mapping" in str(error.allowed) and error.fix


def test_a_missing_study_names_the_presets_and_the_close_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'quickstart'") as caught:
        load_study("quickstrat")
    assert all(name in str(caught.value) for name in presets())
    for missing in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="no such preset or study file"):
            load_study(str(missing))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("epochs", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("epochs=[", "YAML"),
        ("epochs=0", "epochs: "),
        ("epochs.x=3", "holds no keys"),
        ("nonsense=1", "unknown key"),
        ("strategies.lora.rnk=3", "did you mean 'rank'"),
    ],
)
def test_bad_overrides(tmp_path: Path, override: str, words: str) -> None:
    (error,) = errors_of(tmp_path, GOOD + "epochs: 3\n", override)
    assert words in str(error)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(sorted(StudyConfig.model_fields)),
)
def test_whatever_stands_under_a_key_is_accepted_or_explained(value: object, key: str) -> None:
    base = {"name": "x", "model": "m", "data": "d", "strategies": ["full"], "train_sizes": [10]}
    try:
        check_study(base | {key: value})
    except TunebenchError as error:
        parts = error.errors if isinstance(error, ErrorGroup) else [error]
        assert all(part.what.startswith((key, "study: ")) for part in parts)


def test_characters_that_json_writes_as_two_escapes_are_read_as_one() -> None:
    text = {"name": "\U0001f600 and \u00e9", "\U00010000": [1, "plain"]}
    assert parse_yaml(json.dumps(text), where="x") == text
