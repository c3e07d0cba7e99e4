"""Why a request was refused, in words that say what to do; backticks mark what is to be typed.

The rules are the names under which the transport counts. One that is not listed here speaks for itself
by its example.
"""

from __future__ import annotations

import re
from typing import Final

_NAMED = re.compile(r"(?:Host|Origin) (\S+) is not allowed")

_WORDS: Final = {
    "host": "Host `{}` is not allowed; start with `--allow-host {}`.",
    "origin": "Origin `{}` is not allowed; start with `--allow-origin {}`.",
    "token": "No valid token: send `Authorization: Bearer TOKEN`; `archon-transport tokens add` makes one.",
    "session": "The session is unknown or has ended: the client has to send `initialize` again.",
    "session-missing": "No session was named: the client has to send `initialize` and keep `Mcp-Session-Id`.",
    "accept": "The client does not accept what is answered: it should send "
    "`Accept: application/json, text/event-stream`.",
    "content-type": "The body was not sent as JSON: the client should send `Content-Type: application/json`.",
    "json": "The body was not JSON that can be read in one way only.",
    "body": "The body is no JSON-RPC message.",
    "body-size": "The body is larger than is taken.",
    "body-slow": "The body did not arrive in time.",
    "handshake-size": "The parameters of `initialize` are too large.",
    "duplicate-id": "The client used the id of a request that was still running.",
    "revision": "The client speaks a revision of the protocol that is not known here: update one of the two.",
    "header-mismatch": "The headers of a request say something else than its body.",
    "full": "No room for another session: end some, or start with a higher `--max-sessions`.",
    "draining": "The server was stopping; the client may come back.",
    "database-away": "The database was away: look at `/ready` and at the log.",
    "crash": "A fault of the server: its log has the traceback.",
}


def in_words(rule: str, example: str) -> str:
    """The sentence for a rule; of a host or an origin, the one that the example names."""
    words = _WORDS.get(rule, "")
    if "{}" not in words:
        return words or example
    found = _NAMED.search(example)
    name = found[1] if found else example
    return words.replace("{}", name.replace("`", "'"))
