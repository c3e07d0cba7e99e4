"""The REST API under `/api/mcp/`: one table makes its routes, its checks and its OpenAPI document."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema

from .. import __version__
from ..sessions import StoreUnavailable
from . import models
from .door import Door
from .models import Parameters
from .ports import House

PREFIX: Final = "/api/mcp"
RECENT: Final = timedelta(minutes=5)
LEVELS: Final = {"success": "info", "timeout": "warning", "error": "error"}
OUTCOMES: Final = {
    "info": ("ok",),
    "warning": ("timeout",),
    "error": ("error", "tool_error", "cancelled", "detached"),
    "timeout": ("timeout",),
}
PROBLEMS: Final = {
    401: "a token is needed",
    403: "the token or the Origin does not allow it",
    404: "there is no such session",
    421: "the Host is not allowed",
    422: "a parameter is not allowed",
    503: "the database is away",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One address: what it takes, what it answers, and who makes the answer."""

    path: str
    takes: type[Parameters]
    answers: type[BaseModel]
    summary: str
    make: Callable[[Any], Awaitable[Any]]


async def tell(request: web.Request, status: int, text: str) -> web.StreamResponse:
    """An error as JSON."""
    return web.json_response({"error": text, "status": status}, status=status)


class Api:
    """Archon's REST API over the reports of one `House`."""

    def __init__(self, house: House, door: Door) -> None:
        self._house = house
        self._reports = house.reports
        self._door = door
        self.routes = (
            Route("/status", models.Nothing, models.Status, "Whether the server runs", self._status),
            Route("/clients", models.ClientsAsked, models.Clients, "Who is connected", self._clients),
            Route("/sessions", models.Nothing, models.Sessions, "How many sessions live", self._sessions),
            Route(
                "/sessions/health", models.Nothing, models.SessionsHealth, "How sessions are", self._health
            ),
            Route("/sessions/disconnected", models.EndedAsked, models.Ended, "What ended", self._ended),
            Route("/sessions/{session_id}", models.SessionAsked, models.OneSession, "One session", self._one),
            Route("/usage/summary", models.Period, models.UsageSummary, "What was used", self._usage),
            Route("/errors", models.ErrorsAsked, models.Errors, "What failed", self._errors),
            Route("/analytics", models.AnalyticsAsked, models.Analytics, "Trends and times", self._analytics),
            Route("/logs", models.LogsAsked, models.Logs, "Requests as a log", self._logs),
        )
        self._document = json.dumps(document(self.routes)).encode()

    def attach(self, app: web.Application) -> None:
        """Add every route, and the document that describes them."""
        for route in self.routes:
            app.router.add_get(PREFIX + route.path, self._door.guard(_serve(route), tell))
        app.router.add_get(PREFIX + "/config", self._door.guard(self._config, tell))
        app.router.add_get("/api/openapi.json", self._door.guard(self._describe, tell))

    async def _describe(self, request: web.Request) -> web.Response:
        return web.Response(body=self._document, content_type="application/json")

    async def _config(self, request: web.Request) -> web.Response:
        host, port = request.url.host or "", request.url.port or 0
        config = models.Config(host=host, port=port, path=self._house.path)
        return web.Response(text=config.model_dump_json(), content_type="application/json")

    def _uptime(self) -> int:
        return int((datetime.now(UTC) - self._house.started_at).total_seconds())

    async def _status(self, given: models.Nothing) -> dict[str, Any]:
        try:
            await self._reports.now()
        except StoreUnavailable:
            return {"status": "unhealthy", "uptime": self._uptime()}
        return {"status": "running", "uptime": self._uptime()}

    async def _clients(self, given: models.ClientsAsked) -> dict[str, Any]:
        state = "now" if given.status_filter == "all" else given.status_filter
        found = await self._reports.sessions(state, limit=given.limit, offset=given.offset)
        total = (await self._reports.now())["sessions"] if state == "now" else given.offset + len(found)
        return {"clients": [client(line) for line in found], "total": max(total, given.offset + len(found))}

    async def _sessions(self, given: models.Nothing) -> dict[str, Any]:
        return {
            "active_sessions": (await self._reports.now())["sessions"],
            "session_timeout": self._house.idle_timeout,
            "server_uptime_seconds": self._uptime(),
        }

    async def _health(self, given: models.Nothing) -> dict[str, Any]:
        health, now = await self._reports.health(), datetime.now(UTC)
        lines = await self._reports.sessions("now", limit=10)
        return {
            "status_breakdown": health,
            "age_distribution": health,
            "connection_health": {
                **health,
                "sessions_per_hour": round(health["total_sessions_24h"] / 24, 2),
                "disconnect_rate_percent": percent(
                    health["ended_24h"], health["ended_24h"] + health["active"]
                ),
            },
            "recent_activity": [recent(line, now) for line in lines],
            "timestamp": now,
        }

    async def _ended(self, given: models.EndedAsked) -> dict[str, Any]:
        end = datetime.now(UTC)
        start = end - timedelta(days=given.days)
        statistics = await self._reports.endings(given.days)
        found = await self._reports.sessions("ended", limit=given.limit)
        durations = {f"{name}_duration_seconds": statistics[name] for name in ("avg", "max", "min")}
        return {
            "sessions": [client(line) for line in found if line.ended_at >= start],
            "statistics": {
                "total_disconnected": statistics["total"],
                "disconnect_reasons": statistics["reasons"],
                **durations,
            },
            "period": {"start": start, "end": end},
        }

    async def _one(self, given: models.SessionAsked) -> dict[str, Any]:
        session = await self._reports.session(str(given.session_id))
        if session is None:
            raise web.HTTPNotFound(
                text=f"There is no session {given.session_id}; GET {PREFIX}/clients lists them."
            )
        page = await self._reports.requests(session=str(given.session_id), limit=100)
        lines = [line_of(line) for line in page.lines]
        return {
            "session": client(session),
            "requests": lines,
            "summary": sums(
                len(lines),
                sum(line["prompt_tokens"] for line in lines),
                sum(line["completion_tokens"] for line in lines),
                sum(line["estimated_cost"] for line in lines),
            ),
        }

    async def _usage(self, given: models.Period) -> dict[str, Any]:
        start, end = given.between(datetime.now(UTC))
        found, tools = await self._reports.totals(start, end), await self._reports.tools(start, end)
        total = sums(found["requests"], found["prompt_tokens"], found["completion_tokens"], found["cost"])
        return {
            "period": {"start": start, "end": end},
            "summary": {**total, "unique_sessions": found["sessions"]},
            "by_tool": {t.tool: {"count": t.requests, "tokens": t.tokens, "cost": t.cost} for t in tools},
        }

    async def _errors(self, given: models.ErrorsAsked) -> dict[str, Any]:
        outcomes = OUTCOMES.get(given.severity, (*OUTCOMES["error"], *OUTCOMES["timeout"]))
        session = None if given.session_id is None else str(given.session_id)
        page = await self._reports.requests(session=session, outcomes=outcomes, limit=given.limit)
        end = datetime.now(UTC)
        day = await self._reports.totals(end - timedelta(days=1), end)
        return {
            "errors": [line_of(line) for line in page.lines],
            "summary": {
                "error_count": day["errors"],
                "timeout_count": day["timeouts"],
                "last_error_at": page.lines[0].timestamp if page.lines else None,
                "error_rate_percent": percent(day["errors"] + day["timeouts"], day["requests"]),
            },
            "total": page.total,
        }

    async def _analytics(self, given: models.AnalyticsAsked) -> dict[str, Any]:
        end = datetime.now(UTC)
        start = end - timedelta(days=given.days)
        reports = self._reports
        total, before, days, hours, (p50, p95, p99), tools = await asyncio.gather(
            reports.totals(start, end),
            reports.totals(start - timedelta(days=given.days), start),
            reports.intervals(start, end, "day"),
            reports.intervals(end - timedelta(days=1), end),
            reports.quantiles(start, end),
            reports.tools(start, end),
        )
        return {
            "period": {"start": start, "end": end},
            "trends": {
                "daily": [
                    {"date": d.start.date(), "requests": d.requests, "tokens": d.tokens, "cost": d.cost}
                    | {"success_rate": succeeded(d.requests, d.errors, d.timeouts)}
                    for d in days
                ],
                "hourly": [
                    {"hour": h.start, "requests": h.requests, "avg_duration": h.avg_ms} for h in hours
                ],
            },
            "ratios": {
                "success": total["requests"] - total["errors"] - total["timeouts"],
                "error": total["errors"],
                "timeout": total["timeouts"],
                "success_rate": rate(total),
            },
            "response_times": {
                "by_tool": [
                    {"tool": t.tool, "avg_ms": t.avg_ms, "min_ms": t.min_ms, "max_ms": t.max_ms}
                    | {"count": t.requests}
                    for t in tools
                ],
                "overall_avg": total["avg_ms"],
                "p50": p50,
                "p95": p95,
                "p99": p99,
            },
            "comparison": compared(total, before) if given.compare else None,
        }

    async def _logs(self, given: models.LogsAsked) -> dict[str, Any]:
        page = await self._reports.requests(
            session=None if given.session_id is None else str(given.session_id),
            outcomes=OUTCOMES.get(given.level, ()),
            search=given.search,
            limit=given.limit,
            offset=given.offset,
            counted=True,
        )
        pagination = {
            "total": page.total,
            "limit": page.limit,
            "offset": page.offset,
            "has_more": page.has_more,
        }
        lines = [line_of(line) | {"level": LEVELS[line.status]} for line in page.lines]
        return {"logs": lines, "pagination": pagination}


def _serve(route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            given = route.takes.model_validate({**request.query, **request.match_info})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ".".join(map(str, first["loc"]))
            return await tell(request, 422, f"{name}: {first['msg']}".removeprefix(": "))
        answer = route.answers.model_validate(await route.make(given))
        return web.Response(text=answer.model_dump_json(), content_type="application/json")

    return serve


def client(line: Any) -> dict[str, Any]:
    """A session in Archon's words: its mirrors are right for what runs on it, ours for what ended."""
    active = line.last_activity is not None and line.last_activity > datetime.now(UTC) - RECENT
    status = "disconnected" if line.ended_at or line.disconnected_at else "active" if active else "idle"
    fields = {name: getattr(line, name, None) for name in models.Client.model_fields}
    return fields | {"status": status, "inferred": line.state == "inferred", "total_requests": line.requests}


def recent(line: Any, now: datetime) -> dict[str, Any]:
    """A session that was active lately, in short."""
    minutes = [
        round((now - (at or now)).total_seconds() / 60, 1) for at in (line.last_activity, line.connected_at)
    ]
    return client(line) | {
        "session_id": str(line.session_id)[:8],
        "age_minutes": minutes[0],
        "uptime_minutes": minutes[1],
    }


def line_of(line: Any) -> dict[str, Any]:
    """A request with its tokens, estimated where nobody counted them."""
    fields = {name: getattr(line, name, None) for name in models.Request.model_fields}
    completion = line.completion_tokens or line.tokens
    return fields | {"completion_tokens": completion, "total_tokens": line.prompt_tokens + completion}


def sums(requests: int, prompt: int, completion: int, cost: float) -> dict[str, Any]:
    """The sums under Archon's names."""
    return {
        "total_requests": requests,
        "total_prompt_tokens": prompt,
        "total_completion_tokens": completion,
        "total_tokens": prompt + completion,
        "total_cost": cost,
    }


def percent(part: float, whole: float) -> float:
    """A share, 0 of nothing."""
    return round(100 * part / whole, 2) if whole else 0.0


def succeeded(requests: int, errors: int, timeouts: int) -> float:
    """The share of requests that went well; all of none."""
    return percent(requests - errors - timeouts, requests) if requests else 100.0


def rate(total: Mapping[str, Any]) -> float:
    """The share of a sum's requests that went well."""
    return succeeded(total["requests"], total["errors"], total["timeouts"])


def compared(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Each figure against the one before."""
    pairs = {
        name: (now[key], before[key])
        for name, key in (("requests", "requests"), ("tokens", "completion_tokens"), ("cost", "cost"))
    }
    pairs["success_rate"] = (rate(now), rate(before))
    return {
        name: {"current": a, "previous": b, "change_percent": round(100 * (a - b) / b, 2) if b else None}
        for name, (a, b) in pairs.items()
    }


def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """The OpenAPI document of a table of routes."""
    config = Route("/config", models.Nothing, models.Config, "Where clients connect", _nothing)
    routes = (*routes, config)
    chosen: list[tuple[type[BaseModel], Literal["serialization"]]] = [(models.Problem, "serialization")]
    chosen += [(route.answers, "serialization") for route in routes]
    _, schemas = models_json_schema(chosen, ref_template="#/components/schemas/{model}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "archon-transport", "version": __version__},
        "paths": {PREFIX + route.path: {"get": _operation(route)} for route in routes},
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


async def _nothing(given: models.Nothing) -> None:
    """Made from the request and not from parameters."""


def _operation(route: Route) -> dict[str, Any]:
    schema = route.takes.model_json_schema()
    parameters = []
    for name, of in schema.get("properties", {}).items():
        place = "path" if f"{{{name}}}" in route.path else "query"
        parameters.append({"name": name, "in": place, "required": place == "path", "schema": of})
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    ok = {"application/json": {"schema": {"$ref": f"#/components/schemas/{route.answers.__name__}"}}}
    responses = {str(status): {"description": text, "content": problem} for status, text in PROBLEMS.items()}
    return {
        "operationId": route.path.strip("/").replace("/", "_").replace("{", "").replace("}", ""),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {"200": {"description": route.summary, "content": ok}, **responses},
    }
