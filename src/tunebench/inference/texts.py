"""Whether texts are what a model was trained on: single texts, or pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunebench.data.columns import is_encodable
from tunebench.data.inputs import Inputs
from tunebench.data.text import Pair, Text, as_text, sides_of
from tunebench.errors import DataError


def checked_texts(texts: Sequence[Any], inputs: Inputs | None, places: Sequence[str] | None = None) -> list[Text]:
    """Return texts as a model reads them; control characters and empty texts are texts.

    Args:
        texts: Strings; or pairs, each a list or tuple of two strings.
        inputs: What the model reads; None where nothing tells, and then as the first text.
        places: What the texts are called in messages; by default by their positions, counted from 1.

    Raises:
        DataError: The first that the model cannot read.
    """
    if isinstance(texts, (str, bytes)):
        raise DataError("A list of texts is needed, not a single one.", fix="predict([text])")
    found = []
    pairs = inputs.pair if inputs is not None else len(texts) > 0 and isinstance(as_text(texts[0]), Pair)
    for number, value in enumerate(texts):
        place = f"Text {number + 1}" if places is None else places[number]
        text = as_text(value)
        if text is None or isinstance(text, Pair) != pairs:
            raise _unsuited(value, text, place, inputs, pairs=pairs)
        if not all(map(is_encodable, sides_of(text))):
            raise DataError(
                f"{place} is not valid Unicode (half of a surrogate pair).",
                value=value,
                allowed="characters that UTF-8 can encode",
            )
        found.append(text)
    return found


def _unsuited(value: Any, text: Text | None, place: str, inputs: Inputs | None, *, pairs: bool) -> DataError:
    reads = "this model reads" if inputs is not None else "the first one is"
    if text is None:
        allowed = "pairs of two strings" if pairs else "strings"
        return DataError(f"{place} is not a {'pair' if pairs else 'string'}.", value=value, allowed=allowed)
    if pairs:
        names = f" ({', '.join(inputs.columns)})" if inputs is not None else ""
        return DataError(
            f"{place} is a single text, and {reads} {'pairs' if inputs is not None else 'a pair'}{names}.",
            value=value,
            allowed="two strings a text, in this order",
        )
    how = f", joined as {inputs.join!r}" if inputs is not None and inputs.join is not None else ""
    single = "single texts" if inputs is not None else "a single text"
    return DataError(
        f"{place} is a pair, and {reads} {single}{how}.", value=list(sides_of(text)), allowed="strings"
    )
