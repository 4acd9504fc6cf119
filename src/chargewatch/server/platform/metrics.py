"""The service's figures for Prometheus: what is counted, and how ``/metrics`` reads it.

Every figure has one place here. Labels take few values (routes as templates, never ids). With several
processes each writes its own files in the folder that ``PROMETHEUS_MULTIPROC_DIR`` names (the supervisor
sets it before the first import of `prometheus_client`), and any of them answers for all.
"""

import os
from typing import Final

from prometheus_client import REGISTRY as PROCESS_REGISTRY
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
UNMATCHED: Final = "unmatched"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

REQUESTS: Final = Counter(
    "chargewatch_http_requests_total", "HTTP calls answered.", ["method", "route", "status_class"]
)
REQUEST_SECONDS: Final = Histogram(
    "chargewatch_http_request_duration_seconds",
    "Time from a call's headers to the end of its answer.",
    ["method", "route", "status_class"],
    buckets=_SECONDS,
)
IN_FLIGHT: Final = Gauge(
    "chargewatch_http_requests_in_flight",
    "HTTP calls being answered right now.",
    multiprocess_mode="livesum",
)
READINGS: Final = Counter("chargewatch_readings_total", "Meter readings stored.")
SESSIONS_ANALYSED: Final = Counter("chargewatch_sessions_analysed_total", "Verdicts given on sessions.")
ANOMALIES: Final = Counter(
    "chargewatch_anomalies_total", "Anomalies found in verdicts on sessions.", ["category"]
)
POOL_CONNECTIONS: Final = Gauge(
    "chargewatch_database_connections",
    "Open connections of the database pool.",
    ["state"],
    multiprocess_mode="livesum",
)


class RequestFigures:
    """The counters of one method, route and status class, looked up once."""

    __slots__ = ("_count", "_seconds")

    def __init__(self, method: str, route: str, status_class: str) -> None:
        self._count = REQUESTS.labels(method, route, status_class)
        self._seconds = REQUEST_SECONDS.labels(method, route, status_class)

    def observe(self, seconds: float) -> None:
        """Counts one call."""
        self._count.inc()
        self._seconds.observe(seconds)


_figures: Final[dict[tuple[str, str, int], RequestFigures]] = {}


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    """Counts one call; its route is the template, so that no id becomes a label."""
    key = (method, route, status // 100)
    figures = _figures.get(key)
    if figures is None:
        shown = method if method in _METHODS else "OTHER"
        figures = RequestFigures(shown, route, f"{status // 100}xx")
        if shown == method:  # made-up methods must not fill the memory
            _figures[key] = figures
    figures.observe(seconds)


def set_pool(in_use: int, idle: int) -> None:
    """Notes how many connections of this process's pool are in use and idle."""
    POOL_CONNECTIONS.labels("in_use").set(in_use)
    POOL_CONNECTIONS.labels("idle").set(idle)


def render() -> bytes:
    """Returns the figures in the text format, of all processes where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(PROCESS_REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
