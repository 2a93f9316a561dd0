"""One side of ``tunebench bench --serve``, which runs as a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunebench.data.text import Text, by_side

if TYPE_CHECKING:
    from tunebench.web.serving.models import LoadedModel


class _Pipeline:
    """What a plain script would put behind the routes: ``pipeline()``, request by request.

    Args:
        folder: A merged folder.
        max_length: Longest text in tokens.
    """

    def __init__(self, folder: Path, max_length: int) -> None:
        from transformers import pipeline

        self._pipeline: Any = pipeline("text-classification", model=str(folder), device="cpu")
        self._max_length = max_length
        # One at a time: several would only compete for the same cores.
        self._executor = ThreadPoolExecutor(1)
        self.waiting, self.alive = 0, True

    def submit(self, model: LoadedModel, texts: Sequence[Text]) -> Future[np.ndarray]:
        (single,) = by_side(texts)
        return self._executor.submit(self._answer, single)

    def close(self, timeout: float | None = None) -> None:
        self._executor.shutdown()

    def _answer(self, texts: list[str]) -> np.ndarray:
        found = self._pipeline(
            texts, truncation=True, max_length=self._max_length, top_k=None, function_to_apply="none"
        )
        order: dict[str, int] = self._pipeline.model.config.label2id
        logits = np.empty((len(texts), len(order)), dtype=np.float32)
        for row, entries in zip(logits, found, strict=True):
            for entry in entries:
                row[order[entry["label"]]] = entry["score"]
        return logits


def serve_side(side: str, threads: int, paths: Sequence[str]) -> None:
    """Serve one side until SIGTERM; the process that ``serving`` starts."""
    from tunebench.web.serving.app import create_app
    from tunebench.web.serving.models import load_models
    from tunebench.web.serving.server import bind, run

    def tell(line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    plain = side == "pipeline"
    models = load_models(paths, threads=threads, precision="fp32" if plain else "auto", merge_lone=False)
    with bind("127.0.0.1", 0) as listener:
        if plain:
            longest = models[0].predictor.max_length
            assert longest is not None, "a Transformers model"
            pipeline = _Pipeline(Path(paths[0]), longest)
            app = create_app(models, answerer=lambda **options: pipeline)
        else:
            app = create_app(models)
        run(app, listener, tell=tell)


if __name__ == "__main__":
    serve_side(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
