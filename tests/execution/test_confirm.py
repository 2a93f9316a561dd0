"""The sealed half of the test texts: nothing scores it before its one opening, and nothing opens it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from baselines import HERE, run_baselines, two_baselines, write_texts
from conftest import leave_report_out
from tunebench.analysis.analysis import analyse
from tunebench.analysis.answer import answer_of
from tunebench.analysis.ledger import make_ledger, note_counts
from tunebench.analysis.load import load_comparison
from tunebench.analysis.recommend import recommend
from tunebench.cli import app
from tunebench.data import load_dataset
from tunebench.errors import ConfigError, StoreError
from tunebench.execution import confirm
from tunebench.execution.confirm import confirm_study
from tunebench.store.confirmation import ConfirmationFile
from tunebench.store.imported import trained_here
from tunebench.store.study_folder import StudyStore
from tunebench.store.test_texts import TextsFile, text_hashes
from tunebench.study.config import StudyConfig
from tunebench.study.yaml_file import check_study
from tunebench.training.parts import run_parts


@pytest.fixture(scope="module", autouse=True)
def _no_report() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        leave_report_out(patch)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[[str], Path]) -> dict[str, Any]:
    """A study of two seeds whose test part is half sealed."""
    texts = write_texts(tmp_path_factory.mktemp("texts") / "texts.csv", copies=10)
    changes = {"seeds": [1, 2], "sealed": True, "test_size": 80, "train_sizes": [100], "copies": "anywhere"}
    return two_baselines(texts, tiny_model("distilbert"), **changes)


@pytest.fixture
def sealed(base: dict[str, Any], tmp_path: Path) -> Path:
    """The folder of that study, run."""
    run_baselines(base, tmp_path / "study")
    return tmp_path / "study"


def quiet(line: str) -> None:
    """Nobody is told."""


def test_a_sealed_half_is_drawn_once_has_all_classes_and_no_copy_outside_it(base: dict[str, Any]) -> None:
    study = check_study(base)
    dataset = load_dataset(study.data)
    (spec, *_) = [trained_here(cell.spec) for cell in _planned(study, dataset)]
    parts, whole = run_parts(spec, dataset), run_parts(spec.model_copy(update={"sealed": False}), dataset)
    assert sorted([*parts.test, *parts.sealed]) == whole.test.tolist()
    assert abs(len(parts.test) - len(parts.sealed)) <= 10 and set(parts.sealed) & set(parts.test) == set()
    texts, labels = dataset.train.texts, dataset.train.labels
    assert not {texts[row] for row in parts.test} & {texts[row] for row in parts.sealed}
    assert set(labels[parts.sealed]) == set(labels[parts.test]) == {0, 1}
    assert not set(parts.train) & set(parts.sealed)
    # Whoever seals nothing has the run ids that there were before.
    assert "sealed" not in spec.model_copy(update={"sealed": False}).identity and "sealed" in spec.identity


def _planned(study: StudyConfig, dataset: Any) -> Any:
    from tunebench.execution.plan import make_plan

    return make_plan(study, execution=HERE, measure=False).runs


def test_the_sealed_part_confirms_the_recommended_strategy_once(sealed: Path) -> None:
    before = recommend(analyse(load_comparison(sealed)))
    assert before.confirmed == "Half of the test texts are still sealed: tunebench confirm opens them, once."
    found = confirm_study(sealed, execution=HERE, tell=quiet)
    assert found.strategy == before.strategy and found.score is not None and found.low is not None
    assert found.low <= found.score <= found.high  # type: ignore[operator]
    # No run was scored on these texts, and the stored predictions give the score.
    scored = {row for cell in load_comparison(sealed).cells for row in cell.predictions()["indices"]}  # type: ignore[misc]
    with np.load(ConfirmationFile(sealed).predictions) as stored:
        assert not scored & set(stored["indices"].tolist())
        hits = (stored["logits"].argmax(-1) == stored["labels"]).mean()
        assert len(stored["labels"]) == found.texts and abs(hits - found.score) < 0.1
    analysis = analyse(load_comparison(sealed))
    after = recommend(analysis)
    assert after.confirmed is not None and after.confirmed.startswith(f"Confirmed on {found.texts} sealed texts")
    assert after.confirmed in answer_of(analysis, after).lines
    with pytest.raises(StoreError, match="opens once"):
        confirm_study(sealed, execution=HERE, tell=quiet)
    done = CliRunner().invoke(app, ["confirm", str(sealed)])
    assert isinstance(done.exception, StoreError)
    # The ledger counts the opening, apart from the runs on the open half.
    ledger = make_ledger([sealed])
    name = load_comparison(sealed).name
    counted = {part.studies: part.runs for part in ledger.parts}
    assert counted == {(name,): 4, (f"{name} (sealed part)",): len(found.runs)}
    assert ledger.parts[ledger.of_study[sealed.resolve()]].studies == (name,)


def test_an_opening_is_written_down_before_the_look_and_a_cut_one_is_completed(
    sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: Any) -> Any:
        opened = ConfirmationFile(sealed).read()
        assert opened is not None and opened.score is None
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(confirm, "_scored", cut)
        with pytest.raises(KeyboardInterrupt):
            confirm_study(sealed, execution=HERE, tell=quiet)
    said = recommend(analyse(load_comparison(sealed))).confirmed
    assert said is not None and "was cut short" in said
    opened = ConfirmationFile(sealed).read()
    found = confirm_study(sealed, execution=HERE, tell=quiet)
    assert opened is not None and found.time == opened.time and found.runs == opened.runs


def test_what_cannot_be_confirmed_stays_sealed(base: dict[str, Any], sealed: Path, tmp_path: Path) -> None:
    store = StudyStore(sealed)
    cells = store.cells()
    weights = [store.run_folder(cell.spec.run_id).weights for cell in cells]
    kept = [path.read_bytes() for path in weights]
    for path in weights:
        path.write_bytes(b"other")
    with pytest.raises(StoreError, match="damaged"):
        confirm_study(sealed, execution=HERE, tell=quiet)
    for path, raw in zip(weights, kept, strict=True):
        path.write_bytes(raw)
    run = store.run_folder(cells[-1].spec.run_id)
    run.record.rename(run.record.with_suffix(".aside"))
    with pytest.raises(StoreError, match="still to come"):
        confirm_study(sealed, execution=HERE, tell=quiet)
    assert ConfirmationFile(sealed).read() is None
    run_baselines(base | {"sealed": False, "seeds": [1]}, tmp_path / "open")
    with pytest.raises(StoreError, match="no sealed part"):
        confirm_study(tmp_path / "open", execution=HERE, tell=quiet)
    with pytest.raises(StoreError, match="sealed"):  # what was open cannot be sealed
        run_baselines(base | {"seeds": [1]}, tmp_path / "open")


def test_an_edited_result_is_found(sealed: Path) -> None:
    confirm_study(sealed, execution=HERE, tell=quiet)
    path = ConfirmationFile(sealed).path
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(raw | {"score": 0.99}), encoding="utf-8")
    with pytest.raises(StoreError, match="changed after it was written"):
        load_comparison(sealed)


def test_groups_cannot_be_sealed(base: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="whole groups"):
        check_study(base | {"data": {"source": base["data"], "group_column": "text"}})


def test_a_ledger_counts_runs_by_text_and_finds_a_part_in_another(
    base: dict[str, Any], sealed: Path, tmp_path: Path
) -> None:
    data = load_dataset(check_study(base).data)
    file = TextsFile(sealed).read()
    assert file is not None
    rows, hashes = file
    assert len(rows) == 80 and np.array_equal(hashes, text_hashes(data.train.texts[row] for row in rows))
    assert "review" not in TextsFile(sealed).path.read_text(encoding="utf-8")
    # The same texts in another file and order are the same texts; a smaller part lies inside a larger one.
    lines = Path(base["data"]).read_text(encoding="utf-8").splitlines()
    other = tmp_path / "other"
    other.mkdir()
    texts = {data.train.texts[row] for row in rows[:40].tolist()}
    test = [line for line in lines[1:241] if any(text in line for text in texts)]
    for name, part in (("train", lines[1:241]), ("test", test[::-1])):
        (other / f"{name}.csv").write_text("\n".join([lines[0], *part]), encoding="utf-8")
    small = {"sealed": False, "data": str(other), "seeds": [1], "name": "small", "test_size": len(test)}
    run_baselines(base | small, tmp_path / "all" / "small")
    run_baselines(base | {"sealed": False, "name": "large"}, tmp_path / "all" / "deep" / "large")
    ledger = make_ledger([tmp_path / "all"])
    large, inner = ledger.parts
    assert (large.texts, large.runs, large.studies) == (len(set(hashes.tolist())), 6, ("large", "small"))
    assert inner.texts == len(test) and inner.inside == (0,) and not large.inside and not large.overlaps
    assert inner.times == 6.0 and large.by_content and ledger.runs == 6 and not ledger.skipped
    assert large.times == pytest.approx(4 + 2 * len(test) / large.texts)
    # Of an older study, which has no hashes, the same data says which texts they are.
    TextsFile(tmp_path / "all" / "deep" / "large").path.unlink()
    both = make_ledger([tmp_path / "all", sealed])
    assert both.parts[0].texts == large.texts and both.parts[0].by_content
    note_counts(both)
    warnings = analyse(load_comparison(sealed)).warnings
    assert any("test texts, or some of them, were scored by 10 runs of 3 studies" in line for line in warnings)
    done = CliRunner().invoke(app, ["ledger", str(tmp_path / "all"), str(sealed)])
    assert done.exit_code == 0 and "10 runs of 3 studies" in done.output


def test_a_ledger_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no study"):
        make_ledger([tmp_path])
    with pytest.raises(StoreError, match="no such folder"):
        make_ledger([tmp_path / "nowhere"])
