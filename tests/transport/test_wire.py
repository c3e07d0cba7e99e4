"""Bytes on a socket: bodies too large, too slow, broken off; duplicate headers; pipelining."""

import asyncio
import functools
import gzip
import json
import logging

import pytest

from archon_transport.transport import endpoint, limits
from tests.transport.house import post_bytes, raw, request

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
LIMIT = limits.MAX_BODY


def chunked(*chunks: bytes, headers: tuple[str, ...] = (), end: bool = True) -> bytes:
    head = post_bytes(b"", *headers).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return head + body + (b"0\r\n\r\n" if end else b"")


def own(session: str) -> str:
    return f"Mcp-Session-Id: {session}"


# --- size


@pytest.mark.spec("S-14", "E-17")
async def test_a_declared_length_over_the_limit_is_413_at_once(house):
    """A body that says it is too large is refused before it is read, and the connection is closed."""
    head = post_bytes(b"").replace(b"Content-Length: 0", b"Content-Length: %d" % (LIMIT + 1))
    ((status, headers, body),) = await raw(house.port, head)
    assert status == 413
    assert headers["connection"] == "close"
    assert json.loads(body)["error"]["code"] == -32600


@pytest.mark.spec("S-14")
async def test_a_body_without_a_length_is_counted_while_it_is_read(house):
    """A chunked body is refused when it passes the limit, not when it ends."""
    endless = chunked(*[b" " * 65536] * (LIMIT // 65536), b"  ", end=False)
    ((status, _, _),) = await raw(house.port, endless)
    assert status == 413


async def test_a_body_of_exactly_the_limit_is_read(house, session):
    """The limit is the largest body that is taken; the host application's own limit is not asked."""
    body = PING + b" " * (LIMIT - len(PING))
    for sent in (post_bytes(body, own(session)), chunked(body[:1000], body[1000:], headers=(own(session),))):
        ((status, _, answer),) = await raw(house.port, sent)
        assert (status, json.loads(answer)["result"]) == (200, {})


async def test_one_byte_more_is_not(house, session):
    """One byte over the limit is 413."""
    ((status, _, _),) = await raw(house.port, post_bytes(PING + b" " * (LIMIT + 1 - len(PING)), own(session)))
    assert status == 413


async def test_a_small_body_that_swells_is_413(house, session):
    """A compressed body counts as what it becomes."""
    bomb = gzip.compress(PING + b" " * (40 * LIMIT))
    assert len(bomb) < LIMIT
    ((status, _, _),) = await raw(house.port, post_bytes(bomb, "Content-Encoding: gzip", own(session)))
    assert status == 413


async def test_a_compressed_body_is_read(house, session):
    """An honest compressed body is a body."""
    ((status, _, _),) = await raw(
        house.port, post_bytes(gzip.compress(PING), "Content-Encoding: gzip", own(session))
    )
    assert status == 200


async def test_the_limit_is_the_endpoints_own(house, session):
    """A smaller limit is held on the path where a body came with its headers, too."""
    house.transport.endpoint._max_body = 100
    assert (await house.ask("ping", session=session)).status == 200
    assert (await house.call("echo", session, value="x" * 100)).status == 413
    ((status, _, _),) = await raw(house.port, chunked(b" " * 101))
    assert status == 413


# --- time and accidents


async def test_a_slow_sender_is_408(house, session, monkeypatch):
    """A body that does not arrive in time is 408 as a JSON-RPC error, and its connection is not kept."""
    monkeypatch.setattr(endpoint, "read_body", functools.partial(limits.read_body, deadline=0.2))
    ((status, headers, body),) = await raw(house.port, post_bytes(PING, own(session))[:-1])
    assert (status, headers["connection"]) == (408, "close")
    assert json.loads(body)["error"]["code"] == -32600
    assert (await house.ask("ping", session=session)).status == 200


async def test_a_sender_that_dribbles_is_408(house, session, monkeypatch):
    """A byte now and then does not put the deadline off."""
    monkeypatch.setattr(endpoint, "read_body", functools.partial(limits.read_body, deadline=0.3))
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(chunked(b" ", headers=(own(session),), end=False))

    async def dribble():
        while not reader.at_eof():
            await asyncio.sleep(0.05)
            writer.write(b"1\r\n \r\n")

    dribbling = asyncio.create_task(dribble())
    try:
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)).startswith(b"HTTP/1.1 408")
    finally:
        dribbling.cancel()
        writer.close()


def test_the_deadline_is_half_a_minute():
    """What a test shortens is 30 seconds in truth."""
    assert limits.BODY_DEADLINE == 30.0
    assert limits.read_body.__defaults__ == (limits.BODY_DEADLINE,)


async def test_a_body_that_is_not_what_it_says_is_400(house, session, caplog):
    """A body that cannot be decompressed is the client's fault: 400, and no error of ours in the log."""
    ours = logging.getLogger("archon_transport")
    with caplog.at_level(logging.ERROR, logger=ours.name):
        ((status, headers, body),) = await raw(
            house.port, post_bytes(b"no gzip at all", "Content-Encoding: gzip", own(session))
        )
    assert (status, headers["content-type"]) == (400, "application/json")
    assert json.loads(body)["error"]["code"] == -32600
    assert not [record for record in caplog.records if record.name.startswith(ours.name)]


async def test_a_client_that_leaves_in_the_middle_of_its_body(either_house, caplog):
    """An upload that breaks off is nobody's error, and the server goes on."""
    house = either_house
    session = await house.connect()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", house.port)
            writer.write(post_bytes(PING, own(session))[:-5])
            await writer.drain()
            assert (await house.ask("ping", session=session)).status == 200
            writer.transport.abort()
            assert (await house.ask("ping", session=session)).status == 200
        await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.name.startswith("archon_transport")]


# --- headers


@pytest.mark.spec("C-27")
@pytest.mark.parametrize(
    "line",
    [
        "Mcp-Session-Id: {session}",
        "mcp-session-id: other",
        "MCP-Protocol-Version: 2025-11-25",
        "Content-Type: application/json",
        "Last-Event-ID: 1",
        "Mcp-Method: ping",
    ],
)
async def test_a_protocol_header_that_stands_twice_is_400(house, session, line):
    """Two readers would pick different ones, so none is picked, also where both are equal."""
    line = line.format(session=session)
    name = line.partition(":")[0]
    before = [own(session), "MCP-Protocol-Version: 2025-11-25", "Last-Event-ID: 1", "Mcp-Method: ping", line]
    ((status, _, body),) = await raw(house.port, post_bytes(PING, *before))
    assert status == 400
    assert name.lower() in body.decode().lower()


async def test_a_duplicate_session_id_ends_nothing(house, session):
    """A DELETE with two ids ends neither session."""
    other = await house.connect()
    lines = f"DELETE /mcp HTTP/1.1\r\nHost: localhost\r\n{own(session)}\r\n{own(other)}\r\n\r\n"
    ((status, _, _),) = await raw(house.port, lines.encode())
    assert status == 400
    assert (await house.ask("ping", session=session)).status == 200
    assert (await house.ask("ping", session=other)).status == 200


# --- connections


async def test_pipelined_requests_are_answered_in_order(house, session):
    """Several requests on one connection at once are answered one after the other."""
    sent = b"".join(
        post_bytes(json.dumps(request(number, "ping")).encode(), own(session)) for number in range(5)
    )
    answers = await raw(house.port, sent, answers=5)
    assert [json.loads(body)["id"] for _, _, body in answers] == list(range(5))


async def test_a_refusal_does_not_end_the_connection(house, session):
    """After a refused request the next on the same connection is served."""
    answers = await raw(
        house.port,
        post_bytes(b"{", own(session))
        + post_bytes(PING)
        + post_bytes(PING, own("nonsense"))
        + post_bytes(b"\xff" * 100, own(session))
        + post_bytes(PING, own(session)),
        answers=5,
    )
    assert [status for status, _, _ in answers] == [400, 400, 404, 400, 200]


async def test_headers_and_body_may_come_in_pieces(house, session):
    """However a request is cut into packets, it is one request."""
    whole = post_bytes(PING, own(session))
    ((status, _, _),) = await raw(house.port, *[whole[i : i + 7] for i in range(0, len(whole), 7)])
    assert status == 200


async def test_head_has_no_body(house):
    """HEAD is a verb that is not served, and its answer has no body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    writer.write(b"HEAD /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 405")
    assert answer.endswith(b"\r\n\r\n")
