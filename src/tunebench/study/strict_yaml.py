"""Safe YAML: no key twice, numbers as people write them, and no more than a study may hold."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tunebench.errors import ConfigError, first_line

#: A study of a thousand strategies stays below both.
_MOST_VALUES, _DEEPEST = 100_000, 20


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and reads 5e-5 as the number it is."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            raise yaml.constructor.ConstructorError(
                None, None, "this key is not a plain value", key_node.start_mark
            )
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} occurs here twice", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    """Return a text; JSON writes a character beyond 65,535 as two escapes, which YAML takes for two characters."""
    text = str(loader.construct_scalar(node))
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise yaml.constructor.ConstructorError(
            None, None, "half of a character (a lone surrogate)", node.start_mark
        ) from None


_Loader.add_constructor("tag:yaml.org,2002:str", _text)


def parse_yaml(text: str, *, where: str) -> Any:
    """Parse YAML safely.

    Raises:
        ConfigError: Bad YAML, with line and column.
    """
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(
            f"This is not valid YAML{place}: {problem}", value=where, fix="correct it there"
        ) from None
    except RecursionError:
        raise _too_large(where) from None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        # What PyYAML's own constructors raise for "!!int abc" or the month 13.
        raise ConfigError(
            f"This is not valid YAML: a value does not have its type ({first_line(error)}).", value=where
        ) from None
    if not _is_bearable(value):
        raise _too_large(where)
    return value


def _too_large(where: str) -> ConfigError:
    return ConfigError(
        "This is not valid YAML: it is nested too deeply, or grows without bounds through its aliases.",
        value=where,
        allowed="a flat study, as in the presets",
    )


def _is_bearable(value: Any) -> bool:
    """Tell whether a value, its aliases written out, is of bounded depth and size."""
    left, level = _MOST_VALUES, [value]
    for _ in range(_DEEPEST):
        left -= len(level)
        inner: list[Any] = []
        for item in level:
            inner += (
                item.values() if isinstance(item, dict) else item if isinstance(item, (list, tuple, set)) else ()
            )
            if len(inner) > left:
                return False
        if not inner:
            return True
        level = inner
    return False
