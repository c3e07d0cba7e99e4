"""Questions: requests of the server to the client, and the answers that find them.

A question is committed before it is sent, so an answer may arrive at any node: whoever takes it asks the
row, which takes exactly one, from the session and the owner that was asked. The node that asked is woken
and reads the row. Ids are random, so nobody answers what he was not asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_REQUEST

from ..protocol.messages import Params, Response, encode
from ..sessions import Owner, Session, StoreUnavailable
from ..sessions.streams import EventKind, Key, Question, StreamStore
from .kernel import Progress
from .standing import taken_back

_log = logging.getLogger(__name__)

PATIENCE: Final = 300.0
"""Seconds a question waits where its asker sets no time: a person may have to be fetched."""

_NEEDS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "elicitation/create": ("elicitation", {"mode": "url"}),
    "sampling/createMessage": ("sampling", {"tools": "tools", "toolChoice": "tools"}),
    "roots/list": ("roots", {}),
}
"""The feature that a question needs, and which parameter needs which part of it to be declared as well."""

Say = Callable[[EventKind, bytes, Question | None], Awaitable[None]]


@dataclass(slots=True)
class _Waiting:
    on_progress: Progress | None
    answer: asyncio.Future[bytes]
    progress: bytes | None = None


class Questions:
    """The questions that calls of this node wait for."""

    def __init__(self, store: StreamStore) -> None:
        self._store = store
        self._waiting: dict[Key, _Waiting] = {}
        self._looking: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<Questions waiting={len(self._waiting)}>"

    async def ask(
        self,
        session: Session,
        owner: Owner | None,
        say: Say,
        method: str,
        params: Params,
        *,
        timeout: float | None = None,
        on_progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Ask the client and wait for its result.

        Raises:
            MCPError: the client answered with an error, did not answer in time, or cannot be asked this.
        """
        _check_capability(session, method, params or {})
        question_id, seconds = f"q-{secrets.token_urlsafe(12)}", timeout or PATIENCE
        key = (session.session_id, question_id)
        waiting = self._waiting[key] = _Waiting(on_progress, asyncio.get_running_loop().create_future())
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": question_id, "method": method}
        body = dict(params or {})
        if on_progress is not None:
            body["_meta"] = {**(body.get("_meta") or {}), "progressToken": question_id}
        if params is not None or body:
            message["params"] = body
        try:
            await say("question", encode(message), Question(question_id, method, owner, seconds))
            async with asyncio.timeout(seconds):
                return _result(await asyncio.shield(waiting.answer))
        except TimeoutError:
            if waiting.answer.done() or not await self._withdraw(key, say, "no answer in time"):
                return _result(await waiting.answer)
            raise MCPError(
                INTERNAL_ERROR, f"The client did not answer {method} within {seconds:g} s."
            ) from None
        except asyncio.CancelledError:
            await asyncio.shield(self._withdraw(key, say, "the request that asked has ended"))
            raise
        finally:
            del self._waiting[key]

    async def take(self, session: Session, owner: Owner | None, response: Response) -> None:
        """A client's answer: committed to the question it answers, or of no effect at all.

        Raises:
            StoreUnavailable: it could not be committed; the client may send it again.
        """
        if not isinstance(response.id, str):
            return
        body: dict[str, Any] = {"jsonrpc": "2.0", "id": response.id}
        body |= {"result": response.result} if response.error is None else {"error": response.error}
        await self._store.answer((session.session_id, response.id), owner, encode(body))

    async def take_progress(self, session: Session, owner: Owner | None, params: Mapping[str, Any]) -> None:
        """The client's progress on a question, by the token that is the question's id."""
        token = params.get("progressToken")
        if isinstance(token, str) and token.startswith("q-"):
            await self._store.progress((session.session_id, token), owner, encode(dict(params)))

    def look(self, session_id: str, question_id: str) -> None:
        """A question of this node may have its answer: read the row."""
        key = (session_id, question_id)
        if key in self._waiting:
            self._spawn([key])

    def look_at_all(self) -> None:
        """Should a wake-up have been lost: one query for everything that is waited for."""
        if self._waiting:
            self._spawn(list(self._waiting))

    def _spawn(self, keys: list[Key]) -> None:
        task = asyncio.create_task(self._read(keys), name="answers")
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _read(self, keys: list[Key]) -> None:
        try:
            found = await self._store.answers(keys)
        except StoreUnavailable:
            return  # the next look reads them
        for key, (answer, progress) in found.items():
            waiting = self._waiting.get(key)
            if waiting is None:
                continue
            if progress is not None and progress != waiting.progress and waiting.on_progress is not None:
                waiting.progress = progress
                await _report(waiting.on_progress, progress)
            if answer is not None and not waiting.answer.done():
                waiting.answer.set_result(answer)

    async def _withdraw(self, key: Key, say: Say, reason: str) -> bool:
        """Nobody waits any more; False where the answer came after all and is about to be read."""
        with contextlib.suppress(StoreUnavailable):
            if not await self._store.withdraw(key):
                await self._read([key])
                return not self._waiting[key].answer.done()
        await say("notification", taken_back(key[1], reason), None)
        return True


def _check_capability(session: Session, method: str, params: Mapping[str, Any]) -> None:
    """The client must have declared what it is asked for (2025-11-25 lifecycle, Operation)."""
    if method not in _NEEDS:
        return
    feature, parts = _NEEDS[method]
    declared = (json.loads(session.initialize_params).get("capabilities") or {}).get(feature)
    part = next((part for key, part in parts.items() if params.get(key) not in (None, "form")), None)
    if declared is None or (part is not None and declared.get(part) is None):
        wanted = feature if part is None else f"{feature}.{part}"
        raise MCPError(INVALID_REQUEST, f"The client did not declare {wanted}, which this {method} needs.")


def _result(payload: bytes) -> dict[str, Any]:
    response = json.loads(payload)
    if "error" in response:
        error = response["error"]
        raise MCPError(error["code"], error["message"], error.get("data"))
    result = response["result"]
    return result if isinstance(result, dict) else {}


async def _report(on_progress: Progress, payload: bytes) -> None:
    params = json.loads(payload)
    progress, total, message = params.get("progress"), params.get("total"), params.get("message")
    if not isinstance(progress, int | float):
        return
    try:
        await on_progress(float(progress), total if isinstance(total, int | float) else None, message)
    except Exception:
        _log.exception("a progress callback raised")
