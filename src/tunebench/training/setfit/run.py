"""One run of SetFit, to the same record as any other; and what it will take.

The setfit library trains: first the encoder, on pairs of texts, then a logistic regression on its
states. Such a run has no checkpoint, and nothing to choose one by. If it is interrupted, it begins again.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import TrainerCallback

from tunebench.data import TextDataset
from tunebench.data.splits import Parts
from tunebench.data.text import single_texts
from tunebench.engine.batching import longest_of_batches
from tunebench.engine.flops import Workload
from tunebench.machine import devices
from tunebench.models.sources import model_folder
from tunebench.store.live import Progress
from tunebench.store.record import Parameters, RunRecord, Selected
from tunebench.store.run_folder import RunFolder, kept_bytes
from tunebench.strategies import STRATEGIES
from tunebench.study.spec import RunSpec
from tunebench.tasks.registry import TASKS
from tunebench.tasks.temperature import tempered
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.backend import Predicted
from tunebench.training.embeddings.encoder import load_encoder
from tunebench.training.embeddings.model import EmbeddedText
from tunebench.training.encoder.cost import OVERHEAD, cost_profile
from tunebench.training.encoder.prepare import trainer_folder
from tunebench.training.estimate import Estimate, EstimateContext
from tunebench.training.measurements import RunMeasurements, Trained, temperature_of
from tunebench.training.parts import run_parts, scored_texts, trained_count, validation_count
from tunebench.training.setfit.model import SentenceClassifier, autocast, sentence_encoder

if TYPE_CHECKING:
    from tunebench.strategies import SetFitParams


def train(attempt: Attempt) -> RunRecord:
    """Train, score once, and describe; see :func:`tunebench.training.encoder.run.train`.

    The selection split, where there is one, is scored at the end: it chooses among learning rates.
    """
    spec, dataset, folder = attempt.spec, attempt.dataset, attempt.folder
    # The library trains as a plain script does, whatever the run before had.
    device = devices.resolve_device(attempt.execution.device)
    measured = RunMeasurements(attempt, engine="reference", device=device)
    parts = run_parts(spec, dataset)
    texts, labels = single_texts([dataset.train.texts[i] for i in parts.train]), dataset.train.labels[parts.train]
    selection, (test_texts, truth) = scored_texts(spec, dataset, parts)
    body = sentence_encoder(spec, device=device)
    watch = _Watch(attempt, _workload(spec))

    measured.contention.start()
    train_start = time.monotonic()
    classifier = _train(spec, body, texts, labels, watch)
    train_seconds = time.monotonic() - train_start
    measured.contention.stop()

    eval_start = time.monotonic()
    validated = None if selection is None else (selection[1], classifier.logits(single_texts(selection[0])))
    best = None if validated is None else _judge(*validated, watch)
    temperature = temperature_of(spec, validated)
    eval_seconds = time.monotonic() - eval_start
    if not spec.fold:
        classifier.save(folder.weights)
    test: Predicted | None = None
    if attempt.scores_test:
        test_start = time.monotonic()
        logits = tempered(classifier.logits(single_texts(test_texts)), temperature)
        test = (logits, truth, time.monotonic() - test_start)
        folder.write_predictions(logits=logits, labels=truth, indices=parts.test)
    encoder = sum(p.numel() for p in body.parameters() if p.requires_grad)
    head = classifier.coefficients.size + classifier.intercepts.size
    trained = Trained(
        parameters=Parameters(
            total=sum(p.numel() for p in body.parameters()) + head,
            trainable=encoder + head,
            adapter=encoder,
            head=head,
        ),
        selected=_selected(attempt, watch.steps, best),
        weights=[] if spec.fold else [folder.weights],
        train_seconds=train_seconds,
        eval_seconds=eval_seconds,
        tokens=watch.tokens,
        tokens_padded=watch.tokens_padded,
        train_flops=watch.flops,
        log_history=watch.history,
        step_seconds=watch.step_seconds,
        packages=("setfit", "sentence-transformers", "scikit-learn"),
        settings={"autocast": spec.precision == "bf16"},
        validated=validated,
        temperature=temperature,
    )
    return measured.finish(trained, dataset=dataset, parts=parts, test=test)


def _selected(attempt: Attempt, steps: int, score: float | None) -> Selected:
    """Return what was scored: the last weights, in any case."""
    if attempt.folds is not None:
        return Selected(by="folds", step=steps, epoch=1.0, score=attempt.folds.score)
    return Selected(by="last" if score is None else attempt.spec.selection, step=steps, epoch=1.0, score=score)


def full_steps(spec: RunSpec) -> RunSpec:
    """Return the run of full fine-tuning whose steps go over as many texts as those of a SetFit run.

    Both train the whole encoder on batches that are padded as they come, so an operation takes as long in both.
    """
    full = STRATEGIES["full"]
    batch = 2 * _params(spec).pairs_per_batch
    changes = {"kind": "full", "params": full.params().model_dump(mode="json"), "batch_size": batch}
    return spec.model_copy(update=changes | {"engine": "reference", "attention_dropout": None, "randomness": "own"})


def estimate(spec: RunSpec, context: EstimateContext) -> Estimate:
    """Estimate a run from full fine-tuning of the same encoder; see :func:`full_steps`."""
    profile, measured = cost_profile(full_steps(spec), context), context.measure
    rates = profile.rates
    params, classes = _params(spec), len(spec.data.label_names)
    validation, train = validation_count(spec, context.dataset), trained_count(spec)
    # A batch is padded to its longest text.
    padded = longest_of_batches(profile.lengths, params.pairs_per_batch)
    a_text = np.mean([profile.workload.step(texts=1, length=longest) for longest in padded])
    flops = float(2 * _pairs(params, train) * a_text)
    encoder = profile.parameters.adapter
    assert encoder is not None, "counted when the model was prepared"
    head = (profile.hidden_size + 1) * (1 if classes == 2 else classes)
    scored = validation + train + spec.test_size
    return Estimate(
        steps=_steps(params, train),
        trainable_params=encoder + head,
        total_params=encoder + head,
        train_flops=flops,
        seconds=OVERHEAD + flops * rates.seconds_per_flop + scored * rates.eval_seconds_per_text,
        measured=measured,
        memory_bytes=rates.memory_bytes,
        disk_bytes=kept_bytes(spec, encoder + head),
    )


def _params(spec: RunSpec) -> SetFitParams:
    return spec.strategy_params  # type: ignore[no-any-return]


def _pairs(params: SetFitParams, texts: int) -> int:
    return 2 * params.iterations * texts


def _steps(params: SetFitParams, texts: int) -> int:
    return math.ceil(_pairs(params, texts) / params.pairs_per_batch)


def _workload(spec: RunSpec) -> Workload:
    """Return what the encoder computes without a head; see :func:`tunebench.engine.flops.count`."""
    folder = model_folder(spec.model.source, spec.model.revision)
    return load_encoder(folder, spec.data.label_names)[1]


@dataclass
class _Watch(TrainerCallback):  # type: ignore[misc]
    """What is seen of a training: its steps, their time, tokens and losses."""

    attempt: Attempt
    workload: Workload
    step_seconds: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    tokens: int = 0
    tokens_padded: int = 0
    flops: float = 0.0
    _begin: float = 0.0

    @property
    def steps(self) -> int:
        """Steps done."""
        return len(self.step_seconds)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._begin = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop it, tell, and stop the run where that is asked for."""
        self.step_seconds.append(time.monotonic() - self._begin)
        loss = self.history[-1]["loss"] if self.history else None
        attempt = self.attempt
        attempt.report(Progress(attempt.spec.run_id, "train", self.steps, int(state.max_steps), loss, None))
        if attempt.stop():
            raise Interrupted(f"stopped after {self.steps} steps; a run of this kind begins again")

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Keep losses under the names of the other runs."""
        if logs and "embedding_loss" in logs:
            kept = {"loss": logs["embedding_loss"], "step": int(state.global_step), "epoch": float(state.epoch)}
            self.history.append(kept | {k: logs[k] for k in ("learning_rate", "grad_norm") if k in logs})

    def see(self, module: Any, args: Any) -> None:
        """Count a batch that goes through the encoder in training."""
        if module.training:
            mask = args[0]["attention_mask"]
            texts, length = mask.shape
            self.tokens += int(mask.sum())
            self.tokens_padded += texts * length
            self.flops += self.workload.step(texts=texts, length=length)


def _train(spec: RunSpec, body: Any, texts: list[str], labels: np.ndarray, watch: _Watch) -> SentenceClassifier:
    """Have the library train both parts."""
    import datasets
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # On import the library shows all deprecations from then on, and its logger speaks.
        warnings.simplefilter("ignore")
        import setfit
        from setfit import logging
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    params = _params(spec)
    model = setfit.SetFitModel(model_body=body, model_head=LogisticRegression(max_iter=1000))
    with trainer_folder() as output, warnings.catch_warnings(), autocast(body.device.type, spec.precision):
        # Its trainer asks for pinned memory wherever it runs.
        warnings.filterwarnings("ignore", message=".*pin_memory.*")
        arguments = setfit.TrainingArguments(
            output_dir=str(output),
            batch_size=params.pairs_per_batch,
            num_epochs=1,
            num_iterations=params.iterations,
            body_learning_rate=spec.learning_rate,
            max_length=spec.max_length,
            seed=spec.seed,
            report_to="none",
            show_progress_bar=False,
            logging_steps=max(1, _steps(params, len(texts)) // 200),
            save_strategy="no",
        )
        trainer = setfit.Trainer(
            model,
            args=arguments,
            train_dataset=datasets.Dataset.from_dict({"text": texts, "label": labels.tolist()}),
            callbacks=[watch],
        )
        _quiet(trainer)
        hook = body[0].register_forward_pre_hook(watch.see)
        try:
            trainer.train()
        finally:
            hook.remove()
    head = model.model_head
    return SentenceClassifier(body, head.coef_, head.intercept_, precision=spec.precision)


def _quiet(trainer: Any) -> None:
    """Keep the library's trainer from printing; the progress display is ours."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    trainer.st_trainer.args.disable_tqdm = True
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)


def _judge(labels: np.ndarray, logits: np.ndarray, watch: _Watch) -> float | None:
    """Return the score on the selection split, and log it; None where the metric is not defined there."""
    task, metric = TASKS[watch.attempt.spec.task], watch.attempt.spec.metric
    found = task.selection_metrics(labels, logits, metric)
    watch.history.append({"step": watch.steps, "epoch": 1.0} | {f"eval_{k}": v for k, v in found.items()})
    return found[metric] if np.isfinite(found[metric]) else None


def load(spec: RunSpec, folder: RunFolder, *, device: str) -> EmbeddedText:
    """Return the trained classifier; it computes in fp32, whatever the run trained in."""
    return SentenceClassifier.load(spec, folder.weights, device=device).embedded(spec.max_length)


def predict_test(spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, device: str) -> Predicted:
    """Return the test part's logits and labels, and the seconds; with stored weights."""
    classifier = SentenceClassifier.load(spec, folder.weights, device=device)
    _, (texts, labels) = scored_texts(spec, dataset, parts)
    begin = time.monotonic()
    return classifier.logits(single_texts(texts)), labels, time.monotonic() - begin
