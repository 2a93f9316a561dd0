"""Usual names of columns that make a text together: pairs, and titles with what they stand over."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from tunebench.data.inputs import Inputs
from tunebench.errors import DataError
from tunebench.formatting import listed

#: The two sides of a pair, in order.
PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question", "sentence"),
)
#: A title and its text, which are read as one.
TITLED = (("title", "text"), ("title", "body"), ("title", "content"))


def usual_inputs(columns: Sequence[str], alone: Collection[str]) -> Inputs | None:
    """Return the columns that make a text together by their usual names, if there are such.

    Args:
        columns: The columns there are.
        alone: Usual names of a column that is a text by itself. Where there is such a column, only a pair or title
            that includes it is taken.

    Raises:
        DataError: Several pairs are there.
    """
    actual = {name.lower(): name for name in columns}
    usual = {name for name in columns if name.lower() in alone}
    found = [
        inputs
        for names in (*PAIRS, *TITLED)
        if all(name in actual for name in names)
        and usual <= set((inputs := _inputs([actual[name] for name in names], joined=names in TITLED)).columns)
    ]
    if len(found) > 1:
        every = [f"[{','.join(inputs.columns)}]" for inputs in found]
        raise DataError(
            "More than one pair of columns looks like the texts.",
            value=listed(columns, 30),
            allowed=", ".join(every),
            fix=f"name one: --set {shlex.quote(f'data.text_columns={every[0]}')}",
        )
    return found[0] if found else None


def _inputs(columns: Sequence[str], *, joined: bool) -> Inputs:
    # A line end: where a title is missing, nothing is left of it that a tokenizer sees.
    template = "\n".join(f"{{{name}}}" for name in columns)
    return Inputs(columns=tuple(columns), join=template if joined else None)


def found_note(inputs: Inputs, *, taken: bool) -> str:
    """Say that columns belong together by their names, and how to read one alone.

    Args:
        inputs: The columns.
        taken: Whether they were taken, or left out as the runs of a study are older than this choice.
    """
    first, second = inputs.columns
    how = "a pair of texts" if inputs.pair else f"one text, joined as {inputs.join!r}"
    if not taken:
        return (
            f"The study was begun when one column was read, and keeps that; a new one reads {first!r} and "
            f"{second!r} as {how}."
        )
    return (
        f"Columns {first!r} and {second!r} were found by their names, and are read as {how}; "
        f"--set data.text_column={shlex.quote(second)} reads one column alone."
    )
