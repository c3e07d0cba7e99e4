"""The page: who is connected, what they do, what failed and why, which tool is slow.

Every view is made on the server and is a link: filters are query parameters. `gather` functions ask the
reports, templates show them. A view that many look at is made once and kept until something changes, for
a second at most.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from .. import __version__
from ..auth import Challenge, verify
from . import board
from .clients import CLIENTS, configuration
from .door import COOKIE, PRINCIPAL, Door
from .live import Live
from .ports import House
from .shown import environment

STATES: Final = ("now", "active", "idle", "inferred", "archon", "ended")
OUTCOMES: Final = ("ok", "tool_error", "error", "cancelled", "timeout", "detached")
FAILED: Final = ("tool_error", "error", "cancelled", "timeout")
SPANS: Final = {"day": 24, "week": 168, "month": 720}
PER_PAGE: Final = 50
KEPT: Final = 1.0
REMEMBERED: Final = 100

Gather = Callable[[web.Request], Awaitable[Mapping[str, Any]]]


class Page:
    """The views of one `House`."""

    def __init__(self, house: House, door: Door) -> None:
        self.house = house
        self._reports = house.reports
        self._door = door
        self._made: dict[tuple[object, ...], tuple[float, asyncio.Task[str]]] = {}
        self._live = Live(house.reports.pulse, self._made.clear)
        self._templates = environment(
            version=__version__, house=house, STATES=STATES, OUTCOMES=OUTCOMES, SPANS=SPANS
        )

    def attach(self, app: web.Application) -> None:
        """Add every route of the page."""
        views: dict[str, tuple[str, Gather]] = {
            "/": ("now.html", self._now),
            "/sessions/{id}": ("session.html", self._session),
            "/requests": ("requests.html", self._requests),
            "/tools": ("tools.html", self._tools),
            "/problems": ("problems.html", self._problems),
            "/system": ("system.html", self._system),
            "/connect": ("connect.html", self._connect),
        }
        if self.house.call_tool is not None:
            shelf = board.Board(self.house.call_tool)
            views["/projects"] = ("projects.html", shelf.projects)
            views["/projects/{id}"] = ("board.html", shelf.board)
            views["/projects/{id}/documents/{document}"] = ("document.html", shelf.document)
            app.router.add_post("/projects/{id}/tasks", self.guarded(self._changing(shelf.change), "write"))
        for path, (template, gather) in views.items():
            app.router.add_get(path, self.guarded(self._view(template, gather)))
        app.router.add_post("/sessions/{id}/end", self.guarded(self._changing(self._end), "admin"))
        app.router.add_get("/events", self.guarded(self._live.stream), allow_head=False)
        app.router.add_get("/login", self._door.guard(self._login, self.tell, None))
        app.router.add_post("/login", self._door.guard(self._log_in, self.tell, None))
        app.router.add_post("/logout", self._door.guard(self._log_out, self.tell, None))
        app.on_shutdown.append(self._live.close)

    def guarded(self, handler: Any, scope: Any = "read") -> Any:
        """A handler of the page behind the door."""
        return self._door.guard(handler, self.tell, scope)

    async def tell(self, request: web.Request, status: int, text: str) -> web.StreamResponse:
        """The page that says what is wrong; who has to log in is taken there."""
        if status == 401 and request.method == "GET" and request.path != "/events":
            location = request.rel_url.path_qs if request.path != "/" else ""
            raise web.HTTPSeeOther("/login" + ("?" + urlencode({"next": location}) if location else ""))
        return self._html("message.html", request, {"status": status, "text": text}, status)

    def _html(
        self, template: str, request: web.Request, values: Mapping[str, Any], status: int = 200
    ) -> web.Response:
        return web.Response(
            text=self._render(template, request, values), status=status, content_type="text/html"
        )

    def _render(self, template: str, request: web.Request, values: Mapping[str, Any]) -> str:
        principal = request.get(PRINCIPAL)
        common = {
            "here": request.path,
            "query": request.query,
            "who": None if principal is None else principal.owner[1] or principal.owner[2],
            "can_end": self._door.allows(request, "admin"),
            "can_write": self._door.allows(request, "write"),
        }
        return self._templates.get_template(template).render(common | dict(values))

    def _view(self, template: str, gather: Gather) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def make(request: web.Request) -> str:
            return self._render(template, request, await gather(request))

        async def show(request: web.Request) -> web.Response:
            principal = request.get(PRINCIPAL)
            key = (request.url, None if principal is None else (principal.owner, principal.scopes))
            made, task = self._made.get(key, (0.0, None))
            if task is None or made + KEPT < time.monotonic() or (task.done() and task.exception()):
                if len(self._made) >= REMEMBERED:
                    self._made.clear()
                task = asyncio.create_task(make(request), name="page-view")
                self._made[key] = (time.monotonic(), task)
            return web.Response(text=await asyncio.shield(task), content_type="text/html")

        return show

    def _changing(self, change: Callable[[web.Request], Awaitable[str]]) -> Any:
        """A handler that changes something and goes where `change` says."""

        async def handle(request: web.Request) -> web.Response:
            location = await change(request)
            self._made.clear()
            raise web.HTTPSeeOther(location)

        return handle

    async def _now(self, request: web.Request) -> dict[str, Any]:
        state = chosen(request, "state", STATES, "now")
        search = request.query.get("q", "")[:200]
        start, end = back(24)
        return {
            "state": state,
            "now": await self._reports.now(),
            "totals": await self._reports.totals(start, end),
            "sessions": await self._reports.sessions(state, search or None, limit=PER_PAGE),
            "requests": (await self._reports.requests(limit=12)).lines,
            "refusals": await self._reports.refusals(limit=6),
            "plot": plotted(await self._reports.intervals(start, end), start, end)[0],
            "configuration": configuration("claude-code", self._address(request), token=self._asks()),
        }

    async def _session(self, request: web.Request) -> dict[str, Any]:
        session_id = request.match_info["id"]
        session = await self._reports.session(session_id)
        if session is None:
            raise web.HTTPNotFound(text="There is no such session.")
        return {
            "session": session,
            "page": await self._reports.requests(session=session_id, **self._filters(request)),
            "streams": await self._reports.streams(session_id),
            "questions": await self._reports.questions(session_id),
            "tokens": await self._reports.session_tokens(session_id),
        }

    async def _requests(self, request: web.Request) -> dict[str, Any]:
        return {"page": await self._reports.requests(**self._filters(request))}

    def _filters(self, request: web.Request) -> dict[str, Any]:
        outcome = chosen(request, "outcome", (*OUTCOMES, "failed"), "")
        number = request.query.get("page", "0")
        return {
            "outcomes": FAILED if outcome == "failed" else (outcome,) if outcome else (),
            "tool": request.query.get("tool", "")[:200] or None,
            "search": request.query.get("q", "")[:200] or None,
            "limit": PER_PAGE,
            "offset": PER_PAGE * min(int(number), 200) if number.isdecimal() else 0,
        }

    async def _tools(self, request: web.Request) -> dict[str, Any]:
        over = chosen(request, "over", tuple(SPANS), "day")
        start, end = back(SPANS[over])
        unit = "hour" if SPANS[over] <= 168 else "day"
        tools, totals, intervals = await asyncio.gather(
            self._reports.tools(start, end),
            self._reports.totals(start, end),
            self._reports.intervals(start, end, unit),
        )
        plot, times = plotted(intervals, start, end, unit)
        return {
            "over": over,
            "tools": tools,
            "totals": totals,
            "plot": plot,
            "times": times,
        }

    async def _problems(self, request: web.Request) -> dict[str, Any]:
        filters = self._filters(request)
        over = chosen(request, "over", tuple(SPANS), "week")
        search = filters["search"]
        return {
            "over": over,
            "page": await self._reports.requests(**filters | {"outcomes": filters["outcomes"] or FAILED}),
            "refusals": await self._reports.refusals(search, hours=SPANS[over]),
        }

    async def _system(self, request: web.Request) -> dict[str, Any]:
        return {
            "nodes": await self._reports.nodes(),
            "tracking": dict(self.house.tracking()),
            "sources": await self._reports.sources(),
            "jobs": await self._reports.jobs(),
            "now": await self._reports.now(),
        }

    async def _connect(self, request: web.Request) -> dict[str, Any]:
        url = self._address(request)
        found = [configuration(client, url, token=self._asks()) for client in CLIENTS]
        return {"configurations": found, "url": url, "asks": self._asks()}

    def _asks(self) -> bool:
        return self.house.verifier is not None

    def _address(self, request: web.Request) -> str:
        return f"{request.scheme}://{request.host}{self.house.path}"

    async def _end(self, request: web.Request) -> str:
        session_id = request.match_info["id"]
        await self.house.end_session(session_id)
        return f"/sessions/{session_id}"

    async def _login(self, request: web.Request) -> web.StreamResponse:
        return self._html("login.html", request, {"wrong": None, "next": inside(request.query.get("next"))})

    async def _log_in(self, request: web.Request) -> web.StreamResponse:
        given = await request.post()
        token, location = str(given.get("token", "")).strip(), inside(str(given.get("next", "")))
        principal = await verify(self.house.verifier, f"Bearer {token}")
        if isinstance(principal, Challenge):
            values = {"wrong": principal.message, "next": location}
            return self._html("login.html", request, values, 401)
        answer = web.Response(status=303, headers={"Location": location})
        answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict", secure=request.secure, path="/")
        return answer

    async def _log_out(self, request: web.Request) -> web.StreamResponse:
        answer = web.Response(status=303, headers={"Location": "/login"})
        answer.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
        return answer


def inside(location: str | None) -> str:
    """A path of this server, the page itself where another place is named."""
    path = location or "/"
    local = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if local else "/"


def chosen(request: web.Request, name: str, allowed: tuple[str, ...], default: str) -> str:
    """A query parameter, the default where it is none of what is allowed."""
    value = request.query.get(name, default)
    return value if value in allowed else default


def back(hours: int) -> tuple[datetime, datetime]:
    """From that many hours ago until now."""
    end = datetime.now(UTC)
    return end - timedelta(hours=hours), end


def plotted(intervals: Any, start: datetime, end: datetime, unit: str = "hour") -> tuple[str, str]:
    """Requests and failures, and durations, of every hour or day as JSON; the empty ones too."""
    step = timedelta(hours=1) if unit == "hour" else timedelta(days=1)
    at = start.replace(minute=0, second=0, microsecond=0)
    at = at if unit == "hour" else at.replace(hour=0)
    known = {each.start: each for each in intervals}
    moments, counts, failures, durations = list[int](), list[int](), list[int](), list[float | None]()
    while at <= end:
        found = known.get(at)
        moments.append(int(at.timestamp()))
        counts.append(found.requests if found else 0)
        failures.append(found.errors + found.timeouts if found else 0)
        durations.append(found.avg_ms if found else None)
        at += step
    return json.dumps([moments, counts, failures]), json.dumps([moments, durations])
