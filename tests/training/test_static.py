"""Static embeddings: against a slow definition, through whole runs, and kept in the cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from thorough import mostly_thorough
from tunebench import load
from tunebench.execution.plan import make_plan
from tunebench.machine.settings import Execution
from tunebench.store.run_folder import RunFolder
from tunebench.study.config import StudyConfig
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.registry import run_one
from tunebench.training.static import run as runs
from tunebench.training.static import table as tables


@pytest.fixture
def study(
    tiny_model: Callable[[str], Path], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Any]:
    monkeypatch.setenv("TUNEBENCH_CACHE", str(tmp_path / "cache"))

    def make(family: str) -> Any:
        settings = {
            "name": "t",
            "model": str(tiny_model(family)),
            "data": str(reviews),
            "strategies": {"static": {"c": [1.0, 10.0]}},
            "train_sizes": [40],
        }
        execution = Execution(device="cpu", threads=1)
        return make_plan(StudyConfig.model_validate(settings), execution=execution, measure=False)

    return make


def train(plan: Any, place: Path, stop: Callable[[], bool] = lambda: False) -> tuple[Any, RunFolder]:
    spec = plan.runs[0].spec
    folder = RunFolder(place / spec.run_id)
    folder.begin(spec)
    record = run_one(Attempt(spec, plan.dataset, folder, Execution(device="cpu", threads=1), stop=stop))
    folder.commit(record)
    return record, folder


@pytest.mark.parametrize("family", mostly_thorough(["bert", "modernbert"], keep=lambda name: name == "bert"))
def test_vectors_are_the_encoders_of_single_tokens_and_a_text_is_their_mean(
    study: Callable[[str], Any], tiny_model: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    plan = study(family)
    record, folder = train(plan, tmp_path)
    spec = plan.runs[0].spec
    model = runs.load(spec, folder, device="cpu")
    encoder = AutoModel.from_pretrained(tiny_model(family)).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(family))
    kept = [
        i
        for token, i in tokenizer.get_vocab().items()
        if i not in tokenizer.all_special_ids and not token.startswith("[unused")
    ]
    kept.sort()
    states = []
    with torch.inference_mode():
        for start in range(0, len(kept), 4096):
            some = kept[start : start + 4096]
            ids = torch.tensor([[tokenizer.cls_token_id, i, tokenizer.sep_token_id] for i in some])
            states.append(encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1))
    found = torch.cat(states).double().numpy()
    found -= found.mean(0)
    share = 1 / np.arange(2, len(kept) + 2)
    found *= (1e-4 / (1e-4 + share / share.sum()))[:, None]
    table = model.table.vectors
    assert table.dtype == np.float16
    np.testing.assert_allclose(table[kept], found, atol=2e-3)
    assert not table[tokenizer.all_special_ids].any()
    text = "a great film with a superb cast, though odd"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    mean = table[ids].astype(np.float64).mean(0)
    (row,) = model.encode([text])
    np.testing.assert_allclose(model.table.embed([row])[0], mean / np.linalg.norm(mean), rtol=1e-5)
    assert model.logits_of(model.encode([text, ""]), batch_tokens=100)[0] == pytest.approx(
        model.logits_of([row], batch_tokens=1)[0], rel=1e-6
    )
    assert record.parameters.trainable == record.parameters.head == model.head.parameters
    assert record.parameters.total == table.size + model.head.parameters
    assert record.cost.train_flops > 1e3 * len(kept)
    answers = load(folder.path).predict_logits([plan.dataset.test.texts[i] for i in range(5)])
    assert answers.shape == (5, 2) and np.isfinite(answers).all()


def test_a_model_is_distilled_once_and_every_run_counts_it(
    study: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = study("bert")
    every = tables.token_rows
    for module in (tables, runs):
        # The others have the vector 0.
        monkeypatch.setattr(module, "token_rows", lambda tokenizer: tuple(part[::8] for part in every(tokenizer)))
    with pytest.raises(Interrupted):
        train(plan, tmp_path / "cut", lambda: True)
    asked = []
    monkeypatch.setattr(runs, "distilled", lambda *given: asked.append(1) or tables.distilled(*given))
    first, place = train(plan, tmp_path / "first")
    second, again = train(plan, tmp_path / "second")
    assert len(asked) == 1
    assert [one.environment.machine["static"]["distilled"] for one in (first, second)] == [True, False]
    assert np.array_equal(place.read_predictions()["logits"], again.read_predictions()["logits"])
    assert first.cost.train_flops == second.cost.train_flops
    (kept,) = (tmp_path / "cache" / "static").glob("*.safetensors")
    distilling, _ = tables.read_arrays(kept, ["costs"])["costs"]
    assert min(first.timing.train_seconds, second.timing.train_seconds) > distilling > 0
    kept.write_bytes(kept.read_bytes()[:-8])
    third, _ = train(plan, tmp_path / "third")
    assert len(asked) == 2 and third.scores == first.scores
