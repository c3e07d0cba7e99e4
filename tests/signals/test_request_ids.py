"""A request's id: one and the same in its row, on its log lines, and in what its client sees of an error."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from archon_transport.sessions.record import uuid7
from archon_transport.signals import logs
from archon_transport.store import PostgresStore
from tests.transport.house import House, request, running, tool_call


@pytest.fixture
async def house(store: PostgresStore) -> AsyncIterator[House]:
    async with running(store) as house:
        yield house


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture):
    """The log as JSON: the lines that say one thing."""
    caplog.set_level(logging.INFO, logger="archon_transport")  # a command run before may have raised it
    caplog.handler.setFormatter(logs.JSONFormatter())

    def said(message: str) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in caplog.text.splitlines()]
        return [entry for entry in entries if entry["message"] == message]

    return said


async def ids(house: House, store: PostgresStore) -> dict[str, str]:
    """The ids of the rows, by method or tool."""
    await house.transport.writer.flush()
    rows = await store.pool.fetch("SELECT request_id, COALESCE(tool_name, method) FROM archon_mcp_requests")
    return {name: str(request_id) for request_id, name in rows}


async def test_a_crash_is_found_by_the_id_that_its_client_sees(house, store, lines):
    """The error's data, the line with the traceback and the row have one id, and the line its session."""
    session = await house.connect()
    answer = await house.call("boom", session)
    assert answer.error["code"] == -32603
    (line,) = lines("the handler of a request raised")
    assert answer.error["data"] == {"request_id": line["request_id"]}
    assert "Traceback" in line["exception"]
    assert line["session_id"] == session.partition(".")[0]
    (opened,) = lines("session opened")
    assert await ids(house, store) == {"initialize": opened["request_id"], "boom": line["request_id"]}
    assert session.partition(".")[2] not in json.dumps([line, opened])


async def test_a_refusal_names_the_id_of_its_line(house, store, lines):
    """Every 4xx has its id in a header; it has no row, and no other answer has the header."""
    answer = await house.post({"not": "a message"})
    (line,) = lines("request refused")
    assert answer.headers["X-Request-Id"] == line["request_id"]
    assert "data" not in answer.error
    assert await ids(house, store) == {}
    assert "X-Request-Id" not in (await house.initialize()).headers


async def test_a_crash_of_ours_is_found_too(house, lines, monkeypatch):
    """A 500 has the id in its header, in its body and in the log."""

    async def broken(*arguments: Any) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(house.transport.sessions, "admit", broken)
    answer = await house.ask("ping", session="x")
    (line,) = lines("a request could not be served")
    assert (answer.status, answer.error["data"]) == (500, {"request_id": line["request_id"]})
    assert answer.headers["X-Request-Id"] == line["request_id"]


async def test_each_member_of_a_batch_has_its_own(house, store):
    """They are rows of their own."""
    session = await house.connect("2025-03-26")
    batch = [tool_call(1, "boom"), tool_call(2, "lost"), request(3, "ping")]
    answer = await house.post(batch, session)
    found = await ids(house, store)
    assert len(set(found.values())) == 4
    errors = {each["id"]: each["error"]["data"]["request_id"] for each in answer.body if "error" in each}
    assert errors == {1: found["boom"], 2: found["lost"]}


async def test_a_call_that_the_stop_ends_names_its_row(house, store):
    """Whoever was cut off can say which call it was; what a handler put into an error's data stays."""
    session = await house.connect()
    running = asyncio.create_task(house.call("slow", session))
    await house.works.began.wait()
    await house.transport.drain(0)
    answer = await running
    row = (await ids(house, store))["slow"]
    assert answer.error["data"] == {"retryable": True, "request_id": row}


async def test_other_errors_stay_as_the_handler_made_them(house):
    """Only internal errors are ours to add to."""
    session = await house.connect()
    assert (await house.call("refuse", session)).error["data"] == {"until": "tomorrow"}


async def test_a_line_keeps_the_fields_that_it_was_given(lines):
    """In a task of its own, whose context ends with it; outside of a request there is no id."""
    request_id = uuid7()
    log = logging.getLogger("archon_transport.test")

    async def served() -> None:
        logs.about(request_id, "public")
        log.info("plain")
        log.info("given", extra={"session_id": "another"})

    await asyncio.create_task(served())
    log.info("outside")
    (plain,), (given,), (outside,) = lines("plain"), lines("given"), lines("outside")
    assert (uuid.UUID(plain["request_id"]), plain["session_id"]) == (request_id, "public")
    assert given["session_id"] == "another"
    assert not {"request_id", "session_id"} & outside.keys()
