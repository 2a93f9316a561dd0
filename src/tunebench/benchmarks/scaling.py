"""``tunebench bench --scaling``: how the cost of a study grows, measured and fitted.

Each measurement varies one thing and keeps the others: texts, their length, the encoder's parameters,
runs of a study, and workers. :mod:`tunebench.benchmarks.scaling_result` fits a power law to each.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunebench.benchmarks.scaling_result import Growth, ScalingResult
from tunebench.benchmarks.sides import BATCH, TOKENS, WAYS, build_model, our_trainer, review_lengths
from tunebench.data.tokenizer import tokenizer_fingerprint
from tunebench.data.tokens import TokenizedTexts, tokenize
from tunebench.engine.flops import count
from tunebench.machine import devices, environment, memory
from tunebench.models.architectures import Architecture, architecture_of
from tunebench.models.loading import load_architecture
from tunebench.models.sources import model_folder
from tunebench.models.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from tunebench.study.config import StudyConfig

Tell = Callable[[str], None]

#: What is varied, where nothing else is asked for.
TEXTS = (1_000, 2_000, 4_000, 8_000, 16_000)
EPOCH_TEXTS = (64, 128, 256, 512)
LENGTHS = (32, 64, 128, 256, 512)
#: Layers and hidden size of BERT-shaped encoders.
SHAPES = ((2, 128), (4, 256), (6, 384), (6, 512), (6, 768), (12, 768))
RUNS = (10, 30, 100, 300, 1_000)
#: Length of the texts where it is not what is varied.
_LENGTH = 128


def run_scaling_bench(
    model: str,
    *,
    threads: int | None = None,
    texts: Sequence[int] = TEXTS,
    epoch_texts: Sequence[int] = EPOCH_TEXTS,
    lengths: Sequence[int] = LENGTHS,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    runs: Sequence[int] = RUNS,
    tell: Tell = lambda line: None,
) -> ScalingResult:
    """Measure every growth once; about eight minutes for the packaged model on two cores.

    Of equal steps the fastest counts: what else a machine does only slows them.

    Args:
        model: ``minilm`` or a folder.
        threads: Compute threads.
        texts: Numbers of texts to tokenise.
        epoch_texts: Numbers of texts to train on for an epoch.
        lengths: Tokens a text.
        shapes: Layers and hidden size of the encoders.
        runs: Numbers of runs in a study.
        tell: Called with a line for each measurement.

    Raises:
        ModelError: The model cannot be loaded.
    """
    used = devices.set_threads(threads)
    precision = devices.default_precision("cpu", "fast")
    memory.keep_memory()
    most = load_architecture(model_folder(model)).positions
    fitting = [length for length in lengths if most is None or length <= most]
    growths = {"tokenise": _tokenising(model, texts, tell)}
    for way in WAYS:
        growths[f"epoch, {way}"] = _epochs(model, way, epoch_texts, precision, tell)
        growths[f"length, {way}"] = _by_length(model, way, fitting, precision, tell)
    growths["parameters"] = _by_parameters(shapes, precision, tell)
    growths |= _by_runs(model, runs, tell)
    growths["workers"] = _by_workers(model, used, tell)
    return ScalingResult(model, environment.describe(), environment.versions(), used, precision, growths)


def _tokenising(model: str, counts: Sequence[int], tell: Tell) -> Growth:
    tokenizer = load_tokenizer(model_folder(model))
    words = [word for word in tokenizer.get_vocab() if word.isalpha()]
    generator = np.random.default_rng(0)
    reviews = [" ".join(generator.choice(words, size=200)) for _ in range(max(counts))]
    fingerprint = tokenizer_fingerprint(tokenizer)
    seconds = []
    for number in counts:
        tell(f"tokenising {number:,} texts")
        start = time.perf_counter()
        tokenize(
            reviews[:number],
            tokenizer=tokenizer,
            tokenizer_fingerprint=fingerprint,
            max_length=256,
            cache_dir=None,
        )
        seconds.append(time.perf_counter() - start)
    return Growth("texts", "seconds to tokenise", tuple(counts), tuple(seconds))


def _epochs(model: str, way: str, counts: Sequence[int], precision: str, tell: Tell) -> Growth:
    seconds = []
    for number in counts:
        tell(f"an epoch of {number:,} texts, {way}")
        seconds.append(sum(_steps(*build_model(model, way, None), review_lengths(number), precision)))
    return Growth("texts", "seconds an epoch", tuple(counts), tuple(seconds))


def _by_length(model: str, way: str, lengths: Sequence[int], precision: str, tell: Tell) -> Growth:
    seconds = []
    for length in lengths:
        tell(f"a step of {BATCH} texts of {length} tokens, {way}")
        seconds.append(min(_steps(*build_model(model, way, None), _equal(length), precision)))
    return Growth("tokens a text", "seconds a step", tuple(lengths), tuple(seconds))


def _by_parameters(shapes: Sequence[tuple[int, int]], precision: str, tell: Tell) -> Growth:
    from transformers import BertConfig, BertForSequenceClassification, set_seed

    parameters, seconds = [], []
    for layers, hidden in shapes:
        tell(f"a step of {BATCH} texts of {_LENGTH} tokens, {layers} layers of width {hidden}")
        set_seed(0)
        config = BertConfig(
            num_hidden_layers=layers,
            hidden_size=hidden,
            intermediate_size=4 * hidden,
            num_attention_heads=max(1, hidden // 64),
        )
        model = BertForSequenceClassification(config)
        # Embeddings are looked up, not multiplied: they cost memory, hardly time.
        parameters.append(sum(p.numel() for p in model.bert.encoder.parameters()))
        seconds.append(min(_steps(model, architecture_of(config), _equal(_LENGTH), precision)))
    return Growth("parameters of the layers", "seconds a step", tuple(parameters), tuple(seconds))


def _equal(length: int, steps: int = 3) -> TokenizedTexts:
    """Make texts of one length, for so many steps."""
    number = steps * BATCH
    ids = np.random.default_rng(0).integers(*TOKENS, size=number * length).astype(np.int32)
    return TokenizedTexts(ids, np.arange(number + 1) * length)


def _steps(model: Any, architecture: Architecture, texts: TokenizedTexts, precision: str) -> list[float]:
    """Return the seconds of each step of a second pass over some texts; the first one warms up."""
    workload = count(model, architecture)
    with our_trainer(model, architecture, workload, texts, precision, passes=2) as trainer:
        trainer.train()
        found: list[float] = trainer.meters.step_seconds
    return found[len(found) // 2 :]


def _by_runs(model: str, counts: Sequence[int], tell: Tell) -> dict[str, Growth]:
    """Measure what a study of many runs costs to open and to report, beside its training.

    The runs are one real run under other seeds: the costs depend on their number, not on what they learnt.
    """
    from tunebench.analysis.analysis import analyse
    from tunebench.analysis.load import load_comparison
    from tunebench.api import write_report
    from tunebench.report.tables import make_tables

    seconds: dict[str, list[float]] = {"opening and tables": [], "report": []}
    with tempfile.TemporaryDirectory() as place:
        template = _one_run(model, Path(place))
        for number in counts:
            tell(f"a study of {number:,} runs")
            folder = _copies(template, Path(place) / str(number), number)
            start = time.perf_counter()
            make_tables(analyse(load_comparison(folder)))
            seconds["opening and tables"].append(time.perf_counter() - start)
            start = time.perf_counter()
            write_report(folder, run_figures=False)
            seconds["report"].append(time.perf_counter() - start)
    return {
        name: Growth("runs", f"seconds, {name}", tuple(counts), tuple(found)) for name, found in seconds.items()
    }


def _one_run(model: str, place: Path) -> Path:
    from tunebench.api import run_study
    from tunebench.execution.display import PlainDisplay
    from tunebench.machine.settings import Execution

    study = _study(model, _reviews(place / "data"), strategies={"tfidf": {}}, train_sizes=[200])
    run_study(
        study,
        folder=place / "one",
        execution=Execution(threads=1),
        display=PlainDisplay(io.StringIO()),
        measure=False,
    )
    return place / "one"


def _copies(template: Path, folder: Path, number: int) -> Path:
    """Make a study of one run under so many seeds, and return its folder."""
    from tunebench.files import stored_file
    from tunebench.store.plan_file import PlannedRun
    from tunebench.store.study_folder import StudyStore
    from tunebench.study.config import StudyConfig

    source = StudyStore.open(template)
    first = source.trainable()[0]
    original = source.run_folder(first.run_id)
    record = original.read()
    study = source.study()
    assert record is not None and isinstance(study, StudyConfig)
    seeds = tuple(range(1, number + 1))
    specs = [first.model_copy(update={"seed": seed}) for seed in seeds]
    store = StudyStore.create(folder, study.model_copy(update={"seeds": seeds}), [PlannedRun(s) for s in specs])
    predictions = original.read_predictions(record.files[original.predictions.name])
    for spec in specs:
        run = store.run_folder(spec.run_id)
        run.begin(spec)
        run.write_predictions(**predictions)
        files = {run.predictions.name: stored_file(run.predictions)}
        run.commit(record.model_copy(update={"run_id": spec.run_id, "spec": spec, "files": files}))
    return folder


def _by_workers(model: str, cores: int, tell: Tell) -> Growth:
    """Measure the same runs with one and more workers that share the same threads."""
    from tunebench.api import run_study
    from tunebench.execution.display import PlainDisplay
    from tunebench.machine.settings import Execution

    workers = [n for n in (1, 2, 4, 8, 16) if n <= cores]
    per_hour = []
    with tempfile.TemporaryDirectory() as place:
        data = _reviews(Path(place) / "data")
        number = 2 * workers[-1]
        study = _study(
            model, data, strategies={"full": {}}, train_sizes=[128], seeds=list(range(1, number + 1)), epochs=1
        )
        for side_by_side in workers:
            tell(f"{number} runs, {side_by_side} at a time")
            start = time.perf_counter()
            run_study(
                study,
                folder=Path(place) / str(side_by_side),
                execution=Execution(threads=max(1, cores // side_by_side), workers=side_by_side),
                display=PlainDisplay(io.StringIO()),
                measure=False,
            )
            per_hour.append(3600 * number / (time.perf_counter() - start))
    return Growth("workers", "runs an hour", tuple(workers), tuple(per_hour))


def _study(model: str, data: Path, **settings: Any) -> StudyConfig:
    from tunebench.study.yaml_file import check_study

    common = {"name": "scaling", "model": model, "data": str(data), "max_length": _LENGTH, "selection": "last"}
    return check_study(common | settings)


def _reviews(folder: Path) -> Path:
    """Write texts of two classes, long enough to fill every batch."""
    import csv

    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    words = "the film a story of men in paris who met again after many years and".split()
    for part, number in (("train", 400), ("test", 100)):
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label"])
            for row in range(number):
                verdict = "great" if row % 2 else "awful"
                writer.writerow([f"{part} {row} {verdict} {' '.join(generator.choice(words, size=150))}", row % 2])
    return folder
