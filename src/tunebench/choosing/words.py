"""What ``tunebench choose`` says: what it takes the data for, its plan, and the answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from tunebench.choosing.plan import Ready, token_lengths
from tunebench.choosing.rule import Design
from tunebench.data import TextDataset
from tunebench.data.audit_result import describe_numbers
from tunebench.formatting import command, counted, duration, in_words, learning_rate, listed
from tunebench.strategies import STRATEGIES

if TYPE_CHECKING:
    from tunebench.study.config import StudyConfig

#: A larger share of texts that are cut is worth a word.
_MUCH_CUT = 0.01
#: Tokens that are offered where texts are cut: what most encoders have positions for.
_MORE_TOKENS = 512


def data_lines(ready: Ready) -> list[str]:
    """Return what the data is taken for, and how to correct it."""
    dataset, study = ready.resolved.dataset, ready.resolved.study
    facts = ready.facts
    own = dataset.validation
    validation = (
        f"the data's own part ({len(own):,} texts)"
        if own is not None
        else f"{study.held_out_fraction:.0%} of the training texts"
    )
    test = (
        f"the data's own part ({len(dataset.test):,} texts)"
        if dataset.test is not None
        else f"held out of the texts, which leaves {facts.labels:,} of {len(dataset.train):,} to learn from"
    )
    return [
        f"Task: {_task(dataset)}; {facts.labels:,} labelled texts to learn from; decided by "
        f"{dataset.task.metrics[study.metric].label}",
        _learned(dataset),
        f"  validation: {validation}",
        f"  test: {test}",
        *_lengths(ready),
        "  Not so? --text-column, --label-column and --set data.KEY=VALUE correct it.",
    ]


def _lengths(ready: Ready) -> list[str]:
    """Say how long the texts are for each model, and how many are cut."""
    limit, lines = ready.max_length, []
    found = token_lengths(ready.resolved)
    for model, lengths in found.items():
        whose = f" ({Path(model).name})" if len(found) > 1 else ""
        line = f"  lengths{whose}: median {np.median(lengths):,.0f} tokens, longest {lengths.max():,}"
        cut = float((lengths > limit).mean())
        if cut > _MUCH_CUT:
            more = f" (--set max_length={_MORE_TOKENS} reads more)" if limit < _MORE_TOKENS else ""
            line += f"; {cut:.1%} are longer than {limit} and are cut{more}"
        lines.append(line)
    return lines


def _task(dataset: TextDataset) -> str:
    count = len(dataset.label_names)
    if dataset.task.exclusive:
        return f"one of {count} classes for each text"
    return f"any of {count} labels for each text" if dataset.task.labelled else dataset.task.label


def _learned(dataset: TextDataset) -> str:
    """Say which labels there are and how often, or what numbers."""
    labels, names = dataset.train.labels, dataset.label_names
    if not dataset.task.labelled:
        return f"  {names[0]}: {describe_numbers(dataset.task.summary(labels))}"
    counts = dataset.task.counts(labels, len(names))
    ordered = sorted(zip(names, counts, strict=True), key=lambda pair: -pair[1])
    what = "classes" if dataset.task.exclusive else "labels"
    return f"  {what}: {listed(f'{name} ({count:,})' for name, count in ordered)}"


def plan_lines(study: StudyConfig, design: Design) -> list[str]:
    """Return the plan in a few lines, with what the budget leaves out."""
    rates = [
        f"{label} at {', '.join(learning_rate(rate) for rate in config.learning_rate)}"
        for label, config in study.strategies.items()
        if STRATEGIES[config.kind].tunes_learning_rate
    ]
    plain = [label for label, config in study.strategies.items() if not STRATEGIES[config.kind].tunes_learning_rate]
    sizes = in_words(f"{size:,}" if isinstance(size, int) else size for size in study.train_sizes)
    parts = [", ".join(plain + rates), f"{sizes} labels"]
    if rates:  # what is fitted without a rate has neither steps nor luck
        stopping = ", unless patience stops it earlier" if study.patience else ""
        parts += [counted(len(study.seeds), "seed"), f"at least {study.min_steps} steps a run{stopping}"]
    lines = [
        f"Plan: {'; '.join(parts)}",
        f"  at most about {duration(design.seconds)}, the last training included",
        *(f"  {line}" for line in design.left_out),
    ]
    if rates and len(study.seeds) == 1:
        lines.append("  With one seed, the intervals do not include the luck of training.")
    return lines


def plan_yaml(study: StudyConfig, design: Design) -> str:
    """Return the study as YAML with the plan as comments: to keep, to edit, and to run."""
    values = study.model_dump(mode="json", exclude_unset=True)
    values["strategies"] = {label: _strategy(study, label) for label in study.strategies}
    values["data"] = {k: v for k, v in values["data"].items() if v is not None}
    comments = "".join(f"# {line.strip()}\n" for line in plan_lines(study, design))
    return comments + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _strategy(study: StudyConfig, label: str) -> dict[str, object]:
    """Return a strategy as a person writes it: what is at its default is left out."""
    config = study.strategies[label]
    strategy = STRATEGIES[config.kind]
    default = strategy.params().model_dump(mode="json")
    found: dict[str, object] = {} if config.kind == label else {"kind": config.kind}
    if config.model is not None:
        found["model"] = config.model
    found |= {key: value for key, value in config.params.items() if value != default.get(key)}
    if strategy.tunes_learning_rate:
        found["learning_rate"] = list(config.learning_rate)
    return found | config.recipe


def next_commands(folder: Path, model: Path | None, *, pairs: bool = False) -> list[str]:
    """Return what to type next."""
    lines = []
    if model is not None:
        second = ' "its second text"' if pairs else ""
        lines += [f'  {command("predict", model)} "a text of yours"{second}', f"  {command('serve', model)}"]
    return [*lines, f"  {command('recommend', folder)}"]
