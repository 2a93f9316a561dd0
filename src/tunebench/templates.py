"""The templates of what the package writes in Markdown and HTML."""

from __future__ import annotations

import base64
import hashlib

from jinja2 import Environment, PackageLoader, StrictUndefined

from tunebench.formatting import escape_markdown


def markdown_environment(folder: str) -> Environment:
    """Return the environment of a folder's templates for Markdown.

    Nothing is escaped as HTML: every value from outside goes through the filter ``md`` instead, by which None is
    ``not known``.

    Args:
        folder: Its path inside the package.
    """
    environment = Environment(
        loader=PackageLoader("tunebench", folder),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["md"] = lambda value: escape_markdown("not known" if value is None else str(value))
    return environment


def html_environment(folder: str) -> Environment:
    """Return the environment of a folder's templates for HTML, which escape every value.

    Args:
        folder: Its path inside the package.
    """
    return Environment(
        loader=PackageLoader("tunebench", folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def policy_hash(text: str) -> str:
    """Return how the policy of a page (Content-Security-Policy) names a script or style that stands in it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
