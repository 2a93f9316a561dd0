"""Registries by name, which other packages can add to through entry points."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, MutableMapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from typing import Any, Generic, TypeVar

from tunebench.errors import ConfigError

_LOG = logging.getLogger(__name__)
Value = TypeVar("Value")


class Registry(MutableMapping[str, Value]):
    """Members by name: our own, and those of installed packages.

    A name that is not ours is looked up among the entry points, and only the package that has it is imported.
    Listing the members imports every package of the group. What cannot be used is left out of the list, with a
    warning. It is an error only where its name is asked for.

    Args:
        group: Group of the entry points.
        what: One member in words, for messages.
        made: Makes a member from what an entry point names; raises ``TypeError`` where it is none.
    """

    def __init__(self, group: str, what: str, made: Callable[[Any], tuple[str, Value]]) -> None:
        self._members: dict[str, Value] = {}
        self._plugins = _Plugins(group, what, made)

    def __getitem__(self, name: str) -> Value:
        """Return a member.

        Raises:
            KeyError: Nobody has one of this name.
            ConfigError: A package has it, and it cannot be used.
        """
        if name not in self._members:
            self._plugins.load(self._members, name)
        return self._members[name]

    def __setitem__(self, name: str, value: Value) -> None:
        self._members[name] = value

    def __delitem__(self, name: str) -> None:
        del self._members[name]

    def __iter__(self) -> Iterator[str]:
        self._plugins.load_all(self._members)
        return iter(self._members)

    def __len__(self) -> int:
        self._plugins.load_all(self._members)
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
        if self._members.setdefault(name, value) is not value:
            raise ValueError(f"{self._plugins.what} {name!r} is registered twice")


class _Plugins(Generic[Value]):
    """The entry points of one group: each is loaded once, and what is wrong with it is kept."""

    def __init__(self, group: str, what: str, made: Callable[[Any], tuple[str, Value]]) -> None:
        self.group, self.what, self.made = group, what, made
        self._broken: dict[str, ConfigError] = {}
        self._tried: set[str] = set()
        self._listed = False
        self._lock = RLock()

    def load(self, members: dict[str, Value], name: str) -> None:
        """Load the entry point of one name into the members, if there is one.

        Raises:
            ConfigError: It cannot be used.
        """
        with self._lock:
            self._try(members, name, self._named.get(name, []))
            if name in self._broken:
                raise self._broken[name]

    def load_all(self, members: dict[str, Value]) -> None:
        """Load all entry points into the members, with a warning for each that cannot be used."""
        with self._lock:
            if self._listed:
                return
            self._listed = True  # first: a package may list the members while it is imported
            for name in sorted(self._named):
                self._try(members, name, self._named[name])
                if name in self._broken:
                    _LOG.warning("warning: left out: %s", self._broken[name])

    @cached_property
    def _named(self) -> dict[str, list[EntryPoint]]:
        """The group's entry points by name; read once, since that goes through every installed package."""
        named = defaultdict(list)
        for point in entry_points(group=self.group):
            named[point.name].append(point)
        return dict(named)

    def _try(self, members: dict[str, Value], name: str, points: list[EntryPoint]) -> None:
        if name in self._tried or not points:
            return
        self._tried.add(name)
        try:
            self._load(members, name, points)
        except ConfigError as error:
            self._broken[name] = error

    def _load(self, members: dict[str, Value], name: str, points: list[EntryPoint]) -> None:
        point, package = points[0], _package(points[0])
        if len(points) > 1:
            raise ConfigError(
                f"Several packages have a {self.what} of the same name: {name}.",
                value=", ".join(sorted(map(_package, points))),
                fix="keep one of them, and remove the others: pip uninstall PACKAGE",
            )
        value = f"{point.name} = {point.value}, in the entry points {self.group} of the package {package}"
        remove = f"pip uninstall {package}"
        earlier = members.get(name)
        try:
            own_name, member = self.made(point.load())
        # SystemExit too: a package that ends the process while it is imported must not end this one.
        except (Exception, SystemExit) as error:
            if earlier is None:
                members.pop(name, None)  # registered before its module failed
            raise ConfigError(
                f"A {self.what} of the package {package} cannot be loaded: {type(error).__name__}: {error}",
                value=value,
                fix=f"repair the package, or remove it: {remove}",
            ) from error
        if own_name != name:
            raise ConfigError(
                f"A {self.what} of the package {package} has two names.",
                value=value,
                allowed=f"an entry point with the name of the {self.what}: {own_name}",
                fix=f"rename one of the two, or remove the package: {remove}",
            )
        # A package that is imported already may have registered it, too.
        if earlier is not None and earlier is not member:
            raise ConfigError(
                f"The package {package} adds a {self.what} whose name is taken: {name}.",
                value=value,
                fix=f"give it another name, or remove the package: {remove}",
            )
        members[name] = member


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module
