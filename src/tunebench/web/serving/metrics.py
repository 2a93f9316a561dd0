"""The metrics of ``/metrics``, in Prometheus' text format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one server, in a registry of their own.

    Args:
        waiting: Gives the number of texts that wait.
    """

    def __init__(self, waiting: Callable[[], float]) -> None:
        registry = self._registry = CollectorRegistry()
        PlatformCollector(registry)
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "tunebench_requests", "Requests that were answered.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "tunebench_request_seconds",
            "Time from the first byte of a request to the last byte of its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.running = Gauge("tunebench_requests_running", "Requests that are not answered yet.", registry=registry)
        self.texts = Counter("tunebench_texts", "Texts that were answered.", ("model",), registry=registry)
        self.batch_texts = Histogram(
            "tunebench_batch_texts", "Texts in a batch.", buckets=_TEXTS, registry=registry
        )
        self.batch_seconds = Histogram(
            "tunebench_batch_seconds", "Time to compute a batch.", buckets=_SECONDS, registry=registry
        )
        self.tokens = Counter("tunebench_tokens", "Tokens computed, without padding.", registry=registry)
        gauge = Gauge("tunebench_texts_waiting", "Texts that wait for an answer.", registry=registry)
        gauge.set_function(waiting)

    def computed(self, *, texts: int, tokens: int, seconds: float) -> None:
        """Take note of a batch; see :class:`~tunebench.web.serving.batching.Observer`."""
        self.batch_texts.observe(texts)
        self.batch_seconds.observe(seconds)
        self.tokens.inc(tokens)

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
