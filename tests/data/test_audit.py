"""The audit: exact figures, on small data that can be counted by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunebench.api import run_study
from tunebench.data import Split, TextDataset
from tunebench.data.audit import audit
from tunebench.data.audit_result import absent_classes
from tunebench.data.copies import held_out_copies
from tunebench.data.held_out import hold_out
from tunebench.data.reference import DataConfig
from tunebench.data.rules import SplitRules
from tunebench.execution.display import PlainDisplay
from tunebench.machine.settings import Execution
from tunebench.study.config import StudyConfig
from tunebench.study.strategy_config import StrategyConfig
from tunebench.tasks.metrics import METRICS


def _split(pairs: list[tuple[str, int]]) -> Split:
    return Split([text for text, _ in pairs], np.array([label for _, label in pairs], dtype=np.int64))


def _dataset(train: list[tuple[str, int]], test: list[tuple[str, int]] | None) -> TextDataset:
    return TextDataset("here", None, ("no", "yes"), _split(train), None if test is None else _split(test))


TRAIN = [("a", 0), ("a", 0), ("a", 1), ("bb", 1), ("ccc", 0), ("😀", 0)]
TEST = [("a", 0), ("a", 0), ("bb", 0), ("new", 1), (" ", 1)]


def test_counts() -> None:
    found = audit(_dataset(TRAIN, TEST))
    train, test = found.splits["train"], found.splits["test"]
    assert train.per_class == {"no": 4, "yes": 2} and train.share["no"] == pytest.approx(4 / 6)
    assert (train.duplicates, train.conflicting, train.empty) == (2, 1, 0)
    assert (test.duplicates, test.conflicting, test.empty) == (1, 0, 1)
    # Shared: "a" (3 in train, 2 in test) and "bb" (1 and 1); both under other labels there.
    assert (found.shared_texts, found.train_in_test, found.test_in_train) == (2, 4, 3)
    assert found.shared_conflicting == 2
    assert train.characters.minimum == 1 and train.characters.maximum == 3 and train.tokens is None


def test_equal_labels_do_not_conflict() -> None:
    assert audit(_dataset([("a", 0), ("b", 1)], [("a", 0), ("b", 1)])).shared_conflicting == 0


@settings(deadline=None)
@given(*[st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 1)), min_size=1, max_size=8)] * 2)
def test_duplicates_as_counted_slowly(train: list[tuple[str, int]], test: list[tuple[str, int]]) -> None:
    found = audit(_dataset(train, test))
    texts = {"train": [text for text, _ in train], "test": [text for text, _ in test]}
    for name, own in texts.items():
        assert found.splits[name].duplicates == sum(text in own[:i] for i, text in enumerate(own))
    assert found.test_in_train == sum(text in texts["train"] for text in texts["test"])
    assert found.train_in_test == sum(text in texts["test"] for text in texts["train"])
    conflicts = {a for a, label in train for b, other in train if a == b and label != other}
    assert found.splits["train"].conflicting == len(conflicts)


def test_lengths() -> None:
    lengths = {"train": np.array([1, 2, 3, 4, 5, 105]), "test": np.array([3, 3, 3, 3, 3])}
    found = audit(_dataset(TRAIN, TEST), lengths=lengths, max_length=4).splits["train"].tokens
    assert found is not None
    assert (found.minimum, found.median, found.mean, found.maximum) == (1, 3.5, 20, 105)
    assert found.p95 == pytest.approx(5 + 0.75 * 100)
    assert (found.truncated_count, found.truncated) == (2, pytest.approx(2 / 6))
    assert found.mean_kept == pytest.approx((1 + 2 + 3 + 4 + 4 + 4) / 6)


def test_text_of_exactly_the_maximum_is_not_truncated() -> None:
    found = audit(_dataset(TRAIN, None), lengths={"train": np.full(6, 4)}, max_length=4)
    tokens = found.splits["train"].tokens
    assert tokens is not None and tokens.truncated_count == 0 and tokens.mean_kept == 4


@pytest.mark.parametrize("lengths", [{}, {"train": np.ones(6)}, {"train": np.ones(6), "test": np.ones(4)}])
def test_lengths_that_do_not_fit_are_refused(lengths: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="one entry a split"):
        audit(_dataset(TRAIN, TEST), lengths=lengths, max_length=4)


def test_plain_values() -> None:
    found = audit(_dataset(TRAIN, TEST), lengths={"train": np.arange(6), "test": np.arange(5)}, max_length=3)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert found.to_dict()["fingerprint"] == _dataset(TRAIN, TEST).fingerprint


def test_sound_data_is_not_warned_about() -> None:
    train = [(f"train {i}", i % 2) for i in range(40)]
    test = [(f"test {i}", i % 2) for i in range(40)]
    lengths = {"train": np.full(40, 4), "test": np.full(40, 4)}
    assert audit(_dataset(train, test), lengths=lengths, max_length=8).warnings == []


def test_every_flaw_is_warned_about_in_a_sentence() -> None:
    train = [(f"train {i}", int(i < 4)) for i in range(100)]
    test = [("train 0", 0), *[("same", i % 2) for i in range(30)], ("", 1)]
    lengths = {"train": np.full(100, 3), "test": np.repeat([3, 9], [16, 16])}
    lines = audit(_dataset(train, test), lengths=lengths, max_length=8).warnings
    assert lines == [
        "1 of 32 test texts is also in train; scores on them measure memory, not learning.",
        "1 text has another label in test than in train.",
        "train: 96.0% of the labels are 'no'; a model that always answers it has this accuracy.",
        "train: fewer than 10 examples of yes.",
        "test: 1 text is empty.",
        "test: 29 texts are copies of earlier ones.",
        "test: 1 text has more than one label.",
        "test: 50.0% of the texts are longer than 8 tokens and are cut.",
    ]


def test_near_constant_begins_above_95_percent() -> None:
    train = [(f"train {i}", int(i < 50)) for i in range(1000)]
    assert not any("accuracy" in line for line in audit(_dataset(train, None)).warnings)


def test_missing_test_split_is_said() -> None:
    found = audit(_dataset(TRAIN, None))
    assert found.test_in_train is None and found.shared_texts is None
    assert "no test split" in found.warnings[0]


def test_a_study_is_audited_with_the_revision_that_it_trains(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def snapshot(source: str, revision: str | None) -> Path:
        asked.append(revision)
        return tiny_model("distilbert")

    monkeypatch.setattr("tunebench.models.sources._hub_snapshot", snapshot)
    study = StudyConfig(
        name="s",
        model="acme/encoder",
        model_revision="v1",
        data=DataConfig(source=str(reviews)),
        strategies={"tfidf": StrategyConfig(kind="tfidf", learning_rate=(1.0,))},
        train_sizes=(40,),
    )
    execution = Execution(device="cpu", threads=1)
    run_study(study, folder=tmp_path, execution=execution, display=PlainDisplay(io.StringIO()), measure=False)
    assert (tmp_path / "audit.json").exists()
    # By its name, or by the commit that it stood for.
    assert set(asked) <= {"v1", "distilbert"} and "v1" in asked


def test_a_class_that_test_lacks_is_said_with_what_macro_f1_can_reach() -> None:
    train = [(f"train {i}", i % 3) for i in range(60)]
    dataset = TextDataset("here", None, ("bad", "fine", "good"), _split(train), _split([("x", 0), ("y", 2)] * 20))
    assert audit(dataset).warnings[-1] == (
        "test: there is no example of fine. Macro F1 counts the F1 of an absent class as 0, so it can reach "
        "2/3 = 0.6667 at most."
    )
    assert not any("fewer than" in line for line in audit(dataset).warnings)


@settings(deadline=None)
@given(st.sets(st.integers(0, 4), min_size=1), st.integers(0, 99))
def test_the_bound_of_macro_f1_holds_and_is_reached(present: set[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(sorted(present), 30)
    bound = len(set(labels.tolist())) / 5
    assert METRICS["macro_f1"](labels, np.eye(5)[labels]) == pytest.approx(bound)
    assert METRICS["macro_f1"](labels, rng.normal(size=(30, 5))) <= bound + 1e-12
    line = absent_classes({str(i): int((labels == i).sum()) for i in range(5)})
    assert (line is None) == (bound == 1) and (line is None or f"= {bound:.4f} at most" in line)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(0, 1)), min_size=12, max_size=40))
def test_copies_beside_a_held_out_part_as_counted_slowly(train: list[tuple[str, int]]) -> None:
    dataset = _dataset(train, None)
    found = held_out_copies(dataset, 42, 5)
    if found is None:
        return
    test, _ = hold_out(dataset.train.labels, seed=42, count=5)
    rest = [text for row, (text, _) in enumerate(train) if row not in test]
    assert found.apart == sum(train[row][0] in rest for row in test)
    test, left_out = hold_out(dataset.train.labels, seed=42, count=5, rules=SplitRules(copies_of=dataset.copies_of))
    rest = [text for row, (text, _) in enumerate(train) if row not in test]
    assert found.left_out == len(left_out) == sum(text in {train[row][0] for row in test} for text in rest)
    shown = audit(dataset, held_out=found)
    assert (shown.held_out, shown.held_out_in_train) == (5, found.apart)
    assert shown.copies_left_out == found.left_out
    counts = f"{found.apart} of 5 test texts" in " ".join(shown.warnings)
    assert counts == bool(found.apart or found.left_out)
    apart = audit(dataset, held_out=found, copies="anywhere").warnings
    assert any(
        f"Texts held out for testing that are also in train: {found.apart} of 5;" in line for line in apart
    ) == bool(found.apart)


def test_a_text_that_shows_nothing_is_empty() -> None:
    assert audit(_dataset([("\u200b", 0), ("\u3164", 1), ("a", 0)], None)).splits["train"].empty == 2
