"""Traces as a collector gets them: the real program sends them to a receiver that decodes OTLP over HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry import trace

from archon_transport.signals import traces
from archon_transport.store import MemoryStore
from tests.needs import needs_module
from tests.program import REVISION, Program, data_directory
from tests.transport.house import running

SECRET = "a-title-that-no-span-may-say"
CLIENT = "00f067aa0ba902b7"
INSTALL = "pip install 'archon-transport[otel]'"


def named(trace_id: str) -> str:
    return f"00-{trace_id}-{CLIENT}-01"


class Receiver:
    """An OTLP/HTTP receiver: every span by its trace, and everything that was sent as text."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Any]] = {}
        self.services: set[str] = set()
        self.said = ""
        self.port = 0

    async def take(self, request: web.Request) -> web.Response:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        sent = ExportTraceServiceRequest.FromString(await request.read())
        self.said += str(sent)
        for of in sent.resource_spans:
            facts = {each.key: each.value.string_value for each in of.resource.attributes}
            self.services.add(facts["service.name"])
            for scope in of.scope_spans:
                for span in scope.spans:
                    self.spans.setdefault(span.trace_id.hex(), []).append(span)
        return web.Response(content_type="application/x-protobuf")

    async def tree(self, trace_id: str, *wanted: str) -> dict[str, str]:
        """Each span's name with its parent's, once all that are `wanted` are there with their parents."""
        async with asyncio.timeout(10):
            while True:
                spans = self.spans.get(trace_id, [])
                names = {span.span_id: span.name for span in spans} | {bytes.fromhex(CLIENT): "client"}
                known = {
                    span.name: names.get(span.parent_span_id, "?" if span.parent_span_id else "nobody")
                    for span in spans
                }
                if known.keys() >= set(wanted) and "?" not in known.values():
                    return known
                await asyncio.sleep(0.02)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/v1/traces", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    receiver.port = site._server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        await runner.cleanup()


class Traced:
    """A client that says which trace its requests belong to."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": REVISION}

    async def open(self) -> Traced:
        info = {"name": "tracer", "version": "1"}
        params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": info}
        headers = await self.send("initialize", params)
        self._headers["Mcp-Session-Id"] = headers["Mcp-Session-Id"]
        return self

    async def send(self, method: str, params: dict[str, Any], **headers: str) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._http.post(self._url, json=body, headers=self._headers | headers) as response:
            assert response.status == 200, await response.text()
            await response.read()
            return response.headers

    async def create(self, meta: dict[str, str] | None = None, **headers: str) -> None:
        params: dict[str, Any] = {
            "name": "manage_project",
            "arguments": {"action": "create", "title": SECRET},
        }
        await self.send("tools/call", params | ({"_meta": meta} if meta else {}), **headers)


@pytest.mark.long
async def test_a_request_is_one_trace_from_its_client_to_the_database():
    """The client's span is the parent, by `_meta` or by header; a statement lies in the call that asked."""
    needs_module("opentelemetry.exporter.otlp.proto.http", INSTALL)
    by_meta, by_header, both = "a" * 32, "b" * 32, "c" * 32
    async with receiving() as receiver:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with data_directory() as home, Program(home, environ=environ) as program:
            await asyncio.to_thread(program.start)
            async with aiohttp.ClientSession() as http:
                client = await Traced(http, program.url).open()
                await client.create({"traceparent": named(by_meta)})
                await client.create(traceparent=named(by_header))
                await client.create({"traceparent": named(both)}, traceparent=named("d" * 32))
            post, call, sql = "POST /mcp", "tools/call manage_project", "INSERT archon_projects"
            for trace_id, parent in ((by_meta, "client"), (by_header, post), (both, "client")):
                tree = await receiver.tree(trace_id, post, call, sql)
                assert (tree[post], tree[call], tree[sql]) == ("client", parent, call)
            assert "d" * 32 not in receiver.spans
            (own,) = receiver.spans.keys() - {by_meta, by_header, both}
            tree = await receiver.tree(own, post, "initialize")
            assert (tree[post], tree["initialize"]) == ("nobody", post)
            program.terminate()
            code, printed = await asyncio.to_thread(program.ended)
            assert code == 0, printed
    assert receiver.services == {"archon-transport"}
    assert SECRET not in receiver.said


def test_nothing_is_spent_where_nothing_is_configured(monkeypatch):
    """Without the standard variable there is no tracer, and the provider stays the one that does nothing."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    before = trace.get_tracer_provider()
    assert traces.configure() is None
    assert trace.get_tracer_provider() is before


def test_what_is_missing_is_named(monkeypatch, caplog):
    """Where traces are asked for and cannot be made, the log says what to install."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    assert traces.configure() is None
    assert "archon-transport[otel]" in caplog.text


@pytest.fixture
def tracer():
    """A tracer whose spans stay here."""
    needs_module("opentelemetry.sdk", INSTALL)
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider, kept = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    yield SimpleNamespace(made=traces.Tracer(provider), spans=kept.get_finished_spans, provider=provider)
    provider.shutdown()


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("SELECT 1", "SELECT"),
        ("BEGIN;", "BEGIN"),
        ("\nWITH x AS (SELECT * FROM archon_tasks) SELECT 1 FROM archon_projects", "WITH archon_tasks"),
        ("update archon_mcp_sessions SET a = 'archon_secret'", "UPDATE archon_mcp_sessions"),
    ],
)
def test_a_statement_is_named_by_its_first_word_and_its_table(tracer, query, name):
    """Only in a request: what the server does by itself is no trace."""
    logged = SimpleNamespace(
        query=query, elapsed=0.5, exception=ValueError("what was asked"), args=["secret"]
    )
    tracer.made.statement(logged)
    assert tracer.spans() == ()
    with tracer.provider.get_tracer("test").start_as_current_span("request"):
        tracer.made.statement(logged)
    span = tracer.spans()[0]
    assert span.name == name
    assert (span.end_time - span.start_time) == 500_000_000
    assert span.attributes["error.type"] == "ValueError"
    assert "secret" not in span.to_json()
    assert "what was asked" not in span.to_json()


async def test_the_message_names_the_trace_of_its_request(tracer):
    """The `_meta` of a message goes before the HTTP headers."""
    async with running(MemoryStore()) as house:
        session = await house.connect()
        house.transport.endpoint.trace = tracer.made.request
        meta = {"traceparent": named("a" * 32)}
        await house.ask("ping", {"_meta": meta}, session, traceparent=named("b" * 32))
        await house.ask("ping", {}, session, traceparent=named("c" * 32))
        await house.ask("ping", session=session)
        spans = [span for span in tracer.spans() if span.name == "POST /mcp"]
    parents = [span.parent and format(span.parent.trace_id, "032x") for span in spans]
    assert parents == ["a" * 32, "c" * 32, None]


@pytest.mark.parametrize("named", [None, "x", 7, {}, {"traceparent": 7}, {"traceparent": "00-x-y-01"}, []])
async def test_a_traceparent_that_cannot_be_read_is_none(tracer, named):
    """A client that names its trace wrongly gets an answer and a trace of its own."""

    async def answer() -> Any:
        return SimpleNamespace(status=202)

    route = SimpleNamespace(resource=SimpleNamespace(canonical="/mcp"))
    http = SimpleNamespace(method="POST", headers={}, match_info=SimpleNamespace(route=route))
    assert (await tracer.made.request(http, named, answer())).status == 202
    (span,) = tracer.spans()
    assert (span.name, span.parent) == ("POST /mcp", None)
    assert span.attributes["http.response.status_code"] == 202


async def test_a_stop_does_not_wait_for_a_collector_that_is_silent(monkeypatch):
    """The last spans have a few seconds; who takes them not is not waited for."""
    needs_module("opentelemetry.exporter.otlp.proto.http", INSTALL)
    monkeypatch.setattr(traces, "LAST_WORDS", 0.1)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    with socket.create_server(("127.0.0.1", 0)) as silent:
        provider = TracerProvider(shutdown_on_exit=False)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces"
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(address, timeout=1)))
        with provider.get_tracer("test").start_as_current_span("last"):
            pass
        async with asyncio.timeout(0.8):
            await traces.Tracer(provider).close()
