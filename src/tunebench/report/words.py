"""A recommendation as plain lines, for terminals, pipes and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunebench.analysis.recommend import Recommendation


def sections(found: Recommendation) -> dict[str, tuple[str, ...]]:
    """Return headings with their sentences; empty ones are left out."""
    parts = {
        "Reasons": found.reasons,
        "Doubts": found.doubts,
        "What would change the answer": found.would_change,
        "What was not tried": found.not_tried,
    }
    return {heading: lines for heading, lines in parts.items() if lines}


def recommendation_text(found: Recommendation) -> str:
    """Return the answer, then a list under each heading."""
    state = "Nothing known stands against it." if found.conclusive else "Not conclusive: see the doubts."
    lines = [found.sentence, state]
    for heading, sentences in sections(found).items():
        lines += ["", f"{heading}:", *(f"- {sentence}" for sentence in sentences)]
    return "\n".join(lines)
