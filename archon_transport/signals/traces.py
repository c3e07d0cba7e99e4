"""Traces, where OpenTelemetry's SDK is installed and its standard variables name somebody who takes them.

A request is one span, the SDK of MCP makes the one of its message inside it, and a statement is one inside
of that. The client's own trace goes on here: `_meta` names it, else the HTTP headers. Nothing of a client
stands in a span of ours, and no parameter of a statement. Where nothing is configured nobody is given a
`Tracer`, so that nothing is spent on it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Final, Protocol, TypeVar

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, StatusCode

from .. import __version__

_log = logging.getLogger(__name__)

SERVICE: Final = "archon-transport"
LAST_WORDS: Final = 2.0
"""Seconds that the last spans have at the stop."""

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TABLE: Final = re.compile(r"\barchon_\w+")
_VERBS: Final = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})


class _Answer(Protocol):
    @property
    def status(self) -> int: ...


_T = TypeVar("_T", bound=_Answer)


def configure() -> Tracer | None:
    """What makes spans, where the environment asks for them and the extra `otel` is installed."""
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("no traces: they need the extra \"otel\": pip install 'archon-transport[otel]'")
        return None
    resource = Resource.create({"service.name": SERVICE, "service.version": __version__})
    provider = TracerProvider(resource=resource.merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return Tracer(provider)


class Tracer:
    """Makes the spans of requests and of statements, and sees the last of them off."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("archon_transport", __version__)

    async def request(self, http: Any, meta: Any, answer: Coroutine[Any, Any, _T]) -> _T:
        """Wait for an HTTP request's answer in a span; `meta` is the `_meta` of its message."""
        verb = http.method if http.method in _VERBS else "HTTP"
        said = {"http.request.method": verb, "http.route": http.match_info.route.resource.canonical}
        with self._tracer.start_as_current_span(
            " ".join(said.values()),
            context=_parent(meta) or _parent(http.headers),
            kind=SpanKind.SERVER,
            attributes=said,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                answered = await answer
            except Exception as error:  # answered with 500 or 503 by whoever asked
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise
            span.set_attribute("http.response.status_code", answered.status)
            return answered

    def statement(self, query: Any) -> None:
        """A statement (asyncpg's `LoggedQuery`) is over: a span in that of the request that asked, if any."""
        if not trace.get_current_span().get_span_context().is_valid:
            return
        word = query.query.split(None, 1)[0].rstrip(";").upper()
        table = _TABLE.search(query.query)
        said = {"db.system.name": "postgresql", "db.operation.name": word}
        if table is not None:
            said["db.collection.name"] = table[0]
        ended = time.time_ns()
        span = self._tracer.start_span(
            " ".join(list(said.values())[1:]),
            kind=SpanKind.CLIENT,
            attributes=said,
            start_time=ended - int(query.elapsed * 1e9),
        )
        if query.exception is not None:
            span.set_attribute("error.type", type(query.exception).__name__)
            span.set_status(StatusCode.ERROR)
        span.end(ended)

    async def close(self) -> None:
        """Send what is left, for a few seconds at most; a thread that is not waited for does it."""
        sent = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        sent.start()
        await asyncio.to_thread(sent.join, LAST_WORDS)


def _parent(carrier: Any) -> Any:
    """The trace that a client names, None where it names none that can be read."""
    if not isinstance(carrier, Mapping) or not isinstance(carrier.get("traceparent"), str):
        return None
    texts = {str(name).lower(): value for name, value in carrier.items() if isinstance(value, str)}
    context = propagate.extract(texts)
    return context if trace.get_current_span(context).get_span_context().is_valid else None
