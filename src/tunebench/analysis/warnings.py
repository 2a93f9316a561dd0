"""What a reader must know before believing a comparison, each in one sentence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tunebench.analysis.configuration import states
from tunebench.analysis.looks import added_seeds, look_notes, read_early
from tunebench.analysis.rate_warnings import lora_ratio, rate_warnings
from tunebench.analysis.time_warnings import TRAIN_RUNTIME, time_warnings
from tunebench.data.audit_result import NO_TEST_SPLIT, absent_classes
from tunebench.formatting import counted, in_words
from tunebench.recipe import Recipe
from tunebench.store.imported import ImportedRun, is_answers, is_imported
from tunebench.study.spec import without_effect
from tunebench.tasks.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tunebench.analysis.comparison import Comparison


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


def warnings_of(comparison: Comparison, noise: Sequence[str]) -> list[str]:
    """Return the warnings that follow from the plan and the records, the weightiest first.

    Args:
        comparison: The cells.
        noise: What the analysis says of differences that are neither shown nor ruled out.
    """
    return [
        *_of_scores(comparison),
        *lora_ratio(comparison),
        *noise,
        *_recipes(comparison),
        *_kept_heads(comparison),
        *_imported(comparison),
        *data_warnings(comparison),
        *time_warnings(comparison),
        *_missing(comparison),
    ]


def protocol_warnings(comparison: Comparison) -> list[str]:
    """Return those that belong under every table of scores, with what of imported runs could not be read."""
    return [*_of_scores(comparison), *_remarks(comparison)]


def _of_scores(comparison: Comparison) -> list[str]:
    """Return those on selection, access to test, seeds, absent classes and learning rates."""
    return [
        *_damaged(comparison),
        *_selection(comparison),
        *_thresholds(comparison),
        *_temperature(comparison),
        *test_access(comparison),
        *overtaken(comparison),
        *_ledger(comparison),
        *_looks(comparison),
        *_seeds(comparison),
        *_absent(comparison),
        *rate_warnings(comparison),
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
        return [
            "A label is given above its own threshold, chosen on validation; so the scores on validation, each at "
            "thresholds of its own, flatter a little."
        ]
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
        f"These {note.texts:,} test texts, or some of them, were scored by {counted(note.runs, 'run')} of "
        f"{counted(note.studies, 'study', 'studies')} (ledger of {note.time[:10]}). What was learned from them "
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
    shown = METRICS["accuracy"].show_size(max(math.sqrt(p * (1 - p) / size) for p in scores))
    return [f"{line}; the test split alone (n = {size:,}) gives an accuracy a standard error of {shown}."]


def _absent(comparison: Comparison) -> list[str]:
    """Say which classes the test part lacks: macro F1 cannot reach 1 then. Others may have scored without them."""
    found: dict[str | None, None] = {}
    for cell in comparison.scored:
        examples = cell.record.examples if cell.record else None
        if examples and examples.test_per_class and not is_imported(cell.spec):
            per_class = dict(zip(cell.spec.data.label_names, examples.test_per_class, strict=True))
            found[absent_classes(per_class)] = None
    return [f"In the test part {line}" for line in found if line]


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


def data_warnings(comparison: Comparison) -> list[str]:
    """Return what is to be known of the data: where it was tested, and what the audit found."""
    audited: list[str] = list((comparison.audit or {}).get("warnings", []))
    if any(c.record.examples.test_held_out for c in comparison.scored if c.record and c.record.examples):
        # The audit, made before the runs, says that it will be so.
        held_out = "The data has no test split: a part of the training data was held out for testing."
        return [held_out, *(line for line in audited if line != NO_TEST_SPLIT)]
    return audited


def _missing(comparison: Comparison) -> list[str]:
    passed_over = [cell for group in comparison.groups() for cell in group.not_chosen]
    known = set(map(id, passed_over))
    left = [cell for cell in comparison.cells if not cell.scored and id(cell) not in known]
    lines = []
    if left:
        verb = "has" if len(left) == 1 else "have"
        lines.append(f"{len(left)} of {counted(len(comparison.cells), 'run')} {verb} no score ({states(left)}).")
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
        if comparison.selection == "validation" and (count := group.opened_settings) > 1
    ]
    return [f"The test part was scored more than once for: {'; '.join(several)}."] if several else []


def overtaken(comparison: Comparison) -> list[str]:
    """Say where validation would now choose another setting than the one that the test part was opened for."""
    lines, what = [], comparison.searched.removesuffix("s")
    for group in comparison.groups():
        if not group.overtaken:
            continue
        assert group.selected is not None and group.preferred is not None
        seeds = sorted({cell.spec.seed or 0 for cell in group.overtaken})
        of = f", seed{'s' if len(seeds) > 1 else ''} {in_words(seeds)}" if group.by_seed else ""
        now = "another one" if group.by_seed else group.preferred.setting
        lines.append(
            f"{group.label} at {group.train_size:,}{of}: its {what} was chosen before other runs came, and the "
            f"test part was opened for it. Validation would choose {now} now."
        )
    return lines
