"""``tunebench bench --serve``: the cost of serving, compared with a plain ``pipeline()`` behind the same routes.

A classifier is trained for a moment, exported in every format, and served in turn from a process of its own;
this one sends the requests, one text each, so client and server share the machine on every side alike.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from tunebench.benchmarks.serving_result import Load, ServeResult, ServeSide
from tunebench.data.text import by_side
from tunebench.errors import ConfigError, ExportError, ModelError
from tunebench.machine import devices, environment
from tunebench.machine.settings import Execution
from tunebench.study.config import StudyConfig
from tunebench.tasks.classification import CLASSIFICATION

#: What is served: the side's name, and its folder of the exports.
SIDES = {
    "pipeline": "merged",
    "merged": "merged",
    "onnx": "onnx",
    "onnx-int8": "onnx-int8",
    "1 adapter": "adapter",
    "8 adapters": "adapter",
}
#: Requests at a time.
CONCURRENCY = (1, 8, 64)
_ADAPTERS = 8


def run_serve_bench(
    model: str,
    *,
    data: str = "imdb-reviews",
    reviews: int = 2000,
    train_size: int = 400,
    max_length: int = 128,
    concurrency: Sequence[int] = CONCURRENCY,
    sides: Sequence[str] = tuple(SIDES),
    seconds: float = 420.0,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> ServeResult:
    """Train, export, and measure every side.

    Args:
        model: ``minilm``, or a folder.
        data: What is trained and served on.
        reviews: Texts that every side answers, from the part that was not trained on.
        train_size: Texts to train on; enough for answers that mean something.
        max_length: Longest text in tokens.
        concurrency: Requests at a time; the last is measured on all reviews, the others for a while.
        sides: Which keys of :data:`SIDES` to measure, the first of them ``pipeline``.
        seconds: Time for the loads, roughly; all reviews are answered whatever it takes.
        threads: Compute threads of the server.
        tell: Called with a line for each measurement.

    Raises:
        ModelError: The model cannot be loaded, or a server does not start.
        ExportError: It cannot be exported; only int8 may be left out.
        MissingExtraError: Without the extras ``serve`` and ``onnx``.
    """
    from tunebench.web.serving.server import check_extra

    check_extra()
    folders = {side: SIDES[side] for side in sides}
    if next(iter(folders), None) != "pipeline":
        raise ConfigError(
            "Every side is compared with the plain pipeline.", value=list(sides), allowed="pipeline first"
        )
    used = devices.set_threads(threads)
    spell = seconds / len(folders) / (2 * len(concurrency))
    with tempfile.TemporaryDirectory(prefix="tunebench-") as name:
        root = Path(name)
        tell(f"training: LoRA on {train_size} texts")
        _train(root, model, data=data, reviews=reviews, train_size=train_size, max_length=max_length)
        refused = _export(root, tuple(dict.fromkeys(folders.values())), tell)
        texts, labels = _test_part(root, reviews)
        found: dict[str, ServeSide] = {}
        reference: np.ndarray | None = None
        for side in [side for side, folder in folders.items() if folder not in refused]:
            tell(f"serving: {side}")
            with _server(side, root, threads=used) as (url, process, names):
                measured, predicted = _measure(url, process, names, texts, concurrency=concurrency, spell=spell)
            reference = predicted if reference is None else reference
            # Probabilities tell the label as logits do.
            decide = CLASSIFICATION.outputs.predicted
            measured.score = CLASSIFICATION.metric(CLASSIFICATION.default_metric)(labels, predicted)
            measured.equal_predictions = float((decide(predicted) == decide(reference)).mean())
            found[side] = measured
    return ServeResult(
        model=model,
        machine=environment.describe(),
        versions=environment.versions(),
        threads=used,
        precision=devices.default_precision("cpu", "fast"),
        reviews=len(texts),
        max_length=max_length,
        sides=found,
        left_out={side: refused[folder] for side, folder in folders.items() if folder in refused},
    )


def _train(root: Path, model: str, *, data: str, reviews: int, train_size: int, max_length: int) -> None:
    """Run a study of one run in the folder ``study``."""
    from tunebench.execution.display import PlainDisplay
    from tunebench.execution.plan import make_plan
    from tunebench.execution.runner import Job, run_plan
    from tunebench.store.study_folder import StudyStore
    from tunebench.training.registry import run_one

    settings = {
        "name": "serve",
        "model": model,
        "data": data,
        "strategies": {"lora": {"learning_rate": 2e-3, "placement": "all_linear"}},
        "train_sizes": [train_size],
        "test_size": reviews,
        "max_length": max_length,
        "epochs": 2,
        "batch_size": 16,
    }
    study, execution = StudyConfig.model_validate(settings), Execution(device="cpu")
    plan = make_plan(study, execution=execution, folder=root / "study", budget_seconds=None, measure=False)
    store = StudyStore.create(root / "study", study, list(plan.runs))
    summary = run_plan(
        [run.spec for run in plan.runs],
        Job(store, plan.dataset, execution, PlainDisplay(io.StringIO()), run_one),
    )
    if summary.failed:
        raise ModelError("The model could not be trained for the measurement.", value=model)


def _export(root: Path, formats: Sequence[str], tell: Callable[[str], None]) -> dict[str, str]:
    """Export the run into a folder a format; return why formats were refused."""
    from tunebench.inference.export import export_run

    refused: dict[str, str] = {}
    for format_ in formats:
        tell(f"exporting: {format_}")
        try:
            export_run(root / "study", out=root / format_, format=format_)
        except ExportError as error:
            # Rounding to int8 may cost more than an export allows; the others can still be measured.
            if format_ != "onnx-int8":
                raise
            refused[format_] = error.what
    for number in range(_ADAPTERS if "adapter" in formats else 0):
        # The same weights under eight names: they take the memory and the work of eight.
        shutil.copytree(root / "adapter", root / f"adapter-{number}")
    return refused


def _test_part(root: Path, reviews: int) -> tuple[list[str], np.ndarray]:
    """Return texts and labels of the study's test part, at most so many."""
    from tunebench.inference.export.source import open_source

    source = open_source(root / "study", run_id=None, recommended=False, texts=reviews)
    (texts,) = by_side(source.texts)
    return texts, source.labels[source.chosen]


@contextmanager
def _server(side: str, root: Path, *, threads: int) -> Iterator[tuple[str, psutil.Process, list[str]]]:
    """Run one side in a process of its own; give its URL, the process, and the names of its models."""
    count = _ADAPTERS if side == "8 adapters" else 1
    folder = SIDES[side]
    paths = [root / f"adapter-{i}" for i in range(count)] if folder == "adapter" else [root / folder]
    command = [sys.executable, "-m", "tunebench.benchmarks.served", side, str(threads), *map(str, paths)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if line.startswith("listening: "):
                yield line.split()[1], psutil.Process(process.pid), [path.name for path in paths]
                return
        raise ModelError("A server did not start.", value=side, fix="".join(said[-5:]).strip() or None)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _measure(
    url: str,
    process: psutil.Process,
    names: Sequence[str],
    texts: Sequence[str],
    *,
    concurrency: Sequence[int],
    spell: float,
) -> tuple[ServeSide, np.ndarray]:
    """Send all loads; return what was measured, and the probabilities of every text."""
    side = ServeSide()
    asyncio.run(_drive(url, names, texts[:16], concurrency=4, seconds=None))
    for count in concurrency[:-1]:
        side.loads[count], _ = asyncio.run(_drive(url, names, texts, concurrency=count, seconds=spell))
    most = concurrency[-1]
    side.loads[most], shares = asyncio.run(_drive(url, names, texts, concurrency=most, seconds=None))
    side.memory_bytes = process.memory_info().rss
    return side, shares


async def _drive(
    url: str, names: Sequence[str], texts: Sequence[str], *, concurrency: int, seconds: float | None
) -> tuple[Load, np.ndarray]:
    """Send texts, each once and in order, until all are answered or the time is over.

    Returns:
        The load, and the probabilities of the texts that were sent, float32 ``(texts, classes)``.
    """
    import httpx

    latencies: list[float] = []
    shares: dict[int, list[float]] = {}
    order = iter(range(len(texts)))
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits, trust_env=False) as client:

        async def work() -> None:
            for i in order:
                if seconds is not None and time.perf_counter() - begin > seconds and len(latencies) >= concurrency:
                    return
                mark = time.perf_counter()
                body = {"texts": texts[i], "model": names[i % len(names)]}
                answer = await client.post("/v1/predict", json=body)
                latencies.append(time.perf_counter() - mark)
                answer.raise_for_status()
                shares[i] = list(answer.json()["predictions"][0]["probabilities"].values())

        begin = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        elapsed = time.perf_counter() - begin
    p50, p99 = np.percentile(np.array(latencies) * 1e3, [50, 99])
    load = Load(requests=len(latencies), seconds=elapsed, p50_ms=float(p50), p99_ms=float(p99))
    return load, np.array([shares[i] for i in sorted(shares)], dtype=np.float32)
