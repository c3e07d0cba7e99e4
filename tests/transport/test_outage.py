"""The database away: what is cached goes on, the rest is told to come back."""

import pytest

from archon_transport.sessions import StoreUnavailable
from archon_transport.store.memory import MemoryStore
from tests.transport.house import running


class Fragile(MemoryStore):
    """A memory store that can be away."""

    away = False

    def __getattribute__(self, name):
        if name in ("open", "admit", "adopt", "end", "write", "clock", "expire") and self.away:
            return self._refuse
        return super().__getattribute__(name)

    async def _refuse(self, *args, **kwargs):
        raise StoreUnavailable("away")

    def heard_within(self, seconds):
        return not self.away


@pytest.fixture
def store():
    return Fragile()


async def test_a_cached_session_goes_on(house, store, session):
    """With the database away a session in memory is served; what it did is written when the database is
    back.
    """
    store.away = True
    for _ in range(3):
        assert (await house.call("echo", session, value="x")).said == "x"
    await house.transport.writer.flush()
    store.away = False
    await house.transport.writer.flush()
    assert store._rows[session.partition(".")[0]].requests == 3


async def test_the_rest_is_told_to_come_back(house, store, session):
    """A session that is not in memory, a new one and an end are 503 with Retry-After: nothing is said to
    be lost.
    """
    async with running(store) as other:
        store.away = True
        answers = [
            await other.ask("ping", session=session),
            await other.send("DELETE", session=session),
            await house.initialize(),
            await house.send("DELETE", session=session),
        ]
        assert {answer.status for answer in answers} == {503}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
        assert not [answer for answer in answers if "Mcp-Session-Id" in answer.headers]
        store.away = False
        assert (await other.ask("ping", session=session)).status == 200
    assert await store.count() == 1
