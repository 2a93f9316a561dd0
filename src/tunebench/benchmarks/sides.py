"""The sides of ``tunebench bench``: what trains and evaluates a model, and how long a step and a text take.

Speed does not depend on the weights, so DistilBERT's are random, and texts are random tokens with the lengths of
film reviews. All sides train on the same batches in the same order, with the same recipe.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from tunebench.data.tokens import TokenizedTexts
from tunebench.engine.batching import Collator, EpochSampler, TokenDataset
from tunebench.engine.fast.attach import attach
from tunebench.engine.flops import Workload
from tunebench.errors import PlanError, first_line
from tunebench.machine import devices
from tunebench.models.architectures import Architecture, architecture_of
from tunebench.models.loading import load_classifier
from tunebench.models.sources import model_folder
from tunebench.store.best_files import BestFiles
from tunebench.strategies import STRATEGIES
from tunebench.training.encoder.callbacks import RunContext
from tunebench.training.encoder.setup import EngineSetup
from tunebench.training.encoder.trainer import StudyTrainer

#: Of the paper's recipe.
BATCH, MAX_LENGTH = 32, 256
#: Token ids of made texts: those of small vocabularies too. Which tokens a text has costs nothing.
TOKENS = (1_000, 4_000)
WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"rank": 8, "alpha": 16, "dropout": 0.2, "placement": "query_value"},
}
#: Architectures whose default configuration is a real size. They get random weights, which cost what others do.
SHAPES = ("distilbert", "modernbert")
#: Passes over the texts: the first one warms up, the last one counts.
_PASSES = 2
#: Steps of the side that pads everything to one length: all cost the same, so few tell. The first one warms up.
_EQUAL_STEPS = 3
#: Draws the order of texts, and our dropout masks.
_SEED = 0


@dataclass(frozen=True)
class Job:
    """What a side gets.

    Attributes:
        model: Prepared for a strategy.
        precision: Of products, for the sides that do not stay with fp32.
    """

    model: Any
    architecture: Architecture
    workload: Workload
    texts: TokenizedTexts
    precision: str


@dataclass(frozen=True)
class Turn:
    """What one turn of a side measured.

    Attributes:
        step_seconds: Of a step, on average.
        texts_per_second: Evaluation.
        first_token_only: Whether our last layer computed first tokens only.
    """

    step_seconds: float
    texts_per_second: float
    first_token_only: bool = False


def paper(job: Job) -> Turn:
    """The paper's recipe: the Trainer as it is, fp32, everything padded to one length."""
    few = job.texts.take(np.arange(min(2 * BATCH, len(job.texts))))
    return _plain(job, Collator(pad_id=0, length=MAX_LENGTH), scored=few, most=_EQUAL_STEPS)


def careful(job: Job, *, compile_: bool = False) -> Turn:
    """A careful user's Trainer: bf16 where it gains, batches as long as their longest text, sorted evaluation.

    Args:
        job: What is measured.
        compile_: Whether ``torch.compile`` compiles the model.
    """
    by_length = job.texts.take(np.argsort(-job.texts.lengths, kind="stable"))
    options: dict[str, Any] = {
        "bf16": job.precision == "bf16",
        "optim": "adamw_torch_fused",
        "torch_compile": compile_,
    }
    return _plain(job, Collator(pad_id=0), scored=by_length, **options)


def compiled(job: Job) -> Turn:
    """:func:`careful` with ``torch.compile``."""
    import torch

    torch.compiler.reset()  # what was compiled in an earlier turn keeps its model
    return careful(job, compile_=True)


def ours(job: Job, *, native: bool = True) -> Turn:
    """Tunebench.

    Args:
        job: What is measured.
        native: Whether the native kernels are used, where there are any.
    """
    with our_trainer(
        job.model, job.architecture, job.workload, job.texts, job.precision, passes=_PASSES, native=native
    ) as trainer:
        trainer.train()
        rate = _rate(lambda: trainer.logits(trainer.train_dataset), len(job.texts))
    fast = trainer.engine.fast
    first_only = fast is not None and fast.layers[-1].first_token_only
    return Turn(_last_pass(trainer.meters.step_seconds), rate, first_only)


def without_native(job: Job) -> Turn:
    """:func:`ours` with PyTorch's operators in place of the native kernels."""
    return ours(job, native=False)


#: Those that are plain scripts, in the order of their turns. ``compiled`` is measured only where it is asked for.
PLAIN: dict[str, Callable[[Job], Turn]] = {"paper": paper, "careful": careful, "compiled": compiled}


def check_compiler() -> None:
    """Refuse ``torch.compile`` where it does not work.

    Raises:
        PlanError: It does not: most often there is no C++ compiler.
    """
    import torch

    try:
        torch.compile(lambda x: x + 1)(torch.ones(2))
    except Exception as error:
        raise PlanError(
            "torch.compile does not work here, and --compile needs it.",
            value=first_line(error),
            fix="install a C++ compiler (g++), or leave --compile out",
        ) from None


class _PlainTrainer(Trainer):
    """The Trainer as it is, but for the order of texts, which is that of all sides."""

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return EpochSampler(self.train_dataset.texts.lengths, batch_size=BATCH, seed=_SEED)


class _StepTimes(TrainerCallback):
    """Times every step, and stops after so many."""

    def __init__(self, most: int | None) -> None:
        self.seconds: list[float] = []
        self._most, self._mark = most, 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self._mark = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds.append(time.perf_counter() - self._mark)
        control.should_training_stop = len(self.seconds) == self._most or control.should_training_stop


def _plain(
    job: Job, collator: Collator, *, scored: TokenizedTexts, most: int | None = None, **options: Any
) -> Turn:
    """Time a plain Trainer.

    Args:
        job: What is measured.
        collator: Pads a batch.
        scored: What is evaluated.
        most: Steps after which it stops, all of which cost the same; None takes all passes.
        options: For the Trainer.
    """
    times = _StepTimes(most)
    with tempfile.TemporaryDirectory() as folder:
        trainer = _PlainTrainer(
            model=job.model,
            args=_arguments(folder, _steps(job.texts, _PASSES), **options),
            train_dataset=_labelled(job.texts),
            data_collator=collator,
            callbacks=[times],
        )
        trainer.remove_callback(PrinterCallback)  # it prints to the output that --json needs
        trainer.train()
        rate = _rate(lambda: trainer.predict(_labelled(scored)), len(scored))
    seconds = _last_pass(times.seconds) if most is None else statistics.median(times.seconds[1:])
    return Turn(seconds, rate)


def _last_pass(seconds: list[float]) -> float:
    """Return the mean of a whole pass, so that every length has its share."""
    return statistics.fmean(seconds[-(len(seconds) // _PASSES) :])


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
    native: bool = True,
) -> Iterator[StudyTrainer]:
    """Give a Trainer of ours that goes over some texts so many times, writing nothing that stays."""
    fast, autocast = attach(model, architecture, devices.compute_type(precision), seed=_SEED, native=native)
    with tempfile.TemporaryDirectory() as folder:
        yield StudyTrainer(
            model,
            _arguments(folder, _steps(texts, passes)),
            train_dataset=_labelled(texts),
            eval_dataset=None,
            collator=Collator.of_engine("fast", pad_id=0, max_length=MAX_LENGTH),
            engine=EngineSetup(seed=_SEED, workload=workload, fast=fast, autocast=autocast),
            context=RunContext(
                run_id="bench",
                checkpoints=Path(folder) / "checkpoints",
                best=BestFiles(Path(folder)),
            ),
        )


def _labelled(texts: TokenizedTexts) -> TokenDataset:
    return TokenDataset(texts, np.arange(len(texts)) % 2)


def _steps(texts: TokenizedTexts, passes: int) -> int:
    return passes * math.ceil(len(texts) / BATCH)


def _arguments(folder: str, steps: int, **options: Any) -> TrainingArguments:
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
        **options,
    )


def review_lengths(count_: int = 160) -> TokenizedTexts:
    """Make texts with the lengths of film reviews: log-normal about 233 tokens, cut at 256."""
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(math.log(233), 0.58, size=count_), 12, MAX_LENGTH).astype(np.int64)
    ids = generator.integers(*TOKENS, size=int(lengths.sum())).astype(np.int32)
    return TokenizedTexts(ids, np.concatenate([[0], np.cumsum(lengths)]))


def build_model(name: str, way: str, attention_dropout: float | None) -> tuple[Any, Architecture]:
    """Load a model (or make one of :data:`SHAPES`), and give it a strategy of :data:`WAYS`."""
    set_seed(0)
    if name in SHAPES:
        from transformers import AutoConfig, AutoModelForSequenceClassification

        extra = {} if attention_dropout is None else {"attention_dropout": attention_dropout}
        config = AutoConfig.for_model(name, num_labels=2, **extra)
        model: Any = AutoModelForSequenceClassification.from_config(config)
    else:
        model = load_classifier(
            model_folder(name), label_names=("negative", "positive"), attention_dropout=attention_dropout
        )
    architecture = architecture_of(model.config)
    strategy, params = STRATEGIES[way], WAYS[way]
    if architecture.fused_projections and "placement" in params:
        params = params | {"placement": "attention"}  # query and value cannot be adapted apart
    return strategy.prepare(model, strategy.params(**params), architecture), architecture
