"""One suite for both stores: whatever streams, viewers and questions may rely on holds for both."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace

import pytest

from archon_transport.sessions.streams import Attached, Event
from archon_transport.store.events import CALL_BYTES, EVENT_BYTES, STANDING_BYTES
from archon_transport.store.memory_streams import DONE
from tests.sessions.rows import new_session

from .nodes import Nodes, asks, grows, new_key, said, until

OWNER = ("https://issuer.example", "anna", None)
LARGE = b'{"jsonrpc":"2.0","id":"big","result":"%b"}' % (b"x" * EVENT_BYTES)
ERROR = b'{"jsonrpc":"2.0","id":7,"error":{"code":-32603,"message":"repeat it"}}'


async def everything(nodes: Nodes, key, after=(1, 0), at_most=100) -> list[Event]:
    events, _ = await nodes.b.store.read(key, after, at_most=at_most)
    return events


# -- the log


async def test_what_was_appended_is_read_as_it_was(nodes: Nodes):
    """Every node reads the same events, byte for byte and in order, and knows the last."""
    key = new_key()
    events = [said(1), said(2, "question"), said(3, "response", b'{"id":1,"result":"\xc3\xa4\\ud800"}')]
    assert await nodes.a.append(grows(key, *events[:2], opens=True)) == {key: nodes.a.me}
    assert await nodes.b.store.read(key, (1, 0)) == (events[:2], False)
    assert await nodes.a.append(grows(key, events[2], closes=True)) == {key: nodes.a.me}
    assert await nodes.b.store.read(key, (1, 0)) == (events, True)


async def test_a_cursor_is_followed_by_the_exact_suffix(nodes: Nodes):
    """From any place one reads what stands behind it; pages join without a gap."""
    key = new_key()
    events = [said(n) for n in range(1, 8)]
    await nodes.a.append(grows(key, *events, opens=True, closes=True))
    for n in range(9):
        assert await nodes.b.store.read(key, (1, n)) == (events[n:], True)
    assert await nodes.b.store.read(key, (1, 2), at_most=3) == (events[2:5], False)
    assert await nodes.b.store.read(key, (1, 5), at_most=2) == (events[5:], True)


async def test_a_place_behind_the_tail_has_missed_nothing(nodes: Nodes):
    """A cursor past what is stored of its epoch reads nothing of it, and all of the next."""
    key = new_key()
    await nodes.a.append(grows(key, said(1), opens=True))
    assert await nodes.b.store.read(key, (1, 900_000_000_000_000)) == ([], False)
    await nodes.b.store.bury(nodes.a.me)
    assert await nodes.b.store.repair(key, ERROR)
    after = [Event(2, 1, "response", ERROR)]
    assert await nodes.b.store.read(key, (1, 900_000_000_000_000)) == (after, True)
    assert await nodes.b.store.read(key, (1, 0)) == ([said(1), *after], True)
    assert await nodes.b.store.read(key, (2, 1)) == ([], True)
    assert await nodes.b.store.read(key, (999_999_999, 1)) == ([], True)


@pytest.mark.spec("H-39", "S-08", "C-23")
async def test_streams_and_sessions_are_apart(nodes: Nodes):
    """Nothing is read of another stream of the session, nor of a stream of that name elsewhere."""
    key, foreign = new_key(), new_key()
    beside, elsewhere = (key[0], foreign[1]), (foreign[0], key[1])
    batch = [grows(each, said(1), said(2), opens=True) for each in (key, beside)]
    assert set(await nodes.a.append(*batch)) == {key, beside}
    assert await everything(nodes, key) == [said(1), said(2)]
    for gone in (foreign, elsewhere):
        assert await nodes.b.store.read(gone, (1, 0)) == ([], True)
        assert await nodes.b.attach(gone) is None


async def test_an_append_may_be_repeated(nodes: Nodes):
    """A batch whose commit was uncertain is sent again, with more behind it, and stands there once."""
    key = new_key()
    first = grows(key, said(1), said(2, "question"), opens=True, questions=[asks()])
    more = grows(key, *first.events, said(3, "response"), opens=True, closes=True, questions=first.questions)
    for append in (first, first, more, more, replace(more, opens=False)):
        assert await nodes.a.append(append) == {key: nodes.a.me}
    assert await nodes.b.store.read(key, (1, 0)) == (more.events, True)
    assert await nodes.a.append(grows(key, said(4))) == {}
    assert await nodes.b.store.read(key, (1, 0)) == (more.events, True)


async def test_a_stream_that_is_not_there_takes_nothing(nodes: Nodes):
    """Only an opening append makes a stream; a closed one stays closed; an empty batch is nothing."""
    assert await nodes.a.append() == {}
    key, other = new_key(), new_key()
    assert await nodes.a.append(grows(key, said(1)), grows(other, opens=True)) == {other: nodes.a.me}
    assert await nodes.b.store.read(key, (1, 0)) == ([], True)
    assert await nodes.b.store.read(other, (1, 0)) == ([], False)
    assert await nodes.a.append(grows(other, closes=True)) == {other: nodes.a.me}
    assert await nodes.b.store.read(other, (1, 0)) == ([], True)


async def test_only_its_incarnation_appends_to_a_stream(nodes: Nodes):
    """Another incarnation is refused, also when it says that it opens, and nothing is stored."""
    key = new_key()
    await nodes.a.append(grows(key, said(1), opens=True))
    for opens in (False, True):
        intruder = grows(key, said(2, "question"), opens=opens, closes=True, questions=[asks()])
        assert await nodes.b.append(intruder) == {}
    assert await nodes.b.store.read(key, (1, 0)) == ([said(1)], False)
    assert not await nodes.b.store.answer((key[0], "q-1"), None, b"{}")
    standing, _ = await nodes.a.stand(key[0])
    assert await nodes.a.append(grows((key[0], standing), said(1), opens=True)) == {}


# -- the limits of the log


async def test_what_is_too_large_is_not_read_back(nodes: Nodes):
    """A huge response is read as an error with its id, a huge notification is left out, a question stays."""
    key = new_key()
    question = said(2, "question", LARGE)
    events = [said(1, "notification", LARGE), question, said(3), said(4, "response", LARGE)]
    await nodes.a.append(grows(key, *events, opens=True, closes=True))
    stored, last = await nodes.b.store.read(key, (1, 0))
    assert last
    assert stored[:2] == [question, said(3)]
    assert (stored[2].n, stored[2].kind) == (4, "response")
    error = json.loads(stored[2].data)
    assert error["id"] == "big" and "too large" in error["error"]["message"]
    assert await nodes.a.append(grows(key, *events, closes=True)) == {key: nodes.a.me}


async def test_a_log_that_is_too_large_loses_its_oldest_notifications(nodes: Nodes):
    """Questions and responses are never lost, and neither is the newest of what was said."""
    key = new_key()
    text = b"n" * (EVENT_BYTES // 2)
    await nodes.a.append(grows(key, said(1, "response"), said(2, "question"), opens=True))
    for n in range(3, 23):
        await nodes.a.append(grows(key, said(n, "notification", text)))
    stored = await everything(nodes, key)
    assert [event.n for event in stored[:2]] == [1, 2]
    numbers = [event.n for event in stored[2:]]
    assert numbers == list(range(23 - len(numbers), 23))
    assert CALL_BYTES // 2 < sum(len(event.data) for event in stored) <= CALL_BYTES


@pytest.mark.spec("S-14")
async def test_a_standing_log_is_bounded(nodes: Nodes):
    """So is what nobody has fetched of a standing stream, and one huge notification is not kept at all."""
    session_id, _ = new_key()
    stream_id, _ = await nodes.a.stand(session_id)
    assert await nodes.a.store.publish(LARGE, session_id=session_id) == 0
    for _ in range(8):
        assert await nodes.a.store.publish(b"n" * (EVENT_BYTES // 4), session_id=session_id) == 1
    stored = await everything(nodes, (session_id, stream_id))
    assert stored[-1].n == 8
    assert STANDING_BYTES // 2 < sum(len(event.data) for event in stored) <= STANDING_BYTES


# -- viewers


@pytest.mark.spec("H-30")
async def test_the_newest_viewer_wins(nodes: Nodes):
    """Whoever attaches last is the viewer, and the node that was is told to look."""
    key = new_key()
    await nodes.a.append(grows(key, said(1), opens=True))
    assert await nodes.b.attach(key) == Attached(1, 1, False, nodes.a.me, 2)
    await until(lambda: nodes.a.ears.streams == [key])
    place = [(key, 1, 1)]
    assert await nodes.a.store.grown(place, incarnation=nodes.a.me) == {key: True}
    assert await nodes.b.store.grown(place, incarnation=nodes.b.me) == {}
    assert await nodes.a.append(grows(key, said(2, "response"), closes=True)) == {key: nodes.b.me}
    await until(lambda: nodes.b.ears.streams == [key])
    assert await nodes.b.store.grown(place, incarnation=nodes.b.me) == {key: False}
    assert await nodes.a.attach(key) == Attached(1, 2, True, nodes.a.me, 3)
    await until(lambda: nodes.b.ears.streams == [key, key])
    assert nodes.a.ears.streams == [key]


async def test_whoever_appends_to_his_own_viewer_tells_nobody(nodes: Nodes):
    """A call that is viewed where it runs costs no wake-up."""
    key, other = new_key(), new_key()
    await nodes.a.append(grows(key, said(1), opens=True))
    await nodes.a.attach(key)
    await nodes.a.append(grows(key, said(2)))
    await nodes.b.attach(key)
    await until(lambda: nodes.a.ears.streams == [key])
    await nodes.a.append(grows(other, said(1), opens=True), grows(key, said(3)))
    await until(lambda: nodes.b.ears.streams == [key])
    assert nodes.a.ears.streams == [key]


async def test_viewers_that_race_are_all_told_apart(nodes: Nodes):
    """Of many that attach at once each has a number of its own, and the last of them is the viewer."""
    session_id, _ = key = new_key()
    await nodes.a.append(grows(key, said(1), opens=True))
    found = await asyncio.gather(*((nodes.a, nodes.b)[i % 2].attach(key) for i in range(20)))
    assert sorted(each.viewer_epoch for each in found) == list(range(2, 22))
    stood = await asyncio.gather(*((nodes.a, nodes.b)[i % 2].stand(session_id, f"s{i}") for i in range(20)))
    assert sorted(each.viewer_epoch for _, each in stood) == list(range(1, 21))
    assert len({name for name, _ in stood}) == 1


async def test_what_has_grown_is_found_without_a_wake_up(nodes: Nodes):
    """One query finds the streams with more, with an end, without a row; it leaves the others out."""
    quiet, grown, closed, gone = (new_key() for _ in range(4))
    for key in (quiet, grown, closed):
        await nodes.a.append(grows(key, said(1), opens=True))
        await nodes.b.attach(key)
    await nodes.a.append(grows(grown, said(2)), grows(closed, closes=True))
    places = [(key, 1, 1) for key in (quiet, grown, closed, gone)]
    found = await nodes.b.store.grown(places, incarnation=nodes.b.me)
    assert found == {grown: False, closed: False, gone: True}
    assert await nodes.b.store.grown([], incarnation=nodes.b.me) == {}


# -- standing streams


async def test_a_session_has_one_standing_stream(nodes: Nodes):
    """It keeps the name that it was given first, and its place, whoever views it."""
    session_id, _ = new_key()
    assert await nodes.a.stand(session_id, "s1") == ("s1", Attached(1, 0, False, None, 1))
    assert await nodes.a.store.publish(b"{}", session_id=session_id) == 1
    assert await nodes.b.stand(session_id, "s2") == ("s1", Attached(1, 1, False, None, 2))
    await until(lambda: nodes.a.ears.streams == [(session_id, "s1")] * 2)
    assert await nodes.b.stand(new_key()[0], "s1") == ("s1", Attached(1, 0, False, None, 1))


async def test_published_is_appended_and_the_viewer_told(nodes: Nodes):
    """Any node publishes to any session; order is the order of commits; viewers here and there are told."""
    key = (new_key()[0], "s1")
    await nodes.b.stand(*key)
    for n in range(1, 4):
        assert await (nodes.a, nodes.b)[n % 2].store.publish(b"%d" % n, session_id=key[0]) == 1
        await until(lambda n=n: len(nodes.b.ears.streams) == n)
    said_there = [Event(1, n, "notification", b"%d" % n) for n in range(1, 4)]
    assert await nodes.a.store.read(key, (1, 0)) == (said_there, False)
    assert nodes.b.ears.streams == [key] * 3
    assert nodes.a.ears.streams == []
    await asyncio.gather(*(nodes.a.store.publish(b"{}", session_id=key[0]) for _ in range(20)))
    assert [event.n for event in await everything(nodes, key)] == list(range(1, 24))


async def test_publishing_reaches_one_the_subscribed_or_all(nodes: Nodes):
    """By session, by URI, by both, by neither; where nobody stands, nobody is reached."""
    one, two, three = (new_key()[0] for _ in range(3))
    long_uri = "file:///" + "ä" * 3000 + "\x00\ud800"
    for session_id in (one, two, three):
        await nodes.a.stand(session_id)
    for uri in ("file:///a", long_uri):
        for session_id in (one, two):
            for _ in range(2):
                await nodes.a.store.subscribe_uri(session_id, uri, True)
    publish = nodes.b.store.publish
    assert await publish(b"{}") == 3
    assert await publish(b"{}", session_id=three) == 1
    assert await publish(b"{}", session_id=new_key()[0]) == 0
    for uri in ("file:///a", long_uri):
        assert await publish(b"{}", uri=uri) == 2
        assert await publish(b"{}", session_id=one, uri=uri) == 1
        assert await publish(b"{}", session_id=three, uri=uri) == 0
    assert await publish(b"{}", uri=long_uri + "x") == 0
    await nodes.b.store.subscribe_uri(one, "file:///a", False)
    assert await publish(b"{}", uri="file:///a") == 1
    assert await publish(b"{}", uri=long_uri) == 2


async def test_a_standing_stream_is_written_to_for_a_minute_after_its_viewer(nodes: Nodes):
    """Whoever comes back within it has missed nothing; later there is nothing to miss."""
    session_id, _ = new_key()
    stream_id, attached = await nodes.a.stand(session_id)
    key = (session_id, stream_id)
    await nodes.a.store.detach(key, incarnation=nodes.a.me, viewer_epoch=attached.viewer_epoch)
    await nodes.later(55)
    assert await nodes.a.store.publish(b"{}", session_id=session_id) == 1
    await nodes.later(10)
    assert await nodes.a.store.publish(b"{}", session_id=session_id) == 0
    _, again = await nodes.b.stand(session_id)
    assert (again.tail, len(await everything(nodes, key))) == (1, 1)
    assert await nodes.a.store.publish(b"{}", session_id=session_id) == 1


async def test_only_the_viewer_can_leave(nodes: Nodes):
    """A late word of a former viewer, here or elsewhere, does not take the newer one's place from it."""
    session_id, _ = new_key()
    stream_id, former = await nodes.a.stand(session_id)
    key = (session_id, stream_id)
    _, newer = await nodes.a.stand(session_id)
    await nodes.a.store.detach(key, incarnation=nodes.a.me, viewer_epoch=former.viewer_epoch)
    await nodes.b.store.detach(key, incarnation=nodes.b.me)
    await nodes.later(100)
    assert await nodes.a.store.publish(b"{}", session_id=session_id) == 1
    await nodes.a.store.detach(key, incarnation=nodes.a.me)
    await nodes.later(100)
    assert await nodes.a.store.publish(b"{}", session_id=session_id) == 0
    assert newer.viewer_epoch == former.viewer_epoch + 1


async def test_what_is_said_on_the_bus_is_heard_once_on_every_node(nodes: Nodes):
    """The publisher's node hears it too, and whoever stops listening hears no more."""
    heard: tuple[list[str], list[str]] = ([], [])
    stops = [nodes.a.store.hear(heard[0].append), nodes.b.store.hear(heard[1].append)]
    texts = [f'["updated", "file:///{"x" * n}"]' for n in (1, 5000, 2)]
    for text in texts:
        assert await nodes.a.store.publish(b"{}", bus=text) == 0
    await until(lambda: len(heard[1]) == 3)
    assert heard == (texts, texts)
    stops[0]()
    await nodes.b.store.publish(b"{}", bus="once more")
    await until(lambda: heard[1][3:] == ["once more"])
    assert heard[0] == texts


# -- questions


async def test_a_question_is_committed_with_its_event(nodes: Nodes):
    """Whoever can read the question can answer it, on any node, and the asker is told."""
    key = new_key()
    question = (key[0], "q-1")
    await nodes.a.append(grows(key, said(1, "question"), opens=True, questions=[asks(owner=OWNER)]))
    assert await everything(nodes, key) == [said(1, "question")]
    assert await nodes.a.store.answers([question]) == {}
    assert await nodes.b.store.progress(question, OWNER, b'{"progress":1}')
    assert await nodes.a.store.answers([question]) == {question: (None, b'{"progress":1}')}
    assert await nodes.b.store.answer(question, OWNER, b'{"result":{}}')
    await until(lambda: nodes.a.ears.answers == [question] * 2)
    assert nodes.b.ears.answers == []
    both = {question: (b'{"result":{}}', b'{"progress":1}')}
    assert await nodes.a.store.answers([question, (key[0], "q-2"), (new_key()[0], "q-1")]) == both


@pytest.mark.spec("H-120")
async def test_one_answer_of_many_counts(nodes: Nodes):
    """However many arrive at once, wherever, one is taken and stays."""
    key = new_key()
    question = (key[0], "q-1")
    await nodes.a.append(grows(key, said(1, "question"), opens=True, questions=[asks()]))
    answers = [b'{"result":%d}' % n for n in range(20)]
    stores = itertools.cycle(nodes.stores)
    taken = await asyncio.gather(*(next(stores).answer(question, None, answer) for answer in answers))
    assert taken.count(True) == 1
    winner = answers[taken.index(True)]
    assert not await nodes.a.store.answer(question, None, b"late")
    assert not await nodes.a.store.progress(question, None, b"late")
    assert await nodes.a.store.answers([question]) == {question: (winner, None)}


@pytest.mark.spec("H-120", "S-11")
async def test_an_answer_of_somebody_else_changes_nothing(nodes: Nodes):
    """Another owner, another session, an id that was never asked: no answer, and the right one counts."""
    key, foreign = new_key(), new_key()
    question = (key[0], "q-1")
    append = grows(key, said(1, "question"), opens=True, questions=[asks(owner=OWNER), asks("q-2")])
    await nodes.a.append(append)
    strangers = [None, (None, "anna", None), ("https://issuer.example", "anna", "app"), ("", "anna", "")]
    for take in (nodes.b.store.answer, nodes.b.store.progress):
        for owner in strangers:
            assert not await take(question, owner, b"{}")
        assert not await take((key[0], "q-2"), OWNER, b"{}")
        for name in ("q-3", "", "q-1\x00", "q-\ud800", "q-1 ", "ä"):
            assert not await take((key[0], name), OWNER, b"{}")
        assert not await take((foreign[0], "q-1"), OWNER, b"{}")
    assert await nodes.a.store.answers([question]) == {}
    assert nodes.a.ears.answers == []
    assert await nodes.b.store.answer(question, OWNER, b"{}")
    assert await nodes.b.store.answer((key[0], "q-2"), (None, None, None), b"{}")


async def test_what_nobody_waits_for_takes_no_answer(nodes: Nodes):
    """A question that was withdrawn or whose time is up is over; an answered one cannot be withdrawn."""
    key = new_key()
    names = ("q-1", "q-2", "q-3", "q-4")
    withdrawn, late, answered, long = questions = [(key[0], name) for name in names]
    seconds = (60, 5, 60, float("inf"))
    asked = [asks(name, seconds=each) for name, each in zip(names, seconds, strict=True)]
    await nodes.a.append(grows(key, said(1, "question"), opens=True, questions=asked))
    assert await nodes.a.store.withdraw(withdrawn)
    assert await nodes.a.store.withdraw(withdrawn)
    assert await nodes.a.store.withdraw((key[0], "q-unknown"))
    assert await nodes.b.store.answer(answered, None, b"{}")
    assert not await nodes.a.store.withdraw(answered)
    await nodes.later(10)
    assert not await nodes.b.store.answer(withdrawn, None, b"{}")
    assert not await nodes.b.store.progress(late, None, b"{}")
    assert not await nodes.b.store.answer(late, None, b"{}")
    assert await nodes.b.store.answer(long, None, b"{}")
    assert set(await nodes.a.store.answers(questions)) == {answered, long}


async def test_a_question_can_be_asked_on_the_standing_stream(nodes: Nodes):
    """It is committed with its event, and not at all where nobody listens."""
    session_id, _ = new_key()
    publish, me = nodes.a.store.publish, nodes.a.me
    assert await publish(b"{}", session_id=session_id, question=asks(), incarnation=me) == 0
    assert not await nodes.b.store.answer((session_id, "q-1"), None, b"{}")
    stream_id, _ = await nodes.b.stand(session_id)
    asked = asks(owner=OWNER)
    assert await publish(b'{"id":"q-1"}', session_id=session_id, question=asked, incarnation=me) == 1
    assert await everything(nodes, (session_id, stream_id)) == [Event(1, 1, "question", b'{"id":"q-1"}')]
    assert await nodes.b.store.answer((session_id, "q-1"), OWNER, b"{}")
    await until(lambda: nodes.a.ears.answers == [(session_id, "q-1")])


# -- sessions, and forgetting


async def test_a_log_level_is_in_the_row_and_every_node_is_told(nodes: Nodes):
    """Whoever holds the session reads it again."""
    session = new_session()
    await nodes.a.store.open(session, node="a", limit=None)
    await nodes.a.store.set_log_level(session.session_id, "warning")
    assert await nodes.b.store.admit(session.session_id, node="b") == replace(session, log_level="warning")
    await until(lambda: nodes.b.ears.changes == [session.session_id])
    assert nodes.a.ears.changes == [session.session_id]


async def test_what_is_closed_for_long_is_forgotten(nodes: Nodes):
    """Closed calls and standing streams that were left go with what they said; what is open stays."""
    closed, open_ = new_key(), new_key()
    stood, left = (new_key()[0] for _ in range(2))
    asked = [asks()]
    await nodes.a.append(
        grows(closed, said(1, "question"), opens=True, closes=True, questions=asked),
        grows(open_, said(1), opens=True),
    )
    for session_id in (stood, left):
        await nodes.a.stand(session_id)
        await nodes.a.store.publish(b"{}", session_id=session_id)
    await nodes.a.store.detach((left, "standing"), incarnation=nodes.a.me)
    await nodes.later(3500)
    assert await nodes.a.store.purge(3600) == 0
    assert await everything(nodes, closed) == [said(1, "question")]
    await nodes.later(3700)
    assert await nodes.a.store.purge(3600) == 2
    assert await nodes.a.store.purge(3600) == 0
    for gone in (closed, (left, "standing")):
        assert await nodes.b.attach(gone) is None
        assert await nodes.b.store.read(gone, (1, 0)) == ([], True)
    assert await everything(nodes, open_) == [said(1)]
    assert len(await everything(nodes, (stood, "standing"))) == 1
    assert (await nodes.a.stand(left, "s2"))[0] == "s2"
    assert await nodes.a.append(grows(closed, said(1, "question"), opens=True, questions=asked)) != {}
    assert await nodes.b.store.answer((closed[0], "q-1"), None, b"{}"), (
        "the old question is gone, this is new"
    )


async def test_forgetting_goes_in_small_steps(nodes: Nodes):
    """One purge deletes no more than it was told to, the oldest first."""
    keys = [new_key() for _ in range(5)]
    for key in keys:
        await nodes.a.append(grows(key, said(1), opens=True, closes=True))
        await nodes.later(10)
    await nodes.later(100)
    assert await nodes.a.store.purge(60, at_most=2) == 2
    assert [len(await everything(nodes, key)) for key in keys] == [0, 0, 1, 1, 1]
    assert await nodes.a.store.purge(60, at_most=10) == 3


async def test_subscriptions_of_ended_sessions_are_forgotten(nodes: Nodes):
    """What a session was subscribed to goes with it."""
    session = new_session()
    await nodes.a.store.open(session, node="a", limit=None)
    await nodes.a.stand(session.session_id)
    await nodes.a.store.subscribe_uri(session.session_id, "file:///a", True)
    await nodes.a.store.purge(60)
    assert await nodes.a.store.publish(b"{}", uri="file:///a") == 1
    await nodes.a.store.end(session.session_id, "deleted")
    await nodes.later(100)
    await nodes.a.store.purge(60)
    assert await nodes.a.store.publish(b"{}", uri="file:///a") == 0


@pytest.mark.parametrize("kept_in", ["memory"], indirect=True)
async def test_memory_is_bounded_between_purges(nodes: Nodes):
    """Many or large closed streams are forgotten before their time, the oldest first; open ones never."""
    open_, first, *rest = (new_key() for _ in range(DONE + 2))
    await nodes.a.append(grows(open_, said(1), opens=True))
    await nodes.a.append(*(grows(key, said(1), opens=True, closes=True) for key in (first, *rest)))
    assert await nodes.a.attach(first) is None
    for key in (open_, rest[0], rest[-1]):
        assert await nodes.a.attach(key) is not None
    for _ in range(80):
        await nodes.a.append(grows(new_key(), said(1, data=b"x" * EVENT_BYTES), opens=True, closes=True))
    assert await nodes.a.attach(rest[-1]) is None
    assert await nodes.a.attach(open_) is not None
