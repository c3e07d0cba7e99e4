"""A server that has everything a client of either era can use: what the official conformance suite asks for,
and four tools for black-box tests.

    python -m tests.everything --port N [--database-url URL]

Every handler works in both eras: where it needs an answer of the user it calls `Call.ask`, which is a live
question in the handshake eras and an input-required result in 2026-07-28.
"""

from .server import build

__all__ = ["build"]
