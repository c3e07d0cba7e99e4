"""Archon's MCP server: its tools in their order, and what it tells an assistant about using them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import asyncpg
from mcp.server import Server

from .. import __version__
from . import projects, status, tasks
from .context import Archon, utc_now
from .registry import Tool, build_server

SERVER_NAME = "archon-mcp-server"

TOOLS: tuple[Tool, ...] = (*status.TOOLS, *projects.TOOLS, *tasks.TOOLS)
"""Every tool, in the order in which `tools/list` shows them."""

INSTRUCTIONS = """\
Archon keeps the projects and tasks of your work. It is the place for them: use it instead of a to-do list
of your own, and do not write code before you have looked which task it belongs to.

The way of working:
1. Find the project with `find_projects`; where there is none, make it with `manage_project`.
2. Take a task from `find_tasks` (filter_by "status", filter_value "todo"); read it whole with task_id.
3. Set it to doing with `manage_task`. Keep one task in doing at a time.
4. Research first, then build. Read what the project already has before you add to it.
5. Set it to review when it is finished, and to done when it has been checked. Then take the next.

Tasks: one is between 30 minutes and 4 hours of work; split what is bigger, join what is smaller. In a
project for one feature, tasks are its steps (set up, build, test, document); in a project for a whole code
base, tasks are its features, and `feature` names the part they belong to.

Searching: `query` takes 2 to 5 words; every one of them must occur. Lists come in pages of `per_page`
items; `has_more` says whether another page follows. A list shortens what is long; ask for one item by its
id to see it whole.

An answer with "success": false says in `error` what was wrong and what to do. `health_check` tells whether
the server works; `session_info` describes your own session, which outlives restarts of the server.
"""


def build(
    pool: asyncpg.Pool,
    *,
    started_at: float,
    session_timeout: float | None,
    monotonic: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = utc_now,
) -> Server[Any]:
    """The MCP server of Archon on a pool whose connections have Archon's schema in their search path.

    `started_at` is a reading of `monotonic`; `session_timeout` is seconds of idleness, None for never.
    """
    archon = Archon(
        pool=pool, started_at=started_at, session_timeout=session_timeout, monotonic=monotonic, now=now
    )
    return build_server(TOOLS, archon, name=SERVER_NAME, version=__version__, instructions=INSTRUCTIONS)
