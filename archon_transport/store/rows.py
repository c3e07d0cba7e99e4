"""Between a `Session` and its row: what is cut and cleaned on the way in, and what Archon's columns say.

Postgres refuses NUL and lone surrogates in text and a value longer than its column. Names are for people
and are cleaned; an owner is an identity, so it is stored as it is or refused, never altered.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

from asyncpg import Record

from ..sessions.record import Session

COLUMNS = """session_id, secret_digest, owner_issuer, owner_subject, owner_client_id, revision,
    initialize_params, client_name, client_title, client_version, user_agent, connected_at, initialized,
    log_level"""
"""What is kept of a `Session`, in the order of its fields; a newer version may add columns."""

NOBODY = (None, None, None)
"""The owner's columns of what has none."""

_ARCHON_CLIENTS = ("Claude Code", "Cursor", "Windsurf", "Cline", "KiRo", "Augment", "Gemini")
"""Archon's words; the first one of each is what such a client has in its name."""


def key(session_id: str) -> uuid.UUID | None:
    """A session id as the database's type, None where it is not written as we write them."""
    try:
        value = uuid.UUID(session_id)
    except ValueError:
        return None
    return value if str(value) == session_id else None


def clean(text: str, length: int) -> str:
    """A text as a column of `length` characters takes it."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")[:length]


def cleaned(session: Session) -> Session:
    """The session as every store returns it: its texts cut to their columns."""
    title, agent = session.client_title, session.user_agent
    return replace(
        session,
        client_name=clean(session.client_name, 200),
        client_title=None if title is None else clean(title, 200),
        client_version=clean(session.client_version, 50),
        user_agent=None if agent is None else clean(agent, 500),
    )


def client_type(name: str) -> str:
    """What Archon calls this client: its own word where it knows one, else the client's name."""
    known = (word for word in _ARCHON_CLIENTS if word.split()[0].lower() in name.lower())
    return next(known, name[:50]) or "Unknown"


def capabilities(initialize_params: bytes) -> str | None:
    """The client's capabilities as JSONB takes them, None where there are none or JSONB has no such value."""
    try:
        value = _storable(json.loads(initialize_params).get("capabilities"))
        return None if value is None else json.dumps(value, allow_nan=False)
    except (ValueError, AttributeError, RecursionError):
        return None


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value, len(value))
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(item) for name, item in value.items()}
    return value


def session_from(row: Record) -> Session:
    """The session that a row holds."""
    session_id, digest, issuer, subject, client_id, revision, params, *rest = row
    owner = None if (issuer, subject, client_id) == NOBODY else (issuer, subject, client_id)
    return Session(str(session_id), digest, owner, revision, params.encode(), *rest)
