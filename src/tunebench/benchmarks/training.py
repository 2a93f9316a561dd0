"""``tunebench bench``: the paper's recipe with a plain Trainer and with tunebench, in one session.

Both sides run in one process, in turn, on the same random tokens with the lengths of film reviews, so
that what the machine does to one it does to the other. The plain side gets its memory settings back
before each of its turns. Speed does not depend on the weights, so DistilBERT's are random.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from tunebench.data.tokens import TokenizedTexts
from tunebench.engine.batching import Collator, TokenDataset
from tunebench.engine.fast.attach import attach
from tunebench.engine.flops import Workload, count
from tunebench.machine import devices, environment
from tunebench.machine.memory import keep_memory, peak_memory_bytes, release_memory, reset_peak_memory
from tunebench.models.architectures import Architecture, architecture_of
from tunebench.models.loading import load_classifier
from tunebench.models.sources import model_folder
from tunebench.store.best_files import BestFiles
from tunebench.strategies import STRATEGIES
from tunebench.training.encoder.callbacks import RunContext
from tunebench.training.encoder.trainer import EngineSetup, StudyTrainer

#: The paper's recipe.
BATCH, MAX_LENGTH, EPOCHS, EVALUATIONS, TEST = 32, 256, 3, 6, 25_000
SIZES = (5_000, 10_000, 25_000)
#: Token ids of made texts: those of small vocabularies too. Which tokens a text has costs nothing.
TOKENS = (1_000, 4_000)
#: Share set aside for selection on our side.
VALIDATION = 0.1
WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"rank": 8, "alpha": 16, "dropout": 0.2, "placement": "query_value"},
}


@dataclass
class Side:
    """Measurements of one side of one strategy.

    Attributes:
        step_seconds: One median a round, first step of the round left out.
        texts_per_second: Evaluation, one value a round.
        peak_memory_bytes: Of the process in this side's turns; both models are loaded in it.
    """

    step_seconds: list[float] = field(default_factory=list)
    texts_per_second: list[float] = field(default_factory=list)
    peak_memory_bytes: int = 0


@dataclass
class Result:
    """Everything one benchmark measured.

    Attributes:
        sides: ``plain`` and ``ours`` by strategy.
        gemm_gflops: Best product rates, by type.
        step_flops: Operations of one of our steps without padding, mean over the texts, by strategy.
        attention_dropout: Of our side; None means the model's own, as on the plain side.
    """

    model: str
    machine: dict[str, Any]
    versions: dict[str, str]
    threads: int
    rounds: int
    mean_tokens: float
    precision: str
    attention_dropout: float | None
    gemm_gflops: dict[str, float]
    sides: dict[str, dict[str, Side]]
    step_flops: dict[str, float]

    def ratio(self, way: str, what: str) -> tuple[float, float, float]:
        """Return median, smallest and largest ratio over rounds of a measurement, plain against ours."""
        plain, ours = getattr(self.sides[way]["plain"], what), getattr(self.sides[way]["ours"], what)
        pairs = list(zip(plain, ours, strict=True))
        found = [p / o if what == "step_seconds" else o / p for p, o in pairs]
        return statistics.median(found), min(found), max(found)

    def mfu(self, way: str) -> float:
        """Return executed matrix operations of our step over the measured peak product rate."""
        seconds = statistics.median(self.sides[way]["ours"].step_seconds)
        return self.step_flops[way] / seconds / (self.gemm_gflops[self.precision] * 1e9)

    def grid(self) -> dict[str, dict[str, float]]:
        """Return seconds of the whole paper grid, by part, on both sides.

        Plain: every label trains, and the whole test split is scored six times a run. Ours: a tenth of
        the labels selects (scored six times), the rest trains, and test is scored once.
        """
        total = {side: {"training": 0.0, "evaluation": 0.0} for side in ("plain", "ours")}
        for sides in self.sides.values():
            for side, measured in sides.items():
                step = statistics.median(measured.step_seconds)
                rate = statistics.median(measured.texts_per_second)
                for size in SIZES:
                    trained = size if side == "plain" else size - round(size * VALIDATION)
                    scored = (
                        EVALUATIONS * TEST if side == "plain" else EVALUATIONS * round(size * VALIDATION) + TEST
                    )
                    total[side]["training"] += math.ceil(trained / BATCH) * EPOCHS * step
                    total[side]["evaluation"] += scored / rate
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ratios included."""
        found = asdict(self)
        found["step_ratio"] = {way: self.ratio(way, "step_seconds") for way in self.sides}
        found["evaluation_ratio"] = {way: self.ratio(way, "texts_per_second") for way in self.sides}
        found["mfu"] = {way: self.mfu(way) for way in self.sides}
        found["grid_seconds"] = self.grid()
        return found


def run_bench(
    model: str,
    *,
    seconds: float = 500.0,
    attention_dropout: float | None = None,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Result:
    """Measure both sides in turn until the time is used up, two rounds at least.

    Args:
        model: ``distilbert`` (real size, random weights), ``minilm``, or a folder.
        seconds: Time to use, roughly.
        attention_dropout: For our side; None leaves the model's own.
        threads: Compute threads.
        tell: Called with a line for each measurement.

    Raises:
        ModelError: The model cannot be loaded.
    """
    device = "cpu"
    count_ = devices.set_threads(threads)
    precision = devices.default_precision(device, "fast")
    native = ["bf16"] if devices.has_native_bf16(device) else []  # what it gains says why it is taken, or not
    texts = review_lengths()
    sides = {way: {"plain": Side(), "ours": Side()} for way in WAYS}
    flops: dict[str, float] = {}
    begin = time.monotonic()
    rounds = 0
    while rounds < 2 or (time.monotonic() - begin) * (rounds + 1) / rounds < seconds:
        for way in WAYS:
            for side in ("plain", "ours"):
                tell(f"round {rounds + 1}: {model}, {way}, {side}")
                dropout = attention_dropout if side == "ours" else None
                prepared, architecture = build_model(model, way, dropout)
                workload = count(prepared, architecture)
                release_memory()
                keep_memory(side == "ours")
                reset_peak_memory()
                turn = _ours if side == "ours" else _plain
                step, rate, fast = turn(prepared, architecture, workload, texts, precision)
                sides[way][side].step_seconds.append(step)
                sides[way][side].texts_per_second.append(rate)
                sides[way][side].peak_memory_bytes = max(
                    sides[way][side].peak_memory_bytes, peak_memory_bytes(device)
                )
                if side == "ours":
                    flops[way] = _mean_step_flops(workload, texts, first_token_only=fast)
                del prepared
        rounds += 1
    return Result(
        model=model,
        machine=environment.describe(),
        versions=environment.versions(),
        threads=count_,
        rounds=rounds,
        mean_tokens=float(texts.lengths.mean()),
        precision=precision,
        attention_dropout=attention_dropout,
        gemm_gflops={kind: environment.gemm_gflops(kind) for kind in ("fp32", *native)},
        sides=sides,
        step_flops=flops,
    )


def review_lengths(count_: int = 160) -> TokenizedTexts:
    """Make texts with the lengths of film reviews: log-normal about 233 tokens, cut at 256."""
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(math.log(233), 0.58, size=count_), 12, MAX_LENGTH).astype(np.int64)
    ids = generator.integers(*TOKENS, size=int(lengths.sum())).astype(np.int32)
    return TokenizedTexts(ids, np.concatenate([[0], np.cumsum(lengths)]))


def build_model(name: str, way: str, attention_dropout: float | None) -> tuple[Any, Architecture]:
    """Load a model (or make DistilBERT's shape with random weights), and give it a strategy of :data:`WAYS`."""
    set_seed(0)
    if name == "distilbert":
        from transformers import DistilBertConfig, DistilBertForSequenceClassification

        extra = {} if attention_dropout is None else {"attention_dropout": attention_dropout}
        model: Any = DistilBertForSequenceClassification(DistilBertConfig(num_labels=2, **extra))
    else:
        model = load_classifier(
            model_folder(name), label_names=("negative", "positive"), attention_dropout=attention_dropout
        )
    architecture = architecture_of(model.config)
    strategy = STRATEGIES[way]
    return strategy.prepare(model, strategy.params(**WAYS[way]), architecture), architecture


class _StepTimes(TrainerCallback):
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._mark = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._mark = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self._mark)


def _plain(
    model: Any, architecture: Architecture, workload: Workload, texts: TokenizedTexts, precision: str
) -> tuple[float, float, bool]:
    """Time the paper's recipe: the Trainer as it is, fp32, everything padded to 256."""
    steps = 3
    labels = np.arange(len(texts)) % 2
    collator = Collator(pad_id=0, length=MAX_LENGTH)
    times = _StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=_arguments(folder, steps),
            train_dataset=TokenDataset(texts, labels),
            data_collator=collator,
            callbacks=[times],
        )
        trainer.remove_callback(PrinterCallback)  # it prints to the output that --json needs
        trainer.train()
        scored = TokenDataset(texts.take(np.arange(64)), labels[:64])
        rate = _rate(lambda: trainer.predict(scored), len(scored))
    return statistics.median(times.seconds[1:]), rate, False


def _ours(
    model: Any, architecture: Architecture, workload: Workload, texts: TokenizedTexts, precision: str
) -> tuple[float, float, bool]:
    """Time a whole pass over the texts through our Trainer, so that every length has its share."""
    with our_trainer(model, architecture, workload, texts, precision, passes=2) as trainer:
        # One pass to warm up, one that counts; the step time is the mean, as lengths differ.
        trainer.train()
        rate = _rate(lambda: trainer.logits(trainer.train_dataset), len(texts))
    seconds = trainer.meters.step_seconds
    return statistics.fmean(seconds[len(seconds) // 2 :]), rate, trainer.engine.fast is not None


def _rate(score: Callable[[], Any], texts: int) -> float:
    """Return texts a second of a second scoring: a test split has thousands, and only the first few map memory."""
    score()
    start = time.perf_counter()
    score()
    return texts / (time.perf_counter() - start)


@contextmanager
def our_trainer(
    model: Any,
    architecture: Architecture,
    workload: Workload,
    texts: TokenizedTexts,
    precision: str,
    *,
    passes: int,
) -> Iterator[StudyTrainer]:
    """Give a Trainer of ours that goes over some texts so many times, writing nothing that stays."""
    fast, autocast = attach(model, architecture, devices.compute_type(precision), seed=0)
    with tempfile.TemporaryDirectory() as folder:
        yield StudyTrainer(
            model,
            _arguments(folder, passes * math.ceil(len(texts) / BATCH)),
            train_dataset=TokenDataset(texts, np.arange(len(texts)) % 2),
            eval_dataset=None,
            collator=Collator.of_engine("fast", pad_id=0, max_length=MAX_LENGTH),
            engine=EngineSetup(seed=0, workload=workload, fast=fast, autocast=autocast),
            context=RunContext(
                run_id="bench",
                checkpoints=Path(folder) / "checkpoints",
                best=BestFiles(Path(folder)),
            ),
        )


def _arguments(folder: str, steps: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        learning_rate=5e-5,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=False,
        use_cpu=True,
    )


def _mean_step_flops(workload: Workload, texts: TokenizedTexts, *, first_token_only: bool) -> float:
    """Count texts one by one, as they are: what a batch pads besides is no work that MFU should credit."""
    one = (workload.step(texts=1, length=int(n), first_token_only=first_token_only) for n in texts.lengths)
    return BATCH * statistics.fmean(one)


def render(result: Result, *, grid: bool) -> str:
    """Return the result as text, with the arithmetic of the grid if asked for."""
    info = result.machine
    lines = [
        f"{result.model} on {info['cpu']}, {info['cores']} cores, {result.threads} threads; "
        f"{result.rounds} rounds, batch {BATCH}, mean length {result.mean_tokens:.0f} tokens",
        "products: " + ", ".join(f"{k} {v:.0f} GFLOP/s" for k, v in result.gemm_gflops.items()),
        "plain: Trainer, fp32, padded to 256. ours: "
        + f"{result.precision}, without padding, attention dropout "
        + ("the model's own" if result.attention_dropout is None else f"{result.attention_dropout:g}"),
        "",
        f"{'':<22}{'plain':>10}{'ours':>10}{'ratio':>8}   range over rounds",
    ]
    for way, sides in result.sides.items():
        for what, unit in (("step_seconds", "s/step"), ("texts_per_second", "reviews/s")):
            plain, ours = (statistics.median(getattr(sides[s], what)) for s in ("plain", "ours"))
            middle, low, high = result.ratio(way, what)
            name = f"{way}, {unit}"
            lines.append(f"{name:<22}{plain:>10.3f}{ours:>10.3f}{middle:>7.2f}x   {low:.2f}x to {high:.2f}x")
        memory = [sides[s].peak_memory_bytes / 1e9 for s in ("plain", "ours")]
        lines.append(f"{way + ', peak GB':<22}{memory[0]:>10.2f}{memory[1]:>10.2f}")
        lines.append(f"{way + ', MFU':<22}{'':>10}{result.mfu(way):>10.0%}")
    if grid:
        total = result.grid()
        plain, ours = (sum(total[s].values()) for s in ("plain", "ours"))
        lines += [
            "",
            f"paper grid ({' + '.join(f'{n:,}' for n in SIZES)} labels, {EPOCHS} epochs, both strategies):",
            f"  plain: steps x s/step = {total['plain']['training'] / 3600:.2f} h, and {EVALUATIONS} x {TEST:,} "
            f"reviews a run / (reviews/s) = {total['plain']['evaluation'] / 3600:.2f} h",
            f"  ours:  steps of 90 % of the labels = {total['ours']['training'] / 3600:.2f} h, and {EVALUATIONS} x "
            f"10 % of the labels + {TEST:,} reviews a run = {total['ours']['evaluation'] / 3600:.2f} h",
            f"  {plain / 3600:.2f} h against {ours / 3600:.2f} h: {plain / ours:.1f}x",
        ]
    return "\n".join(lines) + "\n"
