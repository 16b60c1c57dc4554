"""What Prometheus reads at `/metrics`."""

from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """Counts and times of one app; labels are routes, methods, statuses and names of keys only."""

    def __init__(self) -> None:
        """Everything is zero."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "sextant_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "sextant_request_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "sextant_stage_seconds",
            "Stages of searches.",
            ["stage"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._degraded = Counter(
            "sextant_degraded_answers",
            "Searches answered with something missing.",
            registry=self._registry,
        )
        self._limited = Counter(
            "sextant_rate_limited",
            "Requests refused by a rate limit.",
            ["key"],
            registry=self._registry,
        )
        self._refused_keys = Counter(
            "sextant_refused_keys",
            "Requests with no key, or a wrong one.",
            registry=self._registry,
        )
        self.in_progress = Gauge(
            "sextant_requests_in_progress",
            "Requests whose answer is not whole yet.",
            registry=self._registry,
        )

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Show a number that is looked up when the metrics are read."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def search(self, timings_ms: Mapping[str, float], *, degraded: bool) -> None:
        """Count a search's stages."""
        for stage, milliseconds in timings_ms.items():
            self._stages.labels(stage).observe(milliseconds / 1e3)
        if degraded:
            self._degraded.inc()

    def rate_limited(self, key: str) -> None:
        """Count a refusal by a rate limit."""
        self._limited.labels(key).inc()

    def refused_key(self) -> None:
        """Count a request without a valid key."""
        self._refused_keys.inc()

    def exposition(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)
