"""The docs as a site: ``make docs`` builds it into ``site/``. The pages load nothing from the network."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

from pydantic import BaseModel
from sphinx.application import Sphinx

import tunebench

project = "tunebench"
version = release = tunebench.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# What runs and `make reports` leave in the folders of results is no page.
exclude_patterns = ["results/*/tables", "results/*/figures", "results/*/runs"]

html_theme = "furo"
html_title = "tunebench"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_copyright = False

myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# What pydantic and scikit-learn add to classes for their own use has no docs here.
autodoc_default_options = {"members": True, "exclude-members": "model_config, set_score_request"}
napoleon_use_ivar = True
python_maximum_signature_line_length = 88
# `--option` in the text of the command line is to stay as it is.
smartquotes = False

#: In a report: a figure's heading, its PNG and the link to its SVG.
_FIGURE = re.compile(r"### [^\n]+\n\n!\[[^\n]*\]\((figures/[^)]+)\.png\)\n\n\[SVG\]\([^)]+\)\n\n?")


def leave_out_figures(app: Sphinx, page: str, text: list[str]) -> None:
    """Leave out of a report the figures, which are drawn by ``make reports`` and mostly not kept."""
    if page.startswith("results/") and page.endswith("/report"):
        text[0] = _FIGURE.sub("", text[0])


def add_commands(app: Sphinx, page: str, text: list[str]) -> None:
    """Put what typer writes of all commands into the page of the command line."""
    if page != "cli":
        return
    command = [sys.executable, "-m", "typer", "tunebench.cli", "utils", "docs", "--name", "tunebench"]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # The page has its own beginning, and its margin lists the commands. `{DIR}` would read as a choice.
    written = re.sub(r"\{([A-Z.]+)\}", r"\1", written[written.index("\n## ") :])
    commands = re.sub(r"^Example: (.*)$", r"Example: `\1`", written, flags=re.MULTILINE)
    text[0] = text[0].replace("<!-- commands -->", commands)


def describe_fields(app: Sphinx, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Say after the docstring of a configuration what its fields hold and what they are by default."""
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        return
    for key, field in found.model_fields.items():
        default = (
            "required" if field.is_required() else f"default ``{field.get_default(call_default_factory=True)!r}``"
        )
        meaning = f": {field.description}" if field.description else ""
        lines.append(f"- ``{key}`` ({default}){meaning}")


def shorten_signature(
    app: Sphinx, what: str, name: str, found: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """Show no signature of a configuration: its fields are listed."""
    return ("", None) if isinstance(found, type) and issubclass(found, BaseModel) else None


def setup(app: Sphinx) -> None:
    """Connect the above."""
    app.connect("source-read", leave_out_figures)
    app.connect("source-read", add_commands)
    app.connect("autodoc-process-docstring", describe_fields)
    app.connect("autodoc-process-signature", shorten_signature)
