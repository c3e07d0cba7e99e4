"""One call of a tool or a prompt, and how it talks to the client while it runs, in either era.

`Call.ask` is the whole difference between the eras. In the handshake eras it sends requests to the client on
the stream of this call and waits. In 2026-07-28 nothing may be sent: it raises `InputRequired`, whose result
goes to the client, and the handler runs again from its beginning when the answers come.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import mcp_types as types
from mcp.server.connection import allowed_log_levels
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import SubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

Answer = types.ElicitResult | types.CreateMessageResult | types.ListRootsResult

ANSWERS: Final[dict[str, type[Answer]]] = {
    "elicitation/create": types.ElicitResult,
    "sampling/createMessage": types.CreateMessageResult,
    "roots/list": types.ListRootsResult,
}
"""Which answer belongs to which question."""

NEEDS: Final = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
"""Which of the client's capabilities a question needs."""


class InputRequired(Exception):
    """The call cannot go on without the client's answers; it is over until the client calls again."""

    def __init__(self, result: types.InputRequiredResult) -> None:
        super().__init__("answers of the client are required")
        self.result = result


@dataclass(slots=True)
class Counts:
    """What became of the calls of `slow` in this process."""

    started: int = 0
    finished: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True)
class House:
    """What all calls of one server share."""

    bus: SubscriptionBus
    slow: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True)
class Call:
    """One `tools/call` or `prompts/get`."""

    context: ServerRequestContext[Any]
    params: types.CallToolRequestParams | types.GetPromptRequestParams
    house: House

    @property
    def is_modern(self) -> bool:
        """Whether the client speaks 2026-07-28."""
        return self.context.protocol_version in MODERN_PROTOCOL_VERSIONS

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments, none where the client left them out."""
        return self.params.arguments or {}

    def text(self, name: str) -> str:
        """An argument that must be there as a string.

        Raises:
            MCPError: it is not.
        """
        value = self.arguments.get(name)
        if not isinstance(value, str):
            raise MCPError(types.INVALID_PARAMS, f"{self.params.name} needs the argument {name}, a string.")
        return value

    def can(self, capability: str) -> bool:
        """Whether the client declared a capability, on this request or in its handshake."""
        return getattr(self.context.session.client_capabilities, capability, None) is not None

    async def log(self, words: str) -> None:
        """Tell the client, on the stream of this call, where it wants to be told."""
        if "info" not in allowed_log_levels(self.context.protocol_version, self.context.meta):
            return
        params = types.LoggingMessageNotificationParams(level="info", data=words)
        await self.context.session.send_notification(
            types.LoggingMessageNotification(params=params), self.context.request_id
        )

    async def progress(self, done: float, total: float, message: str) -> None:
        """Report progress, where the client asked for it with a token."""
        await self.context.session.report_progress(done, total, message)

    async def ask(
        self, questions: Mapping[str, types.InputRequest], state: str | None = None
    ) -> dict[str, Any]:
        """The client's answers to these questions, under the same names.

        `state` comes back with the answers in 2026-07-28, and answers without it are not taken.

        Raises:
            InputRequired: they are not here yet (2026-07-28 only).
            MCPError: the client did not declare what it would be asked, or refused.
        """
        if not self.is_modern:
            return {name: await self._ask_now(question) for name, question in questions.items()}
        given = self.params.input_responses or {}
        answered = all(isinstance(given.get(name), ANSWERS[each.method]) for name, each in questions.items())
        if answered and (state is None or state == self.params.request_state):
            return {name: given[name] for name in questions}
        self._check_capabilities(questions)
        required = types.InputRequiredResult(input_requests=dict(questions), request_state=state)
        raise InputRequired(required)

    async def _ask_now(self, question: types.InputRequest) -> Answer:
        related = ServerMessageMetadata(related_request_id=self.context.request_id)
        return await self.context.session.send_request(question, ANSWERS[question.method], metadata=related)

    def _check_capabilities(self, questions: Mapping[str, types.InputRequest]) -> None:
        missing = {NEEDS[each.method] for each in questions.values() if not self.can(NEEDS[each.method])}
        if missing:
            raise missing_capabilities(*sorted(missing))


def missing_capabilities(*names: str) -> MCPError:
    """The error for a client that did not declare what a request needs (2026-07-28)."""
    return MCPError(
        types.MISSING_REQUIRED_CLIENT_CAPABILITY,
        f"The client has to declare {', '.join(names)} for this.",
        {"requiredCapabilities": {name: {} for name in names}},
    )


def elicit(message: str, required: tuple[str, ...] = (), **properties: Any) -> types.ElicitRequest:
    """A form for the user; each property is a schema of its own."""
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(words: str, max_tokens: int) -> types.CreateMessageRequest:
    """One message for the client's model."""
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=words))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def filled(answer: types.ElicitResult, name: str) -> Any:
    """What the user put into a field of the form, None where he left it or declined."""
    return (answer.content or {}).get(name) if answer.action == "accept" else None


def summary(answer: types.ElicitResult) -> str:
    """An answer to a form in one line."""
    content = json.dumps(answer.content or {})
    return f"action={answer.action}, content={content}"


def spoken(answer: types.CreateMessageResult) -> str:
    """What the client's model said; something other than text is named by its kind."""
    return answer.content.text if isinstance(answer.content, types.TextContent) else answer.content.type
