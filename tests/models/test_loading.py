from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conftest import TINY
from tunebench.errors import ModelError
from tunebench.models.architectures import ARCHITECTURES, architecture_of, count_parameters
from tunebench.models.loading import load_classifier
from tunebench.models.sources import model_folder
from tunebench.models.tokenizer import load_tokenizer
from tunebench.strategies import STRATEGIES


def prepared(folder: Path, kind: str, **params: object) -> tuple[torch.nn.Module, object]:
    model = load_classifier(folder, label_names=("no", "yes", "maybe"))
    architecture = architecture_of(model.config)
    strategy = STRATEGIES[kind]
    return strategy.prepare(model, strategy.params(**params), architecture), architecture


def test_the_reports_parameter_counts_on_distilbert() -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    with torch.device("meta"):
        model = DistilBertForSequenceClassification(DistilBertConfig())
    architecture = architecture_of(model.config)
    assert count_parameters(model, architecture) == (66_955_010, 66_362_880, 592_130)
    strategy = STRATEGIES["lora"]
    model = DistilBertForSequenceClassification(DistilBertConfig())
    lora = strategy.prepare(model, strategy.params(), architecture)
    assert count_parameters(lora, architecture) == (67_694_596, 147_456, 592_130)


@pytest.mark.parametrize("model_type", sorted(TINY))
@pytest.mark.parametrize("placement", ["query_value", "attention", "mlp", "all_linear"])
def test_lora_trains_exactly_adapter_and_head(
    tiny_model: Callable[[str], Path], model_type: str, placement: str
) -> None:
    folder = tiny_model(model_type)
    if model_type == "modernbert" and placement == "query_value":
        with pytest.raises(ModelError, match="fuses query, key and value"):
            prepared(folder, "lora", placement=placement)
        return
    model, architecture = prepared(folder, "lora", placement=placement, rank=3)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    adapters = {name for name in trained if "lora_" in name}
    head = {name for name in trained if architecture.is_head(name)}  # type: ignore[attr-defined]
    assert trained == adapters | head
    assert not adapters & head
    # Every head module is there by name, not by the luck of a suffix (peft#3755).
    for module in architecture.head:  # type: ignore[attr-defined]
        assert any(f".{module}." in name for name in head)
    targets = architecture.projections(placement)  # type: ignore[attr-defined]
    assert len(adapters) == 2 * len(targets)
    total, adapter, head_count = count_parameters(model, architecture)  # type: ignore[arg-type]
    trainable, everything = model.get_nb_trainable_parameters()  # type: ignore[operator]
    assert (adapter + head_count, total) == (trainable, everything)


@pytest.mark.parametrize("model_type", sorted(TINY))
def test_attention_dropout_reaches_the_model(tiny_model: Callable[[str], Path], model_type: str) -> None:
    model = load_classifier(tiny_model(model_type), label_names=("a", "b"), attention_dropout=0.375)
    assert getattr(model.config, ARCHITECTURES[model_type].attention_dropout_key) == 0.375
    layers = model.get_submodule(ARCHITECTURES[model_type].layers)
    values = {
        getattr(module, name, None)
        for layer in layers
        for module in layer.modules()
        for name in ("p", "attention_dropout")
    }
    assert 0.375 in values


def test_the_same_seed_draws_the_same_head() -> None:
    heads = []
    for _ in range(2):
        torch.manual_seed(7)
        heads.append(load_classifier(model_folder("minilm"), label_names=("a", "b")).classifier.weight)
    assert torch.equal(*heads)


def test_a_distilbert_takes_the_packaged_weights(tmp_path: Path) -> None:
    """MiniLM is DistilBERT's architecture once token type 0 is added to the positions."""
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    bert = load_classifier(model_folder("minilm"), label_names=("a", "b")).eval()
    config = DistilBertConfig(dim=384, hidden_dim=1536, n_layers=6, n_heads=12)
    distil = DistilBertForSequenceClassification(config).eval()
    distil.load_state_dict(_as_distilbert(bert.state_dict()), strict=False)
    ids = torch.randint(1000, 5000, (3, 20))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    with torch.no_grad():
        ours = distil.distilbert(input_ids=ids, attention_mask=mask).last_hidden_state
        theirs = bert.bert(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.allclose(ours[mask.bool()], theirs[mask.bool()], atol=1e-5)


def _as_distilbert(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {
        "attention.self.query": "attention.q_lin",
        "attention.self.key": "attention.k_lin",
        "attention.self.value": "attention.v_lin",
        "attention.output.dense": "attention.out_lin",
        "attention.output.LayerNorm": "sa_layer_norm",
        "intermediate.dense": "ffn.lin1",
        "output.dense": "ffn.lin2",
        "output.LayerNorm": "output_layer_norm",
    }
    found = {}
    for name, value in state.items():
        new = name.replace("bert.encoder.layer", "distilbert.transformer.layer")
        new = new.replace("bert.embeddings", "distilbert.embeddings")
        for old, fresh in renamed.items():
            if f".{old}." in new:
                new = new.replace(f".{old}.", f".{fresh}.")
                break
        found[new] = value
    types = found.pop("distilbert.embeddings.token_type_embeddings.weight")
    found["distilbert.embeddings.position_embeddings.weight"] = (
        found["distilbert.embeddings.position_embeddings.weight"] + types[0]
    )
    return found


def test_the_packaged_tokenizer_loads() -> None:
    tokenizer = load_tokenizer(model_folder("minilm"))
    assert tokenizer("a good film")["input_ids"][0] == tokenizer.cls_token_id
