"""The migrations and the tools on databases that Archon made before."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from archon_transport.archon import build

UPSTREAM = """
    CREATE FUNCTION update_updated_at_column() RETURNS TRIGGER LANGUAGE plpgsql AS
        $$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$;
    CREATE TYPE task_status AS ENUM ('todo', 'doing', 'review', 'done');
    CREATE TABLE archon_projects (
        id UUID PRIMARY KEY DEFAULT gen_random_uuid(), title TEXT NOT NULL, description TEXT DEFAULT '',
        docs JSONB DEFAULT '[]', features JSONB DEFAULT '[]', data JSONB DEFAULT '[]', github_repo TEXT,
        pinned BOOLEAN DEFAULT false, created_at TIMESTAMPTZ DEFAULT now(),
        updated_at TIMESTAMPTZ DEFAULT now());
    CREATE TABLE archon_tasks (
        id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        project_id UUID REFERENCES archon_projects (id) ON DELETE CASCADE,
        parent_task_id UUID REFERENCES archon_tasks (id) ON DELETE CASCADE, title TEXT NOT NULL,
        description TEXT DEFAULT '', status task_status DEFAULT 'todo',
        assignee TEXT DEFAULT 'User' CHECK (assignee IS NOT NULL AND assignee != ''),
        task_order INTEGER DEFAULT 0, feature TEXT, sources JSONB DEFAULT '[]',
        code_examples JSONB DEFAULT '[]',
        archived BOOLEAN DEFAULT false, archived_at TIMESTAMPTZ, archived_by TEXT,
        created_at TIMESTAMPTZ DEFAULT now(), updated_at TIMESTAMPTZ DEFAULT now());
    CREATE TABLE archon_sources (
        source_id TEXT PRIMARY KEY, summary TEXT, total_word_count INTEGER DEFAULT 0, title TEXT,
        metadata JSONB DEFAULT '{}', created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        updated_at TIMESTAMPTZ NOT NULL DEFAULT now());
    CREATE TRIGGER update_archon_projects_updated_at BEFORE UPDATE ON archon_projects
        FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
    CREATE TRIGGER update_archon_tasks_updated_at BEFORE UPDATE ON archon_tasks
        FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
    INSERT INTO archon_projects (title, description, docs, features, data, pinned, created_at)
        VALUES ('Old', NULL, NULL, '{"name": "bare"}', 'null', NULL, NULL);
    INSERT INTO archon_tasks (project_id, title, description, task_order, sources, archived, status)
        SELECT id, 'Old task', NULL, NULL, '{}', NULL, NULL FROM archon_projects;
"""
"""Upstream's documented columns, before task_priority was added, with rows that hold null where they can."""

SEED = """
    CREATE TYPE task_priority AS ENUM ('low', 'medium', 'high', 'critical');
    ALTER TABLE archon_projects ADD archived BOOLEAN DEFAULT false, ADD archived_at TIMESTAMPTZ,
        ADD archived_by TEXT;
    ALTER TABLE archon_tasks ADD priority task_priority NOT NULL DEFAULT 'medium',
        ADD completed_at TIMESTAMPTZ, ADD completed_by TEXT;
    CREATE FUNCTION set_task_completed() RETURNS TRIGGER LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.status = 'done' AND OLD.status IS DISTINCT FROM 'done' THEN
            NEW.completed_at = now(); NEW.completed_by = NEW.assignee;
        ELSIF NEW.status != 'done' THEN NEW.completed_at = NULL; NEW.completed_by = NULL;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER trigger_set_task_completed BEFORE UPDATE ON archon_tasks
        FOR EACH ROW EXECUTE FUNCTION set_task_completed();
"""
"""What the seed's line of Archon has beside upstream's."""


@pytest.fixture(params=["upstream", "seed"])
async def pool(request, dsn: str, migrations) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(dsn, min_size=0, max_size=4) as pool:
        async with pool.acquire() as connection:
            await connection.execute(UPSTREAM + (SEED if request.param == "seed" else ""))
            for _ in range(2):
                await migrations(connection, "archon", "knowledge")
        yield pool


async def test_old_rows_are_served(call) -> None:
    """Rows of an older Archon, with null in every column that allows it, are found, changed and archived."""
    (project,) = (await call("find_projects", query="old"))["projects"]
    assert (project["description"], project["docs"], project["data"]) == (None, [], [])
    assert (project["features"], project["pinned"], project["archived"]) == ([{"name": "bare"}], False, False)
    whole = (await call("find_projects", project_id=project["id"]))["project"]
    assert (whole["docs"], whole["features"], whole["data"]) == ([], [{"name": "bare"}], [])
    (task,) = (await call("find_tasks", query="old task", include_closed=False))["tasks"]
    assert (task["status"], task["priority"], task["task_order"]) == (None, "medium", 0)
    done = await call("manage_task", action="update", task_id=task["id"], status="done", priority="high")
    assert (done["task"]["status"], done["task"]["priority"]) == ("done", "high")
    alone = (await call("find_tasks", task_id=task["id"]))["task"]
    assert alone["completed_at"] is not None
    assert alone["sources"] == [{}]
    reopened = await call("manage_task", action="update", task_id=task["id"], status="todo")
    assert reopened["task"]["status"] == "todo"
    assert (await call("find_tasks", task_id=task["id"]))["task"]["completed_at"] is None
    made = await call("manage_task", action="create", project_id=project["id"], title="New", task_order=1)
    assert made["success"]
    archived = await call("manage_project", action="archive", project_id=project["id"])
    assert archived["tasks_archived"] == 2
    back = await call("manage_project", action="unarchive", project_id=project["id"])
    assert back["tasks_unarchived"] == 2


async def test_a_schema_of_ones_own(dsn: str, migrations) -> None:
    """In a schema of its own everything is made there, though `public` has Archon's types and tables."""
    async with asyncpg.create_pool(dsn, min_size=0, max_size=2) as public, public.acquire() as connection:
        await migrations(connection, "archon", "knowledge")
        await connection.execute("CREATE SCHEMA mine")
    settings = {"search_path": "mine, public"}
    async with asyncpg.create_pool(dsn, min_size=0, max_size=2, server_settings=settings) as pool:
        async with pool.acquire() as connection:
            await migrations(connection, "archon", "knowledge")
        rows = await pool.fetch(
            "SELECT typname FROM pg_type WHERE typnamespace = 'mine'::regnamespace AND typtype IN ('e', 'c')"
        )
        assert {row["typname"] for row in rows} == {
            *("task_status", "task_priority", "archon_projects", "archon_tasks"),
            *("archon_project_sources", "archon_sources"),
        }
        assert build(pool, started_at=time.monotonic(), session_timeout=None)
