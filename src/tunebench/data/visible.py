"""What is visible of a text: blank texts, and spellings that look alike."""

from __future__ import annotations

import unicodedata

#: Characters that show nothing although Unicode counts them as letters, marks or symbols: Hangul and Khmer fillers,
#: the grapheme joiner, variation selectors and the empty Braille pattern.
_BLANK = frozenset(
    map(chr, [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164])
) | frozenset(map(chr, [*range(0xFE00, 0xFE10), 0xFFA0, *range(0xE0100, 0xE01F0)]))
#: Kinds of characters that show nothing: control, format (zero width, soft hyphen), and all kinds of blanks.
_UNSEEN = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
_QUOTES = "\"'`´“”„‟‘’‚‛«»‹›"


def is_visible(sign: str) -> bool:
    """Tell whether a character shows something."""
    return sign not in _BLANK and unicodedata.category(sign) not in _UNSEEN


def is_blank(text: str) -> bool:
    """Tell whether a text is blank: it is empty, or only blanks and invisible characters."""
    return not any(map(is_visible, text))


def alike(text: str) -> str:
    """Return what most readers see of a label; labels for which it is equal look alike.

    It has no case, blanks, invisible characters or quotation marks around it, and one Unicode normal form.
    """
    # Case folding may undo a normal form, so it is normalised again.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(filter(is_visible, folded)).strip(_QUOTES)


def is_quoted(label: str) -> bool:
    """Tell whether a label is in quotation marks."""
    return len(label) > 2 and label[0] in _QUOTES and label[-1] in _QUOTES


def shown(label: str | int) -> str:
    """Return a label in quotation marks, with what cannot be seen of it as escapes."""
    text = str(label)
    plain = text.isprintable() and unicodedata.normalize("NFKC", text) == text
    return repr(text) if plain else ascii(text)
