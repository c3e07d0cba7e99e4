"""Who is connected, what they did and what was refused, as read from rows."""

import asyncpg
import pytest

from archon_transport.reports.words import in_words
from archon_transport.sessions import StoreUnavailable


async def test_sessions_are_found_by_their_state(reports, rows):
    """`now` is what lives, a state is that alone, and the last that did something is first."""
    busy, idle = await rows.session("busy"), await rows.session("idle", idle=900)
    inferred, ended = (
        await rows.session("inferred", inferred=True),
        await rows.session("gone", ended="operator"),
    )
    found = {state: [str(s.session_id) for s in await reports.sessions(state)] for state in ("now", "ended")}
    assert set(found["now"]) == {busy, idle, inferred}
    assert found["now"][-1] == idle
    assert found["ended"] == [ended]
    assert [s.client_name for s in await reports.sessions("idle")] == ["idle"]
    assert [s.client_name for s in await reports.sessions("inferred")] == ["inferred"]
    assert await reports.sessions("archon") == []


async def test_a_search_takes_every_character_as_it_is(reports, rows):
    """What is special in a pattern is not special here."""
    await rows.session("100% pure")
    await rows.session("1000 pure")
    assert [s.client_name for s in await reports.sessions("now", "100%")] == ["100% pure"]
    assert await reports.sessions("now", "'; DROP TABLE x; --\\") == []


async def test_one_session_is_found_or_not(reports, rows):
    """A text that is no id is as unknown as an id that nobody has."""
    session = await rows.session(owner="ada")
    assert (await reports.session(session)).owner == "ada"
    assert await reports.session("none") is None
    assert await reports.session("00000000-0000-0000-0000-000000000000") is None


async def test_requests_are_filtered_and_paged(reports, rows):
    """By session, outcome, tool and words; a page says whether another follows."""
    one, two = await rows.session("one"), await rows.session("two")
    for number in range(5):
        await rows.request(one, ago=number)
    await rows.request(two, "manage_task", outcome="tool_error", error="no such task")
    await rows.request(two, None, method="tools/list")
    assert (await reports.requests(session=two, counted=True)).total == 2
    assert [r.client_name for r in (await reports.requests(outcomes=("tool_error",))).lines] == ["two"]
    assert [r.method for r in (await reports.requests(tool="tools/list")).lines] == ["tools/list"]
    assert (await reports.requests(search="SUCH task")).total == 1
    page = await reports.requests(limit=3)
    assert len(page.lines) == 3 and page.has_more
    page = await reports.requests(session=one, limit=3, offset=3)
    assert len(page.lines) == 2 and not page.has_more
    assert page.lines[0].tokens == 100


async def test_refusals_are_in_words(reports, rows):
    """What was refused says what would allow it, once for each name."""
    await rows.refusal(
        "host", "Host example.com is not allowed here; start the server with --allow-host example.com."
    )
    await rows.refusal("session", "unknown", client="cursor", count=4)
    found = {refusal.rule: refusal for refusal in await reports.refusals()}
    assert found["host"].words == "Host `example.com` is not allowed; start with `--allow-host example.com`."
    assert found["session"].count == 4
    assert [r.rule for r in await reports.refusals("cursor")] == ["session"]


@pytest.mark.parametrize(
    ("rule", "example", "words"),
    [
        (
            "origin",
            "https://a.example",
            "Origin `https://a.example` is not allowed; start with `--allow-origin https://a.example`.",
        ),
        ("new-rule", "It was too blue.", "It was too blue."),
        ("host", "a`b", "Host `a'b` is not allowed; start with `--allow-host a'b`."),
        ("host", "{} {0}", "Host `{} {0}` is not allowed; start with `--allow-host {} {0}`."),
    ],
)
def test_words_of_a_rule(rule, example, words):
    """The name stands in the sentence; a rule without words is told by its example."""
    assert in_words(rule, example) == words


async def test_what_is_open_is_shown(reports, rows, store):
    """Open streams and waiting questions of a session, and no others."""
    session, other = await rows.session(), await rows.session()
    await store.pool.execute(
        "INSERT INTO archon_mcp_incarnations (incarnation, node, boot_id, namespace, pid, started) "
        "VALUES ('i', 'here/1', 'b', 'n', 1, 1)"
    )
    for of, stream, closed in ((session, "a", False), (session, "b", True), (other, "c", False)):
        await store.pool.execute(
            "INSERT INTO archon_mcp_streams (session_id, stream_id, kind, incarnation, closed_at) "
            "VALUES ($1, $2, 'call', 'i', CASE WHEN $3 THEN now() END)",
            of,
            stream,
            closed,
        )
    for question, deadline in (("q", "1 hour"), ("late", "-1 hour")):
        await store.pool.execute(
            "INSERT INTO archon_mcp_questions (session_id, question_id, stream_id, incarnation, method, deadline) "
            f"VALUES ($1, $2, 'a', 'i', 'elicitation/create', now() + interval '{deadline}')",
            session,
            question,
        )
    assert [(s.stream_id, s.node) for s in await reports.streams(session)] == [("a", "here/1")]
    assert [(q.question_id, q.node) for q in await reports.questions(session)] == [("q", "here/1")]
    now = await reports.now()
    assert (now["sessions"], now["calls"], now["questions"], now["nodes"]) == (2, 2, 1, 1)
    assert [node.sessions for node in await reports.nodes()] == [2]


async def test_the_pulse_changes_with_what_it_tells(reports, rows):
    """A topic's text is another one when something of it happened, and only then."""
    session = await rows.session()
    before = await reports.pulse()
    assert await reports.pulse() == before
    await rows.request(session, ago=0)
    await rows.refusal()
    after = await reports.pulse()
    assert {topic for topic in before if before[topic] != after[topic]} == {"requests", "refusals"}


async def test_a_database_that_is_away_is_told_as_such(store, reports):
    """Whatever the driver raises, who asks hears one thing."""
    await store.close()
    with pytest.raises(StoreUnavailable):
        await reports.sessions()


async def test_a_broken_connection_is_not_noticed(store, reports, dsn):
    """A pool whose connections a restart has cut is asked again."""
    await reports.sessions()
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND application_name = 'archon-transport' AND datname = current_database()"
    )
    await connection.close()
    assert await reports.sessions() == []
