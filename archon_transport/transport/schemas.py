"""Input schemas of tools, for the arguments that a caller mirrors in `Mcp-Param-*` headers.

A server that knows its schemas by name is asked for one; any other is asked for its list of tools, as the
caller, since a list may depend on who asks. It fails closed: a call whose tool's schema cannot be had is not
let through unchecked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from ..protocol.messages import Error, internal_error
from ..protocol.modern import Modern
from .dispatch import Arrival
from .kernel import CLOSED, Kernel

_log = logging.getLogger(__name__)

BELIEVED: Final = 10.0
"""Seconds for which a list of tools is believed."""

CALLERS: Final = 64
"""Callers whose lists are kept; most servers show everybody the same, and few callers come at once."""

PAGES: Final = 100
"""Most pages of one list, the SDK's bound too: a list without an end may not hold a call for ever."""

Schema = Mapping[str, Any]


class Schemas:
    """Finds the schema of the tool that a request calls."""

    def __init__(self, kernel: Kernel, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kernel = kernel
        self._clock = clock
        self._lists: OrderedDict[Any, tuple[float, dict[str, Schema]]] = OrderedDict()

    async def find(self, modern: Modern, arrival: Arrival) -> Schema | Error | None:
        """The schema; None where there is none to hold the request to, an error where it cannot be known."""
        name = (modern.request.params or {}).get("name")
        if modern.request.method != "tools/call" or not isinstance(name, str):
            return None
        try:
            if self._kernel.server.get_tool_input_schema is not None:
                return self._kernel.server.get_tool_input_schema(name)
            listed = await self._list_for(modern, arrival)
        except Exception:
            _log.exception("the schema of a tool could not be looked up")
            return internal_error()
        return listed if isinstance(listed, Error) else listed.get(name)

    async def _list_for(self, modern: Modern, arrival: Arrival) -> dict[str, Schema] | Error:
        caller = arrival.owner or arrival.http.headers.get("Authorization")
        when, schemas = self._lists.get(caller, (float("-inf"), {}))
        if self._clock() - when < BELIEVED:
            return schemas
        # In a task of its own: whom it serves may not be what the next request on this connection finds.
        listed = await asyncio.create_task(self._list(modern, arrival), name="tools-list")
        if not isinstance(listed, Error):
            self._lists[caller] = (self._clock(), listed)
            self._lists.move_to_end(caller)
            if len(self._lists) > CALLERS:
                self._lists.popitem(last=False)
        return listed

    async def _list(self, modern: Modern, arrival: Arrival) -> dict[str, Schema] | Error:
        if self._kernel.server.get_request_handler("tools/list") is None:
            return {}
        arrival.serve(None)
        schemas: dict[str, Schema] = {}
        params = {"_meta": (modern.request.params or {}).get("_meta")}
        for _ in range(PAGES):
            request = replace(modern.request, method="tools/list", params=params)
            page = await self._kernel.answer_modern(replace(modern, request=request), CLOSED, arrival.http)
            if isinstance(page, Error):
                return page
            schemas |= {tool["name"]: tool["inputSchema"] for tool in page.get("tools", [])}
            if page.get("nextCursor") is None:  # an empty cursor is one too
                return schemas
            params = {**params, "cursor": page["nextCursor"]}
        _log.error("the list of tools has no end within %d pages", PAGES)
        return internal_error()
