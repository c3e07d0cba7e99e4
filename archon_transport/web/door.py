"""Who may see the page and the REST API: the same guards and tokens as the endpoint's, then scopes.

A person logs in with a token, which stays in a cookie that no script reads and no other site sends; a
program sends it as `Authorization`. A cookie alone may change something only from our own page: the
guard refuses a foreign Origin, and browsers name theirs with every POST.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from aiohttp import web

from ..auth import Challenge, Principal, verify
from ..sessions import StoreUnavailable
from .ports import House

_log = logging.getLogger(__name__)

COOKIE: Final = "archon_token"
PRINCIPAL: Final = web.RequestKey("principal", Principal)

Scope = Literal["read", "write", "admin"]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Tell = Callable[[web.Request, int, str], Awaitable[web.StreamResponse]]
"""Makes the answer that says an error: a status and a sentence."""

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

AWAY = (
    "The database is away. Everything comes back with it: sessions are kept, this page tries again by itself."
)


class Door:
    """Lets requests through to handlers, and tells the others why not."""

    def __init__(self, house: House) -> None:
        self._house = house

    def guard(self, handler: Handler, tell: Tell, scope: Scope | None = "read") -> Handler:
        """`handler` behind the guards, for principals with `scope`; None is for everybody."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                answer = await self._refusal(request, tell, scope) or await handler(request)
            except web.HTTPException as ended:
                if ended.status < 400:
                    ended.headers.update(HEADERS)
                    raise
                answer = await tell(request, ended.status, ended.text or ended.reason)
            except StoreUnavailable:
                answer = await tell(request, 503, AWAY)
            except Exception:
                _log.exception("a page could not be shown", extra={"path": request.path[:200]})
                answer = await tell(request, 500, "A fault of the server: its log has the traceback.")
            if not answer.prepared:
                answer.headers.update(HEADERS | dict(answer.headers))
            return answer

        return guarded

    def allows(self, request: web.Request, scope: Scope) -> bool:
        """Whether who asks has this scope; where nobody logs in, everybody has."""
        principal = request.get(PRINCIPAL)
        return self._house.verifier is None or (
            principal is not None and bool(principal.scopes & {scope, "admin"})
        )

    async def _refusal(
        self, request: web.Request, tell: Tell, scope: Scope | None
    ) -> web.StreamResponse | None:
        refused = self._house.refuse(request.headers.get("Host"), request.headers.get("Origin"))
        if refused is not None:
            return await tell(request, refused.status, refused.error.message)
        if scope is None:
            return None
        cookie = request.cookies.get(COOKIE)
        principal = await verify(
            self._house.verifier, request.headers.get("Authorization", cookie and f"Bearer {cookie}")
        )
        if isinstance(principal, Challenge):
            answer = await tell(request, 401, principal.message)
            answer.headers.setdefault("WWW-Authenticate", principal.header)
            return answer
        if principal is not None:
            request[PRINCIPAL] = principal
        if self.allows(request, scope):
            return None
        return await tell(request, 403, f'This token lacks the scope "{scope}"; log in with one that has it.')
