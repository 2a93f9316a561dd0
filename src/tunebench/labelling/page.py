"""The page on which a person goes through the labels that are likely wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from tunebench.templates import html_environment, policy_hash

if TYPE_CHECKING:
    from tunebench.labelling.found import Suspect


def suspects_page(name: str, suspects: Sequence[Suspect], label_names: Sequence[str], texts: int) -> str:
    """Return the page as HTML that loads nothing and sends nothing.

    Args:
        name: Of the study.
        suspects: In their order.
        label_names: In the order of the data.
        texts: How many labels were looked at.
    """
    environment = html_environment("labelling")
    counts = Counter(suspect.label for suspect in suspects)
    style, script = (environment.get_template(f"suspects.{kind}").render().strip() for kind in ("css", "js"))
    return environment.get_template("suspects.html.j2").render(
        name=name,
        suspects=suspects,
        labels=[(label, counts[label]) for label in label_names if counts[label]],
        texts=texts,
        # Both are files of the package, and hold nothing from outside.
        style=Markup(style),
        script=Markup(script),
        policy="default-src 'none'; img-src data:; "
        f"style-src {policy_hash(style)}; script-src {policy_hash(script)}",
    )
