"""Tables by strategy and size: scores, time, cost, and scores per parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tunebench.analysis.analysis import Analysis
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.configuration import Configuration, MeanOverSeeds
from tunebench.analysis.published import reference
from tunebench.analysis.time_warnings import TRAIN_RUNTIME, prefix_remarks, shared_machine
from tunebench.analysis.warnings import protocol_warnings
from tunebench.formatting import BYTES, OPERATIONS, SHORT_TIMES, TIMES, fixed, integer, significant
from tunebench.report.tables.registry import (
    BY_SEED,
    RATE,
    SEEDS,
    SELECTION,
    SETTING,
    SIZE,
    STATUS,
    STRATEGY,
    N,
    chosen_of,
    loss_column,
    made,
    register,
    score_columns,
    selection_score,
)
from tunebench.report.tables.render import Column, ReportTable
from tunebench.store.cell import Cell
from tunebench.store.imported import is_answers, is_imported
from tunebench.strategies import capabilities_of
from tunebench.tasks.metrics import ALWAYS_SHOWN, METRICS

#: Units of times that are given in minutes.
_MINUTES = tuple((size / 60, name) for size, name in TIMES)


@register("scores")
def scores(analysis: Analysis) -> ReportTable:
    """Return scores by strategy and size: the study's metric, those beside it, and the loss."""
    comparison = analysis.comparison
    ours = (
        *score_columns(comparison),
        loss_column(comparison),
        selection_score(comparison),
    )
    theirs = tuple(
        Column(
            f"published_{name}", f"{METRICS[name].heading}, {comparison.publication}", show=fixed(4), csv_only=csv
        )
        for name, csv in zip(ALWAYS_SHOWN, (False, True), strict=True)
    )

    def values(config: Configuration, report: Mapping[str, Any]) -> dict[str, Any]:
        own = {column.key: config.summary(column.key) for column in ours}
        return own | {f"published_{name}": report.get(name) for name in ALWAYS_SHOWN}

    return _result("scores", "Scores on the test split", comparison, (*ours, *theirs), values)


@register("time")
def time(analysis: Analysis) -> ReportTable:
    """Return minutes of training, of evaluation during it, and both together."""
    comparison = analysis.comparison
    columns = (
        Column("train_minutes", "Training only", units=_MINUTES),
        Column("eval_minutes", "Evaluation", units=_MINUTES),
        Column("total_minutes", "Total", units=_MINUTES),
        Column("published_train_minutes", f"Training only, {comparison.publication}", "min", show=fixed(1)),
        Column("published_minutes", f"Total, {comparison.publication}", "min", show=fixed(1)),
        Column("test_minutes", "Final test", csv_only=True),
    )

    def values(config: Configuration, report: Mapping[str, Any]) -> dict[str, Any]:
        train = report.get("train_seconds")
        return {
            "train_minutes": config.minutes("train_seconds"),
            "eval_minutes": config.minutes("eval_seconds"),
            "total_minutes": _total_minutes(config),
            "test_minutes": config.minutes("test_seconds"),
            "published_train_minutes": None if train is None else train / 60,
            "published_minutes": report.get("minutes"),
        }

    notes = ["Total: training and the evaluations during it, not the final test."]
    if any(is_imported(cell.spec) and not is_answers(cell.spec) for cell in comparison.scored):
        notes.append(TRAIN_RUNTIME)
    if comparison.selection == "validation":
        notes += _remark(comparison, "validation")
    notes += shared_machine(comparison) + prefix_remarks(comparison)
    return _result("time", "Time taken", comparison, columns, values, notes)


@register("cost")
def cost(analysis: Analysis) -> ReportTable:
    """Return what training took besides minutes: operations, memory, bytes."""
    comparison = analysis.comparison
    columns = (
        Column("seconds_per_step", "Step", units=SHORT_TIMES),
        Column("train_flops", "Training", units=OPERATIONS),
        Column("trainer_total_flos", "Trainer's total_flos", units=OPERATIONS),
        Column("peak_memory_bytes", "Peak memory", units=BYTES),
        Column("artifact_bytes", "Weights saved", units=BYTES),
    )

    def values(config: Configuration, report: Mapping[str, Any]) -> dict[str, Any]:
        return {column.key: config.summary(column.key) for column in columns}

    note = (
        "Training counts the products of every layer over all tokens, what padding is left included (the fast "
        "layers skip some in the last layer); the Trainer's total_flos counts frozen weights as if they were "
        "trained. CSV holds unscaled values."
    )
    notes = [note, *prefix_remarks(comparison)]
    return _result("cost", "Cost of training", comparison, columns, values, notes)


@register("score_per_million")
def score_per_million(analysis: Analysis) -> ReportTable:
    """Return the score per million trainable parameters, adapter and head counted apart."""
    comparison = analysis.comparison
    metric = comparison.measure
    ratio = significant(4)
    columns = (
        Column("trainable_params", "Trainable", show=integer),
        Column("adapter_params", "of these encoder or adapter", show=integer),
        Column("head_params", "of these head", show=integer),
    )
    # An error that is divided by parameters says nothing: both should be small.
    larger = metric.direction == "max"
    ratios = (
        Column("score_per_million", f"{metric.short_heading} per M trainable", show=ratio),
        Column("published_per_million", f"Macro F1 per M, {comparison.publication}", show="{:g}".format),
    )
    shares: dict[str, float] = {}
    classical: dict[str, None] = {}

    def values(config: Configuration, report: Mapping[str, Any]) -> dict[str, Any]:
        row = config.scored[0].row
        counts = {column.key: row[column.key] for column in columns}
        if not capabilities_of(row["kind"]).uses_encoder:
            classical[config.label] = None
        elif counts["trainable_params"] and counts["head_params"]:
            shares[config.label] = counts["head_params"] / counts["trainable_params"]
        found = {
            "score_per_million": config.per_million(metric.name),
            "published_per_million": report.get("per_million"),
        }
        return counts | (found if larger else {})

    title = f"{metric.heading} per million trainable parameters" if larger else "Trainable parameters"
    table = _result("score_per_million", title, comparison, columns + (ratios if larger else ()), values)
    mostly = [f"{label} {share:.0%}" for label, share in shares.items() if share > 0.1]
    notes = [
        "The ratio misleads: every strategy trains the classification head, so beside a small adapter it mostly "
        "measures the size of the head."
        if larger
        else f"No ratio: of {metric.label} a smaller value is better."
    ]
    if mostly:
        notes.append(f"Share of the head in what is trained here: {', '.join(mostly)}.")
    if classical:
        notes.append(f"No encoder in {', '.join(classical)}: all coefficients count as head.")
    notes += _remark(comparison, "per_million")
    return replace(table, notes=(*notes, *table.notes))


def _result(
    name: str,
    title: str,
    comparison: Comparison,
    columns: tuple[Column, ...],
    values: Callable[[Configuration, Mapping[str, Any]], dict[str, Any]],
    notes: list[str] | None = None,
) -> ReportTable:
    """Lay out a table by strategy and size: what is scored, averaged over seeds; the rest by status."""
    rows: list[dict[str, Any]] = []
    differs: dict[str, None] = {}
    for group in comparison.groups():
        key = {"strategy": group.label, "train_size": group.train_size}
        for config in group.shown:
            if config.scored:
                report = comparison.published_for(config) or {}
                differs |= dict.fromkeys(report.get("differs", ()))
                rows.append(
                    {**key, **chosen_of(config), **_runs(config.scored, "complete"), **values(config, report)}
                )
        passed_over = set(map(id, group.not_chosen))
        for config in group.configs:
            for status, cells in config.unscored.items():
                cells = tuple(cell for cell in cells if id(cell) not in passed_over)
                if cells:
                    rows.append({**key, **chosen_of(config), **_runs(cells, status)})
    several = len({cell.spec.seed for cell in comparison.cells}) > 1
    # Which seeds a row stands for matters where some of them are missing.
    seeds = replace(
        SEEDS, csv_only=not several or len(comparison.scored) == sum(not cell.is_fold for cell in comparison.cells)
    )
    searched = [SETTING] if comparison.searched == "settings" else []
    searched += [BY_SEED] if comparison.chosen_by_seed else []
    all_columns = (STRATEGY, SIZE, RATE, *searched, *columns, N, seeds, STATUS, SELECTION)
    said = [*(notes or []), *protocol_warnings(comparison)]
    if any(len(config.runs) > 1 for group in comparison.groups() for config in group.configs):
        said.append("Where n > 1: mean ± standard deviation over n seeds.")
    if differs:
        said.append(
            f"The published values stand beside runs of the same recipe that differ in: {'; '.join(differs)}."
        )
    return made(name, title, all_columns, rows, comparison, said)


def _runs(cells: tuple[Cell, ...], status: str) -> dict[str, Any]:
    seeds = ["-" if cell.row["seed"] is None else str(cell.spec.seed) for cell in cells]
    return {"n": len(cells), "status": status, "seeds": " ".join(seeds)}


def _remark(comparison: Comparison, name: str) -> list[str]:
    """Return what the publication's values need to be read rightly; nothing where none of them is shown."""
    if comparison.reference is None or not any(comparison.published(cell.spec) for cell in comparison.cells):
        return []
    said = reference(comparison.reference).notes.get(name)
    return [] if said is None else [said]


def _total_minutes(config: Configuration) -> MeanOverSeeds | None:
    """Return training and its evaluations; an imported run has their sum even where it has no parts."""
    if is_imported(config.cells[0].spec):
        return config.minutes("wall_seconds")
    return config.minutes("train_seconds", "eval_seconds")
