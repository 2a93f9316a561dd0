"""What a plan says of the parts that are selected on and scored."""

from __future__ import annotations

from tunebench.data import TextDataset
from tunebench.data.audit import FEW_EXAMPLES
from tunebench.data.copies import held_out_copies
from tunebench.data.reference import SplitRef
from tunebench.errors import TunebenchError
from tunebench.execution.checks import cuts_of
from tunebench.formatting import counted, listed
from tunebench.study.config import StudyConfig
from tunebench.tasks.metrics import DEFAULT_METRIC
from tunebench.training.parts import split_of_test, split_of_validation


def part_remarks(
    study: StudyConfig, dataset: TextDataset, splits: SplitRef | None, *, most: int, test_size: int
) -> list[str]:
    """Return a line on each thing that is not as the study file alone would have it.

    Args:
        study: The study.
        dataset: Its data.
        splits: What its parts rest on besides texts and labels.
        most: The largest training size.
        test_size: Texts that are scored.
    """
    return [
        *_validation(study, dataset),
        *_test(study, dataset, splits, test_size),
        *_groups(study, dataset, splits, most=most, test_size=test_size),
        *_lacking(study, dataset, splits, most=most, test_size=test_size),
        *_rare(study, dataset, splits, most=most, test_size=test_size),
        *_margin(study, dataset),
    ]


def _margin(study: StudyConfig, dataset: TextDataset) -> list[str]:
    """Say what the margin is in the unit of the metric, where it is no number of points."""
    metric = dataset.task.metrics.get(study.metric)
    if metric is None or metric.points:
        return []
    return [
        f"note: two strategies are equal if they differ by less than {metric.show_margin(study.margin)} "
        f"(margin: {study.margin:g}, in hundredths)."
    ]


def _rare(
    study: StudyConfig, dataset: TextDataset, splits: SplitRef | None, *, most: int, test_size: int
) -> list[str]:
    """Say that macro F1 rests on classes of which few texts are scored; of several draws, in the first."""
    if study.metric != DEFAULT_METRIC or not dataset.task.labelled:
        return []
    size = study.train_sizes[0]
    try:
        parts = cuts_of(study, splits, test_size)[0].parts(dataset, most if size == "all" else size)
    except TunebenchError:
        return []  # said where sizes are checked
    names = dataset.label_names
    counts = dataset.task.counts(split_of_test(dataset, parts).labels[parts.test], len(names))
    few = sorted((count, name) for name, count in zip(names, counts, strict=True) if 0 < count < FEW_EXAMPLES)
    if not few:
        return []
    rarest = few[0][0]
    listing = listed([f"{name} ({count})" for count, name in few], 5)
    what = "class" if dataset.task.exclusive else "label"
    # F1 of a class with n texts is 2 TP / (TP + FP + n), which rises most from no right text to one.
    step = 100 * 2 / (rarest + 1) / len(names)
    return [
        f"note: macro F1 counts every {what} alike, and the test part has fewer than {FEW_EXAMPLES} texts of "
        f"{listing}. One text of the rarest can move macro F1 by up to {step:.1f} points. Score more test texts, "
        f"or set another metric, such as {'accuracy' if dataset.task.exclusive else 'micro_f1'}."
    ]


def _lacking(
    study: StudyConfig, dataset: TextDataset, splits: SplitRef | None, *, most: int, test_size: int
) -> list[str]:
    """Say which labels a part lacks, where parts need not hold all of them; of several draws, in the first."""
    if not dataset.task.thresholded:
        return []
    cut = cuts_of(study, splits, test_size)[0]
    how = "above 0.5. thresholds: tuned chooses one for each label on validation"
    if study.thresholds == "tuned":
        how = (
            "above its own threshold, which is the best for its F1 on validation, or 0.5 where no text there has it"
        )
    lines: dict[str, None] = {f"note: a label is given where its probability is {how}.": None}
    for size in study.train_sizes:
        try:
            parts = cut.parts(dataset, most if size == "all" else size)
        except TunebenchError:
            continue  # said where sizes are checked
        own = split_of_validation(dataset, parts)
        found = {
            f"the training part at {size}": (dataset.train, parts.train),
            f"the validation part at {size}" if own is dataset.train else "validation": (own, parts.validation),
            "the test part": (split_of_test(dataset, parts), parts.test),
        }
        for where, (split, rows) in found.items():
            counts = dataset.task.counts(split.labels[rows], len(dataset.label_names))
            absent = [name for name, count in zip(dataset.label_names, counts, strict=True) if not count]
            if absent and len(rows):
                lines[f"note: {where} has no text with {listed(absent)}."] = None
    return list(lines)


def _validation(study: StudyConfig, dataset: TextDataset) -> list[str]:
    own = dataset.validation
    if own is None:
        return []
    if not study.validates:
        return [
            f"note: the data's own validation part ({len(own):,} texts) is not used, as nothing selects on it "
            f"(selection: {study.selection})."
        ]
    line = (
        f"note: validation is the data's own part ({len(own):,} texts); its labels come on top of train_sizes. "
        "data.validation: drawn sets a part of each training subset aside instead."
    )
    if study.validation_fraction:
        line += f" validation_fraction: {study.validation_fraction:g} has no effect."
    if not dataset.task.exclusive:
        return [line]  # of several labels it is said below, with the other parts
    counts = dataset.task.counts(own.labels, len(dataset.label_names))
    absent = [name for name, count in zip(dataset.label_names, counts, strict=True) if not count]
    return [line, f"note: validation has no example of {listed(absent)}."] if absent else [line]


def _test(study: StudyConfig, dataset: TextDataset, splits: SplitRef | None, test_size: int) -> list[str]:
    lines = []
    if study.test_limit is not None:
        if test_size < study.test_limit:
            where = "held out of train" if dataset.test is None else "all of the data's test part"
            line = f"{test_size:,} test texts are scored, {where}; test_limit: {study.test_limit} would allow more."
        else:
            line = f"{test_size:,} test texts are scored, as many as test_limit: {study.test_limit} allows."
        lines.append(f"note: {line} --set test_size=N scores exactly N.")
    copies = held_out_copies(dataset, study.test_draw, test_size, splits=splits)
    if copies is not None and (remark := copies.remark(study.copies)):
        lines.append(f"note: {remark}")
    return lines


def _groups(
    study: StudyConfig, dataset: TextDataset, splits: SplitRef | None, *, most: int, test_size: int
) -> list[str]:
    if study.data.group_column is None:
        return []
    if splits is None or splits.groups is None:
        return [
            f"note: no part is drawn, so data.group_column ({study.data.group_column!r}) keeps nothing together. "
            "The audit counts groups that stand in several parts."
        ]
    line = (
        f"note: each group ({study.data.group_column!r}) is in one part only. A training size counts texts, "
        "drawn from all groups that train or validate."
    )
    left_out = len(dataset.train) - most - (test_size if dataset.test is None else 0)
    if left_out:
        texts = counted(left_out, "text shares", "texts share")
        line += f" Used nowhere: {texts} a group or a text with another part."
    return [line]
