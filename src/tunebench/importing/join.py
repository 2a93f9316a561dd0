"""Answers of another model as runs of a study, beside those that were trained."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunebench.errors import ConfigError, DataError, StoreError
from tunebench.formatting import listed
from tunebench.importing.answers import Answers, read_answers
from tunebench.importing.build import fingerprint
from tunebench.importing.files import sha256_of
from tunebench.importing.matching import Match
from tunebench.importing.test_part import StudyTexts, study_texts
from tunebench.importing.untold import UNCOSTED, UNTIMED
from tunebench.store.imported import ANSWERS, ImportedData, ImportedRun, Provenance, is_answers
from tunebench.store.record import Cost, Environment, Examples, RunRecord, Timing, now

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")
_PRICE = re.compile(r"\s*(?P<before>[^\d\s.,+-]*)\s*(?P<amount>\d+(\.\d+)?)\s*(?P<after>[^\d\s.,]*)\s*")


@dataclass(frozen=True)
class StatedCost:
    """What answering the whole test part took, as somebody states it; None where nobody does.

    Attributes:
        seconds: From the first question to the last answer.
        price: In the currency.
        currency: Its name or sign; empty where none was stated.
    """

    seconds: float | None = None
    price: float | None = None
    currency: str = ""


@dataclass(frozen=True)
class Joined:
    """Answers that joined a study.

    Attributes:
        label: What they are called.
        sizes: The training sizes at which they stand.
        texts: How many texts they answer.
        scores: Their scores by metric; None for metrics that need probabilities.
        notes: What the user should know, one sentence each.
    """

    label: str
    sizes: tuple[int, ...]
    texts: int
    scores: dict[str, float | None]
    notes: tuple[str, ...]


def parse_price(text: str) -> tuple[float, str]:
    """Return amount and currency of a price such as ``1.94 USD``; the currency is only a label.

    Raises:
        ConfigError: There is no amount, or more than one currency.
    """
    found = _PRICE.fullmatch(text)
    if found is None or (found["before"] and found["after"]):
        raise ConfigError(
            "--price takes one amount, with or without a currency.",
            value=text,
            allowed="such as 1.94, '1.94 USD' or €1.94; a point before the decimals, and no other separator",
        )
    return float(found["amount"]), found["before"] or found["after"]


def join_answers(
    file: Path,
    folder: Path,
    *,
    label: str | None = None,
    match: Match | None = None,
    column: str | None = None,
    seconds: float | None = None,
    price: str | None = None,
) -> Joined:
    """Let the answers of another model to a study's test texts join the study, at each of its sizes.

    Everything is read and checked before anything is written.

    Args:
        file: The answers: a table.
        folder: Of the study.
        label: What the answers are called; by default as the file.
        match: By what rows are matched with texts.
        column: Name of the column of answers.
        seconds: The answers to all test texts took.
        price: Of all of them, such as ``1.94 USD``.

    Raises:
        TunebenchError: Everything that is wrong with the file, the study or what is stated.
    """
    cost = _stated(seconds, price)
    texts = study_texts(folder)
    name = _label(file, label, texts)
    _check_currency(texts, cost, name)
    answers = read_answers(file, texts, match=match, column=column)
    records = [_record(file, texts, size, name, answers, cost) for size in texts.sizes]
    aside = texts.store.join_imported([(record, _stored(texts, answers)) for record in records], label=name)
    notes = [*answers.notes]
    metric = texts.task.metrics[texts.spec.selects_by]
    if metric.needs != "labels":
        notes.append(
            f"The study compares by {metric.label}, which needs probabilities. Answers have none, so they stand in "
            "the tables by other metrics alone."
        )
    if aside:
        notes.append(
            f"The answers that were called {name} before are replaced; they are kept in {aside[0].parent} "
            f"({listed(path.name for path in aside)}). An answer that was chosen by its score on these texts is "
            "flattered by it."
        )
    scores = records[0].scores
    assert scores is not None
    return Joined(name, texts.sizes, len(texts.texts), dict(scores.values), tuple(notes))


def _stated(seconds: float | None, price: str | None) -> StatedCost:
    if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
        raise ConfigError("--seconds takes a time above 0.", value=seconds)
    amount, currency = (None, "") if price is None else parse_price(price)
    return StatedCost(seconds, amount, currency)


def _label(file: Path, label: str | None, texts: StudyTexts) -> str:
    found = label if label is not None else re.sub(r"[^A-Za-z0-9_.-]+", "-", file.name.split(".")[0])[:40]
    if not _LABEL.fullmatch(found):
        raise ConfigError(
            "This cannot be the name of a strategy.",
            value=found,
            allowed="up to 40 letters, digits, points, hyphens and underscores, the first a letter or a digit",
            fix="name the answers: --strategy NAME",
        )
    if found in texts.labels_of:
        raise ConfigError(
            "The study has a strategy of this name.",
            value=found,
            allowed=f"a name that is none of {listed(sorted(texts.labels_of))}",
            fix="name the answers: --strategy NAME",
        )
    return found


def _check_currency(texts: StudyTexts, cost: StatedCost, label: str) -> None:
    """Refuse prices in two currencies, which no table could compare."""
    if cost.price is None:
        return
    for cell in texts.store.cells():
        known = cell.record.cost if cell.record is not None and is_answers(cell.spec) else None
        if known is None or known.price is None or cell.spec.label == label:
            continue
        if (known.currency or "") != cost.currency:
            raise StoreError(
                f"The price of {cell.spec.label} is in another currency, and the two would not be comparable.",
                value=cost.currency or "no currency",
                allowed=known.currency or "no currency",
                fix="convert the price",
            )


def _stored(texts: StudyTexts, answers: Answers) -> dict[str, np.ndarray]:
    """Return what is stored of answers: predictions alone, since no probabilities are known; numbers as outputs."""
    stored = {"labels": texts.labels, "indices": texts.rows}
    if texts.task.labelled:
        return stored | {"predicted": answers.predicted}
    return stored | {"logits": texts.task.outputs.stand_ins(answers.predicted, 1)}


def _record(file: Path, texts: StudyTexts, size: int, label: str, answers: Answers, cost: StatedCost) -> RunRecord:
    task, ours, digest = texts.task, texts.spec, sha256_of(file)
    names = ours.data.label_names
    truth = task.outputs.truth(texts.labels)
    try:
        scores = task.score_predicted(truth, answers.predicted, names, ours.metric)
    except ValueError as error:
        raise DataError(f"The answers cannot be scored: {error}", value=str(file)) from None
    price = {"price": cost.price, "currency": cost.currency or None}
    content = hashlib.sha256(f"{digest} {answers.matched} {answers.column}".encode()).hexdigest()
    spec = ImportedRun(
        label=label,
        content=content,
        kind=ANSWERS,
        train_size=size,
        data=ImportedData(
            source=ours.data.source,
            label_names=names,
            named=task.labelled,
            test_labels=fingerprint(texts.labels),
        ),
        # What the study's tables are about, and not how the answers came about.
        **{key: getattr(ours, key) for key in ("test_size", "validation_fraction", "selection", "metric", "task")},
        subset_seed=ours.test_draw,
    )
    return RunRecord(
        run_id=spec.run_id,
        status="complete",
        spec=spec,
        started=None,
        finished=now(),
        environment=Environment(versions={}, machine={}, device=None, threads=None, world_size=None),
        examples=Examples(
            train=0,
            validation=0,
            test=len(texts.texts),
            train_per_class=[],
            validation_per_class=[],
            test_per_class=task.counts(truth, len(names)),
            test_held_out=False,
            numbers={"test": found} if (found := task.summary(truth)) else {},
        ),
        scores=scores,
        timing=None if cost.seconds is None else Timing.model_validate(UNTIMED | {"test_seconds": cost.seconds}),
        cost=None if cost.price is None else Cost.model_validate(UNCOSTED | price),
        imported=Provenance(
            folder=file.name,
            files={file.name: digest},
            found={"scores": f"{file.name}: {answers.column or 'one column a label'}"},
            stated=_as_stated(cost),
            remarks=[f"{label}: {note}" for note in answers.notes],
        ),
    )


def _as_stated(cost: StatedCost) -> dict[str, Any]:
    found = {"seconds": cost.seconds, "price": cost.price, "currency": cost.currency or None}
    return {key: value for key, value in found.items() if value is not None}
