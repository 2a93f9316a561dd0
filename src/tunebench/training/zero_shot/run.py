"""One scoring of texts by a classifier of entailment, to the same record as any run; and what it will take."""

from __future__ import annotations

import time

import numpy as np

from tunebench.data import TextDataset
from tunebench.data.splits import Parts
from tunebench.data.text import single_texts
from tunebench.errors import ConfigError
from tunebench.machine import devices
from tunebench.models.sources import model_folder
from tunebench.store.live import Progress
from tunebench.store.record import Parameters, RunRecord, Selected
from tunebench.store.run_folder import RunFolder, kept_bytes
from tunebench.store.timings import Numbers
from tunebench.study.spec import RunSpec
from tunebench.tasks.registry import TASKS
from tunebench.tasks.temperature import tempered
from tunebench.training.attempt import Attempt, Interrupted
from tunebench.training.backend import Predicted
from tunebench.training.encoder.cost import OVERHEAD
from tunebench.training.encoder.rates import assumed_rate
from tunebench.training.estimate import Estimate, EstimateContext
from tunebench.training.measurements import RunMeasurements, Trained, asks_validation, temperature_of
from tunebench.training.parts import run_parts, scored_texts, validation_count
from tunebench.training.zero_shot.model import EntailmentClassifier

#: Texts whose lengths stand for the data set's, and how many of them are scored to measure the time.
_SAMPLE, _MEASURED = 256, 16


def hypotheses(spec: RunSpec) -> list[str]:
    """Return the sentence of each label.

    Raises:
        ConfigError: ``words`` names a label that the data does not have.
    """
    params, names = spec.strategy_params, spec.data.label_names
    unknown = sorted(set(params.words) - set(names))
    if unknown:
        raise ConfigError(
            "words of zero_shot names labels that the data does not have.",
            value=", ".join(unknown),
            allowed=", ".join(names),
            fix="use the labels as the data has them",
        )
    return [params.hypothesis.format(params.words.get(name, name)) for name in names]


def _classifier(spec: RunSpec, device: str) -> EntailmentClassifier:
    return EntailmentClassifier(
        model_folder(spec.model.source, spec.model.revision),
        spec.model.source,
        hypotheses(spec),
        exclusive=TASKS[spec.task].exclusive,
        max_length=spec.max_length,
        device=device,
    )


def train(attempt: Attempt) -> RunRecord:
    """Score the test part, and describe; no label is used to train.

    The validation part is scored where it chooses a threshold or a temperature.
    """
    spec, dataset, folder = attempt.spec, attempt.dataset, attempt.folder
    device = devices.resolve_device(attempt.execution.device)
    measured = RunMeasurements(attempt, engine="reference", device=device)

    def look(done: int, total: int) -> None:
        attempt.report(Progress(spec.run_id, "test", done, total, None, None))
        if attempt.stop():
            raise Interrupted("stopped; a run of this kind begins again")

    parts = run_parts(spec, dataset)
    selection, (texts, truth) = scored_texts(spec, dataset, parts)
    classifier = _classifier(spec, device)
    begin = time.monotonic()
    validated = None
    if selection is not None and asks_validation(spec):
        validated = selection[1], classifier.logits(single_texts(selection[0]), look)
    eval_seconds, test = time.monotonic() - begin, None
    temperature = temperature_of(spec, validated)
    if attempt.scores_test:
        begin = time.monotonic()
        logits = tempered(classifier.logits(single_texts(texts), look), temperature)
        test = (logits, truth, time.monotonic() - begin)
        folder.write_predictions(logits=logits, labels=truth, indices=parts.test)
    trained = Trained(
        parameters=Parameters(total=classifier.parameters, trainable=0, adapter=0, head=0),
        selected=Selected(by="last", step=0, epoch=0.0, score=None),
        weights=[],
        train_seconds=0.0,
        eval_seconds=eval_seconds,
        tokens=0,
        tokens_padded=0,
        train_flops=0.0,
        log_history=[],
        settings={"zero_shot": {"hypotheses": classifier.hypotheses}},
        validated=validated,
        temperature=temperature,
    )
    return measured.finish(trained, dataset=dataset, parts=parts, test=test)


def estimate(spec: RunSpec, context: EstimateContext) -> Estimate:
    """Estimate a run: every text goes through the model once a label."""
    key = ("zero_shot", spec.model.fingerprint, spec.max_length, *hypotheses(spec))
    if key not in context.profiles:
        if not context.measure:
            context.tell(f"counting the operations of {spec.label}")
        classifier, texts = _classifier(spec, context.device), context.dataset.train.texts
        chosen = np.random.default_rng(0).permutation(len(texts))[:_SAMPLE]
        sample = single_texts([texts[i] for i in chosen])
        lengths = [len(row["input_ids"]) for row in classifier.encoded(sample)]
        flops = sum(classifier.workload.forward(texts=1, length=length) for length in lengths) / len(sample)
        seconds = flops / assumed_rate("fp32", "reference", context.device)

        def measure() -> Numbers:
            begin = time.perf_counter()
            classifier.logits(sample[:_MEASURED])
            return {"seconds": (time.perf_counter() - begin) / len(sample[:_MEASURED])}

        if context.measure:
            seconds = context.measured(key, spec.label, measure)["seconds"]
        context.profiles[key] = (classifier.parameters, seconds)
    parameters, seconds = context.profiles[key]
    scored = spec.test_size + (validation_count(spec, context.dataset) if asks_validation(spec) else 0)
    return Estimate(
        steps=0,
        trainable_params=0,
        total_params=parameters,
        train_flops=0.0,
        seconds=OVERHEAD + scored * seconds,
        measured=context.measure,
        memory_bytes=int(700e6 + 4 * parameters),
        disk_bytes=kept_bytes(spec, 0),
    )


def load(spec: RunSpec, folder: RunFolder, *, device: str) -> EntailmentClassifier:
    """Return the classifier; a run stores nothing of it."""
    return _classifier(spec, device)


def predict_test(spec: RunSpec, dataset: TextDataset, parts: Parts, folder: RunFolder, device: str) -> Predicted:
    """Return the test part's logits and labels, and the seconds."""
    _, (texts, labels) = scored_texts(spec, dataset, parts)
    classifier = _classifier(spec, device)
    begin = time.monotonic()
    return classifier.logits(single_texts(texts)), labels, time.monotonic() - begin
