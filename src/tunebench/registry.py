"""Registries by name, which other packages can add to through entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from tunebench.errors import ConfigError

Value = TypeVar("Value")


class Registry(MutableMapping[str, Value]):
    """Members by name: our own, and those of installed packages.

    Entry points are loaded when a name is asked for that is not known yet, or when the members are listed; a
    study that uses only our own never loads another package.

    Args:
        group: Group of the entry points.
        what: One member in words, for messages.
        made: Makes a member from what an entry point names; raises ``TypeError`` where it is none.
    """

    def __init__(self, group: str, what: str, made: Callable[[Any], tuple[str, Value]]) -> None:
        self._group, self._what, self._made = group, what, made
        self._members: dict[str, Value] = {}
        self._loaded = False

    def __getitem__(self, name: str) -> Value:
        if name not in self._members:
            self._load()
        return self._members[name]

    def __setitem__(self, name: str, value: Value) -> None:
        self._members[name] = value

    def __delitem__(self, name: str) -> None:
        del self._members[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._members)

    def __len__(self) -> int:
        self._load()
        return len(self._members)

    @property
    def known(self) -> tuple[str, ...]:
        """Names of the members so far; no other package is loaded for them."""
        return tuple(self._members)

    def add(self, name: str, value: Value) -> None:
        """Add a member.

        Raises:
            ValueError: The name is taken.
        """
        if name in self._members:
            raise ValueError(f"{self._what} {name!r} is registered twice")
        self._members[name] = value

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        try:
            for point in sorted(entry_points(group=self._group), key=lambda point: point.name):
                self._load_one(point)
        except BaseException:
            self._loaded = False  # the next use says the same, and not that a name is unknown
            raise

    def _load_one(self, point: EntryPoint) -> None:
        package = point.dist.name if point.dist is not None else point.module
        fix = f"repair the package, or remove it: pip uninstall {package}"
        value = f"{point.name} = {point.value}, in the entry points {self._group} of the package {package}"
        try:
            name, member = self._made(point.load())
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(
                f"A {self._what} of the package {package} cannot be loaded: {reason}", value=value, fix=fix
            ) from error
        if name != point.name:
            raise ConfigError(
                f"A {self._what} of the package {package} has two names.",
                value=value,
                allowed=f"the entry point is called as the {self._what} is: {name}",
                fix=fix,
            )
        if name in self._members and self._members[name] is not member:
            raise ConfigError(
                f"The package {package} adds a {self._what} whose name is taken: {name}.",
                value=value,
                fix=f"give it another name, or remove the package: pip uninstall {package}",
            )
        self._members[name] = member
