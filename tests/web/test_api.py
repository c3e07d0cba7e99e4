"""The REST API: every endpoint's shape, what it refuses, and the document that says both."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import jsonschema
import pytest

from tests.needs import needs_module
from tests.program import Program, data_directory

SHAPES = {
    "/status": {"status", "uptime", "logs"},
    "/config": {"host", "port", "transport", "model_choice", "path"},
    "/clients": {"clients", "total"},
    "/sessions": {"active_sessions", "session_timeout", "server_uptime_seconds"},
    "/sessions/health": {
        "status_breakdown",
        "age_distribution",
        "connection_health",
        "recent_activity",
        "timestamp",
    },
    "/sessions/disconnected": {"sessions", "statistics", "period"},
    "/usage/summary": {"period", "summary", "by_tool"},
    "/errors": {"errors", "summary", "total"},
    "/analytics": {"period", "trends", "ratios", "response_times", "comparison"},
    "/logs": {"logs", "pagination"},
}

INSIDE = {
    "/clients": (
        "clients.0",
        {
            "session_id",
            "client_type",
            "client_version",
            "connected_at",
            "last_activity",
            "status",
            "disconnected_at",
            "total_duration",
            "disconnect_reason",
            "user_id",
            "user_email",
            "user_name",
        },
    ),
    "/sessions/health": (
        "connection_health",
        {"avg_duration_seconds", "sessions_per_hour", "disconnect_rate_percent", "total_sessions_24h"},
    ),
    "/sessions/disconnected": (
        "statistics",
        {
            "total_disconnected",
            "disconnect_reasons",
            "avg_duration_seconds",
            "max_duration_seconds",
            "min_duration_seconds",
        },
    ),
    "/usage/summary": ("by_tool.find_tasks", {"count", "tokens", "cost"}),
    "/errors": ("summary", {"error_count", "timeout_count", "last_error_at", "error_rate_percent"}),
    "/analytics": ("response_times", {"by_tool", "overall_avg", "p50", "p95", "p99"}),
    "/logs": (
        "logs.0",
        {"level", "method", "tool_name", "duration_ms", "status", "error_message", "timestamp"},
    ),
}


@pytest.fixture
async def session(site):
    """A session with three requests, beside one that ended."""
    session = await site.rows.session("Claude Code")
    await site.rows.request(session, ms=10)
    await site.rows.request(session, ms=20, outcome="tool_error", error="no such task")
    await site.rows.request(session, None, method="tools/list", outcome="timeout")
    await site.rows.session("gone", ended="deleted")
    return session


async def test_every_endpoint_has_the_documented_shape(site, session):
    """The names that Archon's front end reads are there, and each answer is what the document says."""
    document = await site.json("/api/openapi.json")
    for path, names in SHAPES.items():
        answer = await site.json(f"/api/mcp{path}")
        assert names <= set(answer), path
        schema = document["paths"][f"/api/mcp{path}"]["get"]["responses"]["200"]["content"][
            "application/json"
        ]
        jsonschema.validate(answer, {**schema["schema"], "components": document["components"]})
        if path in INSIDE:
            place, inside = INSIDE[path]
            for step in place.split("."):
                answer = answer[int(step) if step.isdecimal() else step]
            assert inside <= set(answer), path
    one = await site.json(f"/api/mcp/sessions/{session}")
    assert (one["session"]["client_type"], one["session"]["status"]) == ("Unknown", "active")
    assert one["session"]["client_name"] == "Claude Code"
    assert one["summary"]["total_requests"] == 3 and one["summary"]["total_tokens"] == 200
    assert len(document["paths"]) == len(SHAPES) + 1


async def test_filters_and_pages(site, session):
    """Each parameter selects what it says; a search goes before the page is cut."""
    logs = await site.json("/api/mcp/logs?level=warning")
    assert [line["level"] for line in logs["logs"]] == ["warning"]
    logs = await site.json("/api/mcp/logs?search=SUCH&limit=1")
    assert logs["pagination"] == {"total": 1, "limit": 1, "offset": 0, "has_more": False}
    logs = await site.json("/api/mcp/logs?limit=2")
    assert logs["pagination"] == {"total": 3, "limit": 2, "offset": 0, "has_more": True}
    assert (await site.json(f"/api/mcp/errors?severity=timeout&session_id={session}"))["total"] == 1
    assert (await site.json("/api/mcp/clients?status_filter=idle"))["clients"] == []
    today = datetime.now(UTC).date()
    span = f"start_date={today - timedelta(days=1)}&end_date={today}"
    summary = (await site.json(f"/api/mcp/usage/summary?{span}"))["summary"]
    assert (summary["total_requests"], summary["unique_sessions"]) == (3, 2)
    for dates, days in ((f"start_date={today}", 1), (f"start_date=0001-01-01&end_date={today}", 367)):
        period = (await site.json(f"/api/mcp/usage/summary?{dates}"))["period"]
        first, last = (datetime.fromisoformat(period[name]) for name in ("start", "end"))
        assert round((last - first) / timedelta(days=1)) == days
    assert (await site.json("/api/mcp/analytics?compare=false"))["comparison"] is None
    ended = await site.json("/api/mcp/sessions/disconnected")
    assert ended["statistics"]["disconnect_reasons"] == {"deleted": 1}
    assert [each["status"] for each in ended["sessions"]] == ["disconnected"]


@pytest.mark.parametrize("asks", [False])
async def test_what_cannot_be_answered_is_said_as_json(site):
    """A parameter out of its range, an unknown session and a foreign Host: what is wrong and what to do."""
    for path, status, words in (
        ("/logs?limit=1001", 422, "limit"),
        ("/logs?limit=x", 422, "limit"),
        ("/analytics?days=91", 422, "days"),
        ("/usage/summary?start_date=yesterday", 422, "start_date"),
        ("/errors?severity=bad", 422, "severity"),
        ("/sessions/none", 422, "session_id"),
        ("/sessions/00000000-0000-0000-0000-000000000000", 404, "/api/mcp/clients"),
    ):
        async with site.client.get(f"/api/mcp{path}") as response:
            assert (response.status, response.content_type) == (status, "application/json"), path
            answer = await response.json()
            assert words in answer["error"] and answer["status"] == status
    async with site.client.get("/api/mcp/status", headers={"Host": "evil.example"}) as response:
        assert response.status == 421 and "--allow-host" in (await response.json())["error"]
    assert (await site.json("/api/mcp/logs?search=%00%ff"))["logs"] == []
    await site.store.close()
    async with site.client.get("/api/mcp/sessions") as response:
        assert response.status == 503 and "database" in (await response.json())["error"]
    assert (await site.json("/api/mcp/status"))["status"] == "unhealthy"


@pytest.mark.parametrize("asks", [True])
async def test_a_token_is_asked_for_as_at_the_endpoint(site):
    """Without one 401 with a challenge, with one the answer."""
    async with site.client.get("/api/mcp/status") as response:
        assert response.status == 401 and response.headers["WWW-Authenticate"] == "Bearer"
        assert json.loads(await response.text())["status"] == 401
    async with site.client.get("/api/mcp/status", headers={"Authorization": "Bearer reader"}) as response:
        assert response.status == 200


@pytest.mark.long
def test_the_document_is_kept_whatever_is_asked():
    """Schemathesis, with everything it can think of, finds no answer that the document does not allow."""
    needs_module("schemathesis", "pip install schemathesis")
    with data_directory() as home, Program(home) as server:
        url = server.start().url.removesuffix("/mcp") + "/api/openapi.json"
        command = [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            url,
            "--checks",
            "all",
            "--max-examples",
            "40",
            "--no-color",
        ]
        found = subprocess.run(command, capture_output=True, text=True, cwd=home.parent, check=False)
    assert found.returncode == 0, found.stdout
