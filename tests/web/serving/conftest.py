"""Tiny models of several formats, and real servers over them in processes of their own."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForSequenceClassification

import warm
from conftest import TINY, VOCABULARY, write_tokenizer
from tunebench.models.architectures import ARCHITECTURES, architecture_of


def lively(folder: Path, model_type: str, *, seed: int = 0) -> Path:
    """Write a tiny classifier whose answers differ from text to text."""
    torch.manual_seed(seed)
    options = TINY[model_type] | {"initializer_range": 0.3}
    config = AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **options)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def adapter(
    base: Path,
    folder: Path,
    *,
    seed: int,
    classes: int = 2,
    make: Any = LoraConfig,
    markup: str = "",
    **options: Any,
) -> Path:
    """Write an adapter that disagrees with others: update and head are its own."""
    torch.manual_seed(seed)
    names = {i: f"{folder.name}-{i}{markup}" for i in range(classes)}
    model = AutoModelForSequenceClassification.from_pretrained(
        base, id2label=names, label2id={name: i for i, name in names.items()}, ignore_mismatched_sizes=True
    )
    family = architecture_of(model.config)
    settings: dict[str, Any] = {
        "target_modules": list(family.projections("all_linear" if seed % 2 else "attention")),
        "modules_to_save": list(ARCHITECTURES[family.model_type].head),
    }
    adapted = get_peft_model(model, make(**(settings | options)))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    adapted.save_pretrained(folder)
    model.config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A merged model, three adapters over one base (one with three classes), and one over another."""
    root = tmp_path_factory.mktemp("served")
    bert, distilbert = lively(root / "bert", "bert"), lively(root / "distilbert", "distilbert")
    return {
        "plain": distilbert,
        "one": adapter(bert, root / "one", seed=1),
        "two": adapter(bert, root / "two", seed=2, r=4),
        "three": adapter(bert, root / "three", seed=3, classes=3, use_rslora=True),
        "lone": adapter(distilbert, root / "lone", seed=4, markup="<img src=x onerror='document.title=1'>"),
    }


class Served:
    """A server in another process.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, url: str, process: BaseProcess, told: Path) -> None:
        self.url, self._process, self._told = url, process, told

    def stop(self) -> tuple[int | None, str]:
        """End it as an operator does; return its exit code and what it said."""
        self._process.terminate()
        self._process.join(60)
        return self._process.exitcode, self._told.read_text()


@contextmanager
def serving(*args: str) -> Iterator[Served]:
    """Run ``tunebench serve`` on a free port until the block ends."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    with TemporaryDirectory(prefix="tunebench-") as folder:
        told = Path(folder) / "told.txt"
        told.touch()
        words = ["serve", *args, "--port", "0", "--threads", "1"]
        process = warm.start(warm.command, words, environment=environment, told=told)
        try:
            while (said := re.search(r"^listening: (\S+)$", told.read_text(), re.M)) is None:
                assert process.is_alive(), f"the server did not start: {told.read_text()}"
                time.sleep(0.02)
            yield Served(said[1], process, told)
        finally:
            process.kill()
            process.join()


@pytest.fixture(scope="session")
def server(models: dict[str, Path]) -> Iterator[Served]:
    """All the models behind one server."""
    with serving(*map(str, models.values()), "--precision", "fp32") as found:
        yield found


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as found:
        yield found
