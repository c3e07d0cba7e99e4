"""What Archon does unasked, while its server runs and only then."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from archon_transport.archon.chores import do_chores, with_chores
from archon_transport.archon.context import Archon

LEFT = """
    SELECT (SELECT count(*) FROM archon_trash) + (SELECT count(*) FROM archon_mcp_idempotency)
         + (SELECT count(*) FROM archon_tasks WHERE lease_until IS NOT NULL)
"""


@pytest.fixture
async def archon(pool) -> Archon:
    """Archon with one thing of each kind that is due, and one that is not."""
    await pool.execute(
        """
        INSERT INTO archon_trash (deletion, kind, item_id, content, deleted_by, deleted_at)
            SELECT gen_random_uuid(), 'document', 'd', '{}', 'x', now() - n * interval '16 days'
              FROM generate_series(1, 2) AS n;
        INSERT INTO archon_mcp_idempotency (principal, key, tool, arguments_digest, created_at)
            SELECT '', n::text, 't', '', now() - n * interval '13 hours' FROM generate_series(1, 2) AS n;
        INSERT INTO archon_tasks (title, status, lease_until)
            SELECT 'T', 'doing', now() + n * interval '1 minute' FROM generate_series(-1, 1, 2) AS n;
        """
    )
    return Archon(pool=pool, started_at=0, session_timeout=None)


async def test_what_is_due_is_done(archon, pool) -> None:
    """Leases that ran out end, answers are forgotten after a day, deletions after 30; the rest stays."""
    await do_chores(archon)
    assert await pool.fetchval(LEFT) == 3


async def test_chores_run_beside_the_server(archon, pool) -> None:
    """They begin with the server's lifespan, survive a database that is away, and end with it."""

    @asynccontextmanager
    async def lifespan(server):
        yield "state"

    nothing = await asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/none", min_size=0, max_size=1)
    away = Archon(pool=nothing, started_at=0, session_timeout=None)
    async with with_chores(lifespan, away, 0.001)(None), with_chores(lifespan, archon, 0.001)(None) as state:
        assert state == "state"
        async with asyncio.timeout(10):
            while await pool.fetchval(LEFT) != 3:
                await asyncio.sleep(0.01)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "archon chores"]
