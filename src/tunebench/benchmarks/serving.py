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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from tunebench.data.text import Text, by_side
from tunebench.errors import ConfigError, ExportError, ModelError
from tunebench.machine import devices, environment
from tunebench.machine.settings import Execution
from tunebench.study.config import StudyConfig
from tunebench.tasks.classification import CLASSIFICATION

if TYPE_CHECKING:
    from tunebench.web.serving.models import LoadedModel

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


@dataclass
class Load:
    """One stretch of load.

    Attributes:
        requests: How many were answered.
        seconds: From the first to the last.
        p50_ms: Median latency, seen by the client.
        p99_ms: 99th percentile of it.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def throughput(self) -> float:
        """Texts a second."""
        return self.requests / self.seconds


@dataclass
class ServeSide:
    """Measurements of one way to serve.

    Attributes:
        loads: By the number of requests at a time.
        score: Macro F1 on the reviews of the last of them.
        equal_predictions: Share of reviews with the label that the plain pipeline gives.
        memory_bytes: Resident memory of the server after that load.
    """

    loads: dict[int, Load] = field(default_factory=dict)
    score: float = 0.0
    equal_predictions: float = 0.0
    memory_bytes: int = 0


@dataclass
class ServeResult:
    """Everything measured."""

    model: str
    machine: dict[str, Any]
    versions: dict[str, str]
    threads: int
    precision: str
    reviews: int
    max_length: int
    sides: dict[str, ServeSide]
    #: Why a side is missing: its export was refused.
    left_out: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, throughputs and ratios included."""
        found = asdict(self)
        for name, side in self.sides.items():
            for count, load in side.loads.items():
                found["sides"][name]["loads"][count]["throughput"] = load.throughput
        found["throughput_ratio"] = {name: self.throughput_ratio(name) for name in self.sides}
        found["memory_ratio_8_adapters"] = self.memory_ratio()
        return found

    def throughput_ratio(self, name: str) -> float:
        """Return a side's throughput over the pipeline's, both at the most requests at a time."""
        most = max(self.sides[name].loads)
        return self.sides[name].loads[most].throughput / self.sides["pipeline"].loads[most].throughput

    def memory_ratio(self) -> float | None:
        """Return the memory of eight adapters over one base, over that of one; None unless both were measured."""
        if not {"1 adapter", "8 adapters"} <= self.sides.keys():
            return None
        return self.sides["8 adapters"].memory_bytes / self.sides["1 adapter"].memory_bytes


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
        texts, labels, refused = _prepare(
            root,
            model,
            formats=tuple(dict.fromkeys(folders.values())),
            data=data,
            reviews=reviews,
            train_size=train_size,
            max_length=max_length,
            tell=tell,
        )
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


def _prepare(
    root: Path,
    model: str,
    *,
    formats: Sequence[str],
    data: str,
    reviews: int,
    train_size: int,
    max_length: int,
    tell: Callable[[str], None],
) -> tuple[list[str], np.ndarray, dict[str, str]]:
    """Train and export into a folder; return the test part's texts and labels, and which exports were refused."""
    from tunebench.execution.display import PlainDisplay
    from tunebench.execution.plan import make_plan
    from tunebench.execution.runner import Job, run_plan
    from tunebench.inference.export import export_run
    from tunebench.inference.export.source import open_source
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
    tell(f"training: LoRA on {train_size} texts")
    plan = make_plan(study, execution=execution, folder=root / "study", budget_seconds=None, measure=False)
    store = StudyStore.create(root / "study", study, list(plan.runs))
    summary = run_plan(
        [run.spec for run in plan.runs],
        Job(store, plan.dataset, execution, PlainDisplay(io.StringIO()), run_one),
    )
    if summary.failed:
        raise ModelError("The model could not be trained for the measurement.", value=model)
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
    source = open_source(root / "study", run_id=None, recommended=False, texts=reviews)
    (texts,) = by_side(source.texts)
    return texts, source.labels[source.chosen], refused


@contextmanager
def _server(side: str, root: Path, *, threads: int) -> Iterator[tuple[str, psutil.Process, list[str]]]:
    """Run one side in a process of its own; give its URL, the process, and the names of its models."""
    count = _ADAPTERS if side == "8 adapters" else 1
    folder = SIDES[side]
    paths = [root / f"adapter-{i}" for i in range(count)] if folder == "adapter" else [root / folder]
    command = [sys.executable, "-m", "tunebench.benchmarks.serving", side, str(threads), *map(str, paths)]
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


class _Pipeline:
    """What a plain script would put behind the routes: ``pipeline()``, request by request.

    Args:
        folder: A merged folder.
        max_length: Longest text in tokens.
    """

    def __init__(self, folder: Path, max_length: int) -> None:
        from transformers import pipeline

        self._pipeline: Any = pipeline("text-classification", model=str(folder), device="cpu")
        self._max_length = max_length
        # One at a time: several would only compete for the same cores.
        self._executor = ThreadPoolExecutor(1)
        self.waiting, self.alive = 0, True

    def submit(self, model: LoadedModel, texts: Sequence[Text]) -> Future[np.ndarray]:
        (single,) = by_side(texts)
        return self._executor.submit(self._answer, single)

    def close(self) -> None:
        self._executor.shutdown()

    def _answer(self, texts: list[str]) -> np.ndarray:
        found = self._pipeline(
            texts, truncation=True, max_length=self._max_length, top_k=None, function_to_apply="none"
        )
        order: dict[str, int] = self._pipeline.model.config.label2id
        logits = np.empty((len(texts), len(order)), dtype=np.float32)
        for row, entries in zip(logits, found, strict=True):
            for entry in entries:
                row[order[entry["label"]]] = entry["score"]
        return logits


def _serve_side(side: str, threads: int, paths: Sequence[str]) -> None:
    """Serve one side until SIGTERM; the process that :func:`_server` starts."""
    from tunebench.web.serving.app import create_app
    from tunebench.web.serving.models import load_models
    from tunebench.web.serving.server import bind, run

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    plain = side == "pipeline"
    models = load_models(paths, threads=threads, precision="fp32" if plain else "auto", merge_lone=False)
    with bind("127.0.0.1", 0) as listener:
        if plain:
            longest = models[0].predictor.max_length
            assert longest is not None, "a Transformers model"
            pipeline = _Pipeline(Path(paths[0]), longest)
            app = create_app(models, answerer=lambda **options: pipeline)
        else:
            app = create_app(models)
        run(app, listener, tell=tell)


def render_serve(result: ServeResult) -> str:
    """Return the result as text."""
    info = result.machine
    counts = list(next(iter(result.sides.values())).loads)
    heads = "".join(f"{f'p50 / p99 ms at {count}':>22}{'texts/s':>9}" for count in counts)
    lines = [
        f"{result.model} on {info['cpu']}, {info['cores']} cores, {result.threads} threads; one text a request, "
        f"at most {result.max_length} tokens; {result.reviews} reviews; client on the same machine",
        f"merged and adapters compute in {result.precision}, the pipeline in fp32",
        "",
        f"{'served':<12}{heads}{'ratio':>8}{'MB':>8}{'macro F1':>10}{'equal':>9}",
    ]
    for name, side in result.sides.items():
        cells = "".join(
            f"{f'{load.p50_ms:.1f} / {load.p99_ms:.1f}':>22}{load.throughput:>9.1f}" for load in side.loads.values()
        )
        lines.append(
            f"{name:<12}{cells}{result.throughput_ratio(name):>7.2f}x{side.memory_bytes / 1e6:>8.0f}"
            f"{side.score:>10.4f}{side.equal_predictions:>9.2%}"
        )
    lines += [f"{name:<12} left out: {why}" for name, why in result.left_out.items()]
    ratio = result.memory_ratio()
    if ratio is not None:
        lines.append(f"\n8 adapters take {ratio:.2f} times the memory of one")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    _serve_side(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
