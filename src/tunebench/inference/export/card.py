"""The model card: what the Hub's conventions ask for, from the run's record and its stored predictions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunebench.data.audit_result import describe_numbers
from tunebench.files import write_text
from tunebench.formatting import escape_markdown, file_size
from tunebench.store.imported import trained_here
from tunebench.strategies import capabilities_of
from tunebench.tasks.metrics import DEFAULT_METRIC
from tunebench.tasks.registry import TASKS, metric_label
from tunebench.templates import markdown_environment

if TYPE_CHECKING:
    from tunebench.data.reference import DataRef
    from tunebench.data.tokens import Cut
    from tunebench.inference.export.base import Exporter
    from tunebench.inference.export.source import ExportSource
    from tunebench.models.reference import ModelRef
    from tunebench.store.record import RunRecord

#: What the packaged models and data sets are called on the Hub.
_HUB_NAMES = {
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "imdb-reviews": "stanfordnlp/imdb",
    "rotten-tomatoes": "cornell-movie-review-data/rotten_tomatoes",
}


@dataclass(frozen=True)
class Result:
    """One score of the test part, with its interval over test texts."""

    metric: str
    label: str
    value: float
    low: float
    high: float
    method: str


def write_card(
    folder: Path, *, source: ExportSource, exporter: Exporter, facts: dict[str, Any], cut: Cut | None, name: str
) -> None:
    """Write ``README.md`` into an export.

    Args:
        folder: The export.
        source: The run.
        exporter: The format.
        facts: The content of ``export.json``.
        cut: How the run's texts were shortened; None where whole texts are read.
        name: What the model is called.
    """
    environment = markdown_environment("inference/export")
    environment.filters["code"] = code_span
    environment.filters["size"] = file_size
    environment.filters["score"] = lambda value: "not defined" if value is None else f"{value:.4f}"
    environment.filters["commas"] = lambda value: f"{value:,}"
    judged = source.measured or source
    found = results(judged) if source.judged else []
    spec = trained_here(source.record.spec)
    text = environment.get_template("card.md.j2").render(
        metadata=f"---\n{_metadata(source, exporter, found, name)}\n---",
        name=name,
        task=TASKS[spec.task],
        numbers=partial(_numbers, source.record),
        checked=metric_label(facts["check"]["metric"]),
        labels=[escape_markdown(label) for label in spec.data.label_names],
        base=shown(spec.model),
        data=shown(spec.data),
        public=hub_name(spec.data) is not None or not source.judged,
        inputs=source.artifact.inputs,
        spec=spec,
        record=source.record,
        examples=source.record.examples,
        judged=judged.record,
        again=source.measured is not None,
        facts=facts,
        said=source.said,
        results=found,
        method=found[0].method if found else None,
        estimator=not source.judged,
        cut=cut,
        how_to_load=exporter.how_to_load(source.artifact, cut, folder),
        strategy=capabilities_of(spec.kind),
        params=spec.full_params,
    )
    write_text(folder / "README.md", re.sub(r"\n{3,}", "\n\n", text))


def results(source: ExportSource) -> list[Result]:
    """Return the scores of the run's whole test part, from its stored predictions.

    The study's metric and those that stand beside it; what is not defined for these predictions is left out. The
    intervals are those that the study's tables have for a single run.
    """
    from tunebench.analysis.evidence import SEED
    from tunebench.stats import example_interval

    found, spec = [], source.record.spec
    for name, metric in source.record.task.shown_metrics(spec.selects_by).items():
        if np.isnan(metric(source.labels, source.logits)):
            continue
        interval = example_interval(
            source.labels,
            metric.decode(source.logits)[None],
            classes=source.logits.shape[1],
            rng=np.random.default_rng(SEED),
            metric=metric,
        )
        found.append(Result(name, metric.label, interval.estimate, interval.low, interval.high, interval.method))
    return found


def _numbers(record: RunRecord, part: str) -> str:
    """Describe the numbers of a part."""
    return describe_numbers(record.examples.numbers[part]) if record.examples is not None else "not known"


def _hub_metric(name: str) -> str:
    """Return what the Hub calls a metric."""
    return {DEFAULT_METRIC: "f1", "pearson": "pearsonr", "spearman": "spearmanr"}.get(name, name)


def code_span(text: str) -> str:
    """Return text as code in Markdown, where nothing is escaped: between more backticks than it has in a row."""
    plain = " ".join(text.split())
    marks = "`" * (1 + max(map(len, re.findall("`+", plain)), default=0))
    room = " " if "`" in (plain[:1], plain[-1:]) else ""
    return f"{marks}{room}{plain}{room}{marks}"


def hub_name(reference: ModelRef | DataRef) -> str | None:
    """Return what a model or data set is called on the Hub, or None for a local one."""
    # What comes from the Hub has a revision, and nothing else has. A number behind it asks for the first layers.
    source = re.sub(r":\d+$", "", reference.source)
    return _HUB_NAMES.get(source, source if reference.revision is not None else None)


def shown(reference: ModelRef | DataRef) -> str:
    """Return a name for people; of a local path only the last part, since a card is for others."""
    return hub_name(reference) or Path(reference.source).name


def _metadata(source: ExportSource, exporter: Exporter, found: list[Result], name: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    spec, task = trained_here(source.record.spec), source.record.task
    assert source.record.examples is not None
    held_out = source.record.examples.test_held_out
    base = hub_name(spec.model) if capabilities_of(spec.kind).uses_encoder else None
    data = hub_name(spec.data)
    evaluated = [
        EvalResult(
            task_type="text-classification",
            task_name="Text Classification" if task.labelled else "Text Regression",
            dataset_type=data or shown(spec.data),
            dataset_name=shown(spec.data),
            dataset_revision=spec.data.revision,
            dataset_split="train (held out)" if held_out else "test",
            metric_type=_hub_metric(result.metric),
            metric_name=result.label,
            metric_args={"average": "macro"} if result.metric == DEFAULT_METRIC else None,
            metric_value=round(result.value, 6),
        )
        for result in found
    ]
    metrics = list(dict.fromkeys("f1" if m.endswith("_f1") else _hub_metric(m) for m in task.always_shown))
    card = ModelCardData(
        model_name=name,
        base_model=base,
        datasets=None if data is None else [data],
        library_name=exporter.library,
        pipeline_tag="text-classification",
        tags=["tunebench", "text-classification", spec.kind, exporter.name],
        metrics=metrics if found else None,
        eval_results=evaluated or None,
    )
    return str(card.to_yaml())
