"""Log lines: a sentence and its fields, as text for people or as JSON for machines.

Everybody logs with `logging.getLogger(__name__)`, a sentence, and fields in `extra`. What a client sent
may stand in a field, so neither form lets a value begin a line of its own. A line that is written while a
request is served has the request's id, and its session's public one, among its fields.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO
from uuid import UUID

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_about: ContextVar[tuple[UUID, str | None] | None] = ContextVar("archon_transport_log", default=None)


def about(request_id: UUID, session_id: str | None = None) -> None:
    """Say which request, of which session, this task serves, for the rest of the task's life."""
    _about.set((request_id, session_id))


class TextFormatter(logging.Formatter):
    """`2026-11-22T09:25:00.123Z INFO archon_transport.app: sentence key=value`, a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, unless an exception follows it."""
        fields = "".join(f" {key}={_text(value)}" for key, value in _fields(record).items())
        sentence = _escaped(record.getMessage())
        line = f"{_when(record)} {record.levelname} {record.name}: {sentence}{fields}"
        trouble = _trouble(self, record)
        return f"{line}\n{trouble}" if trouble else line


class JSONFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, the fields, and the exception as text."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's own four names win over a field of the same name."""
        entry = _fields(record) | {
            "time": _when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trouble := _trouble(self, record):
            entry["exception"] = trouble
        return json.dumps(entry, default=str)


def configure(
    level: Literal["debug", "info", "warning", "error"],
    style: Literal["text", "json"],
    stream: TextIO | None = None,
) -> None:
    """Log to `stream` (stderr): ours from `level` up, others' from warnings up, or all when debugging."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JSONFormatter() if style == "json" else TextFormatter())
    ours = logging.getLevelNamesMapping()[level.upper()]
    others = ours if level == "debug" else max(ours, logging.WARNING)
    logging.basicConfig(level=others, handlers=[handler], force=True)
    logging.getLogger("archon_transport").setLevel(ours)


def _when(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {key: value for key, value in vars(record).items() if key not in _OWN}
    if (about := _about.get()) is not None:
        request_id, session_id = about
        fields.setdefault("request_id", str(request_id))
        if session_id is not None:
            fields.setdefault("session_id", session_id)
    return fields


def _text(value: object) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(mark in text for mark in ' "=')
    return text if plain else json.dumps(text)


def _escaped(sentence: str) -> str:
    if sentence.isprintable():
        return sentence
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in sentence
    )


def _trouble(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
