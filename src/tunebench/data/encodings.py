"""From bytes to text: UTF-8, what a mark declares, what the user states, or what is recognised."""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tunebench.errors import DataError
from tunebench.formatting import listed

#: Longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: Bytes that recognition looks at; its time grows with them, and it gains nothing from more.
_SAMPLE = 200_000
#: From this share of sound lines on, a file is UTF-8 with a few broken lines, and no other encoding.
_MOSTLY = 0.5
_SHOWN = 5
#: Bytes that are decoded at once.
_BLOCK = 1 << 16
#: Alphabets whose letters hardly stand in one word with Latin ones, and the share of words in which they may.
_OTHER_ALPHABETS = ("GREEK", "CYRILLIC", "HEBREW", "ARABIC", "THAI")
_MIXED = 0.2
#: Encodings that texts are written in today; others have to be stated.
_KNOWN = (
    *("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"),
    *(f"cp{number}" for number in range(1250, 1259)),
    *("koi8-r", "koi8-u", "cp874", "shift_jis", "euc-jp", "gb18030", "big5", "cp949"),
)


@dataclass(frozen=True)
class Decoded:
    """The content of a file whose encoding is known; it is decoded when it is read, a line at a time or whole.

    A whole text takes up to four times its bytes, since one emoji widens every character.

    Attributes:
        raw: The bytes, which are valid in the encoding.
        encoding: The encoding, as users name it.
        codec: What decodes them: the same, or its kind that takes off a byte order mark.
        note: A sentence where the encoding was recognised rather than declared or stated.
    """

    raw: bytes
    encoding: str
    codec: str
    note: str | None = None

    @property
    def text(self) -> str:
        """The whole text, without a byte order mark."""
        return self.raw.decode(self.codec).removeprefix("\ufeff")

    def lines(self, ends: Literal["", "\n"]) -> Iterator[str]:
        r"""Yield the lines with their ends as they are, without a byte order mark.

        Args:
            ends: What ends a line: ``"\n"`` alone; or, with ``""``, also ``"\r"`` and ``"\r\n"``.
        """
        lines = io.TextIOWrapper(io.BytesIO(self.raw), encoding=self.codec, newline=ends)
        first = next(lines, "").removeprefix("\ufeff")
        if first:
            yield first
        yield from lines


def decode(raw: bytes, place: str, encoding: str | None = None) -> Decoded:
    """Decode the content of one file; see :func:`decode_all`."""
    return decode_all([raw], [place], encoding)[0]


def decode_all(raws: Sequence[bytes], places: Sequence[str], encoding: str | None = None) -> list[Decoded]:
    """Decode the contents of files.

    What is neither UTF-8 nor marked is taken together to recognise its encoding: a single short text tells little.

    Args:
        raws: The contents.
        places: What messages call the files.
        encoding: What the user states; None for UTF-8, else a byte order mark, else recognition.

    Raises:
        DataError: The bytes are not in the stated encoding; or most lines of a file are UTF-8 and some are not, as
            where two files were joined; or no encoding is recognised.
    """
    found = [_decode_declared(raw, place, encoding) for raw, place in zip(raws, places, strict=True)]
    unknown = [(raw, place) for raw, place, each in zip(raws, places, found, strict=True) if each is None]
    if not unknown:
        return [each for each in found if each is not None]
    name = _recognise(b"\n".join(raw for raw, _ in unknown), unknown[0][1])
    return [
        _decode_recognised(raw, place, name) if each is None else each
        for raw, place, each in zip(raws, places, found, strict=True)
    ]


def _decode_declared(raw: bytes, place: str, encoding: str | None) -> Decoded | None:
    """Decode by what the user states, a mark, or as UTF-8; None where the encoding has to be recognised."""
    if encoding is not None:
        return _decode_stated(raw, place, encoding)
    for mark, name in _MARKS:
        if raw.startswith(mark):
            return _decode_marked(raw, place, name)
    try:
        _check(raw, "utf-8")
    except UnicodeDecodeError as error:
        _refuse_a_few_broken_lines(raw, place, error)
        return None
    # Zero bytes are valid UTF-8, and what every ASCII sign has in UTF-16.
    return None if raw.count(0) > len(raw) // 4 else Decoded(raw, "utf-8", "utf-8")


def _check(raw: bytes, codec: str) -> None:
    """Raise the error of decoding bytes whole, if there is one, without holding the whole text."""
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        for start in range(0, len(raw), _BLOCK):
            decoder.decode(raw[start : start + _BLOCK])
        decoder.decode(b"", final=True)
    except UnicodeError:
        # This one counts from the start of the bytes.
        raw.decode(codec)
        raise


def _decode_stated(raw: bytes, place: str, encoding: str) -> Decoded:
    # A mark that fits the stated encoding is no part of the text.
    stated = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    try:
        _check(raw, stated)
        return Decoded(raw, encoding, stated)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        raise DataError(
            f"The file is not in the stated encoding {encoding} ({_position(raw, start)}).",
            value=place,
            fix="leave data.encoding out, so that the encoding is recognised; or state another one",
        ) from None


def _decode_marked(raw: bytes, place: str, encoding: str) -> Decoded:
    name = encoding.removesuffix("-sig")
    try:
        _check(raw, encoding)
        return Decoded(raw, name, encoding)
    except UnicodeError as error:
        # The mark's own bytes are not counted by the error of "utf-8-sig".
        start = getattr(error, "start", 0) + (len(codecs.BOM_UTF8) if encoding == "utf-8-sig" else 0)
        raise DataError(
            f"The file's byte order mark says {name}, but its content is not ({_position(raw, start)}).",
            value=place,
            fix="repair the file at that place, or state its encoding: --set data.encoding=NAME",
        ) from None


def _refuse_a_few_broken_lines(raw: bytes, place: str, error: UnicodeDecodeError) -> None:
    """Refuse where most of the lines that are not ASCII are UTF-8: another encoding would damage those."""
    lines = [(number, line) for number, line in enumerate(raw.split(b"\n"), start=1) if not line.isascii()]
    broken = [number for number, line in lines if not _is_utf8(line)]
    if len(broken) < (1 - _MOSTLY) * len(lines):
        raise DataError(
            f"The file is UTF-8, except for {len(broken)} of its {len(lines)} lines that are not plain ASCII "
            f"({_position(raw, error.start)}).",
            value=f"{place}: lines {listed(map(str, broken), _SHOWN)}",
            fix="write these lines in UTF-8; or, if all of it is in another encoding: --set data.encoding=NAME",
        )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _recognise(raw: bytes, place: str) -> str:
    """Return the encoding that bytes seem to be in.

    ``chardet`` ranks the encodings. Its scores for a few words in a Latin script are small and close together, so
    two rules are added: hardly a word holds ASCII letters beside Greek or Cyrillic ones, say; and cp1252, the most
    used by far, is taken where it scores at least half of the best.

    Raises:
        DataError: None is recognised.
    """
    import chardet

    telling = _telling_part(raw)
    scores: dict[str, float] = {}
    for found in chardet.detect_all(telling, ignore_threshold=True, include_encodings=_KNOWN):
        name = codecs.lookup(found["encoding"]).name if found["encoding"] else ""
        if name and name not in scores and _is_plausible(telling, name):
            scores[name] = found["confidence"]
    if not scores:
        raise DataError(
            "The file is not UTF-8, and its encoding could not be recognised.",
            value=place,
            allowed="text; for example in utf-8, utf-16, cp1252, shift_jis",
            fix="state its encoding: --set data.encoding=NAME",
        )
    best = max(scores, key=lambda name: scores[name])
    return "cp1252" if scores.get("cp1252", 0) >= scores[best] / 2 else best


def _telling_part(raw: bytes) -> bytes:
    """Return the lines that are not plain ASCII, up to a limit; of files with zero bytes simply the beginning."""
    if b"\0" in raw:
        return raw[:_SAMPLE]
    telling = b"\n".join(line for line in raw.split(b"\n") if not line.isascii())
    if len(telling) <= _SAMPLE:
        return telling
    end = telling.rfind(b"\n", 0, _SAMPLE)
    return telling[: end if end > 0 else _SAMPLE]


def _is_plausible(raw: bytes, encoding: str) -> bool:
    """Tell whether bytes decode, and few words then mix ASCII letters with those of another alphabet."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        # A sample may end within a character.
        text = decoder.decode(raw, final=len(raw) < _SAMPLE)
    except UnicodeError:
        return False
    words = {word for word in text.split() if not word.isascii()}
    mixed = [word for word in words if re.search("[A-Za-z]", word) and any(map(_is_other_alphabet, word))]
    return len(mixed) <= _MIXED * len(words)


def _is_other_alphabet(sign: str) -> bool:
    return sign.isalpha() and unicodedata.name(sign, "").startswith(_OTHER_ALPHABETS)


def _decode_recognised(raw: bytes, place: str, encoding: str) -> Decoded:
    try:
        _check(raw, encoding)
    except UnicodeError as error:
        raise DataError(
            f"The file is not UTF-8. It looks like {encoding}, but is not valid in it "
            f"({_position(raw, getattr(error, 'start', 0))}).",
            value=place,
            fix="state its encoding: --set data.encoding=NAME",
        ) from None
    found = Decoded(raw, encoding, encoding)
    words = (word for line in found.lines("\n") if not line.isascii() for word in line.split())
    example = next((word for word in words if not word.isascii()), "")
    shown = f", for example in {example[:40]!r}" if example else ""
    return replace(
        found,
        note=f"The encoding was recognised as {encoding}{shown}. --set data.encoding={encoding} confirms it; "
        "another name corrects it.",
    )


def _position(raw: bytes, start: int) -> str:
    return f"line {raw.count(bytes([10]), 0, start) + 1}, byte offset {start}"
