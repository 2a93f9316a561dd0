"""From data, models and budget to a study: what the rule needs to know is read, checked and measured."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from tunebench.choosing.candidates import candidates_of
from tunebench.choosing.rule import EPOCHS, Design, Facts, Shape, design, settings_of
from tunebench.data import TextDataset
from tunebench.data.rules import split_ref
from tunebench.data.tokenizer import tokenizer_fingerprint
from tunebench.data.tokens import tokenize
from tunebench.errors import ConfigError, raise_all
from tunebench.execution.checks import available, check_sizes
from tunebench.execution.engine_checks import check_precision
from tunebench.execution.estimates import estimate_each
from tunebench.execution.resolve import Request, Resolved, resolve, silent
from tunebench.execution.validation_share import with_validation_share
from tunebench.files import default_cache_dir
from tunebench.machine import devices
from tunebench.models.sources import model_folder
from tunebench.models.tokenizer import load_tokenizer
from tunebench.recipe import Engine, Precision
from tunebench.study.config import StudyConfig
from tunebench.study.expand import expand, kernel_precisions
from tunebench.study.spec import RunSpec
from tunebench.study.yaml_file import check_study, set_key
from tunebench.tasks.base import Task

#: Texts that are scored at most, where more would take a large part of the budget.
TEST_LIMIT = 5_000
#: Tokens that are read of a text; fewer where all texts are shorter.
_LONGEST, _SHORTEST, _STEP = 256, 32, 32
#: Smallest size at which candidates are compared: texts, and texts a class.
_FEWEST, _FEWEST_PER_CLASS = 100, 10


@dataclass(frozen=True)
class Asked:
    """What the user asks for.

    Attributes:
        data: Keys of the data, at least ``source``.
        models: The encoders.
        metric: What decides; None for the default of the data's task.
        name: Of the study.
        refit: Whether the chosen method is trained again on all labels.
        settings: ``KEY=VALUE`` of the study, as ``--set`` takes them.
    """

    data: dict[str, Any]
    models: tuple[str, ...]
    metric: str | None
    name: str
    refit: bool = True
    settings: tuple[str, ...] = ()

    def study(self, values: dict[str, Any]) -> StudyConfig:
        """Return a study of these keys, with what was asked for on top."""
        # A copy, since settings are written into it at any depth.
        metric = {} if self.metric is None else {"metric": self.metric}
        model = {"model": self.models[0]} if len(self.models) == 1 else {"models": list(self.models)}
        raw = deepcopy({"name": self.name, **model, "data": self.data, **metric, **values})
        for setting in self.settings:
            set_key(raw, setting)
        study = check_study(raw)
        if study.search.seeds == "each":
            raise ConfigError(
                "The last training needs one setting of the chosen method, and each seed would choose its own.",
                value="search.seeds=each",
                fix="remove this --set, or compare with tunebench run",
            )
        return study

    def everything(self, **values: Any) -> StudyConfig:
        """Return the study of all candidates on all labels, with more keys."""
        try:
            candidates = candidates_of(self.models)
        except ValueError as error:  # two models are called the same
            raise ConfigError(f"{error}.", value=", ".join(self.models), fix="rename one of the folders") from None
        strategies = {label: candidate.settings for label, candidate in candidates.items()}
        return self.study({"strategies": strategies, "train_sizes": ["all"], **values})


@dataclass(frozen=True)
class Ready:
    """Data and model, read and checked, before a budget is looked at.

    Attributes:
        asked: What for.
        resolved: All candidates on all labels.
        request: How it is planned; keeps what was measured.
        common: Keys that all studies on this data have.
        facts: What the rule needs to know.
        began: When reading began, on the monotonic clock: a budget counts from here.
    """

    asked: Asked
    resolved: Resolved
    request: Request
    common: dict[str, Any]
    facts: Facts
    began: float

    @cached_property
    def costs(self) -> Costs:
        """What runs on this data take; estimated once."""
        return Costs(self)

    @property
    def max_length(self) -> int:
        """Tokens that are read of a text: as the rule has it, or as the user set it."""
        return self.asked.everything(**self.common).max_length


def prepare(asked: Asked, request: Request) -> Ready:
    """Read and check data and model.

    Raises:
        TunebenchError: Everything that is wrong with them.
    """
    began = time.monotonic()
    dataset = request.known.dataset(asked.everything().data)
    asked = replace(asked, metric=_metric(asked, dataset.task))
    common: dict[str, Any] = {}
    sized = any(setting.partition("=")[0].strip() in ("test_size", "test_limit") for setting in asked.settings)
    if not sized and len(dataset.test or dataset.train) > TEST_LIMIT:
        common["test_limit"] = TEST_LIMIT
    common |= _fraction(asked, common, dataset)
    resolved = resolve(asked.everything(**common), request)
    common["max_length"] = _max_length(resolved)
    return Ready(asked, resolved, request, common, _facts(resolved, asked), began)


def _metric(asked: Asked, task: Task) -> str:
    """Return the metric that decides."""
    if asked.metric is None:
        return task.default_metric
    if asked.metric not in task.metrics:
        raise ConfigError(
            f"There is no such metric for {task.label}.",
            value=asked.metric,
            allowed=", ".join(task.metrics),
            fix=f"--metric {task.default_metric}",
        )
    return asked.metric


def _fraction(asked: Asked, common: dict[str, Any], dataset: TextDataset) -> dict[str, float]:
    """Return the share that validates, where the default would leave a rare class out of a part."""
    splits = split_ref(dataset, validates=True)
    study = with_validation_share(asked.everything(**common), dataset, splits, tell=silent)
    raise_all(check_sizes(study, dataset, splits))
    return {} if study.validation_fraction is None else {"validation_fraction": study.validation_fraction}


def _max_length(resolved: Resolved) -> int:
    """Return how many tokens are read: as many as the longest text has, within limits."""
    longest = max(int(lengths.max(initial=0)) for lengths in token_lengths(resolved).values())
    positions = [each.positions for each in resolved.architectures.values() if each.positions]
    return min(_LONGEST, *positions, max(_SHORTEST, _STEP * math.ceil(longest / _STEP)))


def token_lengths(resolved: Resolved) -> dict[str, np.ndarray]:
    """Return the tokens of all texts of the training split, by model."""
    found = {}
    for model, revision in resolved.study.models:
        tokenizer = load_tokenizer(model_folder(model, revision))
        found[model] = tokenize(
            resolved.dataset.train.texts,
            tokenizer=tokenizer,
            tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
            max_length=None,
            cache_dir=default_cache_dir(),
        ).lengths
    return found


def _facts(resolved: Resolved, asked: Asked) -> Facts:
    from transformers import AutoConfig

    study, dataset = resolved.study, resolved.dataset
    labels, _ = available(study, dataset, resolved.splits)
    classes = len(dataset.label_names)
    configs = {
        model: AutoConfig.from_pretrained(model_folder(model), local_files_only=True) for model in asked.models
    }
    own = 0 if dataset.validation is None else len(dataset.validation)
    return Facts(
        labels=labels,
        classes=classes,
        least=min(labels, max(_least(resolved, labels), _FEWEST, _FEWEST_PER_CLASS * classes)),
        widths={model: int(config.hidden_size) for model, config in configs.items()},
        refit_labels=len(dataset.train) + own if asked.refit else None,
    )


def _least(resolved: Resolved, labels: int) -> int:
    """Return the smallest of a few training sizes from which on the parts can be cut."""
    smallest = labels
    for share in (2, 4, 8, 16, 32):
        study = resolved.study.model_copy(update={"train_sizes": (max(2, labels // share),)})
        if check_sizes(study, resolved.dataset, resolved.splits):
            break
        smallest = labels // share
    return smallest


def plan_study(ready: Ready, budget: float) -> tuple[StudyConfig, Design]:
    """Return the study that fits a budget, and how it came about.

    Raises:
        PlanError: Nothing fits, or the device cannot compute as the settings ask.
    """
    specs = [ready.costs.spec(label, ready.facts.labels, EPOCHS[0]) for label in ready.facts.candidates]
    raise_all(check_precision(specs, devices.resolve_device(ready.request.execution.device)))
    # What is measured is kept; it takes time, which the budget has no more.
    for label in ready.facts.candidates:
        ready.costs(label, [ready.facts.labels], EPOCHS[0])
    found = design(ready.facts, ready.costs, budget, spent=time.monotonic() - ready.began)
    description = "Made by tunebench choose: candidates, rates, sizes and seeds by rule."
    study = ready.asked.study({"description": description, **ready.common, **found.settings})
    raise_all(check_sizes(study, ready.resolved.dataset, ready.resolved.splits))
    return study, found


@dataclass
class Costs:
    """Seconds of one run, from the estimates that plans use; the rule's :data:`~tunebench.choosing.rule.Cost`."""

    ready: Ready
    _known: dict[tuple[str, tuple[int, ...], int], list[float]] = field(default_factory=dict)

    def __call__(self, label: str, sizes: Sequence[int], epochs: int) -> list[float]:
        """Return the seconds of a candidate's runs, on more labels than can train in the study included."""
        key = label, tuple(sizes), epochs
        if key not in self._known:
            request, most = self.ready.request, self.ready.facts.labels
            found = estimate_each(
                [self.spec(label, min(size, most), epochs) for size in sizes],
                dataset=self.ready.resolved.dataset,
                execution=request.execution,
                measure=request.measure,
                on_progress=request.doing,
                profiles=request.known.profiles,
                timings=request.known.timings,
            )
            self._known[key] = [
                one.seconds * size / min(size, most) for one, size in zip(found, sizes, strict=True)
            ]
        return self._known[key]

    def last(self, label: str, study: StudyConfig) -> float:
        """Return the seconds of the last training of a candidate on all labels, after a study."""
        facts = self.ready.facts
        if facts.refit_labels is None:
            return 0.0
        sizes = [facts.labels if isinstance(size, str) else size for size in study.train_sizes]
        return self(label, [*sizes, facts.refit_labels], study.epochs)[-1]

    def spec(self, label: str, size: int, epochs: int) -> RunSpec:
        """Return one of the runs of a candidate."""
        from tunebench.engine.native.loading import kernels_here

        ready = self.ready
        resolved, execution = ready.resolved, ready.request.execution
        every = ready.facts.candidates
        known = label if label in every else list(every)[-1]
        settings = settings_of(Shape((known,), size, epochs), ready.facts) | {"train_sizes": [size]}
        study = ready.asked.study({**ready.common, **settings})
        train, test = available(study, resolved.dataset, resolved.splits)
        device = devices.resolve_device(execution.device)
        engines: tuple[Engine, ...] = ("fast", "reference")
        precision: dict[Engine, Precision] = {e: devices.default_precision(device, e) for e in engines}
        specs = list(
            expand(
                study,
                model=resolved.model.used.ref,
                data=resolved.data,
                train_examples=train,
                test_examples=test,
                precision=precision,
                kernels=kernels_here(device, kernel_precisions(study, precision)),
                base_head=resolved.model.used.head,
                own_models={name: model.used for name, model in resolved.own_models.items()},
                splits=resolved.splits,
                task=resolved.dataset.task.name,
            )
        )
        # Where --set names other strategies, the one of this label.
        return next((spec for spec in specs if spec.label == label), specs[-1])
