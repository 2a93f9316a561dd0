"""Values of an imported run by name: what its folder tells, else what is stated, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tunebench.errors import ConfigError, StoreError


@dataclass
class Values:
    """Values by name; what is stated must not contradict what is found.

    Attributes:
        stated: What the person who imports the run states.
        where: The folder, for messages.
        known: Every value that was settled; None where it is not known.
        found: Where a value of the folder was found.
    """

    stated: dict[str, Any]
    where: str
    known: dict[str, Any] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)

    def settle(self, name: str, *candidates: tuple[Any, str]) -> Any:
        """Return the value of a name: what the folder tells, or else what is stated; None for neither."""
        told = [(value, source) for value, source in candidates if value is not None]
        stated = self.stated.get(name)
        for value, source in told[1:]:
            if value != told[0][0]:
                raise StoreError(
                    f"Two files contradict each other about {name}.",
                    value=f"{self.where}: {told[0][1]}: {told[0][0]!r}; {source}: {value!r}",
                    fix="remove the one that does not belong to this run",
                )
        if told and stated is not None and stated != told[0][0]:
            raise ConfigError(
                f"The stated {name} is not that of the folder.",
                value=f"stated: {stated!r}; {self.where}/{told[0][1]}: {told[0][0]!r}",
                fix="remove the statement, or import the folder that it describes",
            )
        value = told[0][0] if told else stated
        if told:
            self.found[name] = told[0][1]
        self.known[name] = value
        return value
