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

_CHECK_THE_ID = "Check the id; find_projects and find_tasks list what there is."
_READ_AGAIN = "Read the item again: it is not in the state that this change expects."
_PERHAPS_DONE = "A change may or may not have been made: look before you repeat it."


class Described(BaseModel):
    """A model; the text below one of its fields describes that field to clients."""

    model_config = ConfigDict(hide_input_in_errors=True, use_attribute_docstrings=True)


class Success(Described):
    """The root of every answer that is not a refusal."""

    success: Literal[True] = True

    def content(self) -> dict[str, Any]:
        """The answer as JSON."""
        return self.model_dump(mode="json")


class Done(Success):
    """For what leaves nothing to show."""

    message: str


class Error(Described):
    """What went wrong, and what the caller can do about it."""

    type: ErrorType
    message: str
    details: dict[str, Any] | None = None
    suggestion: str | None = None
    http_status: int | None = None


class Failure(Described):
    """A refusal: Archon's error envelope."""

    success: Literal[False] = False
    error: Error

    def content(self) -> dict[str, Any]:
        """The answer as JSON, without what is not said."""
        return self.model_dump(mode="json", exclude_none=True)


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


def failure(
    kind: ErrorType, message: str, suggestion: str, *, status: int | None = None, details: Any = None
) -> Failure:
    """A refusal; `status` is the one of HTTP with which Archon answered it."""
    return Failure(
        error=Error(type=kind, message=message, details=details, suggestion=suggestion, http_status=status)
    )


def invalid(message: str, *, details: dict[str, Any] | None = None, action: bool = False) -> Failure:
    """The arguments do not fit; `action` says that the action itself is not one of the tool's."""
    kind: ErrorType = "invalid_action" if action else "validation_error"
    return failure(kind, message, "Correct the arguments and call again.", details=details)


def not_found(noun: str, key: object, suggestion: str = _CHECK_THE_ID) -> Failure:
    """There is no such thing."""
    return failure("not_found", f"There is no {noun} with the id {key}.", suggestion, status=404)


def conflict(message: str) -> Failure:
    """The thing is not in a state in which this can be done."""
    return failure("api_error", message, _READ_AGAIN, status=409)


def forbidden(operation: str, scope: str) -> Failure:
    """The caller's token is good for less than this."""
    message = f"Failed to run {operation}: the token lacks the scope {scope}."
    command = f"archon-transport tokens add NAME --scopes {scope}"
    return failure("api_error", message, f"Ask the operator for a token with it: {command}.", status=403)


def renamed(old: str, call: str) -> Failure:
    """The tool has another name now; `call` shows how to do the same with it."""
    return failure("renamed", f"The tool {old} is now {call.partition('(')[0]}.", f"Call {call} instead.")


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
        case (
            OSError()
            | asyncpg.InterfaceError()  # what a closed connection raises
            | asyncpg.PostgresConnectionError()
            | asyncpg.OperatorInterventionError()
            | asyncpg.TooManyConnectionsError()
        ):
            logger.warning("the database is away", extra={"tool": operation, "reason": repr(error)})
            again = f"Try again in a few seconds; if it lasts, the operator's log says why. {_PERHAPS_DONE}"
            return _failed(operation, "connection_error", "the database cannot be reached.", again)
        case _:
            logger.error("a tool failed", exc_info=error, extra={"tool": operation})
            ask = f"The operator's log has the reason. {_PERHAPS_DONE}"
            return _failed(operation, "unknown_error", "a fault inside the server.", ask)


def _failed(operation: str, kind: ErrorType, reason: str, suggestion: str) -> Failure:
    return failure(kind, f"Failed to run {operation}: {reason}", suggestion)
