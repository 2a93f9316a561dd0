"""Tiny random models of every supported architecture, with a real but small tokenizer beside them."""

from __future__ import annotations

import functools
import gc
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from hypothesis import settings


def pytest_configure(config: pytest.Config) -> None:
    """Try 25 examples of each property in ``make test``, and a hundred in ``make thorough``, with ``-m ""``."""
    settings.register_profile("usual", max_examples=25)
    if config.getoption("markexpr"):
        settings.load_profile("usual")


#: Files that take longest, below ``tests/``. They come first, so that no worker waits for one of them at the end.
LONGEST = (
    "execution/executors/test_ray.py",
    "faults/test_bad_input.py",
    "training/test_encoder.py",
    "execution/tracking/test_mlflow.py",
    "inference/export/test_export.py",
    "choosing/test_choose.py",
    "report/test_figures.py",
    "web/serving/test_bench_serve.py",
    "report/test_page.py",
    "test_wheel.py",
    "training/test_steps.py",
    "strategies/test_strategies.py",
    "web/watching/test_page.py",
    "inference/export/test_minilm.py",
    "faults/test_determinism.py",
    "benchmarks/test_scaling.py",
    "test_extending.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    place = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(autouse=True, scope="module")
def skip_what_stays() -> None:
    """Let the garbage collector skip what is there before a file's first test: libraries, tests, other files' data.

    Every run collects garbage before it trains. To look through all of that takes half a second each time.
    """
    import transformers.trainer  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def one_core() -> Iterator[None]:
    """Compute with one thread, also where a run would take all cores: tiny models would only wait for threads."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunebench.machine.devices.usable_cores", lambda: 1)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_command_tree() -> Iterator[None]:
    """Build the tree of commands once: Typer does at each call, which takes longer than most refusals."""
    once = functools.cache(typer.main.get_command)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.main.get_command", once)
        patch.setattr("typer.testing._get_command", once)
        yield


#: Words of the tests' texts that are not among the packaged tokenizer's first.
WORDS = "awful boring dear dull hateful lovely rotten superb sweet usual".split()
#: Tokens of a tiny model. To load, hash and train all 30,522 takes longer than a short run.
VOCABULARY = 4_000 + len(WORDS)


def write_tokenizer(folder: Path, *, whole: bool = False) -> None:
    """Write the packaged tokenizer: whole, or its first tokens and :data:`WORDS`. It spells other words in pieces.

    Args:
        folder: Where, beside a model.
        whole: Whether it has all its tokens.
    """
    from tunebench.models.sources import model_folder

    packaged = model_folder("minilm")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(packaged / name, folder / name)
    if whole:
        return
    raw = json.loads((packaged / "tokenizer.json").read_text(encoding="utf-8"))
    first = sorted(raw["model"]["vocab"], key=raw["model"]["vocab"].get)[: VOCABULARY - len(WORDS)]
    tokens = [*first, *WORDS]
    assert len(set(tokens)) == VOCABULARY
    raw["model"]["vocab"] = {token: number for number, token in enumerate(tokens)}
    (folder / "tokenizer.json").write_text(json.dumps(raw), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
#: Constructor arguments of a two-layer model of each family.
TINY: dict[str, dict[str, object]] = {
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "bert": SIZES,
    "roberta": SIZES | {"pad_token_id": 0, "max_position_embeddings": 514},
    "electra": SIZES | {"embedding_size": 32},
    "deberta-v2": SIZES
    | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False},
    "modernbert": SIZES
    | {"pad_token_id": 0, "cls_token_id": 101, "sep_token_id": 102, "global_attn_every_n_layers": 2}
    | {"local_attention": 16},
}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives the folder of a tiny model of a family, made once a session."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    root = tmp_path_factory.mktemp("models")

    def build(model_type: str) -> Path:
        folder = root / model_type
        if not folder.exists():
            torch.manual_seed(0)
            config = AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **TINY[model_type])
            AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
            write_tokenizer(folder)
        return folder

    return build


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv and test.csv: short texts whose class shows in their words."""
    folder = tmp_path_factory.mktemp("reviews")
    generator = np.random.default_rng(0)
    good, bad = "great lovely superb moving fine".split(), "awful boring bad dull weak".split()
    filler = "the film was a story of two men in paris who met again after many years".split()
    for name, count in (("train", 160), ("test", 60)):
        lines = ["text,label"]
        for i in range(count):
            words = list(generator.choice(filler, size=generator.integers(4, 16)))
            words.insert(2, str(generator.choice(good if i % 2 else bad)))
            lines.append(f"{' '.join(words)} {i},{'pos' if i % 2 else 'neg'}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="session")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv and test.csv: one text in four is ``rare``, and its word is in others too."""
    folder, rng = tmp_path_factory.mktemp("uneven"), np.random.default_rng(0)
    filler = "the film was a story of two men in paris who met again after many years".split()
    for name, count in (("train", 160), ("test", 80)):
        lines = ["text,label"]
        for i in range(count):
            words = [str(word) for word in rng.choice(filler, size=6)]
            words.insert(2, "plain" if i % 4 and rng.random() > 0.3 else "odd")
            lines.append(f"{' '.join(words)} {i},{'usual' if i % 4 else 'rare'}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


#: Tests that look at pictures, below ``tests/``.
DRAWN = ("report", "test_docs.py", "test_results.py", "test_contributing.py", "cli/test_cli.py")


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made, but not rendered, wherever a test does not look at them: a report draws for seconds."""
    if request.path.relative_to(Path(__file__).parent).as_posix().startswith(DRAWN):
        return

    def save(figure: Any, stem: Path) -> list[Path]:
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg")]
        for path in paths:
            path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
        return paths

    for module in ("figures.registry", "figures.runs", "suite.figures"):
        monkeypatch.setattr(f"tunebench.report.{module}.save", save)


def leave_report_out(patch: pytest.MonkeyPatch) -> None:
    """Do what :func:`no_report` does, for fixtures that live longer than a test."""
    patch.setattr("tunebench.api._write_report", lambda comparison, folder, **options: folder)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """``run_study`` leaves out tables, figures and report, which take longer than the runs of a tiny study."""
    leave_report_out(monkeypatch)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's headless Chromium; tests that need it are skipped where there is none.

    One a module: as long as it lives, its event loop runs in this thread, and others cannot.
    """
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", *quiet])
        yield found
        found.close()
