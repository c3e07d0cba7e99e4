"""One node's table over a scripted store; more nodes are made by calling `make_node`."""

from __future__ import annotations

import pytest

from archon_transport.sessions import Limits, SessionTable, Writer
from tests.sessions.scripted import CLIENT, Clock, Scripted


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return Scripted(clock)


class Node:
    """A table with its writer, and what it told of."""

    def __init__(self, store: Scripted, clock: Clock, name: str, limits: Limits) -> None:
        self.writer = Writer(store, node=name, clock=clock)
        self.working: set[str] = set()
        self.table = SessionTable(
            store,
            self.writer,
            node=name,
            limits=limits,
            busy=self.working.__contains__,
            clock=clock,
            now=clock.now,
        )
        self.gone: list[str] = []
        self.asleep: list[str] = []
        self.table.on_gone = self.gone.append
        self.table.on_asleep = self.asleep.append

    async def open(self, owner=None) -> tuple[str, str]:
        """A new session: its public id, and the id that its client presents."""
        session, wire = await self.table.open(
            revision="2025-11-25",
            initialize_params=b"{}",
            client=CLIENT,
            owner=owner,
            user_agent="agent",
        )
        return session.session_id, str(wire)


@pytest.fixture
def make_node(store, clock):
    def make(name="one", **limits) -> Node:
        return Node(store, clock, name, Limits(**limits))

    return make


@pytest.fixture
def node(make_node):
    return make_node()
