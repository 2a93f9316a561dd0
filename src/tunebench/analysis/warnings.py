"""What a reader must know before believing a comparison, each in one sentence."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from tunebench.analysis.comparison import states
from tunebench.analysis.cost_noise import shared_machine as machine_was_shared
from tunebench.analysis.looks import added_seeds, look_notes, read_early
from tunebench.analysis.tuning import close_choices
from tunebench.data.audit import absent_classes
from tunebench.recipe import Recipe
from tunebench.store.imported import ImportedRun, is_answers, is_imported
from tunebench.study.spec import without_effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tunebench.analysis.comparison import Comparison, Group

#: Strategies that a sentence names.
_NAMED = 5
#: LoRA's learning rate over that of full fine-tuning that needs no remark.
_NEAR_TEN = (4, 25)

SCALED = "Probabilities are of logits divided by a temperature, chosen on validation for each run."
OPTIMISTIC = "Selected on test: optimistic. The split that chose the checkpoints also gives the scores."

OWN_VALIDATION = (
    "Selected on the validation part that the data brings: its labels come on top of the dataset size, which holds "
    "training texts alone."
)

FOLDS = (
    "Selected by {folds}-fold cross-validation. The scores are of runs on all texts of the dataset size, with the "
    "learning rate and the share of steps that were best in the mean over folds."
)

UNKNOWN_SELECTION = (
    "How checkpoints were chosen is not known of every run: if the split that gives the scores chose them, "
    "the scores are optimistic."
)
#: How training time is told apart in what a Trainer logs.
TRAIN_RUNTIME = (
    "The Trainer's train_runtime includes the evaluations: training only is train_runtime less the eval_runtime "
    "of the evaluations logged before it, and still holds checkpoints and logging."
)


def warnings_of(comparison: Comparison, noise: Sequence[str]) -> list[str]:
    """Return the warnings that follow from the plan and the records, the weightiest first.

    Args:
        comparison: The cells.
        noise: What the analysis says of differences that are neither shown nor ruled out.
    """
    return [
        *_damaged(comparison),
        *_selection(comparison),
        *_thresholds(comparison),
        *_temperature(comparison),
        *test_access(comparison),
        *_ledger(comparison),
        *_looks(comparison),
        *_seeds(comparison),
        *_absent(comparison),
        *_learning_rates(comparison),
        *_ratio(comparison),
        *noise,
        *_recipes(comparison),
        *_kept_heads(comparison),
        *_imported(comparison),
        *_data(comparison),
        *_machine(comparison),
        *_missing(comparison),
    ]


def protocol_warnings(comparison: Comparison) -> list[str]:
    """Return those that belong under every table of scores.

    They are on selection, access to test, seeds, absent classes, learning rates, and what of imported runs could
    not be read.
    """
    return [
        *_damaged(comparison),
        *_selection(comparison),
        *_thresholds(comparison),
        *_temperature(comparison),
        *test_access(comparison),
        *_ledger(comparison),
        *_looks(comparison),
        *_seeds(comparison),
        *_absent(comparison),
        *_learning_rates(comparison),
        *_remarks(comparison),
    ]


def not_shown(comparison: Comparison) -> list[str]:
    """Return what belongs under a figure of scores where runs have none that should."""
    passed_over = sum(len(group.not_chosen) for group in comparison.groups())
    missing, total = len(comparison.cells) - len(comparison.scored) - passed_over, len(comparison.cells)
    return [f"Not shown: {missing} of {total} runs without scores, see the table of runs."] if missing else []


def _damaged(comparison: Comparison) -> list[str]:
    """Name the runs that are left out because their files are not as they were written."""
    return [
        f"Left out as damaged: {cell.spec.run_id}. {' '.join((cell.note or '').split())}"
        for cell in comparison.cells
        if cell.damaged
    ]


def _thresholds(comparison: Comparison) -> list[str]:
    """Say above which probability a label is given, where a text may have several."""
    tuned = [cell.record.thresholds for cell in comparison.scored if cell.record is not None]
    if not comparison.task.thresholded:
        if not any(found is not None for found in tuned):
            return []
        second = comparison.cells[0].spec.data.label_names[1]
        return [
            f"A text is {second} where the probability of that is above a threshold, chosen on validation for each "
            "run; scores on validation are at 0.5."
        ]
    if any(found is not None for found in tuned):
        return ["A label is given above its own threshold, chosen on validation; scores on validation are at 0.5."]
    return ["A label is given where its probability is above 0.5."]


def _temperature(comparison: Comparison) -> list[str]:
    """Say that probabilities were scaled after training."""
    scaled = [cell for cell in comparison.scored if cell.record and cell.record.temperature is not None]
    return [f"{SCALED} Scores on validation are of the logits as they were."] if scaled else []


def _selection(comparison: Comparison) -> list[str]:
    folds = comparison.cells[0].spec.folds
    if folds:
        return [FOLDS.format(folds=folds)]
    if comparison.selection == "validation" and any(cell.spec.own_validation for cell in comparison.cells):
        return [OWN_VALIDATION]
    return {"test": [OPTIMISTIC], "not known": [UNKNOWN_SELECTION]}.get(comparison.selection, [])


def _ledger(comparison: Comparison) -> list[str]:
    """Say how often the test texts of a study were scored, where a ledger has counted it."""
    note = comparison.ledger
    if note is None:
        return []
    return [
        f"These {note.texts:,} test texts, or some of them, were scored by {note.runs} runs of {note.studies} "
        f"{'study' if note.studies == 1 else 'studies'} (ledger of {note.time[:10]}). What was learned from them "
        "flatters later studies that chose by it."
    ]


def _looks(comparison: Comparison) -> list[str]:
    """Say by which design the study is read, and where it was read otherwise."""
    return [*added_seeds(comparison), *read_early(comparison), *look_notes(comparison)]


def _seeds(comparison: Comparison) -> list[str]:
    imported = [spec for cell in comparison.cells if is_imported(spec := cell.spec)]
    alone = all(len(config.cells) == 1 for group in comparison.groups() for config in group.configs)
    if len({cell.spec.seed for cell in comparison.cells}) > 1 and not (imported and alone):
        return []
    line = "Single seed: how much scores vary over seeds is not known, and a small difference may be luck"
    found = [c.record.scores["accuracy"] for c in comparison.scored if c.record and c.record.scores]
    scores = [value for value in found if value is not None]
    counted = [c.record.examples.test for c in comparison.scored if c.record and c.record.examples]
    size = counted[0] if counted else comparison.cells[0].spec.test_size
    if not scores or size is None:
        return [f"{line}."]
    # Binomial standard error of one accuracy, the largest of the table.
    error = max(math.sqrt(p * (1 - p) / size) for p in scores)
    return [f"{line}; the test split alone (n = {size:,}) gives an accuracy a standard error of {error:.4f}."]


def _absent(comparison: Comparison) -> list[str]:
    """Say which classes the test part lacks: macro F1 cannot reach 1 then. Others may have scored without them."""
    found: dict[str | None, None] = {}
    for cell in comparison.scored:
        examples = cell.record.examples if cell.record else None
        if examples and examples.test_per_class and not is_imported(cell.spec):
            per_class = dict(zip(cell.spec.data.label_names, examples.test_per_class, strict=True))
            found[absent_classes(per_class)] = None
    return [f"In the test part {line}" for line in found if line]


def _learning_rates(comparison: Comparison) -> list[str]:
    groups = [group for group in comparison.groups() if group.configs[0].shown_learning_rate is not None]
    labels = list(dict.fromkeys(group.label for group in groups))
    lines = []
    single = [
        name
        for name in labels
        if all((len(set(g.tried)) or len(g.configs)) == 1 for g in groups if g.label == name)
    ]
    if single:
        whose = "per strategy" if len(single) == len(labels) else f"for {', '.join(single)}"
        lines.append(
            f"One learning rate {whose}: what looks like a difference of strategies may be one of learning rates."
        )
    several = [group for group in groups if len(group.configs) > 1]
    if any(group.selected is not None for group in several):
        lines.append(
            f"Where several {comparison.searched} were run, the one with the best mean "
            f"{comparison.selecting.label} on {comparison.evaluated} is shown; the others are in the table of runs."
        )
    if any(group.selected is None and any(config.scored for config in group.configs) for group in several):
        lines.append(f"Several {comparison.searched} and no selection score: all are shown, none was chosen.")
    edge = [f"{g.label} at {g.train_size:,}" for g in several if g.at_edge]
    if edge:
        lines.append(
            f"Best learning rate at the edge of those tried, so a better one may lie outside: {', '.join(edge)}."
        )
    return lines + _close(comparison) + unequal_rates(groups)


def _close(comparison: Comparison) -> list[str]:
    """Name the choices of a rate that the selection split does not settle."""
    found = [
        f"{one.group.label} at {one.group.train_size:,} ({one.runner_up.setting})"
        for one in close_choices(comparison)
    ]
    if not found:
        return []
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    what = comparison.searched.removesuffix("s")
    return [
        f"Another {what} is within two standard errors of the chosen one on {comparison.evaluated}: "
        f"{', '.join(found[:_NAMED])}{more}. No interval here holds the choice of the "
        f"{'setting' if what == 'setting' else 'rate'}."
    ]


def unequal_rates(groups: Sequence[Group]) -> list[str]:
    """Say where strategies that have a learning rate were tuned with unequal numbers of them."""
    tried = {g.label: len(g.tried) for g in groups if g.tried and g.configs[0].shown_learning_rate is not None}
    if len(set(tried.values())) < 2:
        return []
    counts = ", ".join(f"{label} {number}" for label, number in tried.items())
    what = "settings" if any(group.searched == "settings" for group in groups) else "learning rates"
    return [f"Strategies were tuned with unequal numbers of {what}: {counts}."]


def _ratio(comparison: Comparison) -> list[str]:
    """Warn where LoRA's learning rate is far from ten times that of full fine-tuning."""
    lines = []
    for size in comparison.sizes:
        chosen = {
            group.label: (group.cells[0].spec.kind, rate)
            for group in comparison.groups()
            if group.train_size == size and group.selected and (rate := group.selected.learning_rate) is not None
        }
        full = [rate for kind, rate in chosen.values() if kind == "full"]
        if not full:
            continue
        for label, (kind, rate) in chosen.items():
            ratio = rate / min(full)
            if kind == "lora" and not _NEAR_TEN[0] <= ratio <= _NEAR_TEN[1]:
                lines.append(
                    f"{label} ran at {ratio:.3g} times the learning rate of full fine-tuning; where both were "
                    "tuned, about ten times was best (LoRA Without Regret, 2025)."
                )
    return list(dict.fromkeys(lines))


def _recipes(comparison: Comparison) -> list[str]:
    axes = {"schema_version", "kind", "params", "learning_rate", "train_size", "seed", "subset_seed", "test_seed"}
    axes |= {"fold"}
    # What does not reach a run is no difference of recipes.
    specs = [{**c.spec.identity, **dict.fromkeys(without_effect(c.spec.kind))} for c in comparison.cells]
    # What is not known of an imported run is no difference; _imported names it.
    # An identity leaves out what is as it was before there was a choice: that is a value of its own.
    keys = dict.fromkeys(key for spec in specs for key in spec if key not in axes)
    known = {key: [s.get(key, "") for s in specs if s.get(key, "") is not None] for key in keys}
    known = {
        key: values
        for key, values in known.items()
        if values and (key in Recipe.model_fields or not isinstance(values[0], dict))
    }
    differ = [key for key, values in known.items() if any(value != values[0] for value in values)]
    return [f"The strategies also differ in: {', '.join(differ)}."] if differ else []


def _kept_heads(comparison: Comparison) -> list[str]:
    kept = sum(cell.spec.base_head == "kept" for cell in comparison.cells)
    line = "runs began with the classification head that the model had already (keep_head): no seed drew it."
    return [f"{kept} of {len(comparison.cells)} {line}"] if kept else []


def _imported(comparison: Comparison) -> list[str]:
    specs = [cell.spec for cell in comparison.cells if isinstance(cell.spec, ImportedRun)]
    answered = list(dict.fromkeys(spec.label for spec in specs if is_answers(spec)))
    lines = []
    if answered:
        lines.append(
            f"Answers of another model, read from a file: {', '.join(answered)}. They do not depend on the number "
            "of labels, so the same answers stand at every size. How they were obtained, and what they cost, is as "
            "whoever imported them states it."
        )
    specs = [spec for spec in specs if not is_answers(spec)]
    if not specs:
        return lines
    every = len(comparison.cells)
    lines.append(f"{len(specs)} of {every} runs were imported: other scripts trained and scored them.")
    unknown = dict.fromkeys(name for spec in specs for name in spec.unknown)
    if unknown:
        names = ", ".join(name.replace("_", " ") for name in unknown)
        lines.append(f"Not known of every imported run, so that the runs share it is not checked: {names}.")
    scripts = [c.record for c in comparison.cells if c.record and c.record.imported and not is_answers(c.spec)]
    found = [record.imported for record in scripts if record.imported]
    stated = dict.fromkeys(name for one in found for name in one.stated)
    if stated:
        names = ", ".join(name.replace("_", " ") for name in stated)
        lines.append(f"Stated by whoever imported the runs, and not found in their folders: {names}.")
    if any(record.timing and record.timing.wall_seconds for record in scripts):
        lines.append(TRAIN_RUNTIME)
    return lines + _remarks(comparison)


def _remarks(comparison: Comparison) -> list[str]:
    """Return what was noted when runs were imported: values and files that count as not known, and why."""
    found = [c.record.imported for c in comparison.cells if c.record and c.record.imported]
    return list(dict.fromkeys(remark for one in found for remark in one.remarks))


def _data(comparison: Comparison) -> list[str]:
    lines = []
    if any(c.record.examples.test_held_out for c in comparison.scored if c.record and c.record.examples):
        lines.append("The data has no test split: a part of the training data was held out for testing.")
    return lines + list((comparison.audit or {}).get("warnings", []))


def shared_machine(comparison: Comparison) -> list[str]:
    """Return what belongs beside times where runs shared the machine."""
    timed = [cell for cell in comparison.scored if cell.record and cell.record.timing]
    busy = sum(map(machine_was_shared, timed))
    return [f"{busy} of {len(timed)} runs shared the machine; their times are too long."] if busy else []


def _machine(comparison: Comparison) -> list[str]:
    lines = shared_machine(comparison)
    timings = [c.record.timing for c in comparison.scored if c.record and c.record.timing]
    known = [c.record.environment.world_size for c in comparison.scored if c.record]
    sizes = Counter(size for size in known if size is not None)
    if len(sizes) > 1:
        found = ", ".join(f"{runs} by {size}" for size, runs in sorted(sizes.items()))
        lines.append(f"Not all runs were trained by equally many processes ({found}), and their times show it.")
    kept = [timing.prefix_seconds for timing in timings if timing.prefix_seconds is not None]
    return lines + ([prefix_remark(kept, len(timings))] if kept else [])


def prefix_remark(seconds: Sequence[float], runs: int) -> str:
    """Say what kept outputs of frozen layers mean for the times.

    Args:
        seconds: Seconds of computing them, of each run that used them.
        runs: Runs in all.
    """
    return (
        f"{len(seconds)} of {runs} runs took their frozen layers from disk: their training times leave out the "
        f"{sum(seconds):.0f} s in which these were computed, once for all of them; the operations of that count "
        "in the run that came first."
    )


def _missing(comparison: Comparison) -> list[str]:
    passed_over = [cell for group in comparison.groups() for cell in group.not_chosen]
    left = [cell for cell in comparison.cells if not cell.scored and cell not in passed_over]
    lines = []
    if left:
        lines.append(f"{len(left)} of {len(comparison.cells)} runs have no score ({states(left)}).")
    folds = [cell for cell in passed_over if cell.is_fold]
    if folds:
        lines.append(
            f"{len(folds)} runs of folds have no test score: they choose learning rate and steps. The runs on all "
            "texts are scored."
        )
    passed_over = [cell for cell in passed_over if not cell.is_fold]
    if passed_over:
        lines.append(
            f"{len(passed_over)} runs at {comparison.searched} that were not chosen have no test score: the test "
            "part is scored for the chosen ones only."
        )
    return lines


def test_access(comparison: Comparison) -> list[str]:
    """Say where more than one learning rate of a strategy was scored on test, so that a reader may pick."""
    several = [
        f"{group.label} at {group.train_size:,} ({count} {comparison.searched})"
        for group in comparison.groups()
        if comparison.selection == "validation" and (count := sum(config.opened for config in group.configs)) > 1
    ]
    return [f"The test part was scored more than once for: {'; '.join(several)}."] if several else []
