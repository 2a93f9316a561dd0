"""The best weights of a run so far: a file for each step that was the best one, until no checkpoint names it."""

from __future__ import annotations

from pathlib import Path


class BestFiles:
    """Files of the best weights so far, named by the step they were taken at.

    A checkpoint says at which step the best weights were. Their file stays until another checkpoint is written: a
    kill between the two writes then leaves a checkpoint with the weights that belong to its score.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def at(self, step: int) -> Path:
        """Return the file of the weights of a step."""
        return self._folder / f"best-{step:08d}.safetensors"

    def present(self) -> list[Path]:
        """Return the files that are there, that of an older version included, which has no step in its name."""
        return sorted(self._folder.glob("best*.safetensors"))

    def keep(self, *steps: int | None) -> None:
        """Remove all files but those of some steps."""
        kept = {self.at(step) for step in steps if step is not None}
        for path in self.present():
            if path not in kept:
                path.unlink(missing_ok=True)
