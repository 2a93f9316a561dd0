"""What is in a data set, before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from tunebench.data.audit_result import NO_TEST_SPLIT, Audit, LengthSummary, SplitAudit, absent_classes
from tunebench.data.copies import HeldOutCopies
from tunebench.data.overlap import labels_by_text, overlap_warnings, overlaps, shared_groups
from tunebench.data.pair_overlap import pair_warnings
from tunebench.data.reference import Copies
from tunebench.data.text import by_side, characters, sides_of
from tunebench.data.types import Split, TextDataset
from tunebench.data.visible import is_blank
from tunebench.formatting import counted, listed

#: A class with a larger share makes accuracy meaningless; one with fewer examples, its own scores.
NEAR_CONSTANT = 0.95
FEW_EXAMPLES = 10
#: Truncation of a smaller share is not worth a warning.
_MUCH_TRUNCATION = 0.1


def audit(
    dataset: TextDataset,
    *,
    lengths: Mapping[str, np.ndarray] | None = None,
    max_length: int | None = None,
    held_out: HeldOutCopies | None = None,
    copies: Copies = "together",
) -> Audit:
    """Audit a data set; every figure is exact.

    Args:
        dataset: The data.
        lengths: Tokens of each text before truncation, by split (``train``, ``validation``, ``test``); integer
            arrays of shape ``(examples,)``.
        max_length: Tokens that training will keep; used with token lengths only.
        held_out: Copies on both sides of the test part that is held out of train, where there is no test split.
        copies: What is done about them.

    Raises:
        ValueError: Token lengths lack a split or do not fit it.
    """
    parts = dataset.splits
    if lengths is not None and any(len(lengths.get(name, ())) != len(split) for name, split in parts.items()):
        raise ValueError("lengths need one entry a split, with one value a text")
    limit = None if lengths is None else max_length
    columns = dataset.inputs.columns if dataset.inputs is not None and dataset.inputs.pair else ()
    splits = {
        name: replace(
            _audit_split(split, dataset, None if lengths is None else lengths[name], limit),
            sides=_sides(split, columns),
        )
        for name, split in parts.items()
    }
    shared = overlaps(parts)
    overlap = shared.get(("test", "train"))
    return Audit(
        source=dataset.source,
        revision=dataset.revision,
        fingerprint=dataset.fingerprint,
        splits=splits,
        test_in_train=overlap.first if overlap else None,
        train_in_test=overlap.second if overlap else None,
        shared_texts=overlap.texts if overlap else None,
        shared_conflicting=overlap.conflicting if overlap else None,
        max_length=limit,
        warnings=[
            *_held_out(parts, None if held_out is None else held_out.remark(copies)),
            *overlap_warnings(parts),
            *pair_warnings(parts, columns),
            *_warnings(splits, limit),
        ],
        reading=dataset.reading.lines(),
        held_out=held_out.test if held_out else None,
        held_out_in_train=held_out.apart if held_out else None,
        copies_left_out=held_out.left_out if held_out else None,
        validation_in_train=pair.first if (pair := shared.get(("validation", "train"))) else None,
        test_in_validation=pair.first if (pair := shared.get(("test", "validation"))) else None,
        shared_groups={f"{a} in {b}": count for (a, b), (count, _) in shared_groups(parts).items()},
    )


def _audit_split(
    split: Split, dataset: TextDataset, tokens: np.ndarray | None, max_length: int | None
) -> SplitAudit:
    names = dataset.label_names if dataset.task.labelled else ()
    counts = dataset.task.counts(split.labels, len(names))
    labels = labels_by_text(split)
    return SplitAudit(
        examples=len(split),
        per_class=dict(zip(names, counts, strict=True)),
        share={name: count / len(split) for name, count in zip(names, counts, strict=True)},
        characters=_summary(np.array([characters(text) for text in split.texts]), None),
        tokens=None if tokens is None else _summary(tokens, max_length),
        duplicates=len(split) - len(labels),
        conflicting=sum(len(found) > 1 for found in labels.values()),
        empty=sum(any(map(is_blank, sides_of(text))) for text in split.texts),
        labels_per_text=_labels_per_text(split) if split.labels.ndim > 1 else None,
        numbers=dataset.task.summary(split.labels),
    )


def _labels_per_text(split: Split) -> dict[int, int]:
    return dict(sorted(Counter(split.labels.sum(1).tolist()).items()))


def _sides(split: Split, columns: Sequence[str]) -> dict[str, LengthSummary]:
    return {
        column: _summary(np.array([len(text) for text in texts]), None)
        for column, texts in zip(columns, by_side(split.texts) if columns else (), strict=True)
    }


def _summary(lengths: np.ndarray, limit: int | None) -> LengthSummary:
    longer = None if limit is None else int((lengths > limit).sum())
    return LengthSummary(
        minimum=int(lengths.min()),
        median=float(np.median(lengths)),
        mean=float(lengths.mean()),
        p95=float(np.percentile(lengths, 95)),
        maximum=int(lengths.max()),
        truncated=None if longer is None else longer / len(lengths),
        truncated_count=longer,
        mean_kept=None if limit is None else float(np.minimum(lengths, limit).mean()),
    )


def _held_out(parts: Mapping[str, Split], remark: str | None) -> list[str]:
    if "test" in parts:
        return []
    return [NO_TEST_SPLIT] if remark is None else [NO_TEST_SPLIT, remark]


def _warnings(splits: Mapping[str, SplitAudit], max_length: int | None) -> list[str]:
    lines: list[str] = []
    for name, split in splits.items():
        lines += [f"{name}: {line}" for line in _split_warnings(split, max_length)]
    if "validation" in splits and (lacking := [k for k, n in splits["validation"].per_class.items() if not n]):
        lines.append(
            f"validation: there is no example of {listed(lacking)}, so it says nothing of that when it selects."
        )
    absent = absent_classes(splits["test"].per_class) if "test" in splits else None
    return lines if absent is None else [*lines, f"test: {absent}"]


def other_lengths(first: str, others: Mapping[str, Mapping[str, np.ndarray]], max_length: int) -> list[str]:
    """Say whose tokens an audit counts, and which texts the tokenizers of other models make too long.

    Args:
        first: The model whose tokenizer counted.
        others: Tokens of each text before truncation, by model and split.
        max_length: Tokens that training will keep.
    """
    lines = [f"The numbers of tokens are those of {first}; the tokenizer of another model counts otherwise."]
    for model, parts in others.items():
        for name, lengths in parts.items():
            longer = float((lengths > max_length).mean())
            if longer > _MUCH_TRUNCATION:
                lines.append(
                    f"{name}: with the tokenizer of {model}, {longer:.1%} of the texts are longer than "
                    f"{max_length} tokens and are cut."
                )
    return lines


def _split_warnings(split: SplitAudit, max_length: int | None) -> list[str]:
    lines: list[str] = []
    if split.empty:
        lines.append(f"{counted(split.empty, 'text is', 'texts are')} empty.")
    if split.duplicates:
        copies = counted(split.duplicates, "text is a copy of an earlier one", "texts are copies of earlier ones")
        lines.append(f"{copies}.")
    if split.conflicting:
        if split.labels_per_text is not None or split.numbers:
            texts = counted(split.conflicting, "text stands", "texts stand")
            lines.append(f"{texts} more than once, with different {'numbers' if split.numbers else 'labels'}.")
        else:
            lines.append(f"{counted(split.conflicting, 'text has', 'texts have')} more than one label.")
    top = max(split.per_class, key=lambda label: split.per_class[label], default="")
    if split.per_class and split.labels_per_text is None and split.per_class[top] > NEAR_CONSTANT * split.examples:
        lines.append(
            f"{split.share[top]:.1%} of the labels are {top!r}; a model that always answers it has this accuracy."
        )
    few = [label for label, count in split.per_class.items() if 0 < count < FEW_EXAMPLES]
    if few:
        lines.append(f"fewer than {FEW_EXAMPLES} examples of {listed(few)}.")
    if split.tokens is not None and split.tokens.truncated is not None:
        if split.tokens.truncated > _MUCH_TRUNCATION:
            lines.append(
                f"{split.tokens.truncated:.1%} of the texts are longer than {max_length} tokens and are cut."
            )
    return lines
