"""The Hub: pinned to a commit, never code, and plain words when it cannot be reached. No network is used."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from tunebench.data import load_dataset
from tunebench.data.reference import DataConfig
from tunebench.errors import DataError

COMMIT = "c0ffee" * 6 + "c0de"
FEATURES = datasets.Features(
    text=datasets.Value("string"),
    label=datasets.ClassLabel(names=["neg", "pos"]),
    topic=datasets.ClassLabel(names=["art", "sport", "war"]),
)


def _split(labels: list[int]) -> datasets.Dataset:
    columns = {
        "text": [f"t{i}" for i in range(len(labels))],
        "label": labels,
        "topic": [2, *[0] * (len(labels) - 1)],
    }
    return datasets.Dataset.from_dict(columns, features=FEATURES)


class Hub:
    """A stand-in that remembers what it was asked for."""

    def __init__(self, splits: dict[str, datasets.Dataset]) -> None:
        self.splits = datasets.DatasetDict(splits)
        self.asked: list[tuple[Any, ...]] = []
        self.info_error: Exception | None = None
        self.load_error: Exception | None = None

    def dataset_info(self, _: object, name: str, *, revision: str | None, timeout: float) -> SimpleNamespace:
        assert timeout < 120
        self.asked.append(("info", name, revision))
        if self.info_error:
            raise self.info_error
        return SimpleNamespace(sha=COMMIT)

    def load_dataset(self, name: str, subset: str | None, **options: Any) -> datasets.DatasetDict:
        self.asked.append(("load", name, subset, options))
        if self.load_error:
            raise self.load_error
        return self.splits


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub({"train": _split([0, 1, 1]), "test": _split([1, 0]), "unsupervised": _split([-1, -1])})
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "dataset_info",
        lambda self, name, **options: fake.dataset_info(self, name, **options),
    )
    monkeypatch.setattr(datasets, "load_dataset", fake.load_dataset)
    return fake


def test_revision_is_resolved_and_that_commit_is_read(hub: Hub) -> None:
    dataset = load_dataset(DataConfig(source="owner/name", revision="main", subset="plain"))
    assert hub.asked == [
        ("info", "owner/name", "main"),
        ("load", "owner/name", "plain", {"revision": COMMIT}),
    ]
    assert dataset.revision == COMMIT


def test_splits_and_class_names(hub: Hub) -> None:
    dataset = load_dataset(DataConfig(source="owner/name"))
    assert dataset.label_names == ("neg", "pos")
    assert dataset.train.texts == ["t0", "t1", "t2"] and dataset.train.labels.tolist() == [0, 1, 1]
    assert dataset.test is not None and dataset.test.labels.tolist() == [1, 0]


def test_class_names_are_those_of_the_label_column(hub: Hub) -> None:
    dataset = load_dataset(DataConfig(source="owner/name", label_column="topic"))
    assert dataset.label_names == ("art", "war")


def test_no_test_split(hub: Hub) -> None:
    del hub.splits["test"]
    assert load_dataset(DataConfig(source="owner/name")).test is None


def test_test_split_without_labels_is_passed_over_with_a_word(hub: Hub) -> None:
    hub.splits["test"] = _split([-1, -1])
    dataset = load_dataset(DataConfig(source="owner/name"))
    assert dataset.test is None
    assert "the test part (2 rows)" in [item.what for item in dataset.reading.passed_over]


def test_other_splits_are_named(hub: Hub) -> None:
    hub.splits |= {"validation": _split([0, 1]), "dev": _split([0]), "extra": _split([0])}
    dataset = load_dataset(DataConfig(source="owner/name"))
    found = {item.what: item.why for item in dataset.reading.passed_over}
    assert {"split 'dev' (1 rows)", "split 'extra' (1 rows)", "column 'topic'"} <= set(found)
    assert dataset.validation is not None and dataset.validation.labels.tolist() == [0, 1]
    assert found["split 'dev' (1 rows)"] == "'validation' is the validation part"
    drawn = load_dataset(DataConfig(source="owner/name", validation="drawn"))
    assert drawn.validation is None and drawn.fingerprint == dataset.fingerprint
    why = {item.what: item.why for item in drawn.reading.passed_over}
    assert "data.validation: drawn" in why["split 'validation' (2 rows)"]


@pytest.mark.parametrize("setting", ["encoding", "separator", "quotes", "header"])
def test_settings_of_files_are_refused(hub: Hub, setting: str) -> None:
    values = {"encoding": "utf-8", "separator": "tab", "quotes": True, "header": True}
    with pytest.raises(DataError, match=f"data.{setting} works only with files"):
        load_dataset(DataConfig(source="owner/name", **{setting: values[setting]}))


def test_no_train_split(hub: Hub) -> None:
    del hub.splits["train"]
    with pytest.raises(DataError, match="no 'train' split"):
        load_dataset(DataConfig(source="owner/name"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionError("no route\nmore lines"), "Hub is out of reach: no route"),
        (TimeoutError(), "Hub is out of reach: TimeoutError"),
        (RuntimeError("Name or service not known"), "Hub is out of reach"),
        (HFValidationError("bad name"), "no such data set on the Hub"),
    ],
)
def test_hub_that_cannot_answer(hub: Hub, error: Exception, message: str) -> None:
    hub.info_error = error
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(DataConfig(source="owner/name"))
    assert "local folder" in str(caught.value) and "packaged" in str(caught.value)
    assert "more lines" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("kind", "message"),
    [(RepositoryNotFoundError, "no such data set on the Hub"), (RevisionNotFoundError, "no such revision")],
)
def test_hub_that_says_no(hub: Hub, kind: type[Any], message: str) -> None:
    # Made without its constructor, which wants a response of whichever HTTP library is below.
    hub.info_error = kind.__new__(kind, "404")
    with pytest.raises(DataError, match=message):
        load_dataset(DataConfig(source="owner/name", revision="v9"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("BuilderConfig 'x' not found"), "cannot be read: BuilderConfig"),
        (RuntimeError("Dataset scripts are no longer supported"), "cannot be read: Dataset scripts"),
        (ConnectionError("gone"), "Hub is out of reach: gone"),
    ],
)
def test_data_set_that_cannot_be_loaded(hub: Hub, error: Exception, message: str) -> None:
    hub.load_error = error
    with pytest.raises(DataError, match=message):
        load_dataset(DataConfig(source="owner/name", subset="x"))
