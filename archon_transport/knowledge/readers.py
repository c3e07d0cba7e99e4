"""Processes that read documents, so that no stranger's document can stop or swell the server.

A reader reads one document at a time. It has its own memory limit, and is killed when a document takes too
long; the next document gets a new one. It ends by itself when its parent is gone, however that ended: its
end of the pipe says so.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from multiprocessing.connection import Connection
from typing import cast

from .fetch import Fetched
from .parse import Document, Unreadable, read

PATIENCE = 60.0
"""Seconds that reading one document may take."""

MEMORY = 2 * 2**30
"""Bytes of address space of one reader."""

READERS = 2

_PROCESSES = multiprocessing.get_context("spawn")


class _Reader:
    """One process, started when it is needed."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None

    def read(self, fetched: Fetched, title: str | None) -> Document:
        """Blocks until the document is read; in a thread."""
        try:
            pipe = self._pipe or self._start()
            pipe.send((fetched, title))
            if not pipe.poll(self._patience):
                self.stop()
                raise Unreadable(f"reading it took longer than {self._patience:g} seconds")
            answer = pipe.recv()
        except (EOFError, OSError):
            self.stop()
            raise Unreadable("the process that read it ended (too much memory?)") from None
        if isinstance(answer, Unreadable):
            raise answer
        return cast(Document, answer)

    def _start(self) -> Connection:
        ours, theirs = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_serve, args=(theirs,), name="reader", daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = ours
        return ours

    def stop(self) -> None:
        """End the process; a thread that waits for it is told."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


class Readers:
    """A few readers, and who waits for one."""

    def __init__(self, count: int = READERS, *, patience: float = PATIENCE) -> None:
        self._all = [_Reader(patience) for _ in range(count)]
        self._free: asyncio.Queue[_Reader] = asyncio.Queue()
        for reader in self._all:
            self._free.put_nowait(reader)

    async def read(self, fetched: Fetched, title: str | None = None) -> Document:
        """The pages of a document.

        Raises:
            Unreadable: with the reason.
        """
        reader = await self._free.get()
        work = asyncio.create_task(asyncio.to_thread(reader.read, fetched, title), name="read")
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            reader.stop()
            await asyncio.wait([work])
            raise
        finally:
            self._free.put_nowait(reader)

    def close(self) -> None:
        """End every process."""
        for reader in self._all:
            reader.stop()


def _serve(pipe: Connection) -> None:
    """What a reader's process does, until its parent is gone."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's; the parent decides what is stopped
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while True:
        try:
            fetched, title = pipe.recv()
        except EOFError:
            return
        try:
            answer: Document | Unreadable = read(fetched, title)
        except Unreadable as error:
            answer = error
        except Exception as error:
            answer = Unreadable(f"it cannot be read ({type(error).__name__}: {str(error)[:200]})")
        try:
            pipe.send(answer)
        except BrokenPipeError:
            return
