"""`/metrics`: a real node, counted and looked at as a monitor does; the dashboard and the alerts fit it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mcp_types as types
import pytest
from aiohttp import web
from mcp.server.auth.provider import AccessToken
from prometheus_client.parser import text_string_to_metric_families

from archon_transport.sessions import StoreUnavailable
from archon_transport.sessions.record import Finished, Inferred
from archon_transport.transport import Guards
from archon_transport.web import Metrics, metrics
from tests.needs import needs
from tests.transport.house import House, Works, handshake, running, text

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "alerts.yml"
DASHBOARD = DEPLOY / "grafana-dashboard.json"
INSTALL = "apt-get install prometheus"

HOSTILE = [
    "<script>alert(1)</script>",
    'quote " backslash \\ brace } comma ,',
    "line\nbreak\r\x00\x1b[2J",
    "\u202egnp.exe\u2066",
    "x" * 40_000,
    "",
    "\U0001f600" * 200,
]


class Many(Works):
    """Works that answer to any tool's name."""

    async def _call_tool(self, context, params) -> types.CallToolResult:
        return (
            text("done") if params.name.startswith("made-up") else await super()._call_tool(context, params)
        )


class Tokens:
    """Knows three tokens; the database is away for a fourth."""

    async def verify_token(self, token: str) -> AccessToken | None:
        if token == "away":
            raise StoreUnavailable("away")
        scopes = {"reader": ["read"], "nobody": []}.get(token)
        return None if scopes is None else AccessToken(token=token, client_id=token, scopes=scopes)


@pytest.fixture
async def house(store):
    async with running(store, works=Many()) as house:
        yield house


@pytest.fixture
async def monitor(house, store, aiohttp_client):
    """A client of the metrics of that house, and what it is a client of."""

    async def made(**options):
        options.setdefault("refuse", Guards().refuse)
        app, counted = web.Application(), Metrics(house.transport, store, **options)
        counted.attach(app)
        return await aiohttp_client(app), counted

    return made


Sample = tuple[str, frozenset[tuple[str, str]]]


async def scraped(client, house: House) -> dict[Sample, float]:
    """Every sample by its name and labels, once everything that is finished is counted."""
    await house.transport.writer.flush()
    response = await client.get("/metrics")
    assert response.status == 200, await response.text()
    families = text_string_to_metric_families(await response.text())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def picked(found: dict[Sample, float], name: str, *labels: str) -> dict[tuple[str | None, ...] | str, float]:
    """The samples of one name by some of their labels, added up."""
    told: dict = {}
    for (sample, named), value in found.items():
        if sample == name:
            key = tuple(dict(named).get(label) for label in labels)
            key = key[0] if len(key) == 1 else key
            told[key] = told.get(key, 0) + value
    return told


async def test_what_clients_did_is_counted(house, store, monitor):
    """Requests by method, tool, outcome and era, their durations, the refusals and what is open now."""
    client, _ = await monitor(max_sessions=1000)
    session = await house.connect()
    await house.call("echo", session)
    await house.call("iserror", session)
    await house.call("boom", session)
    await house.ask("no/such", session=session)
    await house.post({"not": "a message"}, session)
    await house.send("DELETE", session="unknown")
    slow = asyncio.create_task(house.call("slow", session))
    await house.works.began.wait()
    found = await scraped(client, house)
    assert picked(
        found, "archon_transport_requests_total", "mcp_method_name", "gen_ai_tool_name", "outcome", "era"
    ) == {
        ("initialize", "", "ok", "handshake"): 1,
        ("tools/call", "echo", "ok", "handshake"): 1,
        ("tools/call", "other", "tool_error", "handshake"): 1,
        ("tools/call", "other", "error", "handshake"): 1,
        ("other", "", "error", "handshake"): 1,
    }
    name = "mcp_server_operation_duration_seconds"
    counts = picked(found, f"{name}_count", "mcp_method_name", "error_type", "mcp_protocol_version")
    assert counts["tools/call", "", "2025-11-25"] == counts["tools/call", "-32603", "2025-11-25"] == 1
    assert counts["tools/call", "tool_error", "2025-11-25"] == counts["other", "-32601", "2025-11-25"] == 1
    assert picked(found, f"{name}_bucket", "le")["+Inf"] == sum(counts.values())
    assert 0 < sum(picked(found, f"{name}_sum", "le").values()) < 5
    assert picked(found, "archon_transport_refusals_total", "rule") == {"message": 1, "session": 1}
    single = {sample: value for (sample, named), value in found.items() if not named}
    assert single["archon_transport_calls_running"] == 1
    assert single["archon_transport_ready"] == single["archon_transport_sessions_live"] == 1
    assert single["archon_transport_sessions_limit"] == 1000
    assert single["archon_transport_tracking_waiting"] == single["archon_transport_tracking_lost_total"] == 0
    house.works.release.set()
    await slow


async def test_a_request_is_counted_once_though_its_row_waits(house, store, monitor, monkeypatch):
    """While the store is away requests are counted, and no second time when it is back."""
    client, counted = await monitor()
    session = await house.connect()
    await house.transport.writer.flush()

    async def away(*arguments, **named):
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "write", away)
    for _ in range(3):
        await house.call("echo", session)
        await house.transport.writer.flush()
    assert counted.requests["tools/call", "echo", "ok", "handshake"] == 3
    assert picked(await scraped(client, house), "archon_transport_tracking_waiting", "le") == {None: 3}
    monkeypatch.undo()
    await house.call("echo", session)
    await house.transport.writer.flush()
    assert counted.requests["tools/call", "echo", "ok", "handshake"] == 4
    assert house.transport.writer.waiting == 0


async def test_nothing_that_a_client_sends_grows_a_label(house, store, monitor):
    """Names of clients, tools, methods and revisions stay few and plain, whatever is sent."""
    client, _ = await monitor()
    for name in [*HOSTILE, *(f"client-{number}" for number in range(60))]:
        params = handshake("2025-11-25") | {"clientInfo": {"name": name, "version": name[:99]}}
        assert (await house.ask("initialize", params, id=1)).status == 200
    session = await house.connect()
    for number in range(120):
        await house.call(f"made-up-{number}", session)
    for name in HOSTILE:
        await house.call(name, session)
        await house.ask(name, session=session)
    rows = [Finished(str(n), f"m{n}", 0.0, 0.0, "error", error="x", error_code=n) for n in range(500)]
    for number, row in enumerate(rows):
        row.inferred = Inferred(row.session_id, "modern", None, "", "", "", told_apart=False)
        row.revision = f"20{number}"
    house.transport.writer.on_finished(rows)
    found = await scraped(client, house)
    values: dict[str, set[str]] = {}
    for _, labels in found:
        for label, value in labels:
            values.setdefault(label, set()).add(value)
    assert max(len(value) for several in values.values() for value in several) <= 100
    assert all(value.isprintable() for several in values.values() for value in several)
    assert len(values["client"]) == metrics.CLIENTS + 1
    assert len(values["gen_ai_tool_name"] - {"", "other"}) == metrics.TOOLS
    assert values["mcp_method_name"] <= {"initialize", "tools/call", "other"}
    assert values["mcp_protocol_version"] == {"2025-11-25", "other"}
    assert values["error_type"] == {"", "-32601", "-32602", "_OTHER"}


async def test_a_tool_that_the_server_has_is_known_before_it_succeeds(house, monitor):
    """The server is asked for its schema; one that cannot be asked harms nothing."""

    def schema_of(name: str):
        if name == "iserror":
            return {}
        raise RuntimeError("the server's own mistake")

    client, _ = await monitor(schema_of=schema_of)
    session = await house.connect()
    await house.call("iserror", session)
    await house.call("boom", session)
    found = picked(await scraped(client, house), "archon_transport_requests_total", "gen_ai_tool_name")
    assert found == {"": 1, "iserror": 1, "other": 1}


async def test_a_database_that_is_away_is_said(house, store, monitor, monkeypatch):
    """What is in memory is told all the same; the node is not ready, and what failed is counted."""
    client, _ = await monitor()

    async def away(*arguments, **named):
        raise OSError("away")

    monkeypatch.setattr(store.database, "_once", away)
    found = await scraped(client, house)
    assert picked(found, "archon_transport_ready", "le") == {None: 0}
    assert picked(found, "archon_transport_sessions_live", "le") == {}
    assert picked(found, "archon_transport_database_errors_total", "error_type")["OSError"] >= 1


async def test_a_draining_node_is_not_ready(house, monitor):
    """A node that stops says so before it is gone."""
    client, _ = await monitor(is_draining=lambda: True)
    assert picked(await scraped(client, house), "archon_transport_ready", "le") == {None: 0}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({}, 401),
        ({"Authorization": "Bearer unknown"}, 401),
        ({"Authorization": "Bearer nobody"}, 403),
        ({"Authorization": "Bearer away"}, 503),
        ({"Authorization": "Bearer reader"}, 200),
    ],
)
async def test_who_may_read_is_guarded(monitor, headers, status):
    """The same hosts, origins and tokens as at the endpoint; the scope is read."""
    client, _ = await monitor(verifier=Tokens())
    response = await client.get("/metrics", headers=headers)
    assert response.status == status
    assert ("WWW-Authenticate" in response.headers) == (status == 401)
    assert ("archon_transport_ready" in await response.text()) == (status == 200)


async def test_what_is_missing_is_named(monitor, monkeypatch):
    """Without prometheus-client the answer is 501 and says what to install."""
    client, _ = await monitor()
    monkeypatch.delitem(sys.modules, "archon_transport.web.exposition", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    response = await client.get("/metrics")
    assert response.status == 501
    assert "archon-transport[server]" in await response.text()


async def test_the_format_is_what_prometheus_reads(house, monitor):
    """In the text format, which promtool checks, and as OpenMetrics where that is asked for."""
    promtool = needs("promtool", INSTALL)
    client, _ = await monitor()
    await house.call("echo", await house.connect())
    await house.transport.writer.flush()
    response = await client.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    body = await response.read()
    checked = await asyncio.to_thread(
        subprocess.run, [promtool, "check", "metrics"], input=body, capture_output=True, check=False
    )
    # One complaint: OpenTelemetry calls a gauge a count, and its exporters to Prometheus do as here.
    assert checked.stdout == b""
    assert [line.split()[0] for line in checked.stderr.splitlines()] == [b"db_client_connection_count"]
    response = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert (await response.text()).endswith("# EOF\n")


def expressions() -> Iterator[str]:
    """Every expression of the dashboard and of the alerts."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from re.split(r"(?m)^ *- alert: ", RULES.read_text())[1:]


def named() -> set[str]:
    prefixes = "archon_transport|mcp_server|db_client|process"
    found = {name for text in expressions() for name in re.findall(rf"\b(?:{prefixes})_\w+", text)}
    return found - {"db_client_connection_state"}


JOBS = """
    INSERT INTO archon_knowledge_jobs (source_id, request, status)
    VALUES ('a', '{}', 'queued'), ('b', '{}', 'failed'), ('c', '{}', 'failed')"""


async def test_every_metric_of_the_dashboard_and_the_alerts_exists(house, store, monitor):
    """Whoever loads them sees lines, not empty panels: each name is in a scrape of a busy node."""
    client, _ = await monitor(max_sessions=10)
    await store.pool.execute(JOBS)
    with pytest.raises(Exception, match="nonsense"):
        await store.database.fetch("nonsense")
    await house.call("echo", await house.connect())
    await house.post({"not": "a message"})
    found = await scraped(client, house)
    assert len(named()) > 20
    assert named() - {name for name, _ in found} == set()
    assert picked(found, "archon_transport_jobs", "status") == {"queued": 1, "failed": 2}
    labels = {label for _, several in found for label, _ in several} | {"instance", "job"}
    asked = {
        label
        for text in expressions()
        for several in re.findall(r"\b(?:by|ignoring) \((.*?)\)", text)
        for label in several.split(", ")
    }
    assert asked - labels == set()


def test_promtool_takes_the_rules():
    """They are what Prometheus loads."""
    promtool = needs("promtool", INSTALL)
    checked = subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", str(RULES)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    inside = ",".join(f'{label}="{value}"' for label, value in ({"instance": "a"} | labels).items())
    return {"series": f"{name}{{{inside}}}", "values": values}


CALL = {"mcp_method_name": "tools/call", "gen_ai_tool_name": "slow"}
HEALTHY = [
    series("archon_transport_ready", "1x60"),
    series("archon_transport_tracking_lost_total", "0x60"),
    series("archon_transport_tracking_waiting", "5x60"),
    series("archon_transport_refusals_total", "0+60x60", rule="host"),
    series("archon_transport_requests_total", "0+600x60", outcome="ok"),
    series("archon_transport_requests_total", "0+6x60", outcome="error"),
    series("archon_transport_database_errors_total", "0x60", error_type="OSError"),
    series("archon_transport_sessions_live", "100x60"),
    series("archon_transport_sessions_limit", "1000x60"),
    series("db_client_connection_count", "3x60", db_client_connection_state="used"),
    series("db_client_connection_max", "10x60"),
    series("mcp_server_operation_duration_seconds_bucket", "0+60x60", le="0.01", **CALL),
    series("mcp_server_operation_duration_seconds_bucket", "0+60x60", le="+Inf", **CALL),
]
SPOILED = {
    "ArchonNoNodeReady": [series("archon_transport_ready", "1x10 0x50")],
    "ArchonNodeNotReady": [series("archon_transport_ready", "1x10 0x50")],
    "ArchonTrackingLosesRows": [series("archon_transport_tracking_lost_total", "0x50 7x10")],
    "ArchonTrackingLags": [series("archon_transport_tracking_waiting", "5x50 20000x10")],
    "ArchonRefusalsRise": [series("archon_transport_refusals_total", "0+1x50 50+600x10", rule="host")],
    "ArchonToolSlow": [
        series("mcp_server_operation_duration_seconds_bucket", "0x60", le="0.01", **CALL),
        series("mcp_server_operation_duration_seconds_bucket", "0x60", le="30", **CALL),
    ],
    "ArchonCallsFail": [series("archon_transport_requests_total", "0+600x60", outcome="error")],
    "ArchonDatabaseErrors": [
        series("archon_transport_database_errors_total", "0+60x60", error_type="OSError")
    ],
    "ArchonPoolExhausted": [series("db_client_connection_count", "10x60", db_client_connection_state="used")],
    "ArchonSessionsNearCap": [series("archon_transport_sessions_live", "900x60")],
}


def test_each_alert_fires_when_it_should_and_not_before(tmp_path):
    """Over the series of a healthy hour none fires; one thing spoiled, and the alert for it does."""
    promtool = needs("promtool", INSTALL)
    assert set(SPOILED) == set(re.findall(r"- alert: (\w+)", RULES.read_text()))
    cases = []
    for alert, spoiled in SPOILED.items():
        replaced = {each["series"] for each in spoiled}
        bad = [each for each in HEALTHY if each["series"] not in replaced] + spoiled
        for inputs, count in ((HEALTHY, 0), (bad, 1)):
            expr = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
            expected = {"expr": expr, "eval_time": "1h", "exp_samples": [{"labels": "{}", "value": count}]}
            cases.append({"interval": "1m", "input_series": inputs, "promql_expr_test": [expected]})
    tests = tmp_path / "tests.yml"
    tests.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    checked = subprocess.run(
        [promtool, "test", "rules", str(tests)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
