"""A scenario: a name, its rule in one sentence, the clauses of the specification it shows, and its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.transport.scenarios.steps import Step
from tests.transport.scenarios.world import World

OLD = ("2025-03-26", "2025-06-18")
NEW = ("2025-11-25",)
ALL = OLD + NEW
BOTH = ("memory", "postgres")


@dataclass(frozen=True)
class Scenario:
    """Runs at each revision over a memory store, and at the newest of them over Postgres.

    The host application cancels the handlers of clients that went away in one of these runs and not in the
    others, since nothing may depend on that. `options` are those of the transport; `limits` replace constants
    of its modules while it runs; `proxied` puts something between the server and the database that can cut it
    off; `stream_after` is how long a call may be silent.
    """

    name: str
    rule: str
    clauses: tuple[str, ...]
    steps: tuple[Step, ...]
    revisions: tuple[str, ...] = ALL
    stores: tuple[str, ...] = BOTH
    options: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    capabilities: dict[str, Any] | None = None
    token: str | None = None
    proxied: bool = False
    sessionless: bool = False
    stream_after: float | None = None

    def runs(self) -> Iterator[tuple[str, str, bool]]:
        """(revision, store, whether the host application cancels handlers of clients that left) of each run."""
        if "memory" in self.stores:
            yield from ((revision, "memory", False) for revision in self.revisions[:-1])
            yield self.revisions[-1], "memory", True
        if "postgres" in self.stores:
            yield self.revisions[-1], "postgres", False

    async def play(
        self, revision: str, dsn: str | None, monkeypatch: pytest.MonkeyPatch, *, host_cancels: bool = False
    ) -> None:
        """Take every step in order; a failure says which one it was."""
        for name, value in self.limits.items():
            monkeypatch.setattr(f"archon_transport.transport.{name}", value)
        world = World(
            revision,
            dsn,
            self.options,
            proxied=self.proxied,
            host_cancels=host_cancels,
            stream_after=self.stream_after,
        )
        await world.enter()
        try:
            if not self.sessionless:
                await world.connect(capabilities=self.capabilities, token=self.token)
            for number, step in enumerate(self.steps, 1):
                try:
                    await step.run(world)
                except BaseException as error:
                    error.add_note(f"{self.name}: {self.rule}\nstep {number}: {step}")
                    raise
        finally:
            await world.leave()
