"""The audit of a study's data, and the hashes of its test texts: both are made once and kept in its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tunebench.data.reference import Copies
from tunebench.errors import StoreError
from tunebench.files import set_aside, write_json
from tunebench.store.study_folder import StudyStore
from tunebench.store.test_texts import TextsFile, text_hashes

if TYPE_CHECKING:
    from tunebench.data import TextDataset
    from tunebench.data.audit_result import Audit
    from tunebench.data.copies import HeldOutCopies
    from tunebench.execution.plan import Plan


def audit_once(store: StudyStore, plan: Plan, tell: Callable[[str], None]) -> None:
    """Audit the data, unless that was done."""
    if _audited(store, tell):
        return
    tell("auditing the data")
    study = plan.study
    found = audit_data(
        plan.dataset,
        study.models,
        study.max_length,
        copies=_held_out(plan),
        together=study.copies,
    )
    write_json(store.audit_file, found.to_dict())


def _audited(store: StudyStore, tell: Callable[[str], None]) -> bool:
    """Tell whether the data's audit is there and sound; a damaged one is set aside."""
    try:
        return store.audit() is not None
    except StoreError as error:
        tell(f"{error}\n  set aside as {set_aside(store.audit_file).name}")
        return False


def _held_out(plan: Plan) -> HeldOutCopies | None:
    """Describe the test part that the plan's runs hold out, if they do."""
    from tunebench.data.copies import held_out_copies

    spec = plan.runs[0].spec
    return held_out_copies(plan.dataset, spec.test_draw, spec.test_size, splits=spec.splits)


def audit_data(
    dataset: TextDataset,
    models: Sequence[tuple[str, str | None]],
    max_length: int,
    *,
    copies: HeldOutCopies | None,
    together: Copies = "together",
) -> Audit:
    """Audit a loaded data set, counting tokens with the tokenizer of each model, given as name and revision."""
    from tunebench.data.audit import audit, other_lengths
    from tunebench.data.tokenizer import tokenizer_fingerprint
    from tunebench.data.tokens import tokenize
    from tunebench.files import default_cache_dir
    from tunebench.models.sources import model_folder
    from tunebench.models.tokenizer import load_tokenizer

    counted: dict[str, tuple[str, dict[str, np.ndarray]]] = {}
    for model, revision in models:
        tokenizer = load_tokenizer(model_folder(model, revision))
        fingerprint = tokenizer_fingerprint(tokenizer)
        if fingerprint in counted:
            continue
        lengths = {
            name: tokenize(
                split.texts,
                tokenizer=tokenizer,
                tokenizer_fingerprint=fingerprint,
                max_length=None,
                cache_dir=default_cache_dir(),
            ).lengths
            for name, split in dataset.splits.items()
        }
        counted[fingerprint] = model, lengths
    (_, first), *others = counted.values()
    found = audit(dataset, lengths=first, max_length=max_length, held_out=copies, copies=together)
    if not others:
        return found
    return replace(found, warnings=[*found.warnings, *other_lengths(models[0][0], dict(others), max_length)])


def hash_texts_once(store: StudyStore, plan: Plan) -> None:
    """Write hashes of the test texts, the sealed ones included, unless that was done."""
    from tunebench.training.parts import run_parts, split_of_test

    file = TextsFile(store.folder)
    if file.path.exists():
        return
    parts = run_parts(plan.runs[0].spec, plan.dataset)
    rows = np.concatenate([parts.test, parts.sealed])
    texts = split_of_test(plan.dataset, parts).texts
    file.write(rows, text_hashes(texts[row] for row in rows))
