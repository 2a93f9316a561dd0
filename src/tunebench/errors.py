"""Errors for users: what is wrong, the value, what is allowed, and the fix.

Anything a user can cause is raised as a :class:`TunebenchError`; the command line prints its text
and exits with :attr:`TunebenchError.exit_code`. Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class TunebenchError(Exception):
    """Base of every error that a user can cause and correct.

    Args:
        what: One sentence that says what is wrong.
        value: The offending value, shown with ``repr``; omitted when there is none.
        allowed: What would have been accepted.
        fix: What to do next, as a command or an edit.
    """

    exit_code = 2

    def __init__(
        self, what: str, *, value: object = None, allowed: str | None = None, fix: str | None = None
    ) -> None:
        self.what, self.value, self.allowed, self.fix = what, value, allowed, fix
        lines = [what]
        if value is not None:
            lines.append(f"  value:   {_shorten(repr(value))}")
        if allowed is not None:
            lines.append(f"  allowed: {allowed}")
        if fix is not None:
            lines.append(f"  fix:     {fix}")
        super().__init__("\n".join(lines))

    def with_fix(self, fix: str | None) -> TunebenchError:
        """Return the same error with other advice, or none: what helps depends on who asked."""
        return TunebenchError(self.what, value=self.value, allowed=self.allowed, fix=fix)


class ConfigError(TunebenchError):
    """A study file, preset or option is not valid."""


class DataError(TunebenchError):
    """The data cannot be read, or does not suffice for the study."""


class ModelError(TunebenchError):
    """The model cannot be found, is not supported, or lacks a part."""


class StoreError(TunebenchError):
    """A study folder cannot be read or written, or holds something else."""


class ExportError(TunebenchError):
    """A run cannot be exported, or its export predicts something else than the run."""


class HubError(TunebenchError):
    """The Hub refuses, or cannot be reached."""


class PlanError(TunebenchError):
    """The plan is valid but cannot run here (disk, memory, budget)."""


class MissingExtraError(TunebenchError):
    """An optional dependency is needed and not installed.

    Args:
        package: What has to be imported.
        extra: The extra of this package that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed, and this needs it.",
            fix=f"pip install -c constraints.txt -e '.[{extra}]'  (or: pip install 'tunebench[{extra}]')",
        )


class ErrorGroup(TunebenchError):
    """Several errors found in one pass, so that they can all be corrected together.

    Args:
        errors: The errors, in the order found.
    """

    def __init__(self, errors: Sequence[TunebenchError]) -> None:
        self.errors = list(errors)
        Exception.__init__(self, "\n".join(str(error) for error in errors))


def raise_all(errors: Sequence[TunebenchError]) -> None:
    """Raise nothing, the one error, or all of them together.

    Raises:
        TunebenchError: The single error, or an :class:`ErrorGroup` of several.
    """
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ErrorGroup(errors)


#: Letters that more than one name is likely to begin with.
_STEM = 3


def did_you_mean(value: object, known: Iterable[object]) -> str | None:
    """Return a fix that names the nearest of the known names; None where none is near.

    A name that only goes on where the value ends is nearest.
    """
    names = [str(name) for name in known]
    longer = [name for name in names if len(str(value)) > _STEM and name.startswith(str(value))]
    close = longer or get_close_matches(str(value), names, n=1)
    return f"did you mean {close[0]!r}?" if close else None


def first_line(error: Exception) -> str:
    """Return the first line of another library's error, for a message of ours; its repr if it says nothing."""
    return _shorten((str(error).strip().splitlines() or [repr(error)])[0])


def _shorten(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
