"""Metrics as Prometheus reads them; the only module that needs `prometheus-client`.

Names and labels are OpenTelemetry's for MCP and for database clients, in Prometheus's spelling; what these
have no name for begins with `archon_transport_`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily as Total
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import HistogramMetricFamily as Histogram
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from .. import __version__
from .metrics import BOUNDS, Metrics

_OURS = "archon_transport_"
_LE = (*map(str, BOUNDS), "+Inf")


def written(metrics: Metrics, accept: str) -> tuple[bytes, str]:
    """Every metric in the format that the scraper accepts, and its content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(metrics))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collected(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from _requests(self._metrics)
        yield from _node(self._metrics)
        yield from _database(self._metrics)


def _requests(metrics: Metrics) -> Iterator[Metric]:
    labels = (
        "mcp_method_name",
        "gen_ai_tool_name",
        "error_type",
        "mcp_protocol_version",
        "network_transport",
    )
    name, text = "mcp_server_operation_duration_seconds", "Time from a request's arrival to its answer."
    histogram = Histogram(name, text, labels=labels)
    for key, durations in metrics.durations.items():
        buckets = list(zip(_LE, accumulate(durations.counts), strict=True))
        histogram.add_metric((*key, "tcp"), buckets, durations.total)
    yield histogram
    total = Total(
        f"{_OURS}requests",
        "Admitted requests that are over, by how they ended.",
        labels=("mcp_method_name", "gen_ai_tool_name", "outcome", "era"),
    )
    for ended, count in metrics.requests.items():
        total.add_metric(ended, count)
    yield total
    refusals = Total(f"{_OURS}refusals", "Requests that were refused before admission.", labels=("rule",))
    for rule, count in metrics.node.writer.refusals.totals.items():
        refusals.add_metric((rule,), count)
    yield refusals


def _node(metrics: Metrics) -> Iterator[Metric]:
    node, writer = metrics.node, metrics.node.writer
    info = Gauge(f"{_OURS}build_info", "Always 1; the version is a label.", labels=("version",))
    info.add_metric((__version__,), 1)
    yield info
    yield Gauge(f"{_OURS}ready", "Whether the node takes new work and has its database.", metrics.ready)
    awake = Gauge(
        f"{_OURS}sessions_awake", "Sessions in this node's memory.", labels=("client", "mcp_protocol_version")
    )
    for client, revision, count in metrics.clients():
        awake.add_metric((client, revision), count)
    yield awake
    yield Total(f"{_OURS}sessions_opened", "Sessions that this node opened.", node.sessions.opened)
    yield Total(
        f"{_OURS}sessions_woken", "Sessions that this node read from their rows.", node.sessions.woken
    )
    yield Gauge(f"{_OURS}calls_running", "Calls that run on this node.", len(node.calls))
    yield Gauge(f"{_OURS}streams_open", "Streams that a client follows on this node.", len(node.viewers))
    yield Gauge(
        f"{_OURS}questions_waiting", "Questions that wait for a client's answer.", len(node.questions)
    )
    yield Gauge(f"{_OURS}tracking_waiting", "Finished requests that are not rows yet.", writer.waiting)
    yield Total(f"{_OURS}tracking_lost", "Finished requests that will never be rows.", writer.lost)


def _database(metrics: Metrics) -> Iterator[Metric]:
    errors = Total(f"{_OURS}database_errors", "Statements that failed.", labels=("error_type",))
    for name, count in metrics.store.database.errors.items():
        errors.add_metric((name,), count)
    yield errors
    pool = metrics.store.pool
    used = Gauge(
        "db_client_connection_count", "Connections of the pool.", labels=("db_client_connection_state",)
    )
    used.add_metric(("idle",), pool.get_idle_size())
    used.add_metric(("used",), pool.get_size() - pool.get_idle_size())
    yield used
    yield Gauge("db_client_connection_max", "Connections that the pool may have.", pool.get_max_size())
    if metrics.max_sessions is not None:
        yield Gauge(f"{_OURS}sessions_limit", "Sessions that may live.", metrics.max_sessions)
    if (stored := metrics.stored) is not None:
        yield Gauge(f"{_OURS}sessions_live", "Sessions that live, on all nodes.", stored.sessions)
        jobs = Gauge(f"{_OURS}jobs", "Jobs that bring knowledge in, on all nodes.", labels=("status",))
        for status, count in stored.jobs.items():
            jobs.add_metric((status,), count)
        yield jobs
