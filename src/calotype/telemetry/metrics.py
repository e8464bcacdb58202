"""Prometheus metrics. Label values come from our own tables only, so their number is bounded."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "calotype_http_requests_total", "Answered requests.", ("dialect", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "calotype_http_request_seconds", "Time to the end of an answer.", ("dialect",), buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.jobs = Counter(
            "calotype_jobs_total", "Jobs that ended.", ("provider", "operation", "state"), registry=self.registry
        )
        self.job_seconds = Histogram(
            "calotype_job_seconds", "Time from accept to the end.", ("provider", "operation"), buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.charged = Counter(
            "calotype_charged_micro_usd_total", "Captured money, in micro-USD.", ("provider",), registry=self.registry
        )
        self.webhooks = Counter(
            "calotype_webhook_attempts_total", "Attempts to deliver a webhook: delivered, failed (again later), dead.",
            ("result",), registry=self.registry,
        )  # fmt: skip
        self.in_flight = Gauge("calotype_http_in_flight", "Requests being answered.", registry=self.registry)
        self._ended_children: dict[tuple[str, str, str], tuple[Counter, Histogram, Counter]] = {}
        self._request_children: dict[tuple[str, int], Counter] = {}
        self._second_children: dict[str, Histogram] = {}

    def answered(self, dialect: str, status: int, seconds: float) -> None:
        """Count one answer; children are looked up once."""
        child = self._request_children.get((dialect, status))
        if child is None:
            child = self._request_children[dialect, status] = self.requests.labels(dialect, str(status))
        child.inc()
        timer = self._second_children.get(dialect)
        if timer is None:
            timer = self._second_children[dialect] = self.seconds.labels(dialect)
        timer.observe(seconds)

    def ended(self, provider: str, operation: str, state: str, *, seconds: float, charged_micro: int) -> None:
        """Count one job that ended."""
        key = (provider, operation, state)
        children = self._ended_children.get(key)
        if children is None:
            children = self._ended_children[key] = (
                self.jobs.labels(*key), self.job_seconds.labels(provider, operation), self.charged.labels(provider)
            )  # fmt: skip
        jobs, timer, charged = children
        jobs.inc()
        timer.observe(seconds)
        if charged_micro:
            charged.inc(charged_micro)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Show a value that is read when somebody scrapes."""
        self.registry.register(_Watched(name, text, read))

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)


class _Watched(Collector):
    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._name, self._text, self._read = name, text, read

    def collect(self) -> list[Metric]:
        return [GaugeMetricFamily(self._name, self._text, value=self._read())]
