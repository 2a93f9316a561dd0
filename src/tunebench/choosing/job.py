"""``choose``: one call from labelled texts to a trained, exported classifier and the reasons for it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from tunebench.analysis.analysis import analyse
from tunebench.analysis.answer import answer_of
from tunebench.analysis.comparison import Comparison
from tunebench.analysis.recommend import Recommendation, recommend
from tunebench.api import run_study
from tunebench.choosing.chosen import Chosen
from tunebench.choosing.exports import export_chosen, export_refit, forget_other_refit
from tunebench.choosing.plan import Asked, Ready, plan_study, prepare
from tunebench.choosing.refit import Refit, chosen_runs, open_refit, plan_refit, run_refit
from tunebench.choosing.rule import MARGIN, OVERHEAD, Design
from tunebench.choosing.texts import write_texts
from tunebench.choosing.words import data_lines, plan_lines
from tunebench.errors import DataError, StoreError
from tunebench.execution.display import JobDisplay, make_display
from tunebench.execution.resolve import Request
from tunebench.formatting import command, listed, parse_duration
from tunebench.inference.export.source import ExportSource, recommended_run
from tunebench.machine.settings import Execution
from tunebench.store.imported import ImportedStudy
from tunebench.store.study_folder import StudyStore
from tunebench.study.config import StudyConfig

#: Time for everything, where nobody says.
DEFAULT_BUDGET = "30m"


@dataclass(frozen=True)
class Options:
    """How it is done.

    Attributes:
        budget: Seconds for everything.
        folder: Where everything goes.
        execution: Device and threads.
        display: Shows the progress.
        tell: Told what is being done.
    """

    budget: float
    folder: Path
    execution: Execution = field(default_factory=Execution)
    display: JobDisplay | None = None
    tell: Callable[[str], None] = lambda line: None

    def doing(self, line: str) -> None:
        """Say what is being done."""
        if self.display is not None:
            self.display.stage(line)


def choose(
    data: str | Path | Sequence[str],
    labels: Sequence[str | float | Sequence[str]] | None = None,
    *,
    budget: str | float = DEFAULT_BUDGET,
    model: str | Sequence[str] = "minilm",
    metric: str | None = None,
    out: str | Path | None = None,
    refit: bool = True,
    settings: Sequence[str] = (),
    execution: Execution | None = None,
    display: JobDisplay | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Chosen:
    """Find the method that suits labelled texts, train it on all of them, and export it.

    Called again with the same folder it resumes.

    Args:
        data: The texts; or, without labels, where they are: a packaged name, a file, a folder or a Hub name.
        labels: The label of each text; or a list of labels for each; or a number for each, with the setting
            ``data.task=regression``.
        budget: Time for everything, such as ``30m``, or seconds.
        model: The encoder, or several of them to compare.
        metric: What decides; by default the metric of the data's task.
        out: Folder for everything; default ``out/choose-NAME``.
        refit: Train the chosen method on all labels in the end.
        settings: Settings of the study as ``KEY=VALUE``, as ``--set`` takes them.
        execution: Device and threads.
        display: Shows the progress; by default a live view on a terminal, and plain lines elsewhere.
        tell: Told what is being done.

    Returns:
        The answer, the exported classifier and the report.

    Raises:
        TunebenchError: Something is wrong; raised before anything is trained.
    """
    if labels is not None:
        folder = Path("out/choose-texts" if out is None else out)
        source = write_texts(data, labels, folder)  # type: ignore[arg-type]  # a path is refused there
    elif isinstance(data, (str, Path)):
        source = str(data)
        folder = default_folder(source) if out is None else Path(out)
    else:
        raise DataError("Texts need labels.", value=f"{len(data)} texts", fix="choose(texts, labels, ...)")
    models = (model,) if isinstance(model, str) else tuple(model)
    name = study_name(source) if labels is None else study_name(folder.name.removeprefix("choose-"))
    asked = Asked({"source": source}, models, metric, name, refit, tuple(settings))
    seconds = parse_duration(budget) if isinstance(budget, str) else float(budget)
    shown = make_display(budget=seconds) if display is None else display
    return choose_for(asked, Options(seconds, folder, execution or Execution(), shown, tell))


def make_ready(asked: Asked, options: Options) -> Ready:
    """Read and check data and model, and say what they are taken for.

    Raises:
        TunebenchError: Everything that is wrong with them.
    """
    said: set[str] = set()

    def tell(line: str) -> None:
        """Pass a line on once: data is read for the plan, and again for the study."""
        if line not in said:
            said.add(line)
            options.tell(line)

    request = Request(execution=options.execution, tell=tell, doing=options.doing)
    ready = prepare(asked, request)
    for line in data_lines(ready):
        tell(line)
    return ready


def choose_for(asked: Asked, options: Options) -> Chosen:
    """Do all of it; see :func:`choose`."""
    try:
        return _choose(asked, options)
    finally:
        if options.display is not None:
            options.display.stop()


def _choose(asked: Asked, options: Options) -> Chosen:
    # Before anything is read: a folder that cannot be used is no reason to wait.
    store = StudyStore.check(options.folder, [])
    begun = store.plan_file.exists()
    ready = make_ready(asked, options)
    last = 0.0
    if begun:
        # What is left to do is less than the budget had room for.
        study = _begun(store, asked, ready)
        ready.request.known.timings.load(options.folder)
        options.tell(f"Resuming the study in {options.folder}; its plan stays as it is.")
    else:
        study, design = plan_study(ready, options.budget)
        _say_plan(study, design, options.tell)
        if design.shape.refit:
            last = max(ready.costs.last(label, study) for label in study.strategies)
    left = options.budget - (time.monotonic() - ready.began) - OVERHEAD - last * MARGIN
    inputs = ready.resolved.dataset.inputs
    result = run_study(
        study,
        options.folder,
        execution=options.execution,
        display=options.display or make_display(),
        budget_seconds=max(1.0, left),
        deadline=ready.began + options.budget - OVERHEAD,
        tell=ready.request.tell,
        known=ready.request.known,
    )
    done = Chosen(
        options.folder,
        result.report,
        None,
        None,
        interrupted=result.summary.interrupted,
        failed=tuple(result.summary.failed),
        left_out=() if _named_strategies(asked) else _not_compared(ready, study),
        unfinished=_unfinished(result.comparison) if result.summary.out_of_time else (),
        pairs=inputs is not None and inputs.pair,
    )
    if result.summary.interrupted:
        return done
    analysis = analyse(result.comparison)
    found = recommend(analysis)
    done = replace(done, recommendation=found, answer=answer_of(analysis, found))
    if found.not_exported is not None:
        # Answers that joined the study meanwhile: there is nothing to train again.
        return done
    spent = time.monotonic() - ready.began
    as_it_is = partial(
        export_chosen, result.comparison, options.folder, title=_title(study, found), tell=options.doing
    )
    if not asked.refit:
        return replace(done, model=as_it_is(), refit=_without_refit(found))
    refit = plan_refit(chosen_runs(result.comparison, found), ready.resolved.dataset)
    seconds = ready.costs.last(found.strategy, study)
    trained = StudyStore(_refit_folder(options)).run_folder(refit.spec.run_id).complete
    if not trained and spent + seconds > options.budget:
        why = (
            "The budget is spent, so the model was not trained again on all "
            f"{len(refit.dataset.train):,} labels; the same command does that now."
        )
        return replace(done, model=as_it_is(), refit=why)
    return _finish(done, refit, study, result.comparison, options, seconds)


def _finish(
    done: Chosen, refit: Refit, study: StudyConfig, comparison: Comparison, options: Options, seconds: float
) -> Chosen:
    """Train the chosen method on all labels, and export that."""
    options.doing(f"training {refit.spec.label} on all {len(refit.dataset.train):,} labels")
    place = _refit_folder(options)
    forget_other_refit(place, refit.spec.run_id, options.tell)
    display = options.display or make_display()
    summary = run_refit(refit, study, place, execution=options.execution, display=display, seconds=seconds)
    if summary.interrupted:
        return replace(done, interrupted=True)
    if summary.failed:
        failed = f"The last training on all labels failed: {command('status', place)}"
        return replace(done, failed=(*done.failed, *summary.failed), refit=failed)
    run_id, among, said = recommended_run(comparison)
    found = done.recommendation
    assert found is not None
    source = open_refit(refit, place, study_folder=options.folder, run_id=run_id, among=among, said=said)
    model = export_refit(source, options.folder, title=_title(study, found), tell=options.doing)
    return replace(done, model=model, refit=_expectation(source, refit, found))


def _expectation(source: ExportSource, refit: Refit, found: Recommendation) -> str:
    """Say what was trained, and what score to expect of it."""
    labels, metric = len(refit.dataset.train), refit.dataset.task.metric(found.metric)
    head = f"The model is {found.strategy}, trained again on all {labels:,} labels"
    if refit.measured and source.record.scores is not None:
        value = source.record.scores[metric.name]
        shown = "not defined" if value is None else f"{value:.4f}"
        return f"{head}: {metric.label} {shown} on the test part, which also chose the method."
    one = next(one for one in found.alternatives if one.label == found.strategy)
    return (
        f"{head}: expect about the {metric.label} of {one.interval.estimate:.4f} that it had with "
        f"{found.train_size:,}. That cannot be measured, as no labelled text is left."
    )


def _not_compared(ready: Ready, study: StudyConfig) -> tuple[str, ...]:
    return tuple(label for label in ready.facts.candidates if label not in study.strategies)


def _unfinished(comparison: Comparison) -> tuple[str, ...]:
    """Return the strategies that the budget stopped: without a score, though no run failed."""
    cells = comparison.cells
    ended = {cell.spec.label for cell in cells if cell.scored or cell.status in ("failed", "out_of_memory")}
    return tuple(dict.fromkeys(cell.spec.label for cell in cells if cell.spec.label not in ended))


def _named_strategies(asked: Asked) -> bool:
    """Whether the user named the strategies, and left the others out on purpose."""
    return any(setting.partition("=")[0].strip() == "strategies" for setting in asked.settings)


def _without_refit(found: Recommendation) -> str:
    return f"The model is the best run of {found.strategy}, trained on {found.train_size:,} labels or less."


def _title(study: StudyConfig, found: Recommendation) -> str:
    """Return what the model card calls the model: after the data and the method."""
    return f"{study.name}-{found.strategy}"


def _refit_folder(options: Options) -> Path:
    return options.folder / "refit"


def _say_plan(study: StudyConfig, design: Design, tell: Callable[[str], None]) -> None:
    for line in plan_lines(study, design):
        tell(line)


def _begun(store: StudyStore, asked: Asked, ready: Ready) -> StudyConfig:
    """Return the study that the folder holds, if it answers the same question on the same data.

    Raises:
        StoreError: It is another one.
    """
    study = store.study()
    wanted = asked.study({"strategies": ["tfidf"], "train_sizes": ["all"]})
    if isinstance(study, ImportedStudy):
        raise StoreError("The folder holds imported runs.", value=str(store.folder), fix="choose another --out")
    pairs = {
        "data": (study.data.source, wanted.data.source),
        "model": (study.model, wanted.model),
        "metric": (study.metric, ready.asked.metric),
    }
    others = [model for model, _ in study.models if model not in asked.models]
    if others:
        pairs["models"] = (listed(model for model, _ in study.models), listed(asked.models))
    differ = [f"{key}: {before} -> {after}" for key, (before, after) in pairs.items() if before != after]
    # The last training takes the data as it is read now: another column would be learned under the old names.
    stored, now = {spec.data.fingerprint for spec in store.trainable()}, ready.resolved.dataset.fingerprint
    if stored and now not in stored:
        differ.append(f"texts and labels as they are read: {', '.join(sorted(stored))} -> {now}")
    if differ:
        raise StoreError(
            "The folder holds another study; they differ in: " + "; ".join(differ) + ".",
            value=str(store.folder),
            fix="give the same data and options as before, or choose another --out",
        )
    return study


def study_name(source: str) -> str:
    """Return the name of a study on some data: letters and digits of the last part of its place."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(source).name.split(".")[0]).strip("-_.")
    return (stem or "texts")[:40]


def default_folder(source: str) -> Path:
    """Return where everything goes unless the user says where."""
    return Path("out") / f"choose-{study_name(source)}"
