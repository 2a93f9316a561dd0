"""Several LoRA adapters on one base in memory, computed together in one batch.

PEFT mixes the low-rank updates of a batch row by row. It cannot do so for heads that are more than a
linear layer (BERT's pooler, RoBERTa's head) or that differ in their number of classes, so the heads are
routed here.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tunebench.engine.checkpoint import digest
from tunebench.models.architectures import ARCHITECTURES, architecture_of
from tunebench.models.pooling import reads_first_token

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel

    from tunebench.models.architectures import Architecture

#: What may differ from PEFT's defaults in an adapter that can be mixed: sizes and places, and what only
#: matters before training. Anything else, also what later versions of PEFT add, gets a base of its own.
_MIXABLE = frozenset(
    "r lora_alpha lora_dropout target_modules exclude_modules layers_to_transform layers_pattern rank_pattern "
    "alpha_pattern use_rslora modules_to_save init_lora_weights loftq_config eva_config corda_config "
    "lora_ga_config lora_bias fan_in_fan_out task_type peft_type auto_mapping peft_version "
    "base_model_name_or_path revision inference_mode".split()
)


class AdapterStack:
    """One base model with several adapters. May be called from several threads.

    Args:
        first: A PEFT model with one adapter, as loaded; taken apart.
        device: ``cpu``, ``cuda`` or ``mps``.
        bf16: Compute the encoder's matrix products in bf16; heads stay in fp32.
    """

    def __init__(self, first: PeftModel, *, device: str = "cpu", bf16: bool = False) -> None:
        from peft import get_peft_model

        self._device, self._bf16, self._lock = device, bf16, threading.Lock()
        architecture = _architecture(first)
        self._base = _base_digest(first, architecture)
        adapter = _Adapter(first, architecture)
        base: Any = first.unload()
        if bf16:
            _hold_in_bf16(base, architecture)
        self._heads = [_RoutedHead() for _ in architecture.head]
        for name, routed in zip(architecture.head, self._heads, strict=True):
            base.set_submodule(name, routed)
        self._architecture = architecture
        self._model = get_peft_model(base, adapter.config, adapter_name=_key(0))
        self._classes: list[int] = []
        self._take(adapter)

    def __len__(self) -> int:
        return len(self._classes)

    def refusal(self, model: PeftModel) -> str | None:
        """Say why a loaded model cannot join, beyond :func:`refusal`; None when it can.

        Args:
            model: A PEFT model with one adapter, over its own copy of the base.
        """
        same = _base_digest(model, _architecture(model)) == self._base
        return None if same else "its base has other weights"

    def add(self, model: PeftModel) -> int:
        """Add the adapter of a loaded model, and return its number; the model's base is not kept."""
        adapter = _Adapter(model, self._architecture)
        self._model.add_adapter(_key(len(self)), adapter.config)
        return self._take(adapter)

    def _take(self, adapter: _Adapter) -> int:
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        number = len(self)
        key = _key(number)
        set_peft_model_state_dict(self._model, dict(adapter.state), adapter_name=key)
        stored = get_peft_model_state_dict(self._model, adapter_name=key, save_embedding_layers=False)
        if stored.keys() != adapter.state.keys() or any(
            not torch.equal(stored[name].cpu(), tensor) for name, tensor in adapter.state.items()
        ):
            raise RuntimeError("PEFT put an adapter elsewhere than it was")
        for routed, head in zip(self._heads, adapter.heads, strict=True):
            routed.members.append(head)
        self._classes.append(adapter.classes)
        self._model.eval().requires_grad_(False).to(self._device)
        return number

    def logits(self, batch: dict[str, Tensor], members: Sequence[int]) -> list[np.ndarray]:
        """Return the logits of a padded batch, float32 ``(classes of its adapter,)`` for each row.

        Args:
            batch: ``input_ids``, ``attention_mask`` and, of pairs, ``token_type_ids``; int64 ``(B, S)``.
            members: Which adapter answers each row, ``B`` numbers that :meth:`add` gave.
        """
        rows = {member: [i for i, other in enumerate(members) if other == member] for member in set(members)}
        with self._lock, torch.inference_mode():
            for routed in self._heads:
                routed.rows = rows
            with torch.autocast(self._device, dtype=torch.bfloat16, enabled=self._bf16):
                output = self._model(
                    **{name: tensor.to(self._device) for name, tensor in batch.items()},
                    adapter_names=[_key(member) for member in members],
                )
        found = output.logits.float().cpu().numpy()
        return [row[: self._classes[member]] for row, member in zip(found, members, strict=True)]


def refusal(model: nn.Module) -> str | None:
    """Say why a loaded model needs a base of its own; None when it may share one.

    Args:
        model: What :func:`tunebench.inference.restore.restore_model` gave for an adapter.
    """
    from peft import LoraConfig, PeftModel

    if not isinstance(model, PeftModel):
        return "it is not a PEFT model"
    config = model.peft_config["default"]
    if type(config) is not LoraConfig:
        return f"{getattr(config.peft_type, 'value', config.peft_type)} adapters cannot be mixed in a batch"
    usual = LoraConfig()
    for field in fields(config):
        if field.name not in _MIXABLE and getattr(config, field.name) != getattr(usual, field.name):
            return f"PEFT cannot mix adapters with {field.name}"
    if model.config.model_type not in ARCHITECTURES:
        return "its architecture is not known"
    if not reads_first_token(model):
        return "its head reads the mean over tokens, and others may read the first one"
    architecture = architecture_of(model.config)
    saved = [name for name, _ in model.named_parameters() if ".modules_to_save." in name or "lora_" in name]
    for name in saved:
        if architecture.is_head(name) == ("lora_" in name):
            return "its adapter reaches into the head" if "lora_" in name else "it trained more than LoRA and head"
    return None


class _Adapter:
    """What a loaded model has besides its base.

    Attributes:
        config: For a model whose head is routed: the low-rank updates, at exactly the layers they are at.
        state: Their tensors, under PEFT's names.
        heads: The head's modules, in the order of ``Architecture.head``.
        classes: Outputs of the last of them.
    """

    def __init__(self, model: PeftModel, architecture: Architecture) -> None:
        from peft import get_peft_model_state_dict
        from peft.tuners.lora import LoraLayer

        base: Any = model.get_base_model()
        config: LoraConfig = copy.deepcopy(model.peft_config["default"])
        config.target_modules = {name for name, module in base.named_modules() if isinstance(module, LoraLayer)}
        config.modules_to_save = config.exclude_modules = config.task_type = None
        config.layers_to_transform = config.layers_pattern = None
        # Some initialisations change the base; what follows overwrites the values anyway.
        config.init_lora_weights, config.inference_mode = True, True
        self.config = config
        stored = get_peft_model_state_dict(model, save_embedding_layers=False)
        self.state = {name: tensor.detach().clone() for name, tensor in stored.items() if "lora_" in name}
        self.heads = [_plain_module(base.get_submodule(name)) for name in architecture.head]
        self.classes = int(base.config.num_labels)


class _RoutedHead(nn.Module):
    """A module of the head, once for each adapter; each row of a batch goes through its own.

    Attributes:
        members: The modules, by the adapters' numbers.
        rows: Rows of the current batch, by adapter.
    """

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList()
        self.rows: dict[int, list[int]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, ...)``; columns that an adapter with fewer classes lacks are minus infinity."""
        parts: dict[int, Tensor] = {}
        with torch.autocast(x.device.type, enabled=False):
            for member, rows in self.rows.items():
                parts[member] = self.members[member](x[rows].float())
        first = next(iter(parts.values()))
        width = max(part.shape[-1] for part in parts.values())
        result = first.new_full((len(x), *first.shape[1:-1], width), -torch.inf)
        for member, part in parts.items():
            result[self.rows[member], ..., : part.shape[-1]] = part
        return result


def _key(number: int) -> str:
    """Return PEFT's name of an adapter: free of dots, and none a part of another."""
    return f"adapter{number:05d}"


def _architecture(model: PeftModel) -> Architecture:
    config: Any = model.get_base_model().config
    return architecture_of(config)


def _plain_module(module: nn.Module) -> nn.Module:
    """Return the trained copy of a module that PEFT keeps two of, or the module."""
    from peft.utils import ModulesToSaveWrapper

    return module.modules_to_save["default"] if isinstance(module, ModulesToSaveWrapper) else module


def _base_digest(model: PeftModel, architecture: Architecture) -> str:
    """Return a digest of the base's own weights outside the head, under the names they have without PEFT."""
    base: Any = model.get_base_model()
    return digest(
        {
            name.replace(".base_layer.", "."): parameter.detach().cpu().contiguous()
            for name, parameter in base.named_parameters()
            if "lora_" not in name and not architecture.is_head(name)
        }
    )


def _hold_in_bf16(base: nn.Module, architecture: Architecture) -> None:
    """Round the encoder's linear layers once; autocast would round them alike in every batch."""
    for module in base.get_submodule(architecture.layers).modules():
        if type(module) is nn.Linear:
            module.to(torch.bfloat16)
