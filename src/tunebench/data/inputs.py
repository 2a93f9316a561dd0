"""Which columns make a text: one, two that are read as a pair, or several that a template joins."""

from __future__ import annotations

from collections.abc import Sequence
from string import Formatter
from typing import Annotated

from pydantic import BeforeValidator

from tunebench.data.text import Text, together
from tunebench.schema import Frozen

#: A column's name; YAML reads names such as 0 as numbers.
ColumnName = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in (int, float) else value)]


class Inputs(Frozen):
    """The columns of a text.

    Attributes:
        columns: Their names: one; or two, the sides of a pair; or with ``join`` those that the template names.
        join: A template such as ``{title}. {body}``, which makes one text of the columns.
    """

    columns: tuple[ColumnName, ...]
    join: str | None = None

    @property
    def pair(self) -> bool:
        """Whether a text is a pair."""
        return self.join is None and len(self.columns) == 2

    @property
    def described(self) -> str:
        """What a text is, for messages."""
        if self.join is not None:
            return f"one text, joined as {self.join!r}"
        return f"a pair of texts ({', '.join(self.columns)})" if self.pair else "one text"

    def texts(self, values: Sequence[Sequence[str]]) -> list[Text]:
        """Return texts from the values of the columns, each in the order of :attr:`columns`."""
        if self.join is None:
            return together(values)
        parts = template_parts(self.join)
        places = {name: place for place, name in enumerate(self.columns)}
        return [
            "".join(literal + ("" if name is None else row[places[name]]) for literal, name in parts)
            for row in zip(*values, strict=True)
        ]


#: How a text is read that is made of one column, whatever its name.
ONE_TEXT = Inputs(columns=("text",))


def template_parts(template: str) -> list[tuple[str, str | None]]:
    """Return a template as literal texts, each with the name of the column that follows it, if any.

    Raises:
        ValueError: A brace is not closed, or a name is empty.
    """
    found: list[tuple[str, str | None]] = []
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r} is no template ({error}); write {{{{ and }}}} for braces") from None
    for literal, name, specification, conversion in parsed:
        if name is not None:
            # Names may hold what Python's own templates would take for a format.
            name += f"!{conversion}" if conversion else ""
            name += f":{specification}" if specification else ""
            if not name:
                raise ValueError(f"{template!r} has braces without the name of a column")
        found.append((literal, name))
    return found


def template_columns(template: str) -> tuple[str, ...]:
    """Return the columns that a template names, each once.

    Raises:
        ValueError: It is no template, or names none.
    """
    names = tuple(dict.fromkeys(name for _, name in template_parts(template) if name is not None))
    if not names:
        raise ValueError(f"{template!r} names no column; write names in braces, as in '{{title}}. {{body}}'")
    return names
