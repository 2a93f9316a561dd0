"""The share of a training subset that validates, where the study leaves it open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tunebench.data import TextDataset
from tunebench.data.reference import SplitRef
from tunebench.execution.checks import check_sizes
from tunebench.study.config import StudyConfig
from tunebench.study.spec import RunSpec

#: Larger shares than the default, of which the first is taken with which no part lacks a class.
LARGER = (0.15, 0.2, 0.25, 0.3, 0.4)


def with_validation_share(
    study: StudyConfig,
    dataset: TextDataset,
    splits: SplitRef | None,
    *,
    begun: Sequence[RunSpec] = (),
    tell: Callable[[str], None],
) -> StudyConfig:
    """Return the study with a larger share for validation, where a rare class needs it.

    A study that states its share is returned as it is, and so is one with which no share works: what is wrong with
    that one is :func:`~tunebench.execution.checks.check_sizes`' to say.

    Args:
        study: The study.
        dataset: Its data.
        splits: How the data's own parts are used.
        begun: The runs that its folder holds: the study keeps their share.
        tell: Told what share is taken, and why.
    """
    default = study.drawn_fraction(splits)
    if study.validation_fraction is not None or not default:
        return study
    before = next((spec.validation_fraction for spec in begun if spec.validation_fraction), None)
    if before is not None:
        return study if before == default else study.model_copy(update={"validation_fraction": before})
    errors = check_sizes(study, dataset, splits)
    for share in LARGER if errors else ():
        larger = study.model_copy(update={"validation_fraction": share})
        if not check_sizes(larger, dataset, splits):
            tell(
                f"note: {share:.0%} of the labels validate instead of {default:.0%}, since validation would lack a "
                f"class ({errors[0].value}). validation_fraction: SHARE sets another."
            )
            return larger
    return study
