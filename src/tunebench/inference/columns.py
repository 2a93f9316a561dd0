"""Which columns of a source make the texts that a model reads."""

from __future__ import annotations

from collections.abc import Sequence

from tunebench.data.columns import TEXT_NAMES, find_column
from tunebench.data.inputs import ONE_TEXT, Inputs, template_parts
from tunebench.data.usual_inputs import usual_inputs
from tunebench.errors import DataError, did_you_mean
from tunebench.formatting import listed


def columns_of(inputs: Inputs | None, there: Sequence[str], wanted: Sequence[str] | None) -> Inputs:
    """Return the columns of a source that make a model's texts.

    Args:
        inputs: What the model reads, with the columns it was trained on; None where it is not known.
        there: The columns there are.
        wanted: Those that the user names, if any.

    Raises:
        DataError: They are not there, cannot be told, or are not as many as the model reads.
    """
    if wanted is not None:
        return _named_columns(inputs, there, wanted)
    if inputs is not None and inputs != ONE_TEXT and set(inputs.columns) <= set(there):
        return inputs
    if inputs is not None and len(inputs.columns) > 1:
        usual = usual_inputs(there, TEXT_NAMES) if inputs.pair else None
        if usual is not None and usual.pair:
            return usual
        raise DataError(
            f"The model reads {inputs.described}, and its columns are not all here.",
            value=listed(there, 30),
            allowed=", ".join(inputs.columns),
            fix=f"name the columns in the same order: --columns {','.join('NAME' for _ in inputs.columns)}",
        )
    name = find_column(there, wanted=None, names=TEXT_NAMES, role="text", setting="--column ")
    return Inputs(columns=(name,))


def _named_columns(inputs: Inputs | None, there: Sequence[str], wanted: Sequence[str]) -> Inputs:
    joined = inputs is not None and inputs.join is not None
    needed = {2} if inputs is not None and inputs.pair else {1} if inputs is not None else {1, 2}
    # A text that is joined already is one column.
    needed |= {len(inputs.columns)} if inputs is not None and joined else set()
    if len(wanted) not in needed:
        reads = "reads one text or a pair" if inputs is None else f"reads {inputs.described}"
        raise DataError(
            f"The model {reads}, which is not made of {len(wanted)} columns."
            if len(wanted) > 1
            else f"The model {reads}, which is not made of one column.",
            value=", ".join(wanted),
            allowed=f"{' or '.join(map(str, sorted(needed)))} columns" if needed != {1} else "one column",
        )
    if len(wanted) == 1:
        name = find_column(there, wanted=wanted[0], names=TEXT_NAMES, role="text", setting="--column ")
        return Inputs(columns=(name,))
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DataError(
            "There is no such text column.",
            value=missing[0],
            allowed=listed(there, 30),
            fix=did_you_mean(missing[0], there) or "name columns that are there: --columns",
        )
    return _renamed(inputs, wanted)


def _renamed(inputs: Inputs | None, wanted: Sequence[str]) -> Inputs:
    """Return what a model reads, of columns with other names; a template keeps its form."""
    if inputs is None or inputs.join is None:
        return Inputs(columns=tuple(wanted))
    names = dict(zip(inputs.columns, wanted, strict=True))
    parts = [
        literal.replace("{", "{{").replace("}", "}}") + ("" if name is None else f"{{{names[name]}}}")
        for literal, name in template_parts(inputs.join)
    ]
    return Inputs(columns=tuple(wanted), join="".join(parts))
