"""Random steps of clients and of fate against real servers, all drawn from one seed.

Clients call, lose their connections, come back from any id they ever saw, answer rightly, twice and wrongly,
and listen; a server is killed and started again. Nothing is judged here beyond what one answer must be; the
records go to `checker.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import aiohttp

from tests.history.client import Call, Client, Connection
from tests.history.process import ServerProcess, until

SESSIONS = 6
RUNNING = 40
"""Calls that run at once: more would only make the machine slow."""

REMEMBERED = 60
"""A client comes back to one of so many of its latest calls."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that a client gave to a question: when it was sent, and what came back."""

    question_id: str
    word: str
    sent: float
    status: int | None


@dataclass
class Walk:
    """What was done, by whom, and what came of it."""

    seed: int
    servers: Sequence[ServerProcess]
    http: aiohttp.ClientSession
    kills: float = 0.004
    clients: list[Client] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    published: list[tuple[Client, Call]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._words = itertools.count(1)
        self._side: set[asyncio.Task[None]] = set()
        self._steps: dict[Callable[[], Awaitable[None]], float] = {
            self.begin_count: 0.20,
            self.begin_ask: 0.08,
            self.begin_slow: 0.05,
            self.drop: 0.16,
            self.resume: 0.17,
            self.come_back: 0.08,
            self.give_answer: 0.12,
            self.answer_again: 0.03,
            self.answer_wrongly: 0.02,
            self.listen: 0.02,
            self.listen_again: 0.02,
            self.publish: 0.05,
            self.resume_wrongly: 0.01,
            self.kill: self.kills,
        }

    @property
    def calls(self) -> list[Call]:
        return [call for client in self.clients for call in client.calls]

    @property
    def killed_at(self) -> list[float]:
        return sorted(itertools.chain.from_iterable(server.killed_at for server in self.servers))

    async def run(self, steps: int) -> None:
        """Take so many steps, then let everything come to its end."""
        for _ in range(SESSIONS):
            self.clients.append(await Client(self.http, self.servers[0].port).connect())
        names, weights = list(self._steps), list(self._steps.values())
        for _ in range(steps):
            (step,) = self.random.choices(names, weights)
            await step()
            self.taken[step.__name__] += 1
            await asyncio.sleep(self.random.choice((0, 0, 0.001, 0.004, 0.012)))
        await self.finish()

    async def close(self) -> None:
        """End what is still open."""
        for client in self.clients:
            await client.close()
        for task in list(self._side):
            task.cancel()

    # what clients do

    def someone(self) -> Client:
        return self.random.choice(self.clients)

    def port(self) -> int:
        """Any server, up or down."""
        return self.random.choice(self.servers).port

    def recent(self, want: Callable[[Call], object]) -> Call | None:
        """One of the latest calls of some client."""
        found = [call for call in self.someone().calls[-REMEMBERED:] if want(call)]
        return self.random.choice(found) if found else None

    async def room(self) -> bool:
        """Whether one call more may run."""
        running = sum(not call.responses and call.post.ended is None for call in self.calls[-400:])
        return running < RUNNING

    async def begin_count(self) -> None:
        n, pause = self.random.randint(0, 12), self.random.choice((0, 0, 1, 5, 30))
        size = self.random.choice((1, 8, 200))
        if await self.room():
            self.someone().call("count", port=self.port(), n=n, pause_ms=pause, size=size)

    async def begin_ask(self) -> None:
        if await self.room():
            self.someone().call("ask", port=self.port(), k=self.random.randint(1, 3))

    async def begin_slow(self) -> None:
        tool = self.random.choice(("slow", "silent"))
        if await self.room():
            self.someone().call(tool, port=self.port(), seconds=self.random.choice((0.05, 0.26, 0.4)))

    async def drop(self) -> None:
        """Cut one open connection."""
        client = self.someone()
        found = [c for call in client.calls[-REMEMBERED:] for c in call.connections if c.is_open]
        found += [c for c in client.standing if c.is_open]
        if found:
            await self.random.choice(found).drop()

    async def resume(self) -> None:
        """Come back behind any id of a call, finished or not, watched or not."""
        call = self.recent(lambda call: call.ids)
        if call is not None:
            await call.resume(self.random.choice(call.ids), self.port())

    async def come_back(self) -> None:
        """Do what a good client does: go on behind the newest id of a call that lost its connection."""
        call = self.recent(lambda call: call.ids and not call.responses and not any_open(call.connections))
        if call is not None:
            await call.resume(port=self.port())

    async def give_answer(self) -> None:
        call = self.recent(self.waiting)
        if call is not None:
            self.say(call.client, self.random.choice(self.waiting(call)))

    async def answer_again(self) -> None:
        call = self.recent(lambda call: call.questions)
        if call is not None:
            for _ in range(self.random.randint(1, 2)):
                self.say(call.client, self.random.choice(call.questions))

    async def answer_wrongly(self) -> None:
        """Answer what nobody asked, or what somebody else was asked."""
        client, call = self.someone(), self.recent(lambda call: call.questions)
        wrong: list[object] = ["q-AAAAAAAAAAAAAAAA", 1, "", "q-\N{SNOWMAN}"]
        if call is not None and call.client is not client:
            wrong += call.questions
        answer = await client.answer(self.random.choice(wrong), f"wrong {next(self._words)}", self.port())
        self.must_be(answer, 202)

    async def listen(self) -> None:
        self.someone().listen(port=self.port())

    async def listen_again(self) -> None:
        client = self.someone()
        ids = [r.event_id for c in client.standing[-20:] for r in c.received if r.event_id]
        if ids:
            client.listen(self.random.choice(ids), port=self.port())

    async def publish(self) -> None:
        client = self.someone()
        call = client.call("publish", port=self.port(), words=f"news {next(self._words)}")
        self.published.append((client, call))

    async def resume_wrongly(self) -> None:
        """Come with an id that is another session's, or nobody's."""
        client, call = self.someone(), self.recent(lambda call: call.ids)
        wrong = ["", "nonsense", "c.1.1"][1:]
        if call is not None and call.client is not client:
            wrong.append(self.random.choice(call.ids))
        connection = client.listen(self.random.choice(wrong), port=self.port())
        client.standing.remove(connection)
        await connection.finished()
        self.must_be(connection, 400)

    # what fate does

    async def kill(self) -> None:
        """kill -9 of a server, a few steps without it, and its start."""
        server = self.random.choice(self.servers)
        await server.kill()
        steps = [step for step in self._steps if step != self.kill]
        for _ in range(self.random.randint(0, 6)):
            await self.random.choice(steps)()
        await server.start()

    # how it goes on

    def waiting(self, call: Call) -> list[str]:
        """The questions of a call that its client has not answered."""
        given = {answer.question_id for answer in self.answers if answer.status == 202}
        return [question for question in call.questions if question not in given]

    def say(self, client: Client, question_id: str) -> None:
        """Answer with a word that is never used again; what comes of it is noted in its own time."""
        word, sent, port = f"word {next(self._words)}", time.monotonic(), self.port()

        async def give() -> None:
            answer = await client.answer(question_id, word, port)
            self.answers.append(Answer(question_id, word, sent, answer.status))
            self.must_be(answer, 202)

        task = asyncio.create_task(give(), name="answer")
        self._side.add(task)
        task.add_done_callback(self._side.discard)

    def must_be(self, connection: Connection, status: int) -> None:
        """Note an answer that is neither this nor lost with its server."""
        if connection.status is not None and connection.status != status:
            self.faults.append(f"{connection} is {connection.status} and not {status}: {connection.body!r}")

    async def finish(self) -> None:
        """Bring every call to its end and every listener to the end of what was said."""
        deadline = time.monotonic() + 30
        while open_calls := [call for call in self.calls if is_unfinished(call)]:
            if time.monotonic() > deadline:
                self.faults += [f"no end of {call}: {call.connections}" for call in open_calls]
                return
            for call in open_calls:
                await self.help_on(call)
            await asyncio.sleep(0.2)
        if self._side:
            await asyncio.wait(self._side)
        for client in self.clients:
            await self.hear_the_end(client)
        with contextlib.suppress(AssertionError):  # the check says which
            await until(self.is_quiet, limit=5)

    async def help_on(self, call: Call) -> None:
        """Come back for a call, and answer what it asks."""
        if call.ids and not any_open(call.connections):
            await call.resume()
        for question in self.waiting(call):
            self.say(call.client, question)

    def is_quiet(self) -> bool:
        """Whether older viewers have been ended: on another node it takes about a second."""
        followed = [call.connections for call in self.calls] + [client.standing for client in self.clients]
        return all(sum(connection.is_open for connection in one) <= 1 for one in followed)

    async def hear_the_end(self, client: Client) -> None:
        """Listen until a last word has come on the newest connection."""
        ids = [r.event_id for c in client.standing for r in c.received if r.event_id]
        listener = client.listen(ids[-1] if ids else None)
        await until(lambda: listener.received)
        last = client.call("publish", words="the end")
        await last.response()
        self.published.append((client, last))
        await until(lambda: any("the end" in r.raw.decode() for r in listener.events))


def any_open(connections: Sequence[Connection]) -> bool:
    return any(connection.is_open for connection in connections)


def is_unfinished(call: Call) -> bool:
    """Whether its client saw it as a stream, or still waits for what it will be, and has no response."""
    return not call.responses and (bool(call.ids) or call.post.is_open)
