"""What each protocol date allows. The dates themselves are the SDK's; the differences are ours."""

from __future__ import annotations

from typing import Final

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

HANDSHAKE: Final = tuple(reversed(HANDSHAKE_PROTOCOL_VERSIONS))
"""Revisions reached by `initialize`, newest first."""

MODERN: Final = tuple(reversed(MODERN_PROTOCOL_VERSIONS))
"""Revisions whose requests stand alone, newest first."""

SERVED: Final = MODERN + HANDSHAKE
"""Every revision this server speaks, newest first: what a refusal of another one lists."""

ASSUMED: Final = "2025-03-26"
"""What a request without session and version header speaks (2025-06-18 transports, Version Header)."""

_BATCHED: Final = frozenset({"2024-11-05", "2025-03-26"})


def is_handshake(revision: str) -> bool:
    """Whether `revision` is reached by `initialize`."""
    return revision in HANDSHAKE


def is_modern(revision: str) -> bool:
    """Whether requests of `revision` stand alone."""
    return revision in MODERN


def allows_batches(revision: str) -> bool:
    """JSON-RPC batches exist in 2025-03-26 only; 2024-11-05 counts as it, having no rule of its own."""
    return revision in _BATCHED
