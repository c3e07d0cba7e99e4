"""Holds what clients were sent against what the tables say was said, stream by stream.

What may be missing from the log: notifications of the last moment before a kill -9, in a stream that the repair
then ended with an error. Never a question, never a response, nothing from the middle.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests.history.client import LOST, Call, Client, Connection, Received, place
from tests.history.walk import Walk

Place = tuple[int, int]

WINDOW = 0.05 + 0.25
"""Seconds before a kill whose events may be missing: the log's own delay, and the rest of a busy machine."""


@dataclass
class Log:
    """The tables of one database, by stream."""

    streams: dict[tuple[str, str], asyncpg.Record]
    events: dict[tuple[str, str], list[asyncpg.Record]]
    questions: dict[str, asyncpg.Record]

    @classmethod
    async def read(cls, dsn: str) -> Log:
        """Everything, as it stands."""
        connection = await asyncpg.connect(dsn)
        try:
            streams = await connection.fetch("SELECT * FROM archon_mcp_streams")
            events = await connection.fetch(
                "SELECT * FROM archon_mcp_events ORDER BY session_id, stream_id, epoch, n"
            )
            questions = await connection.fetch("SELECT * FROM archon_mcp_questions")
        finally:
            await connection.close()
        by_stream: dict[tuple[str, str], list[asyncpg.Record]] = defaultdict(list)
        for event in events:
            by_stream[key(event)].append(event)
        return cls({key(s): s for s in streams}, by_stream, {q["question_id"]: q for q in questions})


def key(record: asyncpg.Record) -> tuple[str, str]:
    return str(record["session_id"]), record["stream_id"]


@dataclass
class Check:
    """One pass over a walk's records; `faults` has a line for each broken promise and the history behind it."""

    walk: Walk
    log: Log
    faults: list[str] = field(default_factory=list)

    def run(self) -> Check:
        """Judge every call, every listener and every question."""
        self.faults += self.walk.faults
        claimed: dict[tuple[str, str], Call] = {}
        for call in self.walk.calls:
            self._call(call, claimed)
        for client in self.walk.clients:
            self._standing(client)
        self._questions(claimed)
        for stream in self.log.streams.keys() - claimed.keys():
            self._unseen(stream)
        return self

    def _fault(self, text: str, *connections: Connection) -> None:
        kills = [f"{at:.3f}" for at in self.walk.killed_at]
        history = "".join(f"\n      began {c.began:.3f} ended {c.ended_at:.3f} {c}" for c in connections)
        self.faults.append(f"{text}{history}\n      kills {kills}" if connections else text)

    # calls

    def _call(self, call: Call, claimed: dict[tuple[str, str], Call]) -> None:
        if call.post.status not in (None, 200):
            self._fault(f"{call} was refused: {call.post.body!r}", call.post)
        if not call.ids:
            self._plain(call)
            return
        names = {event_id.rpartition(".")[0].rpartition(".")[0] for event_id in call.ids}
        if len(names) != 1:
            self._fault(f"{call} was sent ids of {len(names)} streams", *call.connections)
            return
        stream = (call.client.public_id, names.pop())
        if stream in claimed:
            self._fault(f"{call} and {claimed[stream]} were sent ids of one stream", *call.connections)
        claimed[stream] = call
        if stream not in self.log.streams:
            self._fault(f"{call} was sent ids before its stream was committed", *call.connections)
            return
        stored = self.log.events[stream]
        for connection in call.connections:
            self._suffix(f"{call}", connection, stored, standing=False)
        self._newest_wins(f"{call}", call.connections)
        self._end(call, self.log.streams[stream], stored)

    def _plain(self, call: Call) -> None:
        """A call that never was a stream: answered in one piece, or lost with its connection."""
        lost = call.post.ended in ("broken", "dropped")
        if not lost and len(call.responses) != 1:
            self._fault(f"{call} ended without a response", call.post)
        elif not lost:
            self._result(call, call.responses[0], None)

    def _end(self, call: Call, row: asyncpg.Record, stored: list[asyncpg.Record]) -> None:
        """Exactly one response, the last of all, and the same for everybody."""
        responses = [event for event in stored if event["kind"] == "response"]
        if len(responses) != 1 or stored[-1]["kind"] != "response" or row["closed_at"] is None:
            self._fault(
                f"{call} has {len(responses)} responses in the log, closed {row['closed_at']}",
                *call.connections,
            )
            return
        if not call.responses:
            self._fault(f"{call} never got its response", *call.connections)
        for seen in call.responses:
            if seen != json.loads(responses[0]["data"]):
                self._fault(f"{call} was sent a response that the log has not", *call.connections)
        self._result(call, json.loads(responses[0]["data"]), stored)

    def _result(self, call: Call, response: dict[str, Any], stored: list[asyncpg.Record] | None) -> None:
        """A result is true to the log; an error is the repair's, and a server was killed meanwhile."""
        if response["id"] != call.request_id:
            self._fault(f"{call} was answered as {response['id']!r}", *call.connections)
        if "error" in response:
            end = max(connection.ended_at for connection in call.connections)
            killed = any(call.post.began <= at <= end for at in self.walk.killed_at)
            if LOST not in response["error"]["message"] or not killed:
                self._fault(f"{call} got {response['error']}", *call.connections)
            return
        said = json.loads(response["result"]["content"][0]["text"])
        if call.tool == "count" and len(said) != call.arguments["n"]:
            self._fault(f"{call} said {said}", *call.connections)
        if call.tool == "count" and stored is not None and words(stored) != said:
            self._fault(f"{call} said {said} and the log has {words(stored)}", *call.connections)

    # viewers

    def _suffix(
        self, whose: str, connection: Connection, stored: list[asyncpg.Record], *, standing: bool
    ) -> None:
        """What came is what stands behind the cursor: in order, each once, from the first on."""
        after: Place = place(connection.cursor) if connection.cursor else (1, 0)
        if connection.status == 405 and stored[-1]["kind"] == "response" and after >= _place_of(stored[-1]):
            return  # it asked for what follows the end
        if connection.status not in (None, 200):
            self._fault(f"{whose}: status {connection.status} {connection.body!r}", connection)
        if standing and connection.cursor is None and connection.received:
            after = connection.received[0].place
        by_place = {(event["epoch"], event["n"]): bytes(event["data"]) for event in stored}
        expected = [at for at in by_place if at > after]
        logged = [r for r in connection.events if r.place in by_place]
        if [r.place for r in logged] != expected[: len(logged)]:
            places = [r.place for r in connection.events]
            self._fault(f"{whose}: {places} came behind {after}, the log has {expected}", connection)
        for event in logged:
            if event.raw != by_place[event.place]:
                self._fault(f"{whose}: {event.place} is not what the log has", connection)
        self._unlogged(whose, connection, after, by_place, standing=standing)
        self._ended(whose, connection)

    def _unlogged(
        self,
        whose: str,
        connection: Connection,
        after: Place,
        by_place: dict[Place, bytes],
        *,
        standing: bool,
    ) -> None:
        """What came and is not in the log: only the last notifications before a kill."""
        extra = [r for r in connection.events if r.place not in by_place]
        if not extra:
            return
        tail = max((n for epoch, n in by_place if epoch == 1), default=0)
        first = max(tail, after[1]) + 1
        in_a_row = [r.place for r in extra] == [(1, first + i) for i in range(len(extra))]
        repaired = any(epoch == 2 for epoch, _ in by_place)
        if standing or not in_a_row or not repaired or any(r.is_response or r.is_question for r in extra):
            self._fault(f"{whose}: {[r.place for r in extra]} came and are not in the log", connection)
        for event in extra:
            if not self._just_before_a_kill(event):
                self._fault(
                    f"{whose}: {event.place} of {event.at:.3f} should have been in the log", connection
                )

    def _just_before_a_kill(self, event: Received) -> bool:
        return any(at - WINDOW <= event.at <= at + 1 for at in self.walk.killed_at)

    def _ended(self, whose: str, connection: Connection) -> None:
        """A response is the last event, and the end."""
        responses = [i for i, event in enumerate(connection.events) if event.is_response]
        if responses and (responses != [len(connection.events) - 1] or connection.is_open):
            self._fault(f"{whose}: it went on behind its response", connection)

    def _newest_wins(self, whose: str, connections: list[Connection]) -> None:
        """At the end at most one connection follows a stream."""
        still = [connection for connection in connections if connection.is_open]
        if len(still) > 1:
            self._fault(f"{whose}: {len(still)} connections are open", *still)

    # the standing stream

    def _standing(self, client: Client) -> None:
        streams = [
            k for k, s in self.log.streams.items() if s["kind"] == "standing" and k[0] == client.public_id
        ]
        if len(streams) != 1:
            self._fault(f"{client.public_id} has {len(streams)} standing streams")
            return
        stored = self.log.events[streams[0]]
        for connection in client.standing:
            foreign = [
                r for r in connection.received if r.event_id and not r.event_id.startswith(streams[0][1])
            ]
            if foreign:
                self._fault(f"{client.public_id}: events of another stream", connection)
            self._suffix(client.public_id, connection, stored, standing=True)
        self._newest_wins(client.public_id, client.standing)
        self._published(client, words(stored))

    def _published(self, client: Client, stored: list[str]) -> None:
        """Of what was published each word stands there at most once, and nothing else does."""
        said = [call.arguments["words"] for who, call in self.walk.published if who is client]
        if len(stored) != len(set(stored)) or not set(stored) <= set(said):
            self._fault(f"{client.public_id} published {said} and the log has {stored}")

    # questions

    def _questions(self, claimed: dict[tuple[str, str], Call]) -> None:
        asked: dict[tuple[str, str], list[str]] = defaultdict(list)
        for stream, events in self.log.events.items():
            asked[stream] += [json.loads(e["data"])["id"] for e in events if e["kind"] == "question"]
        ids = [question for questions in asked.values() for question in questions]
        if sorted(ids) != sorted(self.log.questions):
            self._fault(f"the log has the questions {sorted(ids)}, their table {sorted(self.log.questions)}")
            return
        for question_id, row in self.log.questions.items():
            self._one_answer(question_id, row)
        for stream, call in claimed.items():
            self._delivered(call, asked[stream])

    def _one_answer(self, question_id: str, row: asyncpg.Record) -> None:
        """Its answer is one that its client gave; it is answered or withdrawn, never both."""
        given = [a.word for a in self.walk.answers if a.question_id == question_id]
        word = answered(row)
        if word is not None and word not in given:
            self._fault(f"question {question_id} was answered {word!r}, its client said {given}")
        closed = self.log.streams[key(row)]["closed_at"] is not None
        if closed and (row["answered_at"] is None) == (row["withdrawn_at"] is None):
            self._fault(
                f"question {question_id}: answered {row['answered_at']}, withdrawn {row['withdrawn_at']}"
            )

    def _delivered(self, call: Call, asked: list[str]) -> None:
        """A call that came to its result got one answer to each of its questions; one that was lost, none."""
        if call.tool != "ask" or not call.responses:
            return
        words_of_rows = [answered(self.log.questions[question]) for question in asked]
        if "result" not in call.responses[0]:
            return
        if len(asked) != call.arguments["k"] or call.said != words_of_rows:
            self._fault(f"{call} got {call.said} and the table has {words_of_rows}", *call.connections)

    def _unseen(self, stream: tuple[str, str]) -> None:
        """A stream that its client lost before the first id has its one response too, or waits to be answered."""
        row, kinds = self.log.streams[stream], [event["kind"] for event in self.log.events[stream]]
        waits = row["closed_at"] is None and kinds[-1:] == ["question"]
        ended = row["closed_at"] is not None and kinds.count("response") == 1 and kinds[-1] == "response"
        if row["kind"] == "call" and not waits and not ended:
            self._fault(f"{stream}, never seen by its client: closed {row['closed_at']}, {kinds}")


def words(stored: list[asyncpg.Record]) -> list[str]:
    """What notifications said, in order."""
    found = [json.loads(event["data"])["params"] for event in stored if event["kind"] == "notification"]
    return [params["message"] if "message" in params else params["data"] for params in found]


def answered(row: asyncpg.Record) -> str | None:
    """The word with which a question was answered."""
    return None if row["answer"] is None else json.loads(row["answer"])["result"]["content"]["word"]


def _place_of(event: asyncpg.Record) -> Place:
    return event["epoch"], event["n"]
