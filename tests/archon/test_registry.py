"""What holds for every tool: schemas, names, refusals and faults."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import jsonschema
import pytest
from mcp.client import Client
from mcp.server import Server
from mcp.shared.exceptions import MCPError

from archon_transport import __version__
from archon_transport.archon import build
from archon_transport.archon.answers import Failure
from archon_transport.archon.context import Archon
from archon_transport.archon.registry import build_server
from archon_transport.archon.server import INSTRUCTIONS, TOOLS

SNAPSHOT = Path(__file__).with_name("input_schemas.json")
SOME_ID = "0198c0de-0000-7000-8000-000000000001"
NAMES = [
    *("health_check", "session_info", "heartbeat"),
    *("find_projects", "manage_project", "find_tasks", "manage_task"),
    *("get_task_history", "get_task_versions", "get_completion_stats", "find_documents", "manage_document"),
    *("find_versions", "manage_version", "get_project_features"),
    *("link_knowledge", "unlink_knowledge", "get_linked_knowledge"),
    *("rag_get_available_sources", "rag_search_knowledge_base", "rag_search_code_examples"),
    *("rag_list_pages_for_source", "rag_read_full_page", "manage_rag_source", "rag_check_progress"),
]
CHANGING = ("manage_", "link_", "unlink_")
TOOL = {tool.name: tool for tool in TOOLS}

both_modes = pytest.mark.parametrize("mode", ["legacy", "auto"], indirect=True)


@pytest.fixture
async def server() -> Server[Any]:
    """Archon's server with no database behind it: what is tested here is decided before one is asked."""
    nowhere = asyncpg.create_pool("postgresql://nobody@127.0.0.1:1/none", min_size=0, max_size=1)
    return build(await nowhere, started_at=time.monotonic(), session_timeout=None)


def nodes(schema: Any):
    """Every schema inside a schema, itself first."""
    if isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            for child in value.values() if key == "properties" else [value]:
                yield from nodes(child)
    elif isinstance(schema, list):
        for item in schema:
            yield from nodes(item)


def test_input_schemas_are_the_ones_on_record() -> None:
    """A change of what clients send is made knowingly: delete the file, run once, and look at the diff."""
    schemas = {tool.name: tool.published().input_schema for tool in TOOLS}
    text = json.dumps(schemas, indent=2) + "\n"
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(text)
        pytest.fail(f"{SNAPSHOT.name} was written; commit it")
    assert text == SNAPSHOT.read_text()


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_parameter_is_typed_and_described(tool) -> None:
    """Input schemas keep to what every client reads, Gemini's above all."""
    schema = tool.published().input_schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    for parameter in schema["properties"].values():
        assert parameter["type"] in {"string", "integer", "number", "boolean", "array", "object"}
        assert parameter["description"]
    for node in nodes(schema):
        assert node["type"] != "array" or node["items"]["type"]
        assert not node.keys() & {"anyOf", "oneOf", "allOf", "$ref", "$defs", "format", "const"}
        assert not isinstance(node.get("title"), str)
        assert node.get("default", 0) is not None


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_output_schemas_need_nothing_from_elsewhere(tool) -> None:
    """An output schema is a valid object schema without references; only `success` is always there."""
    schema = tool.published().output_schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["required"] == ["success"]
    assert "error" in schema["properties"]
    assert not any(node.keys() & {"$ref", "$defs"} for node in nodes(schema))


@both_modes
async def test_server_says_who_it_is(server, mode) -> None:
    """Name, version and tools are Archon's, in a fixed order, and annotations are all given."""
    async with Client(server, mode=mode) as client:
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("archon-mcp-server", __version__)
        assert client.instructions == INSTRUCTIONS
        tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == NAMES
    for tool in tools:
        hints = tool.annotations
        assert hints is not None
        assert hints.open_world_hint is (tool.name == "manage_rag_source")
        assert hints.read_only_hint is not tool.name.startswith(CHANGING)
        assert hints.destructive_hint is (not hints.read_only_hint and tool.name != "link_knowledge")


def test_instructions_name_only_tools_that_exist() -> None:
    """What looks like a tool's name in the instructions is one."""
    words = set(re.findall(r"`(\w+)`", INSTRUCTIONS))
    parameters = {name for tool in TOOLS for name in tool.published().input_schema["properties"]}
    assert words - parameters - {"has_more", "error"} <= set(NAMES)
    assert {"find_projects", "manage_project", "find_tasks", "manage_task"} <= words


@pytest.mark.spec("J-15", "H-121")
@both_modes
async def test_unknown_tool_is_a_protocol_error(server, mode) -> None:
    """A tool that never was is refused with -32602."""
    async with Client(server, mode=mode) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("find_everything", {})
    assert (caught.value.code, caught.value.message) == (-32602, "Unknown tool: find_everything")


@pytest.mark.spec("H-113")
@both_modes
async def test_unknown_cursor_is_a_protocol_error(server, mode) -> None:
    """The list of tools has one page, so no cursor is ours."""
    async with Client(server, mode=mode) as client:
        with pytest.raises(MCPError) as caught:
            await client.list_tools(cursor="2")
    assert caught.value.code == -32602


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *[(f"{verb}_project", "manage_project") for verb in ("create", "update", "delete")],
        *[(f"{verb}_task", "manage_task") for verb in ("create", "update", "delete")],
        *[("list_projects", "find_projects"), ("get_project", "find_projects")],
        *[("list_tasks", "find_tasks"), ("get_task", "find_tasks")],
        *[(f"{verb}_document", "manage_document") for verb in ("create", "update", "delete")],
        *[("list_documents", "find_documents"), ("get_document", "find_documents")],
        *[("create_version", "manage_version"), ("restore_version", "manage_version")],
        *[("list_versions", "find_versions"), ("get_version", "find_versions")],
        ("suggest_knowledge", "rag_search_knowledge_base"),
        *[("get_knowledge_sources", "get_linked_knowledge"), ("reconnect_session", "heartbeat")],
    ],
)
async def test_a_former_name_answers_with_the_new_one(call, old: str, new: str) -> None:
    """A client that knows Archon's older names is told how to call the tool now."""
    error = (await call(old, title="x"))["error"]
    assert error["type"] == "renamed"
    assert new in error["message"]
    assert f"{new}(" in error["suggestion"]


def test_tools_have_names_of_their_own() -> None:
    """Two tools cannot answer to one name, be it a present or a former one."""
    archon: Any = None
    words = {"name": "x", "version": "1", "instructions": ""}
    for clash in (TOOLS[0].name, "list_tasks"):
        twin = replace(TOOLS[0], name="another", replaces={clash: ""})
        with pytest.raises(ValueError, match="name"):
            build_server((*TOOLS, twin), archon, **words)
    with pytest.raises(ValueError, match="one name"):
        build_server((*TOOLS, TOOLS[0]), archon, **words)


def test_input_schema_is_found_by_name(server: Server[Any]) -> None:
    """The transport can look a tool's schema up without listing the tools."""
    assert server.get_tool_input_schema is not None
    assert server.get_tool_input_schema("find_tasks") == TOOL["find_tasks"].published().input_schema
    assert server.get_tool_input_schema("list_tasks") is None


BAD = [
    ("find_projects", {"per_page": 0}, "per_page: must be a whole number from 1 to 100."),
    ("find_projects", {"per_page": 101}, "per_page: must be a whole number from 1 to 100."),
    ("find_projects", {"page": 0}, "page: must be a whole number of at least 1."),
    ("find_projects", {"page": -3}, "page: must be a whole number of at least 1."),
    ("find_projects", {"page": "two"}, "page: must be a whole number of at least 1."),
    ("find_projects", {"page": 1.5}, "page: must be a whole number of at least 1."),
    ("find_projects", {"page": 10**40, "per_page": [1]}, "per_page: must be a whole number from 1 to 100."),
    ("find_projects", {"query": "x" * 501}, "query: must be text of at most 500 characters."),
    ("find_projects", {"query": 7}, "query: must be text of at most 500 characters."),
    ("find_projects", {"query": "a\0b"}, "query: must not contain the character U+0000."),
    ("find_projects", {"project_id": "Archon"}, "project_id: must be a UUID, as the ids in answers are."),
    ("find_projects", {"project_id": {"id": 1}}, "project_id: must be a UUID, as the ids in answers are."),
    ("find_projects", {"include_archived": "maybe"}, "include_archived: must be true or false."),
    (
        "manage_project",
        {},
        "action: is required and must be one of create, update, delete, undelete, archive, unarchive.",
    ),
    ("manage_project", {"action": "create"}, "title: is required for create."),
    ("manage_project", {"action": "create", "title": None}, "title: is required for create."),
    ("manage_project", {"action": "create", "title": " \n"}, "title: must be text from 1 to 500 characters."),
    ("manage_project", {"action": "create", "title": "a\0"}, "title: must not contain the character U+0000."),
    ("manage_project", {"action": "archive"}, "project_id: is required for archive."),
    (
        "manage_project",
        {"action": "update", "project_id": SOME_ID},
        "Nothing to change: give title, description, github_repo or pinned.",
    ),
    (
        "manage_task",
        {"action": "create"},
        "project_id: is required for create; title: is required for create.",
    ),
    ("manage_task", {"action": "delete"}, "task_id: is required for delete."),
    ("manage_task", {"action": "update", "task_id": SOME_ID, "project_id": SOME_ID}, "Nothing to change: "),
    (
        "manage_task",
        {"action": "create", "status": "open", "priority": "urgent"},
        "status: must be one of todo, doing, review, done; "
        "priority: must be one of low, medium, high, critical.",
    ),
    (
        "manage_task",
        {"action": "create", "task_order": -1},
        "task_order: must be a whole number from 0 to 1000000.",
    ),
    (
        "manage_task",
        {"action": "create", "description": "x" * 50_001},
        "description: must be text of at most 50000 characters.",
    ),
    ("find_tasks", {"filter_by": "feature"}, "filter_by: must be one of status, project, assignee."),
    ("find_tasks", {"filter_by": "status"}, "filter_value: is required with filter_by."),
    ("find_tasks", {"filter_value": "todo"}, "filter_by: is required with filter_value."),
    (
        "find_tasks",
        {"filter_by": "status", "filter_value": "open"},
        "filter_value: must be one of todo, doing, review, done with filter_by status.",
    ),
    (
        "find_tasks",
        {"filter_by": "project", "filter_value": "Archon"},
        "filter_value: must be a project's UUID with filter_by project.",
    ),
    (
        "health_check",
        {"verbose": True},
        "verbose: there is no such parameter. The parameters of health_check are: none.",
    ),
    (
        "find_tasks",
        {"status": "todo"},
        "status: there is no such parameter. The parameters of find_tasks are: "
        "offset, limit, query, page, per_page, fields, task_id, filter_by, filter_value, project_id, "
        "include_closed.",
    ),
]


@pytest.mark.spec("H-121", "M-101")
@pytest.mark.parametrize(("tool", "arguments", "message"), BAD, ids=range(len(BAD)))
async def test_bad_arguments_are_told_apart(call, tool: str, arguments: dict[str, Any], message: str) -> None:
    """A refused argument is named, with what is allowed, in an answer and not a protocol error."""
    error = (await call(tool, **arguments))["error"]
    assert error["type"] == "validation_error"
    assert error["message"].startswith(message)
    assert "pydantic" not in json.dumps(error)
    assert "Input should" not in error["message"]


@both_modes
async def test_a_wrong_action_has_archons_word(call) -> None:
    """Archon answers an action that a tool does not have with `invalid_action`."""
    error = (await call("manage_task", action="archive"))["error"]
    assert error["type"] == "invalid_action"
    assert error["message"] == "action: must be one of create, update, delete, undelete, claim."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": "\ud800"}, "query: must be valid Unicode."),
        ({"\ud800": 1}, "arguments: must be valid Unicode."),
        ({"é\n" * 50: 1}, "\\xe9\\n\\xe9"),
        ({str(n): 1 for n in range(5000)}, "0: there is no such parameter; 1: "),
        ({"action": "find"}, "action: there is no such parameter."),
    ],
)
async def test_a_refusal_can_always_be_sent(arguments: dict[str, Any], message: str) -> None:
    """Whatever a client puts into names and values, the refusal is short text that any encoder takes."""
    archon: Any = None
    answer = await TOOL["find_tasks"].call(archon, arguments)
    assert isinstance(answer, Failure)
    assert answer.error.type == "validation_error"
    assert answer.error.message.startswith(message)
    assert len(answer.model_dump_json()) < 1500


def server_whose_pool_does(failure: BaseException | None, timeout: float = 30.0) -> Server[Any]:
    """A server whose `session_info` meets a failure of the database, or waits for ever."""

    async def fail(archon: Archon, arguments: Any) -> Any:
        if failure is None:
            await asyncio.Event().wait()
        else:
            raise failure

    tools = [replace(TOOL["session_info"], handler=fail, timeout=timeout)]
    archon: Any = None
    return build_server(tools, archon, name="x", version="1", instructions="")


FAULTS = [
    (ConnectionRefusedError("/private/path"), "connection_error"),
    (asyncpg.CannotConnectNowError("the database system is starting up"), "connection_error"),
    (asyncpg.InterfaceError("pool is closing"), "connection_error"),
    (
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of /private"),
        "connection_error",
    ),
    (TimeoutError(), "timeout"),
    (asyncpg.QueryCanceledError("canceling statement due to statement timeout"), "timeout"),
    (asyncpg.DeadlockDetectedError("deadlock detected"), "api_error"),
    (asyncpg.UniqueViolationError("Key (id)=(/private) exists"), "api_error"),
    (asyncpg.UndefinedTableError('relation "/private" does not exist'), "unknown_error"),
    (RuntimeError("/private"), "unknown_error"),
]


@pytest.mark.spec("S-16")
@pytest.mark.parametrize(
    ("failure", "kind"), FAULTS, ids=lambda value: getattr(value, "__class__", value).__name__
)
async def test_a_fault_is_an_answer_that_tells_nothing_private(failure: Exception, kind: str) -> None:
    """What a tool did not plan becomes an envelope with advice, and none of our insides."""
    async with Client(server_whose_pool_does(failure)) as client:
        result = await client.call_tool("session_info", {})
    error = result.structured_content["error"]
    assert result.is_error
    assert error["type"] == kind
    assert error["suggestion"]
    assert "/private" not in json.dumps(error)
    assert str(type(failure).__name__) not in json.dumps(error)


async def test_a_call_has_a_time_limit() -> None:
    """A tool that hangs is ended and answered with `timeout`."""
    async with Client(server_whose_pool_does(None, timeout=0.05)) as client:
        result = await client.call_tool("session_info", {})
    assert result.structured_content["error"]["type"] == "timeout"


async def test_a_database_that_is_away_is_told_as_such(call) -> None:
    """With nothing listening, a tool answers `connection_error` and the health check `unhealthy`."""
    found, health = await call("find_projects"), await call("health_check")
    assert found["error"]["type"] == "connection_error"
    assert health["success"]
    assert health["health"]["status"] == "unhealthy"
    assert health["health"]["api_service"] is health["health"]["agents_service"] is False
