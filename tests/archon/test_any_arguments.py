"""Whatever a client sends to any tool is answered: done, or refused in words, and never a fault of ours.

Arguments are made from the published schemas, most of them valid, some of them not, with ids of what is
there and of what is not.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import Any

import asyncpg
import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archon_transport.archon.budget import CHARACTERS, as_json, fitted
from archon_transport.archon.context import Archon
from archon_transport.archon.server import TOOLS

Schema = dict[str, Any]

NOWHERE = "0198c0de-0000-7000-8000-000000000001"

SEED = """
    WITH project AS (
        INSERT INTO archon_projects (title, docs, features) VALUES
            ('P', '[{"id": "d", "title": "D", "document_type": "note", "content": {"text": "t"}}]', '[{"n": 1}]')
        RETURNING id
    )
    INSERT INTO archon_tasks (project_id, title) SELECT id, 'T' FROM project RETURNING project_id, id
"""
KNOWN = """
    WITH source AS (INSERT INTO archon_sources (source_id) VALUES ('s') RETURNING source_id), page AS (
        INSERT INTO archon_page_metadata (source_id, url, full_content, word_count, char_count)
        SELECT source_id, 'https://example.com/p', 'words', 1, 5 FROM source RETURNING id
    ), job AS (
        INSERT INTO archon_knowledge_jobs (source_id, request, status) VALUES ('s', '{}', 'completed')
        RETURNING job_id
    ), link AS (
        INSERT INTO archon_knowledge_links (source_type, source_id, knowledge_type, knowledge_id)
        VALUES ('task', $1, 'document', '1') RETURNING id
    )
    SELECT page.id AS page_id, job_id AS progress_id, link.id AS link_id FROM page, job, link
"""

ODD = st.sampled_from(["", "\0", "\ud800", "é" * 300, "x" * 60_000, "%", "\\", "null", "[1]", "{", "-1", "d"])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD, inner, max_size=3),
    max_leaves=6,
)


def values(schema: Schema, ids: dict[str, list[str]], name: str = "") -> st.SearchStrategy[Any]:
    """Values that fit a published schema, most of them useful under the name that they are for."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "integer":
            return st.integers(schema.get("minimum", -9), schema.get("maximum", 10**12))
        case "number":
            return st.floats(schema.get("minimum", -9.0), schema.get("maximum", 9.0))
        case "boolean":
            return st.booleans()
        case "array" if name == "fields":
            return st.lists(st.sampled_from(["title", "id", "status"]), max_size=2)
        case "array":
            return st.lists(values(schema["items"], ids), max_size=3)
        case "object":
            free = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)
            return objects(schema, ids) if schema.get("properties") else free
        case _ if name.endswith("_id") or name == "filter_value":
            return st.sampled_from(ids.get(name, ["todo"]))
        case _:
            return st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=10)


def objects(schema: Schema, ids: dict[str, list[str]]) -> st.SearchStrategy[Schema]:
    """Objects of a schema: what is required and some of what is not; now and then something odd in it."""
    properties: Schema = schema.get("properties", {})
    required = set(schema.get("required", ()))
    fitting = {name: values(each, ids, name) for name, each in properties.items()}
    most = st.fixed_dictionaries(
        {name: each for name, each in fitting.items() if name in required},
        optional={name: each for name, each in fitting.items() if name not in required},
    )
    odd = st.dictionaries(st.sampled_from([*properties, "no such"]), JUNK, min_size=1, max_size=2)
    spoiled = st.builds(lambda one, other: {**one, **other}, most, odd)
    return st.integers(0, 3).flatmap(lambda number: most if number else spoiled)


async def prepare(dsn: str, migrate: Any) -> tuple[Archon, dict[str, list[str]]]:
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=2, command_timeout=20)
    async with pool.acquire() as connection:
        await migrate(connection, "transport", "archon", "knowledge")
    project, task = (str(each) for each in await pool.fetchrow(SEED))
    known = await pool.fetchrow(KNOWN, task)
    ids = {
        **{name: [str(each), str(each), NOWHERE] for name, each in known.items()},
        "project_id": [project, project, NOWHERE],
        "task_id": [task, task, NOWHERE],
        "parent_task_id": [task, NOWHERE],
        "document_id": ["d", "d", "e"],
        "source_id": [project, task, "s", NOWHERE],
        "knowledge_id": ["1", NOWHERE],
        "filter_value": ["todo", "done", project, "User"],
    }
    return Archon(pool=pool, started_at=time.monotonic(), session_timeout=None), ids


@pytest.mark.parametrize(
    "examples", [40, pytest.param(2000, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
def test_any_arguments(
    empty_dsn: str, migrations: Any, examples: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that fits its schema and the budget, or a refusal with a word and a reason."""
    schemas = {tool.name: tool.published() for tool in TOOLS}
    with asyncio.Runner() as runner:
        archon, ids = runner.run(prepare(empty_dsn, migrations))
        calls = st.sampled_from(TOOLS).flatmap(
            lambda tool: st.tuples(st.just(tool), objects(schemas[tool.name].input_schema, ids))
        )

        outcomes: Counter[tuple[str, bool]] = Counter()

        @settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(calls)
        def check(made: Any) -> None:
            tool, arguments = made
            answer = runner.run(tool.call(archon, arguments))
            outcomes[tool.name, answer.success] += 1
            content = fitted(answer.content())
            assert len(as_json(content).encode()) <= 4 * CHARACTERS
            jsonschema.validate(json.loads(as_json(content)), schemas[tool.name].output_schema)
            if not content["success"]:
                error = content["error"]
                assert error["message"]
                assert error["type"] in {"validation_error", "invalid_action", "not_found", "api_error"}

        try:
            check()
        finally:
            runner.run(archon.pool.close())
    done = {tool for tool, success in outcomes if success}
    assert examples < 1000 or len(done) >= len(TOOLS) - 3, f"never done: {schemas.keys() - done}"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
