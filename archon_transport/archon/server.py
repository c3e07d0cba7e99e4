"""Archon's MCP server: its tools in their order, and what it tells an assistant about using them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import asyncpg
from mcp.server import Server
from mcp.server.subscriptions import SubscriptionBus

from .. import __version__
from ..knowledge.embed import Embedder
from . import (
    chores,
    completions,
    documents,
    features,
    history,
    knowledge,
    knowledge_sources,
    links,
    projects,
    prompts,
    resources,
    status,
    task_changes,
    tasks,
    versions,
)
from .context import Archon, utc_now
from .reference import page
from .registry import Tool, build_server

SERVER_NAME = "archon-mcp-server"

_DOMAINS: tuple[Any, ...] = (
    *(status, projects, tasks, task_changes, history, documents, versions, features, links),
    *(knowledge, knowledge_sources),
)
TOOLS: tuple[Tool, ...] = tuple(tool for domain in _DOMAINS for tool in domain.TOOLS)
"""Every tool, in the order in which `tools/list` shows them."""

INSTRUCTIONS = """\
Archon keeps the projects, tasks and documents of your work. It is the place for them: use it instead of a
to-do list of your own, and do not write code before you have looked which task it belongs to.

The way of working:
1. Find the project with `find_projects`; where there is none, make it with `manage_project`.
2. Take a task: `manage_task` with action "claim" gives you the most urgent one in todo and keeps other
   agents from it, or look with `find_tasks` and set one to doing. Keep one task in doing at a time.
3. Research first, then build. Read what the project already has, its `find_documents` too.
   `rag_search_knowledge_base` finds documentation (by 2 to 5 words, an identifier or a question),
   `rag_search_code_examples` finds code, `rag_read_full_page` reads on. To search in one source, take its id
   from `rag_get_available_sources`.
4. A claimed task goes back to todo when its lease runs out: any change of the task renews it.
5. Set it to review when it is finished, and to done when it has been checked. Then take the next.

Tasks: one is between 30 minutes and 4 hours of work; split what is bigger, join what is smaller. In a
project for one feature, tasks are its steps (set up, build, test, document); in a project for a whole code
base, tasks are its features, and `feature` names the part they belong to.

Lists: their `query` takes 2 to 5 words; every one of them must occur. They come in pages of `per_page`
items; `has_more` says whether another page follows, `fields` chooses what is shown. A list shortens what is
long; ask for one item by its id to see it whole, a very long one piece by piece with `offset`.

Documents: write down with `manage_document` what others need to know, as `text` in markdown. Read before you
change, and pass the version that you read as `expected_version`: then you overwrite nobody's work.

Nothing is lost: deletions can be undone for 30 days (action "undelete"), `get_task_history` and
`get_task_versions` tell what a task was, `find_versions` what a document was; `manage_version` brings it
back. Give creates an
`idempotency_key` if you may have to repeat them.

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
    bus: SubscriptionBus | None = None,
    embedder: Embedder | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Server[Any]:
    """The MCP server of Archon on a pool whose connections have Archon's schema in their search path.

    `started_at` is a reading of `monotonic`; `session_timeout` is seconds of idleness, None for never.
    Over `bus` those who watch a resource hear of its changes; without one nobody can watch.
    """
    archon = Archon(
        pool=pool,
        started_at=started_at,
        session_timeout=session_timeout,
        monotonic=monotonic,
        now=now,
        embedder=embedder,
        stopping=stopping,
    )
    server = build_server(TOOLS, archon, name=SERVER_NAME, version=__version__, instructions=INSTRUCTIONS)
    resources.attach(server, archon, bus)
    prompts.attach(server, archon)
    completions.attach(server, archon)
    server.lifespan = chores.with_chores(server.lifespan, archon)
    return server


def reference() -> str:
    """The page of HTML that describes all of it."""
    return page(TOOLS)
