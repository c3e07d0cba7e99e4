"""What a tool answers: `{"success": true, ...}`, or Archon's error envelope.

A refusal that a tool plans is a value, made by the functions here. What nobody planned (the database
is away, a time limit passed, a fault of ours) is turned into the same envelope by `from_exception`,
which tells the client what to do next and nothing about our insides; those are in the log.
"""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any, Literal

import asyncpg
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

logger = logging.getLogger(__name__)

ErrorType = Literal[
    "validation_error",
    "invalid_action",
    "not_found",
    "api_error",
    "renamed",
    "timeout",
    "connection_error",
    "unknown_error",
]
"""Archon's words for what went wrong that we use; `renamed` is ours."""

SHOWN = 1000
"""Characters of a description in a list and in the answer to a change; one item alone is shown whole."""

_SUGGESTIONS = {
    404: "Check the id; find_projects and find_tasks list what there is.",
    409: "Read the item again: it is not in the state that this change expects.",
}
_PERHAPS_DONE = "A change may or may not have been made: look before you repeat it."


class Success(BaseModel):
    """The root of every answer that is not a refusal."""

    model_config = ConfigDict(hide_input_in_errors=True)

    success: Literal[True] = True


class Done(Success):
    """For what leaves nothing to show."""

    message: str


class Error(BaseModel):
    """What went wrong, and what the caller can do about it."""

    type: ErrorType
    message: str
    details: dict[str, Any] | None = None
    suggestion: str | None = None
    http_status: int | None = None


class Failure(BaseModel):
    """A refusal: Archon's error envelope."""

    success: Literal[False] = False
    error: Error


def as_list(value: object) -> list[Any]:
    """A JSONB column that should be a list; older rows hold null or one bare object."""
    if isinstance(value, str):
        value = json.loads(value)
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


JsonList = Annotated[list[Any], BeforeValidator(as_list), Field(description="Free-form JSON items.")]
"""A list that comes from a JSONB column, read as its text."""


def shorten(text: str | None) -> str | None:
    """The text cut to `SHOWN` characters, the last three of them dots."""
    return text if text is None or len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def invalid(message: str, *, details: dict[str, Any] | None = None, action: bool = False) -> Failure:
    """The arguments do not fit; `action` says that the action itself is not one of the tool's."""
    kind: ErrorType = "invalid_action" if action else "validation_error"
    suggestion = "Correct the arguments and call again."
    return Failure(error=Error(type=kind, message=message, details=details, suggestion=suggestion))


def not_found(noun: str, key: object) -> Failure:
    """There is no such thing."""
    return Failure(
        error=Error(
            type="not_found",
            message=f"There is no {noun} with the id {key}.",
            suggestion=_SUGGESTIONS[404],
            http_status=404,
        )
    )


def conflict(message: str) -> Failure:
    """The thing is not in a state in which this can be done; Archon answered so with HTTP 409."""
    return Failure(
        error=Error(type="api_error", message=message, suggestion=_SUGGESTIONS[409], http_status=409)
    )


def renamed(old: str, new: str, call: str) -> Failure:
    """The tool has another name now; `call` shows how to do the same with it."""
    message = f"The tool {old} is now {new}."
    return Failure(error=Error(type="renamed", message=message, suggestion=f"Call {call} instead."))


def from_exception(error: Exception, *, operation: str) -> Failure:
    """The envelope for what a tool did not plan, logged as far as the operator needs it."""
    match error:
        case TimeoutError() | asyncpg.QueryCanceledError() | asyncpg.LockNotAvailableError():
            logger.warning("a tool ran out of time", extra={"tool": operation})
            return _failed(operation, "timeout", "it took too long.", f"Try again. {_PERHAPS_DONE}")
        case asyncpg.DeadlockDetectedError() | asyncpg.SerializationError():
            return conflict(f"Failed to run {operation}: somebody changed the same items at that moment.")
        case asyncpg.IntegrityConstraintViolationError():
            logger.warning("a constraint refused a change", exc_info=error, extra={"tool": operation})
            return conflict(f"Failed to run {operation}: the change does not fit what is stored.")
        case _ if _is_away(error):
            logger.warning("the database is away", extra={"tool": operation, "reason": repr(error)})
            suggestion = (
                f"Try again in a few seconds; if it lasts, the operator's log says why. {_PERHAPS_DONE}"
            )
            return _failed(operation, "connection_error", "the database cannot be reached.", suggestion)
        case _:
            logger.error("a tool failed", exc_info=error, extra={"tool": operation})
            suggestion = f"The operator's log has the reason. {_PERHAPS_DONE}"
            return _failed(operation, "unknown_error", "a fault inside the server.", suggestion)


def _failed(operation: str, kind: ErrorType, reason: str, suggestion: str) -> Failure:
    message = f"Failed to run {operation}: {reason}"
    return Failure(error=Error(type=kind, message=message, suggestion=suggestion))


def _is_away(error: Exception) -> bool:
    """Whether an exception says that there is no connection; a closed one is a plain InterfaceError."""
    gone = (
        OSError,
        asyncpg.InterfaceError,
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,
        asyncpg.TooManyConnectionsError,
    )
    return isinstance(error, gone)
