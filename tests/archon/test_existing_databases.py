"""The migrations and the tools on databases that Archon made before."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from archon_transport.archon import build
from archon_transport.sessions import serving

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
    CREATE TABLE archon_document_versions (
        id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        project_id UUID REFERENCES archon_projects (id) ON DELETE CASCADE,
        task_id UUID REFERENCES archon_tasks (id) ON DELETE CASCADE, field_name TEXT NOT NULL,
        version_number INTEGER NOT NULL, content JSONB NOT NULL, change_summary TEXT,
        change_type TEXT DEFAULT 'update', document_id TEXT, created_by TEXT DEFAULT 'system',
        created_at TIMESTAMPTZ DEFAULT now(),
        CHECK ((project_id IS NOT NULL AND task_id IS NULL) OR (project_id IS NULL AND task_id IS NOT NULL)),
        UNIQUE (project_id, task_id, field_name, version_number));
    CREATE TRIGGER update_archon_projects_updated_at BEFORE UPDATE ON archon_projects
        FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
    CREATE TRIGGER update_archon_tasks_updated_at BEFORE UPDATE ON archon_tasks
        FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
    INSERT INTO archon_projects (title, description, docs, features, data, pinned, created_at)
        VALUES ('Old', NULL, NULL, '{"name": "bare"}', 'null', NULL, NULL);
    INSERT INTO archon_tasks (project_id, title, description, task_order, sources, archived, status)
        SELECT id, 'Old task', NULL, NULL, '{}', NULL, NULL FROM archon_projects;
    INSERT INTO archon_document_versions (project_id, field_name, version_number, content)
        SELECT id, 'docs', 1, '[]' FROM archon_projects, generate_series(1, 2);
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
    CREATE TABLE archon_task_history (
        id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
        task_id UUID NOT NULL REFERENCES archon_tasks (id) ON DELETE CASCADE, field_name TEXT NOT NULL,
        old_value TEXT, new_value TEXT, changed_by TEXT NOT NULL DEFAULT 'system',
        changed_at TIMESTAMPTZ NOT NULL DEFAULT now(), change_reason TEXT);
    CREATE FUNCTION track_task_changes() RETURNS TRIGGER LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.status IS DISTINCT FROM NEW.status THEN
            INSERT INTO archon_task_history (task_id, field_name, old_value, new_value, changed_by)
            VALUES (NEW.id, 'status', OLD.status::text, NEW.status::text, NEW.assignee);
        END IF;
        IF OLD.priority IS DISTINCT FROM NEW.priority THEN
            INSERT INTO archon_task_history (task_id, field_name, old_value, new_value, changed_by)
            VALUES (NEW.id, 'priority', OLD.priority::text, NEW.priority::text, NEW.assignee);
        END IF;
        IF abs(length(OLD.description) - length(NEW.description)) > 10 THEN
            INSERT INTO archon_task_history (task_id, field_name, old_value, new_value, changed_by)
            VALUES (NEW.id, 'description', left(OLD.description, 500), left(NEW.description, 500),
                    NEW.assignee);
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER task_change_tracking AFTER UPDATE ON archon_tasks
        FOR EACH ROW EXECUTE FUNCTION track_task_changes();
    CREATE TABLE archon_knowledge_links (
        id UUID PRIMARY KEY DEFAULT gen_random_uuid(), source_type VARCHAR(50) NOT NULL,
        source_id UUID NOT NULL, knowledge_type VARCHAR(50) NOT NULL, knowledge_id UUID NOT NULL,
        relevance_score DECIMAL(3,2), created_by VARCHAR(100), created_at TIMESTAMPTZ DEFAULT now(),
        UNIQUE (source_type, source_id, knowledge_type, knowledge_id));
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


async def test_history_has_each_change_once(call) -> None:
    """Where Archon's triggers write history too, each change is one line, by who made it."""
    serving(None, ("https://issuer", "ann", None))
    (task,) = (await call("find_tasks"))["tasks"]
    key = task["id"]
    texts = ("first text", "first text that is much longer", "first text that is much shorter")
    for number, text in enumerate(texts):
        priority = ("low", "high", "low")[number]
        changed = await call("manage_task", action="update", task_id=key, description=text, priority=priority)
        assert changed["success"]
    done = await call("manage_task", action="update", task_id=key, status="done", assignee="Somebody")
    assert done["success"]
    assert (await call("find_tasks", task_id=key))["task"]["completed_by"] == "ann"
    lines = (await call("get_task_history", task_id=key))["changes"]
    assert {line["changed_by"] for line in lines} == {"ann"}
    kinds = [line["field_name"] for line in lines]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "description": 3,
        "priority": 3,
        "status": 1,
        "assignee": 1,
    }
    versions = (await call("get_task_versions", task_id=key, field_name="description"))["versions"]
    assert [version["content"] for version in versions] == [*reversed(texts[:-1]), None]


async def test_claims_and_deletions(call, pool) -> None:
    """Leases and deletions work on the rows that are there; versions with one number are left as they are."""
    assert await pool.fetchval("SELECT count(*) FROM archon_document_versions WHERE version_number = 1") == 2
    (task,) = (await call("find_tasks"))["tasks"]
    await call("manage_task", action="update", task_id=task["id"], status="todo")
    claimed = await call("manage_task", action="claim", assignee="Agent")
    assert claimed["task_id"] == task["id"]
    await pool.execute("UPDATE archon_tasks SET lease_until = now() - interval '1 second'")
    assert (await call("find_tasks", filter_by="status", filter_value="todo"))["count"] == 1
    lines = (await call("get_task_history", task_id=task["id"], field_name="status"))["changes"]
    assert [(line["new_value"], line["changed_by"]) for line in lines] == [
        ("todo", "system"),
        ("doing", "User"),
        ("todo", "User"),
    ]
    whole = await call("find_tasks", task_id=task["id"])
    assert (await call("manage_project", action="delete", project_id=task["project_id"]))["success"]
    assert (await call("manage_project", action="undelete", project_id=task["project_id"]))["success"]
    assert await call("find_tasks", task_id=task["id"]) == whole
    assert await pool.fetchval("SELECT count(*) FROM archon_document_versions WHERE version_number = 1") == 2


async def test_documents_versions_and_links(call, pool) -> None:
    """Documents are written into Archon's column, versions go on from its numbers, and links are made."""
    (project,) = (await call("find_projects"))["projects"]
    where = {"project_id": project["id"]}
    made = await call(
        "manage_document", action="create", title="D", document_type="spec", text="old", **where
    )
    document = {**where, "document_id": made["document_id"]}
    assert (await call("manage_document", action="update", text="new", **document))["success"]
    listed = await call("find_versions", field_name="docs", **where)
    numbers = [version["version_number"] for version in listed["versions"]]
    assert numbers[0] == max(numbers[1:], default=0) + 1
    restored = {"field_name": "docs", "version_number": numbers[0], **where}
    assert (await call("manage_version", action="restore", **restored))["success"]
    assert (await call("find_documents", **document))["document"]["content"] == {"markdown": "old"}
    for field in ("features", "data", "prd"):
        given = {"field_name": field, "content": [{"name": field}], **where}
        number = (await call("manage_version", action="create", **given))["version_number"]
        given = {"field_name": field, "version_number": number, **where}
        assert (await call("manage_version", action="restore", **given))["success"]
    assert (await call("get_project_features", **where))["features"] == [{"name": "features"}]
    (stored,) = json.loads(await pool.fetchval("SELECT docs::text FROM archon_projects"))
    assert stored.keys() == {
        *("id", "title", "document_type", "content", "tags", "author", "status", "version"),
        *("created_at", "updated_at"),
    }
    source = {"source_type": "project", "source_id": project["id"], "knowledge_type": "rag_page"}
    link = await call("link_knowledge", knowledge_id=project["id"], relevance_score=0.5, **source)
    assert link["link"]["relevance_score"] == 0.5
    assert (await call("manage_document", action="delete", **document))["success"]
    assert (await call("manage_document", action="undelete", **document))["success"]


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
            *("archon_project_sources", "archon_sources", "archon_task_history", "archon_trash"),
            *("archon_document_versions", "archon_knowledge_links", "archon_mcp_idempotency"),
            *("archon_page_metadata", "archon_crawled_pages", "archon_code_examples"),
            *("archon_knowledge_documents", "archon_knowledge_jobs"),
            *("archon_search_terms", "archon_search_corpus"),
        }
        assert build(pool, started_at=time.monotonic(), session_timeout=None)
