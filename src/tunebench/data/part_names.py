"""What the parts of a data set are called, in files, folders, splits and columns."""

from __future__ import annotations

from tunebench.data.reference import DataConfig, ReadOptions

#: Names by part, compared without regard to case; the first is our own.
PARTS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing"),
}
_PART_OF = {name: part for part, names in PARTS.items() for name in names}

#: Why a validation part that is there is not used.
DRAWN = "data.validation: drawn sets the validation part aside from train"


def part_named(name: str) -> str | None:
    """Return the part that a name stands for, or None."""
    return _PART_OF.get(name.strip().lower())


def wants_validation(options: ReadOptions) -> bool:
    """Tell whether a validation part of the source is to be read."""
    return not isinstance(options, DataConfig) or options.validation != "drawn"
