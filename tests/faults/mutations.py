"""Damaged copies of a file, made from the bytes that a fuzzer gives: other bytes, or other values in JSON."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

#: Values that readers stumble over.
_ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, -1e308),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "0", "nan", "1e400", "../../etc/passwd", "/dev/zero"),
    *("a" * 300, "\x00", "\u202e\u2028", "\ud800", "<script>alert(1)</script>", "=1+1", "*", "[", "(a+)+$"),
    *([], {}, [[]], [{}], {"": None}, [None], ["a", 1, None], {"a": {"b": {"c": [1, 2, 3]}}}),
]


class Choices:
    """Turns bytes into choices; when they are used up, every choice is the first.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def below(self, most: int) -> int:
        """Choose a number."""
        width = 1 if most <= 256 else 2
        part = self._data[self._place : self._place + width]
        self._place += width
        return int.from_bytes(part, "little") % max(1, most)

    def rest(self) -> bytes:
        """Return what is not used."""
        return self._data[self._place :]


def damaged(original: bytes, choices: Choices) -> bytes:
    """Return other content of a file: the fuzzer's own, or the original with other bytes, or other values."""
    kind = choices.below(4)
    if kind == 0:
        return choices.rest()
    try:
        value = json.loads(original)
    except ValueError:
        return _other_bytes(original, choices)
    if kind == 1:
        return _other_bytes(original, choices)
    for _ in range(1 + choices.below(3)):
        value = _other_value(value, choices)
    return json.dumps(value).encode()


def _other_bytes(original: bytes, choices: Choices) -> bytes:
    """Return the bytes with some cut out, replaced, put in or repeated."""
    content = bytearray(original)
    for _ in range(1 + choices.below(4)):
        start = choices.below(len(content) + 1)
        end = min(len(content), start + choices.below(16))
        kind = choices.below(4)
        if kind == 0:
            del content[start:end]
        elif kind == 1:
            content[start:end] = bytes(choices.below(256) for _ in range(end - start))
        elif kind == 2:
            content[start:start] = content[max(0, start - 64) : end]
        else:
            del content[start:]
    return bytes(content)


def _other_value(whole: Any, choices: Choices) -> Any:
    """Return JSON with one value replaced, removed, or put in twice."""
    places = list(_places(whole)) if isinstance(whole, (dict, list)) else []
    holder, key = places[choices.below(len(places))] if places else (None, None)
    kind = choices.below(8)
    # Copies: a value that is put into itself later on would have no end.
    value: Any = deepcopy(_ODD[choices.below(len(_ODD))])
    if kind == 0:
        value = [deepcopy(value) for _ in range(50)]
    elif kind == 1 and places:
        other, name = places[choices.below(len(places))]
        value = deepcopy(other[name])
    if holder is None:
        return value
    if kind == 2:
        del holder[key]
    elif kind == 3 and isinstance(holder, dict):
        holder[str(value)[:50]] = deepcopy(holder[key])
    elif kind == 4 and isinstance(holder, list):
        holder.append(value)
    else:
        holder[key] = value
    return whole


def _places(value: Any) -> Any:
    """Yield every list or object in a value with each of its keys."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(part, (dict, list)) and part:
            yield from _places(part)
