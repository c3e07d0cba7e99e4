"""How much a client may send and how slowly: the body, read with our own bound and deadline.

The host application's `client_max_size` is its own and is not asked: it guards other routes.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from ..protocol.messages import Refused, invalid_request

MAX_BODY: Final = 4 * 1024 * 1024
"""Bytes of one body, as in the SDK."""

BODY_DEADLINE: Final = 30.0
"""Seconds in which a body must have arrived; a client that sends slower holds a connection for nothing."""


async def read_body(request: web.Request, limit: int, deadline: float = BODY_DEADLINE) -> bytes | Refused:
    """The whole body, or the refusal of one that is too large (413) or too slow (408)."""
    if request.content_length is not None and request.content_length > limit:
        return _too_large(limit)
    try:
        if request.content.is_eof():  # it came with the headers: nothing to wait for
            # Empty where a middleware has read it before: then aiohttp keeps it.
            body = request.content.read_nowait(-1) or await request.read()
            return body if len(body) <= limit else _too_large(limit)
        async with asyncio.timeout(deadline):
            return await _collect(request, limit)
    except (web.RequestPayloadError, ConnectionError):
        return Refused(400, invalid_request("The body broke off or is badly encoded; send it again."), "body")
    except TimeoutError:
        text = f"The body did not arrive within {deadline:.0f} seconds; send it again."
        return Refused(408, invalid_request(text), "body-slow")


async def _collect(request: web.Request, limit: int) -> bytes | Refused:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit:
            return _too_large(limit)
    return bytes(body)


def _too_large(limit: int) -> Refused:
    text = f"The body is larger than {limit} bytes; send less at a time."
    return Refused(413, invalid_request(text), "body-size")
