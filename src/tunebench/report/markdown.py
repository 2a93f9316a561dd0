"""The report in Markdown: warnings, tables, figures, and how to get the same again."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from tunebench.config import DataConfig, StrategyConfig, StudyConfig
from tunebench.history import curve
from tunebench.imported import is_imported
from tunebench.records import RunRecord
from tunebench.rendering import escape_markdown, to_markdown
from tunebench.report.words import alternatives_table, listed
from tunebench.tables import make_tables

if TYPE_CHECKING:
    from tunebench.comparison import Comparison


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Write ``report.md`` and the figures it shows.

    Args:
        comparison: The study's cells.
        folder: Where; figures go to ``figures/`` in it and are linked relatively.

    Returns:
        The path of the report.
    """
    from tunebench.figures import figures_of, save_figures
    from tunebench.files import write_text

    save_figures(comparison, folder / "figures")
    titles = {name: maker.title for name, maker in figures_of(comparison).items()}
    path = folder / "report.md"
    drawn = {place.name for place in (folder / "figures" / "runs").glob("*")}
    write_text(path, render_report(comparison, figures=titles, drawn_runs=drawn))
    return path


def render_report(comparison: Comparison, *, figures: dict[str, str], drawn_runs: Collection[str] = ()) -> str:
    """Return the report's text.

    Args:
        comparison: The study's cells.
        figures: Titles by the names of files in ``figures/``, in order.
        drawn_runs: Ids of the runs whose own figures lie in ``figures/runs/``.
    """
    environment = Environment(
        loader=PackageLoader("tunebench", "report"),
        # Markdown, not HTML: every value from outside goes through the md filter instead.
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = lambda value: escape_markdown("not known" if value is None else str(value))
    study = study_of(comparison)
    found = comparison.analysis.recommendation
    records = [cell.record for cell in comparison.scored if cell.record is not None]
    machines = {
        repr(sorted(r.environment.machine.items())): (r.environment.device, r.environment.threads, r)
        for r in records
    }
    text = environment.get_template("report.md.j2").render(
        comparison=comparison,
        spec=comparison.cells[0].spec,
        imported=any(is_imported(cell.spec) for cell in comparison.cells),
        states=_states(comparison),
        answer=found if isinstance(found, str) else found.sentence,
        lists={} if isinstance(found, str) else listed(found),
        alternatives=None if isinstance(found, str) else to_markdown(alternatives_table(found), level=3),
        warnings=comparison.warnings(),
        tables=[to_markdown(table, level=3) for table in make_tables(comparison)],
        figures=figures,
        runs=[cell for cell in comparison.scored if cell.spec.run_id in drawn_runs],
        drawn=_drawn,
        study=None if study is None else as_yaml(study),
        versions=records[0].environment.versions if records else {},
        machines=[
            {"device": device, "threads": threads, **record.environment.machine}
            for device, threads, record in machines.values()
        ],
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def study_of(comparison: Comparison) -> StudyConfig | None:
    """Return the study whose grid holds all cells, put together from their specs.

    Returns:
        The study as it was resolved (sizes in numbers, precision decided); None where the cells
        differ in more than the axes of a study, so that no single one gives them.
    """
    specs = [cell.spec for cell in comparison.cells]
    if any(map(is_imported, specs)):
        return None
    first = specs[0]
    axes = {"label", "kind", "params", "learning_rate", "train_size", "seed", "model", "data", "schema_version"}
    axes |= {"subset_seed", "test_seed"}
    common = first.model_dump(exclude=axes)
    if any(spec.model_dump(exclude=axes) != common for spec in specs):
        return None
    strategies = {}
    for label in comparison.labels:
        own = [spec for spec in specs if spec.label == label]
        if any((spec.kind, spec.params) != (own[0].kind, own[0].params) for spec in own):
            return None
        rates = tuple(dict.fromkeys(spec.learning_rate for spec in own))
        strategies[label] = StrategyConfig(kind=own[0].kind, learning_rate=rates, params=own[0].params)
    draws = dict.fromkeys((spec.subset_seed, spec.seed) for spec in specs)
    seeds = tuple(dict.fromkeys(seed for _, seed in draws))
    paired = len(seeds) > 1 and all(subset == seed for subset, seed in draws)
    return StudyConfig(
        name=comparison.name if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", comparison.name) else "study",
        model=first.model.source,
        model_revision=first.model.revision,
        data=DataConfig(source=first.data.source, revision=first.data.revision),
        strategies=strategies,
        train_sizes=tuple(comparison.sizes),
        seeds=seeds,
        subset_seed="per_seed" if paired else tuple(dict.fromkeys(subset for subset, _ in draws)),
        **common,
    )


def as_yaml(study: StudyConfig) -> str:
    """Return a study as a study file; what is not set is left out."""
    return yaml.safe_dump(study.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True)


def _drawn(record: RunRecord) -> list[tuple[str, str]]:
    """Return file names and titles of the figures that a run has the data for; imported ones lack some."""
    losses = any(len(curve(record.log_history, key)) for key in ("loss", "eval_loss"))
    known = {
        ("loss_by_step", "loss by step"): losses,
        ("loss_by_epoch", "loss by epoch"): losses,
        ("step_seconds", "seconds per step"): record.timing is not None and bool(record.timing.step_seconds),
        ("confusion", "confusion"): record.scores is not None and bool(record.scores.confusion),
    }
    return [figure for figure, there in known.items() if there]


def _states(comparison: Comparison) -> dict[str, int]:
    found: dict[str, int] = {}
    for cell in comparison.cells:
        words: Any = cell.status.replace("_", " ")
        found[words] = found.get(words, 0) + 1
    return found
